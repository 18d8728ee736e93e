package daemon

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/flow"
	"github.com/personal-power-plant/p3/node"
)

// who is how people know an account: what a node of its called itself in its greeting, or in an offer.
func (d *Daemon) who(a ledger.Account) string {
	for _, p := range d.p2p.Peers() {
		if p.Account == a && p.Name != "" {
			return p.Name
		}
	}
	for _, o := range d.market.Directory().Snapshot(time.Now()) {
		if o.Account == a {
			return o.Name
		}
	}
	return ""
}

// Peer implements localapi.Backend.
func (d *Daemon) Peer(ctx context.Context, id string) (v node.PeerView, err error) {
	peers, err := d.Peers(ctx)
	if err != nil {
		return v, err
	}
	a, err := d.account(id, peers)
	if err != nil {
		return v, err
	}
	v = node.PeerView{Schema: "p3.peer-view/v1", Account: a, Name: d.who(a), Peers: []node.Peer{}}
	for _, p := range peers {
		if p.Account == a {
			v.Peers = append(v.Peers, p)
		}
	}
	st, err := d.book.Standing(a)
	if err != nil {
		return v, err
	}
	x, err := d.book.Exposure(a)
	if err != nil {
		return v, err
	}
	v.Did, v.Got, v.Frozen = st.Did, st.Got, x.Frozen
	v.Leases, v.Unpaid, v.Window, v.Defaults, v.Trust = x.Leases, x.Unpaid, x.Window.Allowed(), x.Window.Defaults(), node.Trust(x.Window)
	c, chance, err := d.requester.Conduct(a)
	if err != nil {
		return v, err
	}
	v.Valid, v.Row, v.Wrong, v.Check = c.Valid, c.Row, c.Wrong, chance
	limit, why, limited, err := d.provider.Limit(a)
	if limited {
		v.Limited, v.Limit, v.Flow, v.Starter, v.Owes, v.Today, v.Why = true, limit.Total(), limit.Flow, limit.Starter, limit.Owes, limit.Today, why
	}
	if err == nil && !limited {
		var g flow.GrantedLimit
		if g, why, limited, err = d.provider.GrantedLimit(a); limited {
			v.Limited, v.Limit, v.Why = true, g.Total(), why
			v.Flow, v.Starter, v.Owes, v.Today = g.Trust.Flow, g.Trust.Starter, g.Trust.Owes, g.Trust.Today
		}
	}
	return v, err
}

// PeerWhy implements localapi.Backend.
func (d *Daemon) PeerWhy(ctx context.Context, id string) (w node.PeerWhy, err error) {
	v, err := d.Peer(ctx, id)
	if err != nil {
		return w, err
	}
	w = node.PeerWhy{Schema: "p3.peer-why/v1", Account: v.Account, Name: v.Name, Nodes: len(v.Peers)}
	for _, o := range d.market.Directory().Snapshot(time.Now()) {
		if o.Account == v.Account {
			w.Offers++
		}
	}
	if err := d.requester.WhyPeer(ctx, v.Account, &w); err != nil {
		return w, err
	}
	w.Conclude(v.Account == d.book.Account(), v.Frozen)
	return w, nil
}

// account finds whom a person means by a name, a peer ID, an account or the beginning of one. A whole account
// need not be known.
func (d *Daemon) account(id string, peers []node.Peer) (found ledger.Account, err error) {
	id = strings.TrimSpace(id)
	if found.UnmarshalText([]byte(id)) == nil {
		return found, nil
	}
	hex := strings.ToLower(strings.TrimPrefix(id, "0x"))
	all := map[ledger.Account]bool{}
	for _, exact := range []bool{true, false} { // a name goes before a prefix
		note := func(a ledger.Account, name, peer string) {
			fits := name == id || peer == id
			if !exact && len(hex) >= 4 {
				fits = strings.HasPrefix(a.String()[2:], hex) || strings.HasPrefix(peer, id)
			}
			if fits && !a.IsZero() {
				all[a] = true
			}
		}
		for _, p := range peers {
			note(p.Account, p.Name, p.ID)
		}
		for _, o := range d.market.Directory().Snapshot(time.Now()) {
			note(o.Account, o.Name, o.Peer.String())
		}
		if len(all) > 0 {
			break
		}
	}
	switch len(all) {
	case 0:
		return found, &node.Problem{Code: node.CodeNotFound, Message: fmt.Sprintf("nobody is known here as %q", id), Hint: "`p3 peer ls` lists who is connected; a whole account (0x and 40 digits) need not be"}
	case 1:
		for a := range all {
			found = a
		}
		return found, nil
	}
	return found, &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("%d accounts are known as %q", len(all), id), Hint: "write more of the account or peer ID: `p3 peer ls`"}
}
