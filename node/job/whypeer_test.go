package job

import (
	"testing"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/market"
	"github.com/personal-power-plant/p3/node"
)

// Why an account does not work for us is said with all jobs counted together, equal reasons as one; without a job
// a plain one is matched.
func TestPeerWhyGroupsEqualReasons(t *testing.T) {
	var host ledger.Account
	hosts := func(h *hub) ([]*party, []market.Offer) {
		parties, offers := honest(1, varied{})(h)
		host = offers[0].Account
		return parties, offers
	}
	withRequester(t, 1, hosts, func(t *testing.T, d *desk) {
		ask := func() node.PeerWhy {
			w := node.PeerWhy{Account: host, Offers: 1, Nodes: 1}
			if err := d.WhyPeer(t.Context(), host, &w); err != nil {
				t.Fatal(err)
			}
			w.Conclude(false, false)
			return w
		}
		if w := ask(); w.Jobs != 0 || w.Why != market.SmallMemory.String() || w.Fix != "it lends 64 MiB: --memory 64MiB fits there" {
			t.Errorf("without a job: %+v", w)
		}
		d.m.Ceiling = ledger.Price{Num: 1, Den: 1 << 40}
		d.submit(true, texts("s")...)
		d.submit(true, texts("s")...)
		d.m.Ceiling, d.m.Need = ledger.Price{}, "slots > 1000"
		d.submit(true, texts("s")...)
		w := ask()
		if w.Jobs != 3 || w.Hired+w.Asking+w.Fit != 0 || len(w.Refused) != 2 {
			t.Fatalf("with three jobs: %+v", w)
		}
		if r := w.Refused[0]; r.Count != 2 || r.Why != market.TooDear.String() || r.Such == "" || w.Why != r.Why || w.Fix != r.Fix {
			t.Errorf("most of all: %+v; in a line %q, %q", r, w.Why, w.Fix)
		}
		if r := w.Refused[1]; r.Count != 1 || r.Why != market.NeedNotMet.String() || r.Fix != `relax --need "slots > 1000"` {
			t.Errorf("then: %+v", r)
		}
	})
}
