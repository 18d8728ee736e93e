package flow

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"github.com/personal-power-plant/p3/ledger"
)

// Bounds of one computation. Beyond them the flow found is a lower bound of the true one, which
// gives less credit and never more.
const (
	// MaxHops is the longest chain of work that counts: with each hop more has to be believed of
	// people the provider never met, and two or three reach most of a small world.
	MaxHops = 3

	maxFan    = 1024    // for whom the payer has worked, most work first
	maxVisits = 1 << 13 // edges looked at in all
	maxPhases = 64      // of Dinic's algorithm; a handful is usual
)

// A Graph is who has worked for whom: the edge x → y holds what y has earned from x, in µcr. It
// keeps what others told, verified; what was done for the provider itself is first-hand knowledge, which
// Capacity brings in. Not safe for concurrent use while it changes.
type Graph struct {
	in    map[ledger.Account][]hop // by who earned; ascending by who paid
	edges int
}

type hop struct {
	from   ledger.Account
	amount ledger.Credits
}

// NewGraph returns an empty graph.
func NewGraph() *Graph { return &Graph{in: map[ledger.Account][]hop{}} }

// Len is the number of edges.
func (g *Graph) Len() int { return g.edges }

// Add adds amount, which may be negative, to the edge from → to. An edge without work is no edge.
func (g *Graph) Add(from, to ledger.Account, amount ledger.Credits) {
	if from == to {
		return
	}
	list := g.in[to]
	i, found := slices.BinarySearchFunc(list, from, func(h hop, a ledger.Account) int { return bytes.Compare(h.from[:], a[:]) })
	if !found {
		list = slices.Insert(list, i, hop{from: from})
		g.edges++
	}
	sum, err := list[i].amount.Add(amount)
	if err != nil {
		sum = ledger.MaxCredits
	}
	if list[i].amount = max(sum, 0); sum <= 0 {
		list = slices.Delete(list, i, i+1)
		g.edges--
	}
	if len(list) == 0 {
		delete(g.in, to)
		return
	}
	g.in[to] = list
}

// A Capacity is what is left of an edge: what to has earned from from by the graph is earned, and
// some of it may have been used up. For an edge out of the provider itself earned is 0 and the
// function knows. A negative result counts as 0.
type Capacity func(from, to ledger.Account, earned ledger.Credits) ledger.Credits

// A Path is flow along one chain of work: Via[0] worked for the provider, the payer for the last of
// Via. An empty Via is work that the payer did for the provider itself.
type Path struct {
	Via    []ledger.Account // at most MaxHops-1
	Amount ledger.Credits
}

// Max is the maximum flow from self to payer over chains of at most MaxHops edges, as its paths: the
// direct one first, then by falling amount. Their amounts may be used together.
//
// Chains of at most three edges need no general algorithm for length-bounded flow: an edge out of self
// can only be a chain's first, one into the payer only its last and any other only the middle one. So
// each edge has one place in a network of four layers, self, x, y and payer, where every path is short
// enough, and the maximum flow there (Dinitz 1970) is the one looked for. Its minimal cut is a set of
// real edges (Adámek and Koubek 1971; Lovász, Neumann-Lara and Plummer 1978 prove it for up to three edges).
//
// It takes time and memory for maxVisits edges, whatever the size of the graph, and equal graphs give
// equal paths.
func (g *Graph) Max(self, payer ledger.Account, left Capacity) []Path {
	n := network{}
	s, t := n.node(), n.node()
	first := map[ledger.Account]int{} // layer x: who worked for self; -1 = did not
	from := func(a ledger.Account) int {
		x, known := first[a]
		if !known {
			x = -1
			if c := left(self, a, 0); c > 0 {
				x = n.node()
				n.edge(s, x, c)
			}
			first[a] = x
		}
		return x
	}
	var paths []Path
	if c := left(self, payer, 0); c > 0 {
		paths = append(paths, Path{Amount: c})
	}
	type middle struct{ x, y ledger.Account }
	var via []middle // of the edges in used, from layer x to layer y
	var used []int
	visits := 0
	for _, last := range g.last(self, payer, left) {
		y := -1
		join := func(x int, a ledger.Account, c ledger.Credits) {
			if y < 0 {
				y = n.node()
				n.edge(y, t, last.amount)
			}
			via, used = append(via, middle{a, last.from}), append(used, n.edge(x, y, c))
		}
		if x := from(last.from); x >= 0 {
			join(x, last.from, math.MaxInt64) // the same account in both layers: a chain of two edges
		}
		for _, h := range g.in[last.from] {
			if visits++; visits > maxVisits {
				break
			}
			if h.from == self || h.from == payer {
				continue
			}
			if x := from(h.from); x >= 0 {
				if c := left(h.from, last.from, h.amount); c > 0 {
					join(x, h.from, c)
				}
			}
		}
	}
	n.dinic(s, t)
	for i, e := range used {
		if f := n.flow(e); f > 0 {
			p := Path{Via: []ledger.Account{via[i].x, via[i].y}, Amount: f}
			if via[i].x == via[i].y {
				p.Via = p.Via[:1]
			}
			paths = append(paths, p)
		}
	}
	slices.SortStableFunc(paths, func(a, b Path) int {
		return cmp.Or(cmp.Compare(min(len(a.Via), 1), min(len(b.Via), 1)), cmp.Compare(b.Amount, a.Amount))
	})
	return paths
}

