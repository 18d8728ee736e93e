package ledger_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// built is a book over a chain of n entries with checkpoints every `every`.
func built(t testing.TB, n, every uint64) *ledger.Book {
	t.Helper()
	g := ledger.MutualGenesis("test", 10*ledger.Credit)
	g.Params.CheckpointEvery = every
	k, s := newKey(t), ledgertest.NewMemory()
	if err := ledger.BuildChain(s, k, g, n, nil); err != nil {
		t.Fatal(err)
	}
	b := ok(ledger.OpenBook(t.Context(), s, k, g))(t)
	t.Cleanup(b.Close)
	return b
}

func encoded(t testing.TB, b *ledger.Book) []byte {
	t.Helper()
	return ok(ok(b.BalanceProof(t.Context()))(t).Encode())(t)
}

// Wherever a chain stands, its proof says what its book says.
func TestProofSaysWhatTheBookSays(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	for n := range 60 {
		for _, b := range []*ledger.Book{p.user, p.host} {
			raw := encoded(t, b)
			s := ok(ok(ledger.ParseBalanceProof(raw))(t).Verify())(t)
			open := 0
			for _, l := range b.OpenLocks() {
				if l.Ours {
					open++
				}
			}
			full := b.Head().Seq / network.Params.CheckpointEvery
			if s.Head != b.Head() || s.Open != open || s.Network != b.Network() || s.Base != full*network.Params.CheckpointEvery || uint64(s.Audits) != min(full, 40) {
				t.Fatalf("after %d leases: %+v of %+v", n, s, b.Head())
			}
		}
		p.leases(t, 1)
		if n%20 == 7 {
			p.open(t, 3) // stays open over the next checkpoints
			p.reopen(t)
		}
	}
	for n := uint64(1); n < 40; n++ {
		b := built(t, n, 4)
		if s := ok(ok(b.BalanceProof(t.Context()))(t).Verify())(t); s.Head != b.Head() {
			t.Errorf("%d entries: %+v", n, s)
		}
	}
}

// Changing any byte, or leaving one out, makes a proof worthless: nothing in it is free.
func TestEveryByteOfAProofCounts(t *testing.T) {
	for _, n := range []uint64{3, 70} {
		raw := encoded(t, built(t, n, 4))
		step := 1 + len(raw)/600
		for i := 0; i < len(raw); i += step {
			bad := bytes.Clone(raw)
			bad[i] ^= 4
			if p, err := ledger.ParseBalanceProof(bad); err == nil {
				if s, err := p.Verify(); err == nil {
					t.Errorf("%d entries: byte %d of %d changed, and it verifies: %+v", n, i, len(raw), s)
				}
			}
			if _, err := ledger.ParseBalanceProof(raw[:i]); !errors.Is(err, ledger.ErrMalformed) {
				t.Errorf("the first %d of %d bytes: %v", i, len(raw), err)
			}
		}
		if _, err := ledger.ParseBalanceProof(append(bytes.Clone(raw), 0)); !errors.Is(err, ledger.ErrMalformed) {
			t.Errorf("a byte too many: %v", err)
		}
	}
}

// The sample is up to 40 blocks, chosen by the head, so that another head shows others.
func TestProofSamplesByTheHead(t *testing.T) {
	b := built(t, 2*600, 2)
	one := encoded(t, b)
	s := ok(ok(ledger.ParseBalanceProof(one))(t).Verify())(t)
	if s.Audits != 40 || s.Head != b.Head() {
		t.Fatalf("%+v", s)
	}
	ok(b.Lock(t.Context(), ledger.LockRequest{Payee: ledger.Account{1}, Amount: 1, Expiry: time.Now().Add(time.Hour)}))(t)
	other := ok(b.BalanceProof(t.Context()))(t)
	first, err := ledger.ParseBalanceProof(one)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := fmt.Sprint(ledger.SampledBlocks(first)), fmt.Sprint(ledger.SampledBlocks(other)); a == b {
		t.Errorf("two heads sample the same blocks %s", a)
	}
}

// The bytes of a proof, by their hash: a p3 of another version must be able to check it.
func TestGoldenBalanceProof(t *testing.T) {
	k, err := ledger.ParseKey(bytes.Repeat([]byte{0x42}, 32))
	if err != nil {
		t.Fatal(err)
	}
	g, s := ledger.MutualGenesis("test", 10*ledger.Credit), ledgertest.NewMemory()
	g.Params.CheckpointEvery = 4
	if err := ledger.BuildChain(s, k, g, 70, nil); err != nil {
		t.Fatal(err)
	}
	b := ok(ledger.OpenBook(t.Context(), s, k, g))(t)
	defer b.Close()
	raw := encoded(t, b)
	if got := fmt.Sprintf("%d bytes, %x", len(raw), sha256.Sum256(raw)); got != "9970 bytes, c3474eec5f0c9e617fbcabf0ef6e2b5b0f5c8bc6db361d3ad6dbd2cc364fac7d" {
		t.Errorf("the proof's bytes changed: %s", got)
	}
}

func FuzzBalanceProof(f *testing.F) {
	f.Add(encoded(f, built(f, 3, 4)))
	f.Add(encoded(f, built(f, 70, 4)))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ledger.ParseBalanceProof(b)
		if err != nil {
			return
		}
		if again, err := p.Encode(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("decode then encode is not the identity: %v", err)
		}
		_, _ = p.Verify()
	})
}
