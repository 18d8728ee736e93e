package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// peerOf is a connected peer that has proven to act for an account.
func (d *Daemon) peerOf(a ledger.Account) (peer.ID, bool) {
	for _, p := range d.p2p.Peers() {
		if p.Account == a && !p.Office { // which can take nothing up
			return p.ID, true
		}
	}
	return "", false
}

// Send implements localapi.Backend.
func (d *Daemon) Send(ctx context.Context, t node.Transfer) (node.Sent, error) {
	to, err := d.grantee(ctx, t.To)
	if err != nil {
		return node.Sent{}, err
	}
	life := time.Duration(t.LifeMs) * time.Millisecond
	if life == 0 {
		life = node.DefaultTransferLife
	}
	expires := time.Now().Add(life)
	if t.Amount > ledger.MaxGift {
		return node.Sent{}, &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("%s is more than one transfer may move, which is %s", t.Amount, ledger.MaxGift), Hint: "send it in parts"}
	}
	id, err := d.settler.Give(ctx, to, t.Amount, expires)
	switch no := (*ledger.NoCreditError)(nil); {
	case to == d.book.Account():
		return node.Sent{}, &node.Problem{Code: node.CodeUsage, Message: "that is this node's own account", Hint: "name another one"}
	case errors.As(err, &no):
		return node.Sent{}, &node.Problem{Code: node.CodeNoCredit, Message: no.Error()}
	case errors.Is(err, ledger.ErrReadOnly), errors.Is(err, ledger.ErrFrozen), errors.Is(err, ledger.ErrUnwitnessed):
		return node.Sent{}, &node.Problem{Code: node.CodeDenied, Message: err.Error(), Hint: "see p3 status"}
	case err != nil:
		return node.Sent{}, err
	}
	sent := node.Sent{Schema: "p3.send/v1", ID: id, To: to, Name: d.who(to), Amount: t.Amount, Expires: expires.UTC()}
	if p, ok := d.peerOf(to); ok {
		sent.Peer = d.net.Name(p)
	}
	d.emit("ok", "credit", fmt.Sprintf("%s for %s", t.Amount, to))
	return sent, nil
}
