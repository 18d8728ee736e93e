package badgerstore_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/badgerstore"
	"github.com/personal-power-plant/p3/ledger/fence"
)

var network = ledger.MutualGenesis("test", 1000*ledger.Credit)

const childDir = "P3_LEDGER_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := crashChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// openSide opens one side's book; its key lies beside the store.
func openSide(ctx context.Context, dir, name string) (*ledger.Book, *badgerstore.Store, error) {
	file := filepath.Join(dir, name+".key")
	secret, err := os.ReadFile(file)
	if err != nil {
		k, err := ledger.NewKey()
		if err != nil {
			return nil, nil, err
		}
		secret = k.Bytes()
		if err := os.WriteFile(file, secret, 0o600); err != nil {
			return nil, nil, err
		}
	}
	k, err := ledger.ParseKey(secret)
	if err != nil {
		return nil, nil, err
	}
	s, err := badgerstore.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, nil, err
	}
	mark, err := fence.Open(filepath.Join(dir, name+".highwater"))
	if err != nil {
		return nil, nil, err
	}
	b, err := ledger.OpenFenced(ctx, s, mark, k, network)
	return b, s, err
}

// crashChild runs leases between two books until it is killed, and prints what was acknowledged:
// the side and the bytes it handed out.
func crashChild(dir string) error {
	ctx := context.Background()
	user, _, err := openSide(ctx, dir, "user")
	if err != nil {
		return err
	}
	host, _, err := openSide(ctx, dir, "host")
	if err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(side string, raw []byte) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf("%s %x\n", side, raw)
	}
	// What was left over first.
	for _, m := range must(user.Pending()) {
		earn := must(host.Earn(ctx, m.Entry))
		check(user.AcknowledgeEarn(ctx, earn))
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				e := must(user.Lock(ctx, ledger.LockRequest{Payee: host.Account(), Amount: 1000, Expiry: time.Now().Add(time.Hour)}))
				say("user", e.Raw)
				must(host.AcceptLock(ctx, e.Raw, time.Now()))
				for i := range 3 {
					claim := must(host.Claim(ctx, e.Digest, 1, 10, ledger.Digest{}))
					say("host", claim)
					voucher := must(user.Vouch(ctx, e.Digest, claim, ledger.Credits(10*(i+1))))
					say("user", voucher)
					check(host.Credit(ctx, voucher, 0))
				}
				settle := must(user.Settle(ctx, e.Digest))
				say("user", settle)
				earn := must(host.Earn(ctx, settle))
				say("host", earn)
				check(user.AcknowledgeEarn(ctx, earn))
			}
		})
	}
	wg.Wait()
	return nil
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// TestKilledProcessLosesNothingAcknowledged kills both sides at random moments and holds what
// they had handed out against what lies on disk.
func TestKilledProcessLosesNothingAcknowledged(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no SIGKILL")
	}
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	dir := t.TempDir()
	acknowledged := 0
	for round := range rounds {
		lines := killedRun(t, dir)
		acknowledged += len(lines)
		user, us, err := openSide(t.Context(), dir, "user")
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		host, hs, err := openSide(t.Context(), dir, "host")
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for _, b := range []*ledger.Book{user, host} {
			if err := b.ReadOnly(); err != nil {
				t.Fatalf("round %d: a false alarm: %v", round, err)
			}
		}
		a := must(ledger.NewAudit(network))
		check(a.Book(user))
		check(a.Book(host))
		if _, err := a.Check(); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		for _, line := range lines {
			holdAgainst(t, line, user, host)
		}
		user.Close()
		host.Close()
		if err := us.Close(); err != nil {
			t.Error(err)
		}
		if err := hs.Close(); err != nil {
			t.Error(err)
		}
	}
	if acknowledged < 10*rounds {
		t.Errorf("only %d records in %d rounds: nothing was tested", acknowledged, rounds)
	}
}

// killedRun returns the whole lines that the child printed before it was killed.
func killedRun(t *testing.T, dir string) []string {
	t.Helper()
	cmd := osexec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out := must(cmd.StdoutPipe())
	check(cmd.Start())
	var lines []string
	kill := 20 + rand.IntN(400) // records
	for in := bufio.NewReader(out); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			break
		}
		if lines = append(lines, strings.TrimSpace(line)); len(lines) == kill {
			check(cmd.Process.Kill())
		}
	}
	_ = cmd.Wait() // killed
	if stderr.Len() > 0 {
		t.Fatalf("child: %s", stderr.String())
	}
	return lines
}

func holdAgainst(t *testing.T, line string, user, host *ledger.Book) {
	t.Helper()
	side, digits, _ := strings.Cut(line, " ")
	raw := must(hex.DecodeString(digits))
	b := user
	if side == "host" {
		b = host
	}
	switch len(raw) {
	case ledger.SignedEntrySize:
		e := must(ledger.ParseEntry(raw))
		found := false
		check(b.Entries(e.Epoch, e.Seq, func(have []byte) bool { found = string(have) == string(raw); return false }))
		if !found {
			t.Errorf("%s lost or changed its entry %d (%s)", side, e.Seq, e.Type)
		}
	case ledger.SignedClaimSize:
		c := must(ledger.ParseClaim(raw))
		r := must(b.Receipt(c.Lock))
		if have := must(ledger.ParseClaim(r.Claim)); have.K < c.K && r.Voucher == nil {
			t.Errorf("%s lost claim %d, has %d", side, c.K, have.K)
		}
	case ledger.SignedVoucherSize:
		v := must(ledger.ParseVoucher(raw))
		r := must(b.Receipt(v.Lock))
		if have := must(ledger.ParseVoucher(r.Voucher)); have.K < v.K || have.Amount < v.Amount {
			t.Errorf("%s lost voucher %d, has %d", side, v.K, have.K)
		}
	default:
		t.Fatalf("line %q", line)
	}
}

