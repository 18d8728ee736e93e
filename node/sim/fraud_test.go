package sim

import (
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// proof is what the node holds against an account.
func (x *Node) proof(t *testing.T, a ledger.Account) (raw []byte) {
	t.Helper()
	if err := x.look(func(b *ledger.Book) (err error) { raw, err = b.Proof(a); return err }); err != nil {
		t.Fatal(err)
	}
	return raw
}

// claimed is what the node has worked for an account so far, under how many locks.
func (x *Node) claimed(t *testing.T, a ledger.Account) (units uint32, locks int) {
	t.Helper()
	err := x.look(func(b *ledger.Book) error {
		return b.Receipts(0, 0, func(_ uint64, r ledger.Receipt) bool {
			if s, err := r.Verify(); err == nil && s.Payer == a {
				units += s.Units
				locks++
			}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return units, locks
}

// One account is at work on two machines, each of which begins its chain anew and spends all that the
// account may, with 20 providers. None of them need hold both locks of one place in the chain: the
// locks that they accepted meet in the DHT. What the forker gets beyond what it could pay is
// bounded by the time until all know, as each provider stops at its next unit.
func TestAttack07DoubleSpendFork(t *testing.T) {
	const (
		providers = 20
		within    = 5 * time.Second // of simulated time, from the first LOCK to the last provider
		unit      = time.Second     // about what one takes
	)
	if testing.Short() {
		t.Skip("22 nodes take some 15 s of processor time")
	}
	synctest.Test(t, func(t *testing.T) {
		n := New(t, *seed, Link{Latency: 50 * time.Millisecond})
		for i := range providers {
			n.Add(fmt.Sprintf("host%d", i), Options{Donate: true, Speed: 31_000})
		}
		var eves []*scenario
		for i := range 2 {
			eves = append(eves, &scenario{n: n, owner: n.Add(fmt.Sprintf("eve%d", i), Options{As: "eve"})})
		}
		forker := eves[0].owner.key.Account()
		time.Sleep(3 * time.Second) // offers have spread
		for _, eve := range eves {
			if err := eve.submit([]string{"../../exec/wasm/testdata/tasks.wasm", "cat", "units=2000", "verify=1"}); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		frozen := map[*Node]time.Duration{}
		for len(frozen) < providers && time.Since(begun) < time.Minute {
			time.Sleep(100 * time.Millisecond)
			for _, x := range n.nodes[:providers] {
				if _, known := frozen[x]; !known && x.proof(t, forker) != nil {
					frozen[x] = time.Since(begun)
				}
			}
		}
		last, total, accepted := time.Duration(0), uint32(0), 0
		for _, at := range frozen {
			last = max(last, at)
		}
		time.Sleep(10 * time.Second) // whoever still worked for it would show now
		for _, x := range n.nodes[:providers] {
			units, leases := x.claimed(t, forker)
			total += units
			accepted += leases
		}
		// Each provider had one slot: what it computed until it knew, and the unit then at work.
		most := uint32(providers) * uint32((last+2*unit)/unit)
		t.Logf("the last of %d providers knew after %s; they had accepted %d locks, and %d units were done, at most %d", len(frozen), last, accepted, total, most)
		if len(frozen) < providers || last > within {
			t.Errorf("%d of %d providers knew within %s", len(frozen), providers, last)
		}
		if accepted < 2 || total > most {
			t.Errorf("%d locks, %d units were done for the forker, want two or more and at most %d", accepted, total, most)
		}
		for _, x := range n.nodes[:providers] { // nobody else was convicted
			for _, y := range n.nodes[:providers] {
				if x.proof(t, y.key.Account()) != nil {
					t.Errorf("%s was convicted", y.Name)
				}
			}
		}
	})
}

// The disk comes back from an older backup. The node signs nothing until its providers have brought back what
// was signed since, and then goes on as if nothing had been.
func TestRestoredDiskIsRecoveredFromPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(t, *seed, Link{Latency: 20 * time.Millisecond})
		if *verbose {
			n.Log = os.Stderr
		}
		you := n.Add("you", Options{})
		anna, ben := n.Add("anna", Options{Donate: true, Speed: 31_000}), n.Add("ben", Options{Donate: true, Speed: 31_000})
		s := &scenario{n: n, owner: you}
		if err := s.submit([]string{"../../exec/wasm/testdata/tasks.wasm", "cat", "units=40", "verify=1"}); err != nil {
			t.Fatal(err)
		}
		if err := s.until([]string{"5"}); err != nil {
			t.Fatal(err)
		}
		backup := you.disk.Clone()
		if err := s.until([]string{"25"}); err != nil {
			t.Fatal(err)
		}
		you.Kill()
		<-you.buried
		you.disk.Memory = backup
		you.Restart()
		before, err := you.Daemon.Status(t.Context())
		if err != nil || before.ReadOnly == "" {
			t.Fatalf("it signs on from the backup (%v)", err)
		}
		err = wait(time.Second, func() (bool, error) {
			r, err := you.Daemon.Recover(t.Context(), true)
			return r.Signs && r.Answers > 0, fmt.Errorf("%+v %v", r, err)
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.results(); err != nil {
			t.Fatal(err)
		}
		if err := wait(time.Second, func() (bool, error) { err := n.Settled(); return err == nil, err }); err != nil {
			t.Fatal(err)
		}
		if sum, err := n.Audit(); err != nil || sum.Net() != 0 {
			t.Errorf("%+v, %v", sum, err)
		}
		for _, x := range []*Node{anna, ben} {
			if x.proof(t, you.key.Account()) != nil {
				t.Errorf("%s convicted an honest account", x.Name)
			}
		}
	})
}