// last lists the edges into the payer with what is left of them, most first.
func (g *Graph) last(self, payer ledger.Account, left Capacity) []hop {
	var list []hop
	for i, h := range g.in[payer] {
		if i == maxVisits {
			break
		}
		if c := left(h.from, payer, h.amount); h.from != self && c > 0 {
			list = append(list, hop{h.from, c})
		}
	}
	slices.SortStableFunc(list, func(a, b hop) int { return cmp.Compare(b.amount, a.amount) })
	return list[:min(len(list), maxFan)]
}

// Sum is the flow of all paths together, at most ledger.MaxCredits.
func Sum(paths []Path) (sum ledger.Credits) {
	for _, p := range paths {
		var err error
		if sum, err = sum.Add(p.Amount); err != nil {
			return ledger.MaxCredits
		}
	}
	return sum
}

// A network is a residual graph: edge i and its reverse i^1.
type network struct {
	head  []int // by node: its newest edge, -1 = none
	next  []int // by edge: the edge before it of the same node
	to    []int
	room  []ledger.Credits
	level []int
	at    []int // by node: the edge to try next
}

func (n *network) node() int {
	n.head = append(n.head, -1)
	return len(n.head) - 1
}

func (n *network) edge(a, b int, c ledger.Credits) int {
	i := len(n.to)
	n.to, n.room, n.next = append(n.to, b, a), append(n.room, c, 0), append(n.next, n.head[a], n.head[b])
	n.head[a], n.head[b] = i, i+1
	return i
}

// flow is what runs along an edge.
func (n *network) flow(i int) ledger.Credits { return n.room[i^1] }

// dinic fills the network, shortest augmenting paths first.
func (n *network) dinic(s, t int) {
	n.level, n.at = make([]int, len(n.head)), make([]int, len(n.head))
	queue := make([]int, 0, len(n.head))
	for range maxPhases {
		for i := range n.level {
			n.level[i] = -1
		}
		n.level[s] = 0
		queue = append(queue[:0], s)
		for i := 0; i < len(queue); i++ {
			for e := n.head[queue[i]]; e >= 0; e = n.next[e] {
				if n.room[e] > 0 && n.level[n.to[e]] < 0 {
					n.level[n.to[e]] = n.level[queue[i]] + 1
					queue = append(queue, n.to[e])
				}
			}
		}
		if n.level[t] < 0 {
			return
		}
		copy(n.at, n.head)
		n.push(s, t, math.MaxInt64)
	}
}

// push sends at most room from a towards t along rising levels and returns how much went.
func (n *network) push(a, t int, room ledger.Credits) (sent ledger.Credits) {
	if a == t {
		return room
	}
	for ; n.at[a] >= 0; n.at[a] = n.next[n.at[a]] {
		e := n.at[a]
		if n.room[e] <= 0 || n.level[n.to[e]] != n.level[a]+1 {
			continue
		}
		d := n.push(n.to[e], t, min(room-sent, n.room[e]))
		n.room[e] -= d
		n.room[e^1] += d
		if sent += d; sent == room {
			return sent // this edge may have room left
		}
	}
	return sent
}
