package tui

import (
	"context"
	"fmt"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// A standing is the credit of one account here, as it was last read.
type standing struct {
	of   ledger.Account
	view *node.PeerView // nil when it cannot be read
	why  string         // why not
}

// wantStanding reads the credit of the peer under the cursor, at once when that is another.
func (m *model) wantStanding(every time.Duration) []want {
	r := m.peers.selected()
	if r == nil || r.Account.IsZero() || m.w < wide && !m.preview {
		return nil
	}
	a, n := r.Account, m.node
	if m.standing.of != a {
		every = 0
	}
	return []want{{fromPeer, every, func(ctx context.Context) (func(*model), error) {
		v, err := n.Peer(ctx, a.String())
		s := standing{of: a, view: &v}
		if err != nil {
			s.view, s.why = nil, explain(err)
		}
		return func(m *model) { m.standing = s }, nil
	}}}
}

// standingFacts is what an account may claim here and why, what was done, and how its results stood checks.
func (m *model) standingFacts(a ledger.Account, w int) []string {
	s := m.standing
	switch {
	case a.IsZero():
		return nil
	case s.of != a:
		return []string{fact("limit", "reading…")}
	case s.view == nil:
		return factWrapped("limit", "cannot be read: "+s.why, w)
	}
	v := s.view
	limit := "what it locks"
	switch {
	case v.Frozen:
		limit = bad.of("none: it was caught cheating, and the proof is kept")
	case v.Limited:
		limit = bold.of(v.Limit.String()) + ": " + clean(v.Why)
	}
	facts := factWrapped("limit", limit, w)
	facts = append(facts,
		fact("work", fmt.Sprintf("%s by it for me, %s by me for it", v.Did, v.Got)),
		fact("trust", fmt.Sprintf("%.2f; unpaid %d of at most %s in %s; %s", v.Trust, v.Unpaid, plural(uint64(v.Window), "unit"), plural(uint64(v.Leases), "lease"), plural(uint64(v.Defaults), "default"))))
	if v.Limited && v.Owes > 0 {
		facts = append(facts, fact("owes", v.Owes.String()+" of its starter, until it works for me"))
	}
	if v.Valid+v.Wrong > 0 {
		facts = append(facts, fact("checks", fmt.Sprintf("%d results right, %d in a row; %d wrong; %.0f%% are checked", v.Valid, v.Row, v.Wrong, 100*v.Check)))
	}
	return facts
}
