package sim

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// A deal is what a job came to.
type deal struct {
	took  time.Duration
	spent ledger.Credits
}

// trade runs a job of 200 units, each a second of a slow host, where 3 slow hosts are cheap and 3 that are four times as
// fast ask four times as much; the terms are those of a scenario's job.
func trade(t testing.TB, net *Net, terms string) (d deal, err error) {
	you := net.Add("you", Options{})
	for i := range 3 {
		net.Add(fmt.Sprintf("slow%d", i), Options{Donate: true, Speed: 91_000})
		net.Add(fmt.Sprintf("fast%d", i), Options{Donate: true, Speed: 364_000, Price: ledger.Price{Num: 4, Den: 1000}})
	}
	s := &scenario{n: net, owner: you}
	time.Sleep(5 * time.Second) // offers have spread
	if err := s.submit(append([]string{"../../exec/wasm/testdata/tasks.wasm", "cat", "units=200", "verify=1"}, strings.Fields(terms)...)); err != nil {
		return d, err
	}
	if err := errors.Join(s.results(), s.settled()); err != nil {
		return d, err
	}
	j, err := s.view()
	if err != nil {
		return d, err
	}
	b, err := you.Balance()
	if err == nil && b.Spent > j.Budget {
		err = fmt.Errorf("spent %s of %s", b.Spent, j.Budget)
	}
	t.Logf("%q: %s in %s; estimate: %v", terms, b.Spent, j.Ended.Sub(j.Created).Round(100*time.Millisecond), j.Estimate)
	return deal{j.Ended.Sub(j.Created), b.Spent}, err
}

// Plain greedy hires everybody. Whoever has time, and says so, pays less; who has money is not slower.
func TestPlannedJobsBeatGreedyOnes(t *testing.T) {
	run := func(terms string) (d deal) {
		synctest.Test(t, func(t *testing.T) {
			n := New(t, *seed, Link{Latency: 20 * time.Millisecond, Jitter: 5 * time.Millisecond})
			if *verbose {
				n.Log = os.Stderr
			}
			var err error
			if d, err = trade(t, n, terms); err != nil {
				t.Fatal(err)
			}
		})
		return d
	}
	greedy := run("")
	if soon := run("optimise=time"); soon.took > greedy.took*5/4 {
		t.Errorf("for time: %s, greedy takes %s", soon.took, greedy.took)
	}
	for _, c := range []struct {
		terms    string
		deadline time.Duration
		part     float64 // at most, of what greedy costs
	}{
		{"optimise=cost deadline=45s", 45 * time.Second, 0.80},
		{"optimise=cost", time.Hour, 0.35},
		{"deadline=60s", 60 * time.Second, 0.90},
	} {
		if d := run(c.terms); d.took > c.deadline || float64(d.spent) > c.part*float64(greedy.spent) {
			t.Errorf("%s: %s in %s; greedy %s in %s", c.terms, d.spent, d.took, greedy.spent, greedy.took)
		}
	}
}
