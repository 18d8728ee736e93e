package flow

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/personal-power-plant/p3/ledger"
)

func account(n int) (a ledger.Account) {
	binary.BigEndian.PutUint64(a[:], uint64(n)*0x9e3779b97f4a7c15) // spread like real ones
	binary.BigEndian.PutUint32(a[16:], uint32(n))
	return a
}

// own makes a Capacity of what was done for self; nothing is used up.
func own(self ledger.Account, done map[ledger.Account]ledger.Credits) Capacity {
	return func(from, to ledger.Account, earned ledger.Credits) ledger.Credits {
		if from == self {
			return done[to]
		}
		return earned
	}
}

type edge struct {
	from, to int
	amount   ledger.Credits
}

// cut is the least capacity whose loss leaves no chain of at most three edges from 0 to 1: the slow
// reference, which tries every set of edges and knows nothing of layers or augmenting.
func cut(edges []edge) ledger.Credits {
	var chains []uint32 // as sets of edges
	for i, a := range edges {
		if a.from != 0 {
			continue
		}
		if a.to == 1 {
			chains = append(chains, 1<<i)
			continue
		}
		for j, b := range edges {
			if b.from != a.to {
				continue
			}
			if b.to == 1 {
				chains = append(chains, 1<<i|1<<j)
				continue
			}
			for k, c := range edges {
				if c.from == b.to && c.to == 1 {
					chains = append(chains, 1<<i|1<<j|1<<k)
				}
			}
		}
	}
	best := ledger.MaxCredits
	for set := range uint32(1) << len(edges) {
		if slices.ContainsFunc(chains, func(c uint32) bool { return c&set == 0 }) {
			continue
		}
		var sum ledger.Credits
		for i, e := range edges {
			if set>>i&1 == 1 {
				sum += e.amount
			}
		}
		best = min(best, sum)
	}
	return best
}

func TestFlowIsTheLeastCutOfShortChains(t *testing.T) {
	some := 0
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 5))
		var edges []edge
		have := map[[2]int]bool{}
		for range 7 + r.IntN(7) {
			a, b := r.IntN(5), r.IntN(5)
			if a != b && !have[[2]int{a, b}] {
				have[[2]int{a, b}] = true
				edges = append(edges, edge{a, b, ledger.Credits(1 + r.IntN(9))})
			}
		}
		g, done := NewGraph(), map[ledger.Account]ledger.Credits{}
		left := map[[2]ledger.Account]ledger.Credits{}
		for _, e := range edges {
			left[[2]ledger.Account{account(e.from), account(e.to)}] = e.amount
			if e.from == 0 {
				done[account(e.to)] = e.amount
			} else {
				g.Add(account(e.from), account(e.to), e.amount)
			}
		}
		paths := g.Max(account(0), account(1), own(account(0), done))
		if got, want := Sum(paths), cut(edges); got != want {
			t.Fatalf("seed %d: flow %d, cut %d of %v: %v", seed, got, want, edges, paths)
		}
		for _, p := range paths { // and the paths really carry it, together
			at := account(0)
			for _, to := range append(slices.Clone(p.Via), account(1)) {
				left[[2]ledger.Account{at, to}] -= p.Amount
				if left[[2]ledger.Account{at, to}] < 0 {
					t.Fatalf("%v overdraw an edge of %v", paths, edges)
				}
				at = to
			}
		}
		if len(paths) > 1 {
			some++
		}
	}
	if some < 50 {
		t.Errorf("only %d graphs with several paths", some)
	}
}

func TestFlowIsDeterministic(t *testing.T) {
	var want []Path
	for seed := range uint64(8) {
		edges := city(300, 8, 1)
		rand.New(rand.NewPCG(seed, 2)).Shuffle(len(edges), func(i, j int) { edges[i], edges[j] = edges[j], edges[i] })
		g := NewGraph()
		done := map[ledger.Account]ledger.Credits{}
		for _, e := range edges {
			if e.from == 0 {
				done[account(e.to)] += e.amount
			} else {
				g.Add(account(e.from), account(e.to), e.amount)
			}
		}
		got := g.Max(account(0), account(1), own(account(0), done))
		if seed == 0 {
			want = got
		}
		if d := cmp.Diff(want, got); d != "" || len(got) == 0 {
			t.Fatalf("%d paths: %s", len(got), d)
		}
	}
}

func TestGraphForgetsWhatIsTakenAway(t *testing.T) {
	g := NewGraph()
	g.Add(account(2), account(1), 5)
	g.Add(account(2), account(1), ledger.MaxCredits) // saturates
	g.Add(account(3), account(3), 1)                 // work for oneself is none
	if g.Len() != 1 || g.in[account(1)][0].amount != ledger.MaxCredits {
		t.Fatalf("%+v", g)
	}
	g.Add(account(2), account(1), -ledger.MaxCredits)
	if g.Len() != 0 || len(g.in) != 0 {
		t.Errorf("%+v", g)
	}
}

// city is a graph of n accounts in which a few do most of the work, as in all such networks: edges
// follow a power law.
func city(n, degree int, seed uint64) []edge {
	r := rand.New(rand.NewPCG(seed, 1))
	z := rand.NewZipf(r, 1.2, 20, uint64(n-1))
	edges := make([]edge, 0, n*degree)
	for i := range n * degree {
		a, b := i/degree, int(z.Uint64())
		if r.IntN(2) == 0 {
			a, b = b, a
		}
		edges = append(edges, edge{a, b, ledger.Credits(1 + r.IntN(1_000_000))})
	}
	return edges
}

// BenchmarkFlow computes limits over a graph of 10^5 accounts and about 10^6 edges, between two of the
// accounts that work most, and between two that work little. Target: under 20 ms.
func BenchmarkFlow(b *testing.B) {
	const n = 100_000
	edges := city(n, 10, 7)
	g := NewGraph()
	for _, e := range edges {
		g.Add(account(e.from), account(e.to), e.amount)
	}
	for _, c := range []struct {
		name        string
		self, payer int
	}{{"hubs", 0, 1}, {"hub-to-small", 0, n - 7}, {"small-to-hub", n - 3, 1}, {"small", n - 3, n - 7}} {
		done := map[ledger.Account]ledger.Credits{}
		for to, hops := range g.in {
			i, found := slices.BinarySearchFunc(hops, account(c.self), func(h hop, a ledger.Account) int { return bytes.Compare(h.from[:], a[:]) })
			if found {
				done[to] = hops[i].amount
			}
		}
		b.Run(c.name, func(b *testing.B) {
			var paths []Path
			for b.Loop() {
				paths = g.Max(account(c.self), account(c.payer), own(account(c.self), done))
			}
			b.ReportMetric(float64(len(paths)), "paths")
			b.ReportMetric(float64(g.Len()), "edges")
			if Sum(paths) < 0 {
				b.Fatal(fmt.Sprint(paths))
			}
		})
	}
}
