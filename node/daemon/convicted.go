package daemon

import (
	"context"
	"errors"
	"slices"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// Convicted implements localapi.Backend.
func (d *Daemon) Convicted(context.Context) (node.Convictions, error) {
	out := node.Convictions{Schema: "p3.convicted/v1", List: []node.Conviction{}}
	var strangers []node.Conviction
	var failed error
	err := d.book.Proofs(ledger.Account{}, func(a ledger.Account, raw []byte) bool {
		if len(raw) == 0 {
			return true
		}
		out.Total++
		c := node.Conviction{Account: a, Role: d.role(a), Why: ledger.ProofKind(raw[0]).String()}
		var st ledger.Standing
		if st, failed = d.book.Standing(a); failed != nil {
			return false
		}
		c.Did, c.Got = st.Did, st.Got
		switch { // strangers are many and cost an attacker nothing
		case c.Role != "" || c.Did != 0 || c.Got != 0:
			out.List = append(out.List, c)
		case len(strangers) < node.MaxConvictions:
			strangers = append(strangers, c)
		}
		return true
	})
	out.List = append(out.List, strangers...)
	out.List = slices.Clip(out.List[:min(len(out.List), node.MaxConvictions)])
	names := map[ledger.Account]string{}
	for _, p := range d.p2p.Peers() {
		names[p.Account] = p.Name
	}
	for i := range out.List {
		out.List[i].Name = names[out.List[i].Account]
	}
	return out, errors.Join(err, failed)
}

// role is what else an account is to this node, "" for nothing.
func (d *Daemon) role(a ledger.Account) string {
	_, mint := d.genesis.Cap(a)
	switch {
	case a == d.book.Account():
		return "self"
	case mint:
		return "mint"
	case d.genesis.Witness(a) >= 0:
		return "witness"
	}
	return ""
}
