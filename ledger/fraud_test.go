package ledger_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// forked signs two locks for one place in key's chain, for two payees.
func forked(t testing.TB, key ledger.Key, one, two ledger.Account) (a, b []byte) {
	t.Helper()
	id := ok(network.ID())(t)
	h := ledger.Head{Network: id, Account: key.Account()}
	g := h.Genesis(ledger.Digest{}, time.Now())
	h = ledger.HeadAt(g, g.Digest())
	sign := func(payee ledger.Account) []byte {
		return ok(key.SignEntry(h.Lock(payee, ledger.Credit, ledger.Digest{}, time.Now().Add(time.Hour), time.Now())))(t)
	}
	return sign(one), sign(two)
}

func forkProof(t testing.TB, key ledger.Key) ledger.Proof {
	t.Helper()
	a, b := forked(t, key, ledger.Account{1}, ledger.Account{2})
	return ok(ledger.NewProof(ledger.ProofFork, a, b))(t)
}

func TestForkProofHasOneEncoding(t *testing.T) {
	a, b := forked(t, newKey(t), ledger.Account{1}, ledger.Account{2})
	one, two := ok(ledger.NewProof(ledger.ProofFork, a, b))(t), ok(ledger.NewProof(ledger.ProofFork, b, a))(t)
	raw := one.Encode()
	if !bytes.Equal(raw, two.Encode()) || one.ID != two.ID {
		t.Error("the order of the entries shows")
	}
	if len(raw) >= 700 {
		t.Errorf("%d bytes, want less than 700", len(raw))
	}
	swapped := append(append([]byte{raw[0]}, raw[1+ledger.SignedEntrySize:]...), raw[1:1+ledger.SignedEntrySize]...)
	if _, err := ledger.ParseProof(swapped); !errors.Is(err, ledger.ErrMalformed) {
		t.Errorf("the other order was taken: %v", err)
	}
	if p := ok(ledger.VerifyProof(raw, network))(t); p.Account != one.Account || p.ID != one.ID {
		t.Errorf("%+v", p)
	}
}

