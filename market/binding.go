package market

import (
	"fmt"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// checkBinding asks whether the account lets the peer act for it.
func checkBinding(h Header, now time.Time) error {
	b, err := ledger.VerifyBinding(h.Binding, h.Network, now)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadBinding, err)
	}
	if b.Account != h.Account || string(b.PeerID) != string(h.Peer) {
		return fmt.Errorf("binding is for account %s and another node: %w", b.Account, ErrBadBinding)
	}
	return nil
}
