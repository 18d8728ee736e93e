package sim

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/personal-power-plant/p3/node"
)

// A network with four witnesses. One of them dies while a job runs, which nobody notices; who earned from that job
// spends it on the word of the others. With a second one dead no lease begins, and the job says which of them did
// not answer; when it is back, the job goes on.
func TestWitnessedNetworkOutlivesOneOfFour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(t, *seed, Link{Latency: 20 * time.Millisecond})
		if *verbose {
			n.Log = os.Stderr
		}
		names := []string{"w1", "w2", "w3", "w4"}
		n.Witnesses(names...)
		var council []*Node
		for _, name := range names {
			council = append(council, n.Add(name, Options{Witness: true}))
		}
		you, anna := n.Add("you", Options{}), n.Add("anna", Options{Donate: true, Speed: 31_000})
		time.Sleep(3 * time.Second)
		s := &scenario{n: n, owner: you}
		cat := "../../exec/wasm/testdata/tasks.wasm"
		if err := s.submit([]string{cat, "cat", "units=30", "verify=1"}); err != nil {
			t.Fatal(err)
		}
		if err := s.until([]string{"3"}); err != nil {
			t.Fatal(err)
		}
		council[1].Kill()
		if err := s.results(); err != nil {
			t.Fatal(err)
		}
		settled := func() {
			t.Helper()
			if err := wait(time.Second, func() (bool, error) { err := n.Settled(); return err == nil, err }); err != nil {
				t.Fatal(err)
			}
		}
		settled()
		if b, err := anna.Balance(); err != nil || b.Earned == 0 {
			t.Fatalf("anna earned %s (%v)", b.Earned, err)
		}

		n.Add("ben", Options{Donate: true, Speed: 31_000})
		time.Sleep(3 * time.Second)
		hers := &scenario{n: n, owner: anna}
		if err := hers.submit([]string{cat, "cat", "units=5", "verify=1"}); err != nil {
			t.Fatal(err)
		}
		if err := hers.results(); err != nil {
			t.Fatal(err)
		}
		settled()
		for _, i := range []int{0, 2, 3} {
			w, err := council[i].Daemon.Witness(t.Context())
			if err != nil || !w.Serving || w.Accounts < 2 || w.Signed < 2 || w.Forks != 0 || w.Need != 3 || w.Of != 4 {
				t.Errorf("%s: %+v, %v", names[i], w, err)
			}
		}

		council[2].Kill()
		again := &scenario{n: n, owner: you}
		if err := again.submit([]string{cat, "cat", "units=4", "verify=1"}); err != nil {
			t.Fatal(err)
		}
		want := "2 of 4 witnesses answer, it takes 3"
		err := wait(time.Second, func() (bool, error) {
			j, err := you.Daemon.Job(t.Context(), again.job.String())
			if err != nil {
				return false, err
			}
			said := j.Why
			for _, p := range j.Peers {
				said += "\n" + p.Why
			}
			return strings.Contains(said, want), fmt.Errorf("it says %q", said)
		})
		if err != nil {
			t.Fatal(err)
		}
		if j, err := you.Daemon.Job(t.Context(), again.job.String()); err != nil || j.Done != 0 || j.State == node.JobDone {
			t.Errorf("work began without a quorum: %+v, %v", j, err)
		}
		council[2].Restart()
		if err := again.results(); err != nil {
			t.Fatal(err)
		}
		settled()
		if sum, err := n.Audit(); err != nil || sum.Net() != 0 {
			t.Errorf("%+v, %v", sum, err)
		}
	})
}