func TestForgedProofsAreRefused(t *testing.T) {
	cheat, honest := newKey(t), newKey(t)
	good := forkProof(t, cheat)
	a, _ := forked(t, honest, ledger.Account{1}, ledger.Account{2})
	e := ok(ledger.ParseEntry(a))(t)
	d := e.Digest()
	again := append(bytes.Clone(a[:ledger.EntrySize]), signRandomly(t, honest, d)...)
	other := e
	other.Peer[0]++
	invented := append(other.Append(nil), a[ledger.EntrySize:]...) // with the signature of the real one
	byCheat := ok(cheat.SignEntry(other))(t)                       // or with another's
	later := e
	later.Seq++
	next := ok(honest.SignEntry(later))(t)
	for name, two := range map[string][]byte{
		"the same entry": a, "the same entry, signed again": again, "an entry of another place": next, "an entry of another account": good.A,
	} {
		if _, err := ledger.NewProof(ledger.ProofFork, a, two); !errors.Is(err, ledger.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, two := range map[string][]byte{"an invented entry": invented, "an entry signed by another": byCheat} {
		p := ok(ledger.NewProof(ledger.ProofFork, a, two))(t)
		if _, err := ledger.VerifyProof(p.Encode(), network); !errors.Is(err, ledger.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var elsewhere *ledger.NetworkError
	if _, err := ledger.VerifyProof(good.Encode(), ledger.DefaultGenesis()); !errors.As(err, &elsewhere) {
		t.Errorf("another network: %v", err)
	}
	// No flipped bit leaves a proof of anybody.
	for i := range good.Encode() {
		bad := good.Encode()
		bad[i] ^= 1
		if p, err := ledger.VerifyProof(bad, network); err == nil {
			t.Fatalf("byte %d flipped, and it convicts %s", i, p.Account)
		}
	}
}

func TestProofOfUnderSettlementNeedsTheHigherVoucher(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	_, voucher := p.unit(t, 3*ledger.Credit)
	low, fair := settleAt(t, p.userKey, p.lockRaw, 1*ledger.Credit), settleAt(t, p.userKey, p.lockRaw, 3*ledger.Credit)
	proof := ok(ledger.NewProof(ledger.ProofUnderSettle, low, voucher))(t)
	if got := ok(ledger.VerifyProof(proof.Encode(), network))(t); got.Account != p.user.Account() {
		t.Errorf("%+v", got)
	}
	if _, err := ledger.NewProof(ledger.ProofUnderSettle, fair, voucher); !errors.Is(err, ledger.ErrMalformed) {
		t.Errorf("a fair settle convicts: %v", err)
	}
	v := ok(ledger.ParseVoucher(voucher))(t)
	forged := ok(p.hostKey.SignVoucher(v))(t) // the payee makes one up
	proof = ok(ledger.NewProof(ledger.ProofUnderSettle, low, forged))(t)
	if _, err := ledger.VerifyProof(proof.Encode(), network); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("the payee's own voucher convicts: %v", err)
	}
}

func TestConvictedAccountIsFrozen(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	var told []ledger.Proof
	p.host.OnConvict(func(proof ledger.Proof) { told = append(told, proof) })
	a, b := forked(t, p.userKey, ledger.Account{1}, ledger.Account{2}) // against others: we saw neither
	proof := ok(ledger.NewProof(ledger.ProofFork, a, b))(t)
	for i := range 3 {
		if _, news, err := p.host.Convict(t.Context(), proof.Encode()); err != nil || news != (i == 0) {
			t.Fatalf("time %d: news %v, %v", i, news, err)
		}
	}
	if len(told) != 1 || told[0].ID != proof.ID {
		t.Errorf("told %d times", len(told))
	}
	for range 2 { // also after a restart
		if x := ok(p.host.Exposure(p.user.Account()))(t); !x.Frozen || x.MayWork(0) {
			t.Errorf("%+v: work goes on", x)
		}
		if _, err := p.host.AcceptLock(t.Context(), p.lockRaw, time.Now()); !errors.Is(err, ledger.ErrFrozen) {
			t.Errorf("its lock: %v", err)
		}
		if _, err := p.host.Lock(t.Context(), ledger.LockRequest{Payee: p.user.Account(), Amount: 1, Expiry: time.Now().Add(time.Hour)}); !errors.Is(err, ledger.ErrFrozen) {
			t.Errorf("a lock for it: %v", err)
		}
		if raw := ok(p.host.Proof(p.user.Account()))(t); !bytes.Equal(raw, proof.Encode()) {
			t.Error("the proof is not kept")
		}
		p.host.Close()
		p.host = openBook(t, p.hostStore, p.hostKey)
	}
	// What it still pays for work done before is taken.
	claim := ok(p.host.Claim(t.Context(), p.lock, 1, ledger.Credit, ledger.Digest{}))(t)
	ok(p.user.Vouch(t.Context(), p.lock, claim, ledger.Credit))(t)
	ok(p.host.Earn(t.Context(), ok(p.user.Settle(t.Context(), p.lock))(t)))(t)
	if n := p.host.Balance().Net; n != ledger.Credit {
		t.Errorf("earned %s", n)
	}
}

func TestStrangersProofsAreBounded(t *testing.T) {
	s := ledgertest.NewMemory()
	b := openBook(t, s, newKey(t))
	first := forkProof(t, newKey(t))
	if _, news, err := b.Convict(t.Context(), first.Encode()); !news || err != nil {
		t.Fatal(news, err)
	}
	// As if as many as may be kept were there.
	most := ledger.MaxStrangerProofs
	if err := s.Commit(t.Context(), ledger.Op{Key: []byte("ledger/strangers"), Value: []byte{0, 0, byte(most >> 8), byte(most)}}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		next := forkProof(t, newKey(t))
		if _, news, err := b.Convict(t.Context(), next.Encode()); !news || err != nil {
			t.Fatal(news, err)
		}
		n := 0
		if err := b.Proofs(ledger.Account{}, func(ledger.Account, []byte) bool { n++; return true }); err != nil || n != 1 {
			t.Errorf("%d proofs are kept (%v), want the newest", n, err)
		}
		if raw := ok(b.Proof(next.Account))(t); raw == nil {
			t.Error("the newest is not there")
		}
	}
}

func TestOthersEntriesAreHeldAgainstOurs(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	if err := p.host.Compare(t.Context(), p.lockRaw); err != nil {
		t.Errorf("the same entry: %v", err)
	}
	lock := ok(ledger.ParseEntry(p.lockRaw))(t)
	lock.Peer[0]++ // for somebody else
	forged := append(lock.Append(nil), p.lockRaw[ledger.EntrySize:]...)
	if err := p.host.Compare(t.Context(), forged); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("a forged entry: %v", err)
	}
	if raw := ok(p.host.Proof(p.user.Account()))(t); raw != nil {
		t.Fatal("a forged entry convicts")
	}
	raw := ok(p.userKey.SignEntry(lock))(t)
	var fork *ledger.ForkError
	if err := p.host.Compare(t.Context(), raw); !errors.As(err, &fork) {
		t.Errorf("another entry of that place: %v", err)
	}
	if proof := ok(p.host.Proof(p.user.Account()))(t); proof == nil {
		t.Error("it is not frozen")
	}
}

func TestProofAgainstOurselvesStopsTheBook(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	proof := forkProof(t, p.userKey)
	if _, news, err := p.user.Convict(t.Context(), proof.Encode()); !news || err != nil {
		t.Fatal(news, err)
	}
	if _, err := p.user.Settle(t.Context(), p.lock); !errors.Is(err, ledger.ErrReadOnly) {
		t.Errorf("a convicted account signs on: %v", err)
	}
	p.user.Close()
	again := openBook(t, p.userStore, p.userKey)
	defer again.Close()
	if _, err := again.Settle(t.Context(), p.lock); !errors.Is(err, ledger.ErrReadOnly) {
		t.Errorf("after a restart it signs on: %v", err)
	}
	if r, err := again.Recover(t.Context(), nil, true); r.Signs || !errors.Is(err, ledger.ErrReadOnly) {
		t.Errorf("after a recovery it signs on: %+v, %v", r, err)
	}
}

func FuzzProof(f *testing.F) {
	k := newKey(f)
	f.Add(forkProof(f, k).Encode())
	id := ok(network.ID())(f)
	h := ledger.Head{Network: id, Account: k.Account()}
	settle := ok(k.SignEntry(h.Settle(ledger.Entry{Peer: ledger.Account{1}}, 1, 1, 1, ledger.Digest{1}, time.Now())))(f)
	s := ok(ledger.ParseEntry(settle))(f)
	voucher := ok(k.SignVoucher(ledger.Voucher{Network: id, Lock: s.Ref, K: 1, Amount: 2}))(f)
	f.Add(ok(ledger.NewProof(ledger.ProofUnderSettle, settle, voucher))(f).Encode())
	first, second := ledger.Grant{Network: id, Mint: k.Account(), To: k.Account(), Amount: 5, Total: 5}, ledger.Grant{Network: id, Mint: k.Account(), To: k.Account(), Amount: 6, Total: 6}
	one, two := ok(k.SignGrant(first))(f), ok(k.SignGrant(second))(f)
	f.Add(ok(ledger.NewProof(ledger.ProofMintFork, one, two))(f).Encode())
	f.Add(ok(ledger.NewProof(ledger.ProofOverIssue, one, nil))(f).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ledger.ParseProof(b)
		if err != nil {
			return
		}
		if !bytes.Equal(p.Encode(), b) {
			t.Fatal("decode then encode is not the identity")
		}
		if again, err := ledger.NewProof(p.Kind, p.B, p.A); (p.Kind == ledger.ProofFork || p.Kind == ledger.ProofMintFork) && (err != nil || again.ID != p.ID) {
			t.Fatalf("the order shows: %v", err)
		}
		_, _ = ledger.VerifyProof(b, network)
	})
}
