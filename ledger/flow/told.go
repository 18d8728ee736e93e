package flow

import "github.com/personal-power-plant/p3/ledger"

// MaxTold is how many proofs of work are remembered of each of two kinds, about 250 bytes each: those whose
// payer has worked for us, and all others. Strangers can push out only each other's: the first kind
// takes the signature of somebody who worked here.
const MaxTold = 1 << 14

// told is what others showed us, as a graph. Each lease counts once; the oldest are forgotten.
type told struct {
	graph     *Graph
	known     map[leaseOf]bool
	near, far ring
}

// leaseOf tells leases apart. Anybody can sign a settle that names somebody else's lock, so the two
// accounts belong to it: else it would keep out the true one.
type leaseOf struct {
	lock         ledger.Digest
	payer, payee ledger.Account
}

func keyOf(w ledger.Work) leaseOf { return leaseOf{w.Lock, w.Payer, w.Payee} }

// A ring keeps the newest MaxTold.
type ring struct {
	works []ledger.Work
	next  int
}

func newTold() *told { return &told{graph: NewGraph(), known: map[leaseOf]bool{}} }

func (t *told) add(w ledger.Work, near bool) {
	k := keyOf(w)
	if t.known[k] {
		return
	}
	t.known[k] = true
	t.graph.Add(w.Payer, w.Payee, w.Amount)
	r := &t.far
	if near {
		r = &t.near
	}
	if len(r.works) < MaxTold {
		r.works = append(r.works, w)
		return
	}
	old := r.works[r.next]
	delete(t.known, keyOf(old))
	t.graph.Add(old.Payer, old.Payee, -old.Amount)
	r.works[r.next], r.next = w, (r.next+1)%MaxTold
}