// BenchmarkReceipts runs 64 leases at once between two books on disk. A unit is one durable claim on the provider's side
// and one durable voucher on the user's and, again, on the provider's, and each side signs one and verifies the other. provider
// and user are one node alone, for whom the other's records were signed before; both has the two share this machine.
//
// model-ratio is the rate over what signing, verifying and grouped commits allow on this machine, measured in the
// same run: on all cores a signature, a verification and the stored records a unit and side.
func BenchmarkReceipts(b *testing.B) {
	b.Run("provider", func(b *testing.B) {
		r := newReceipts(b)
		signed := r.signAll(b)
		r.run(b, 1, 2, func(lease, k int) {
			must(r.host.Claim(b.Context(), r.locks[lease], 1000, 1, ledger.Digest{1}))
			check(r.host.Credit(b.Context(), signed[lease][k].voucher, 0))
		})
	})
	b.Run("user", func(b *testing.B) {
		r := newReceipts(b)
		signed := r.signAll(b)
		r.run(b, 1, 1, func(lease, k int) {
			must(r.user.Vouch(b.Context(), r.locks[lease], signed[lease][k].claim, ledger.Credits(k+1)))
		})
	})
	b.Run("both", func(b *testing.B) {
		r := newReceipts(b)
		r.run(b, 2, 3, func(lease, _ int) {
			claim := must(r.host.Claim(b.Context(), r.locks[lease], 1000, 1, ledger.Digest{1}))
			c := must(ledger.ParseClaim(claim))
			voucher := must(r.user.Vouch(b.Context(), r.locks[lease], claim, c.Amount))
			check(r.host.Credit(b.Context(), voucher, 0))
		})
	})
}

const benchLeases = 64

// receipts are two books on disk with open leases between them.
type receipts struct {
	dir        string
	user, host *ledger.Book
	locks      [benchLeases]ledger.Digest
}

func newReceipts(b *testing.B) *receipts {
	dir := b.TempDir()
	user, us, err := openSide(b.Context(), dir, "user")
	check(err)
	host, hs, err := openSide(b.Context(), dir, "host")
	check(err)
	b.Cleanup(func() {
		user.Close()
		host.Close()
		check(us.Close())
		check(hs.Close())
	})
	r := &receipts{dir: dir, user: user, host: host}
	for i := range r.locks {
		e := must(user.Lock(b.Context(), ledger.LockRequest{Payee: host.Account(), Amount: ledger.Credit, Expiry: time.Now().Add(time.Hour)}))
		must(host.AcceptLock(b.Context(), e.Raw, time.Now()))
		r.locks[i] = e.Digest
	}
	return r
}

type signedUnit struct{ claim, voucher []byte }

// signAll signs what each side will sign for its units, which are divided evenly. Signatures are deterministic, so the
// node under test makes the very same records.
func (r *receipts) signAll(b *testing.B) (all [benchLeases][]signedUnit) {
	key := func(name string) ledger.Key {
		return must(ledger.ParseKey(must(os.ReadFile(filepath.Join(r.dir, name+".key")))))
	}
	user, host, id := key("user"), key("host"), must(network.ID())
	var g errgroup.Group
	for i, lock := range r.locks {
		g.Go(func() error {
			c := ledger.Claim{Network: id, Lock: lock}
			for range r.each(b) {
				c.K, c.Fuel, c.Amount, c.Results = c.K+1, c.Fuel+1000, c.Amount+1, ledger.ResultRoot(c.Results, ledger.Digest{1})
				v := ledger.Voucher{Network: id, Lock: lock, K: c.K, Amount: c.Amount, Claim: c.Digest()}
				all[i] = append(all[i], signedUnit{must(host.SignClaim(c)), must(user.SignVoucher(v))})
			}
			return nil
		})
	}
	check(g.Wait())
	return all
}

// each is how many units a lease has.
func (r *receipts) each(b *testing.B) int { return (b.N + benchLeases - 1) / benchLeases }

// run times a unit on all leases at once, each with the same number of units.
func (r *receipts) run(b *testing.B, sides, records int, unit func(lease, k int)) {
	cpu := cryptoTime(b)
	write := commitTime(b)
	each := r.each(b)
	b.ResetTimer()
	var wg sync.WaitGroup
	for lease := range r.locks {
		wg.Go(func() {
			for k := range each {
				unit(lease, k)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	perUnit := b.Elapsed().Seconds() / float64(each*benchLeases)
	model := float64(sides)*cpu.Seconds()/float64(runtime.GOMAXPROCS(0)) + float64(records)*write.Seconds()
	b.ReportMetric(1/perUnit, "units/s")
	b.ReportMetric(model/perUnit, "model-ratio")
}

// cryptoTime is the processor time of a signature and a verification.
func cryptoTime(b *testing.B) time.Duration {
	const n = 200
	k := must(ledger.NewKey())
	start := time.Now()
	for i := range n {
		raw := must(k.SignClaim(ledger.Claim{K: uint32(i + 1), Amount: 1}))
		must(ledger.VerifyClaim(raw, k.Account()))
	}
	return time.Since(start) / n
}

// commitTime is the time a store takes for one small record when 64 writers wait for it.
func commitTime(b *testing.B) time.Duration {
	const writers, each = 64, 100
	s := must(badgerstore.Open(b.TempDir()))
	defer func() { check(s.Close()) }()
	value := make([]byte, ledger.SignedClaimSize)
	start := time.Now()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				check(s.Commit(b.Context(), ledger.Op{Key: fmt.Appendf(nil, "ledger/bench/%d/%d", w, i), Value: value}))
			}
		})
	}
	wg.Wait()
	return time.Since(start) / (writers * each)
}
