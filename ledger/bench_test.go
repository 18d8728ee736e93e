package ledger_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/shirou/gopsutil/v4/process"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/badgerstore"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// size is a number of entries, overridden by the environment.
func size(b *testing.B, name string, usual uint64) uint64 {
	b.Helper()
	v, err := strconv.ParseUint(os.Getenv(name), 10, 64)
	if err != nil {
		return usual
	}
	return v
}

// shown tells which entries of a chain of n a proof may show: only those need a real signature.
func shown(n uint64) func(ledger.Entry) bool {
	return func(e ledger.Entry) bool {
		return e.Seq%ledger.DefaultCheckpointEvery == 0 || e.Seq+ledger.DefaultCheckpointEvery > n
	}
}

// A stored chain of the benchmarks: where it lies, and what opens it.
type stored struct {
	dir string
	key ledger.Key
}

func benchNetwork() ledger.Genesis { return ledger.MutualGenesis("bench", 10*ledger.Credit) }

// onDisk leaves a chain of n entries in Badger.
func onDisk(b *testing.B, n uint64) stored {
	b.Helper()
	c := stored{b.TempDir(), newKey(b)}
	s := ok(badgerstore.Open(c.dir))(b)
	if err := ledger.BuildChain(s, c.key, benchNetwork(), n, shown(n)); err != nil {
		b.Fatal(err)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return c
}

func (c stored) open(ctx context.Context) (*ledger.Book, func(), error) {
	s, err := badgerstore.Open(c.dir)
	if err != nil {
		return nil, nil, err
	}
	book, err := ledger.OpenBook(ctx, s, c.key, benchNetwork())
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return book, func() { book.Close(); _ = s.Close() }, nil
}

const openDir, openKey = "P3_BENCH_OPEN_DIR", "P3_BENCH_OPEN_KEY"

// TestMain also serves BenchmarkOpen, as the process whose memory is measured: it opens a stored
// chain and prints milliseconds, bytes resident and entries.
func TestMain(m *testing.M) {
	dir := os.Getenv(openDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	err := func() error {
		secret, err := hex.DecodeString(os.Getenv(openKey))
		if err != nil {
			return err
		}
		k, err := ledger.ParseKey(secret)
		if err != nil {
			return err
		}
		start := time.Now()
		book, done, err := stored{dir, k}.open(context.Background())
		if err != nil {
			return err
		}
		defer done()
		took := time.Since(start)
		p, err := process.NewProcess(int32(os.Getpid()))
		if err != nil {
			return err
		}
		memory, err := p.MemoryInfo()
		if err != nil {
			return err
		}
		_, err = fmt.Println(took.Milliseconds(), memory.RSS, book.Head().Len)
		return err
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// BenchmarkProof makes, encodes and then verifies the balance proof of a chain of 10^6 entries on
// disk. Signatures are real where a proof may show them. cpu-ms is all processor time of making one,
// of every thread; verify-ms is the time to check one.
func BenchmarkProof(b *testing.B) {
	n := size(b, "P3_PROOF_ENTRIES", 1_000_000)
	n += ledger.DefaultCheckpointEvery - 1 - n%ledger.DefaultCheckpointEvery // the longest tail: one more would bring a checkpoint
	book, done, err := onDisk(b, n).open(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer done()
	if book.Head().Len != n {
		b.Fatal(book.Head().Len)
	}
	runtime.GC()
	var raw []byte
	b.ResetTimer()
	start := cpu(b)
	for range b.N {
		raw = encoded(b, book)
	}
	used := cpu(b) - start
	b.StopTimer()
	begin := time.Now()
	s := ok(ok(ledger.ParseBalanceProof(raw))(b).Verify())(b)
	b.ReportMetric(float64(time.Since(begin))/1e6, "verify-ms")
	if s.Head != book.Head() || s.Tail != ledger.DefaultCheckpointEvery-2 || s.Audits != 40 {
		b.Fatalf("%+v", s)
	}
	b.ReportMetric(float64(used)/float64(b.N)/1e6, "cpu-ms")
	b.ReportMetric(float64(len(raw)), "bytes")
}

// cpu is the processor time of this process so far.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	p := ok(process.NewProcess(int32(os.Getpid())))(b)
	t := ok(p.Times())(b)
	return time.Duration((t.User + t.System) * float64(time.Second))
}

// BenchmarkOpen opens store and book over a chain of 10^6 entries on disk, each time in a fresh
// process. open-ms is the time of both opens and cpu-ms all processor time of that process, with its
// start and end, by the median; rss-MB is the most memory seen that it then held.
func BenchmarkOpen(b *testing.B) {
	n := size(b, "P3_PROOF_ENTRIES", 1_000_000)
	c := onDisk(b, n)
	var largest uint64
	var took, used []float64
	b.ResetTimer()
	for range b.N {
		cmd := osexec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), openDir+"="+c.dir, openKey+"="+hex.EncodeToString(c.key.Bytes()))
		out, err := cmd.Output()
		if err != nil {
			b.Fatal(err)
		}
		var ms, rss, have uint64
		if _, err := fmt.Sscan(string(out), &ms, &rss, &have); err != nil || have != n {
			b.Fatalf("%q: %v", out, err)
		}
		largest = max(largest, rss)
		took, used = append(took, float64(ms)), append(used, float64(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())/1e6)
	}
	slices.Sort(took)
	slices.Sort(used)
	b.ReportMetric(took[len(took)/2], "open-ms")
	b.ReportMetric(used[len(used)/2], "cpu-ms")
	b.ReportMetric(float64(largest)/1e6, "rss-MB")
}

// BenchmarkReplay replays a chain from its first entry, signatures and all, and, block by block in turn, only
// verifies the same signatures over digests known before. ratio is the one time over the other, the
// median of the blocks.
func BenchmarkReplay(b *testing.B) {
	n := size(b, "P3_REPLAY_ENTRIES", 4096)
	k, s, g := newKey(b), ledgertest.NewMemory(), benchNetwork()
	if err := ledger.BuildChain(s, k, g, n, nil); err != nil {
		b.Fatal(err)
	}
	book := ok(ledger.OpenBook(b.Context(), s, k, g))(b)
	defer book.Close()
	network := book.Network()
	raws, digests := make([][]byte, 0, n), make([]ledger.Digest, 0, n)
	err := book.Entries(0, 0, func(raw []byte) bool {
		e, err := ledger.ParseEntry(raw)
		if err != nil {
			b.Error(err)
		}
		raws, digests = append(raws, append([]byte(nil), raw...)), append(digests, e.Digest())
		return err == nil
	})
	if err != nil {
		b.Fatal(err)
	}
	var ratios []float64
	var total time.Duration
	b.ResetTimer()
	for range b.N {
		c := ledger.NewChain(network, k.Account(), g.Floor, g.Params.CheckpointEvery)
		for from := 0; from < len(raws); from += 128 {
			to := min(from+128, len(raws))
			start := time.Now()
			for i, raw := range raws[from:to] {
				if err := ledger.VerifySignature(k.Account(), digests[from+i], raw); err != nil {
					b.Fatal(err)
				}
			}
			floor := time.Since(start)
			start = time.Now()
			for _, raw := range raws[from:to] {
				e, d, err := ledger.VerifyEntry(raw)
				if err != nil {
					b.Fatal(err)
				}
				if err := c.ApplyKnown(e, d); err != nil {
					b.Fatal(err)
				}
			}
			replay := time.Since(start)
			total += replay
			ratios = append(ratios, float64(replay)/float64(floor))
		}
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
	b.ReportMetric(float64(total.Nanoseconds())/float64(b.N*len(raws)), "ns/entry")
}
