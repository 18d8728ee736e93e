package p2p

import (
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/ledger"
)

// boundAccount is the account that a peer's binding lets it act for; zero without a binding.
func (n *Node) boundAccount(p peer.ID, raw []byte) (ledger.Account, error) {
	if len(raw) == 0 {
		return ledger.Account{}, nil
	}
	b, err := ledger.VerifyBinding(raw, n.cfg.Network, time.Now())
	if err != nil {
		return ledger.Account{}, err
	}
	if string(b.PeerID) != string(p) {
		return ledger.Account{}, fmt.Errorf("binding of %s shown by %s", peer.ID(b.PeerID), p)
	}
	return b.Account, nil
}

// earnsOnly reports whether a binding that was verified is one of an office PC.
func earnsOnly(raw []byte) bool {
	b, err := ledger.ParseBinding(raw)
	return err == nil && b.Flags&ledger.EarnsOnly != 0
}
