package witness

import (
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/badgerstore"
	"github.com/personal-power-plant/p3/ledger/fence"
)

// BenchmarkWitnessedLock measures what it takes until a payee has a payer's lock, durable on both sides: alone, and with
// the certificate of a quorum of four witnesses. All six nodes run on this machine, each with Badger on its disk;
// messages cross loopback. The certificate costs each witness a commit and a signature, and whoever reads it three checks.
func BenchmarkWitnessedLock(b *testing.B) {
	for _, witnesses := range []int{0, 1, 4, 7} {
		b.Run(strconv.Itoa(witnesses), func(b *testing.B) {
			dir := b.TempDir()
			disk := func(name string) ledger.Store {
				s := ok(badgerstore.Open(filepath.Join(dir, name)))(b)
				b.Cleanup(func() { ok(0, s.Close())(b) })
				return s
			}
			w := newWorld(b, witnesses)
			for i, n := range w.nodes {
				n.disk = disk(strconv.Itoa(i))
				f := ok(fence.Open(filepath.Join(dir, "highwater"+strconv.Itoa(i))))(b)
				n.fence = f
				b.Cleanup(func() { ok(0, f.Close())(b) })
				w.serve(i)
			}
			payer, payee := w.add(ok(ledger.NewKey())(b), disk("payer")), w.add(ok(ledger.NewKey())(b), disk("payee"))
			payer.meet(b, w)
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				lock := payer.reserve(b, payee.book.Account(), 1, time.Hour)
				var certificate []byte
				if witnesses > 0 {
					certificate = ok(payer.client.Certify(b.Context(), lock.Raw))(b)
				}
				ok(payee.book.AcceptWitnessed(b.Context(), lock.Raw, certificate, time.Now()))(b)
				took = append(took, time.Since(start))
				b.StopTimer() // a lease of nothing, so that it never holds too many open
				ok(payer.book.Settle(b.Context(), lock.Digest))(b)
				ok(payee.book.Earn(b.Context(), settled(b, payer, lock.Digest)))(b)
				b.StartTimer()
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1e3, "p50-ms")
		})
	}
}

func settled(b *testing.B, n *node, lock ledger.Digest) []byte {
	return ok(n.book.Receipt(lock))(b).Settle
}
