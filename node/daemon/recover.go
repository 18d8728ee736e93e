package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// recoverTime is how long peers may take to say what they hold.
const recoverTime = 2 * time.Minute

// Recover implements localapi.Backend.
func (d *Daemon) Recover(ctx context.Context, sure bool) (node.Recovery, error) {
	var out node.Recovery
	if d.council.client != nil { // somebody else may have signed with our key, and witnesses know
		if err := d.council.client.CheckOwn(ctx); err != nil {
			d.log.Info("recover: witnesses", "err", err)
		}
	}
	epoch, from, lost := d.book.Lost()
	var all []ledger.Receipt
	var grants []ledger.TakenGrant
	var away []string
	answered := map[peer.ID]bool{}
	if lost {
		who, heard := []peer.ID(nil), map[ledger.Account]bool{}
		accounts := map[peer.ID]ledger.Account{}
		for _, p := range d.p2p.Peers() {
			if !p.Account.IsZero() && (p.Account != d.book.Account() || p.Office) {
				who = append(who, p.ID)
				accounts[p.ID] = p.Account
			}
		}
		type answer struct {
			from   peer.ID
			held   []ledger.Receipt
			grants []ledger.TakenGrant
			err    error
		}
		asking, cancel := context.WithTimeout(ctx, recoverTime)
		defer cancel()
		answers := make(chan answer, len(who))
		for _, p := range who {
			go func() {
				held, grants, err := d.fraud.Held(asking, p, epoch, from)
				answers <- answer{p, held, grants, err}
			}()
		}
		out.Asked = len(who)
		for range who {
			a := <-answers
			if a.err != nil {
				d.log.Info("recover", "err", a.err)
				continue
			}
			out.Answers++
			heard[accounts[a.from]] = true
			answered[a.from] = true
			all = append(all, a.held...)
			grants = append(grants, a.grants...)
		}
		if d.council.client != nil {
			all = append(all, d.council.client.Held(asking, from)...)
		}
		for _, l := range d.book.OpenLocks() {
			// Its payee may hold a voucher that this disk has forgotten; to settle below it would convict us.
			if l.Ours && !heard[l.Payee] {
				sure = false
				away = append(away, l.Payee.Short())
			}
		}
	}
	if lost {
		bound, err := d.Bound(ctx)
		if err != nil {
			return out, err
		}
		for _, o := range bound { // it may hold an EARN whose payer has not heard of it
			if p, err := peer.Decode(o.Peer); err == nil && !o.Ended && !answered[p] {
				sure = false
				away = append(away, "node "+o.Peer)
			}
		}
	}
	r, err := d.book.Recover(ctx, all, sure, grants...)
	if err != nil {
		return out, err
	}
	out.Entries, out.Leases, out.Missing, out.From, out.Signs = r.Entries, r.Leases, r.Missing, r.From, r.Signs
	if err := d.book.ReadOnly(); err != nil {
		out.Why = err.Error()
		if len(away) > 0 {
			slices.Sort(away)
			out.Why += fmt.Sprintf(" (first be connected to the payees of open locks, who may hold vouchers, and to the nodes that earn for this account, or unbind those: %s)", strings.Join(slices.Compact(away), ", "))
		}
	} else if lost {
		d.emit("ok", "credit", "the ledger is complete again, as far as can be known, and signs")
		d.settler.Kick("")
	}
	d.diary.touch()
	return out, nil
}
