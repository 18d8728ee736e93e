package flow

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// A provider that starts again from a backup has forgotten what it gave since: it gives that once more on what was worked for it before the
// backup, and no more; and strangers, whose budget of the day is forgotten too, get nothing until tomorrow.
func TestRestoredProviderGivesAnEdgeOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const cr = ledger.Credit
		time.Sleep(time.Until(noon)) // when takers begin
		host, maple := newNode(t), newNode(t)
		maple.worksFor(t, host, 7*cr)
		payer := &taker{maple.key, maple.Head()}
		first := payer.takes(t, NewLimiter(host), host, 4*cr, time.Now())
		backup := host.store.Clone()
		l := NewLimiter(host)
		since := payer.takes(t, l, host, 5*cr, time.Now()) // the other 3, and its starter
		for range 9 {
			since += newTaker(t, ok(ledger.NewKey())(t)).takes(t, l, host, 5*cr, time.Now())
		}
		if first != 4*cr || since != 3*cr+10*cr {
			t.Fatalf("gave %s, then %s", first, since)
		}
		host.Close()

		if err := backup.Commit(t.Context(), ledger.MarkRestored(time.Now())); err != nil {
			t.Fatal(err)
		}
		host.store = backup
		host.reopen(t)
		if r := ok(host.Recover(t.Context(), nil, true))(t); !r.Signs {
			t.Fatalf("%+v", r)
		}
		l = NewLimiter(host)
		stranger := newTaker(t, ok(ledger.NewKey())(t))
		if got := stranger.takes(t, l, host, 4*cr, time.Now()); got != 0 {
			t.Errorf("a stranger takes %s on a day whose budget is forgotten", got)
		}
		if again := payer.takes(t, l, host, 5*cr, time.Now()); again != 3*cr {
			t.Errorf("the edge gives %s again", again)
		}
		time.Sleep(24 * time.Hour)
		if got := stranger.takes(t, l, host, 4*cr, time.Now()); got != 2*cr {
			t.Errorf("tomorrow a stranger takes %s", got)
		}
	})
}
