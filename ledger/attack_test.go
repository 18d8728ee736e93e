package ledger_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/libp2p/go-libp2p/core/crypto/pb"

	libp2p "github.com/libp2p/go-libp2p/core/crypto"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

func TestAttack01ReceiptReplay(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	claim, voucher := p.unit(t, 1*ledger.Credit)
	settle := ok(p.user.Settle(t.Context(), p.lock))(t)
	earn := ok(p.host.Earn(t.Context(), settle))(t)
	if err := p.user.AcknowledgeEarn(t.Context(), earn); err != nil {
		t.Fatal(err)
	}
	user, host := p.user.Head(), p.host.Head()
	for range 1000 {
		if again, err := p.host.Earn(t.Context(), settle); err != nil || !bytes.Equal(again, earn) {
			t.Fatalf("replayed settle: %x, %v, want the stored earn", again, err)
		}
		if err := p.user.AcknowledgeEarn(t.Context(), earn); err != nil {
			t.Fatal(err)
		}
		if again, err := p.user.Vouch(t.Context(), p.lock, claim, ledger.Credit); err != nil || !bytes.Equal(again, voucher) {
			t.Fatalf("replayed claim: %v, want the stored voucher", err)
		}
		if err := p.host.Credit(t.Context(), voucher, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := p.host.AcceptLock(t.Context(), p.lockRaw, time.Now()); !errors.Is(err, ledger.ErrClosed) {
			t.Fatalf("replayed lock: %v, want ErrClosed", err)
		}
	}
	if p.user.Head() != user || p.host.Head() != host {
		t.Error("a replay moved a balance")
	}
}

func TestAttack02CrossNetworkReplay(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	claim, voucher := p.unit(t, 1*ledger.Credit)
	settle := ok(p.user.Settle(t.Context(), p.lock))(t)
	// The same two accounts on another network that differs in its name only.
	elsewhere := ledger.MutualGenesis("test2", 10*ledger.Credit)
	open := func(k ledger.Key) *ledger.Book {
		b := ok(ledger.OpenBook(t.Context(), ledgertest.NewMemory(), k, elsewhere))(t)
		t.Cleanup(b.Close)
		return b
	}
	user, host := open(p.userKey), open(p.hostKey)
	lock := ok(user.Lock(t.Context(), ledger.LockRequest{Payee: host.Account(), Amount: ledger.Credit, Expiry: time.Now().Add(time.Hour)}))(t)
	for name, send := range map[string]func() error{
		"lock":    func() error { _, err := host.AcceptLock(t.Context(), p.lockRaw, time.Now()); return err },
		"voucher": func() error { return host.Credit(t.Context(), voucher, 0) },
		"settle":  func() error { _, err := host.Earn(t.Context(), settle); return err },
		"claim":   func() error { _, err := user.Vouch(t.Context(), lock.Digest, claim, 1); return err },
	} {
		var other *ledger.NetworkError
		if err := send(); !errors.As(err, &other) {
			t.Errorf("%s of another network: %v", name, err)
		}
	}
	// Rewriting the network in the body breaks the signature, since the domain holds it too.
	forged := bytes.Clone(p.lockRaw)
	network := host.Network()
	copy(forged[4:], network[:])
	if _, err := host.AcceptLock(t.Context(), forged, time.Now()); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("rewritten network: %v", err)
	}
}

func TestAttack03CrossProtocolSignature(t *testing.T) {
	// The worst case: somebody used the account key as a libp2p identity and signed chosen bytes.
	k := newKey(t)
	private := ok(libp2p.UnmarshalSecp256k1PrivateKey(k.Bytes()))(t)
	if private.Type() != pb.KeyType_Secp256k1 {
		t.Fatal(private.Type())
	}
	id := ok(network.ID())(t)
	e := ledger.Head{Network: id, Account: k.Account()}.Genesis(ledger.Digest{}, time.Now())
	body := e.Append(nil)
	d := e.Digest()
	for name, signed := range map[string][]byte{"encoded entry": body, "digest": d[:]} {
		der := ok(private.Sign(signed))(t)
		var rs [64]byte
		derToRS(t, der, &rs)
		for v := range byte(2) {
			raw := append(append(bytes.Clone(body), rs[:]...), v)
			if _, _, err := ledger.VerifyEntry(raw); !errors.Is(err, ledger.ErrSignature) {
				t.Errorf("libp2p signature over the %s passes as an entry's: %v", name, err)
			}
		}
	}
	// Records of one account do not pass as each other's either.
	c := ok(k.SignClaim(ledger.Claim{Network: id, K: 1, Amount: 5}))(t)
	v := ok(k.SignVoucher(ledger.Voucher{Network: id, K: 1, Amount: 5}))(t)
	copy(v[len(v)-ledger.SignatureSize:], c[len(c)-ledger.SignatureSize:])
	if _, err := ledger.VerifyVoucher(v, k.Account()); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("a claim's signature passes as a voucher's: %v", err)
	}
}

// derToRS reads SEQUENCE { INTEGER r, INTEGER s } with short lengths.
func derToRS(t *testing.T, der []byte, rs *[64]byte) {
	t.Helper()
	rest := der[2:]
	for i := range 2 {
		n := int(rest[1])
		new(big.Int).SetBytes(rest[2 : 2+n]).FillBytes(rs[32*i : 32*i+32])
		rest = rest[2+n:]
	}
	if len(rest) != 0 {
		t.Fatal("not a DER signature")
	}
}

func TestAttack04Malleability(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	twin := bytes.Clone(p.lockRaw)
	s := twin[ledger.EntrySize+32 : ledger.EntrySize+64]
	n := crypto.S256().Params().N
	new(big.Int).Sub(n, new(big.Int).SetBytes(s)).FillBytes(s)
	twin[len(twin)-1] ^= 1 // the twin is valid ECDSA with this V
	e := ok(ledger.ParseEntry(twin))(t)
	d := e.Digest()
	public, err := crypto.Ecrecover(d[:], twin[ledger.EntrySize:])
	if err != nil || ledger.Account(crypto.Keccak256(public[1:])[12:]) != p.user.Account() {
		t.Fatalf("the twin is not a valid ECDSA signature: %v", err)
	}
	if _, _, err := ledger.VerifyEntry(twin); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("high-S twin: %v", err)
	}
	if _, err := p.host.AcceptLock(t.Context(), twin, time.Now()); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("high-S twin as lock: %v", err)
	}
	for _, v := range []byte{2, 3, 27, 28, p.lockRaw[len(p.lockRaw)-1] ^ 1} {
		other := bytes.Clone(p.lockRaw)
		other[len(other)-1] = v
		if _, _, err := ledger.VerifyEntry(other); !errors.Is(err, ledger.ErrSignature) {
			t.Errorf("V = %d: %v", v, err)
		}
	}
	// A second valid signature of the same entry (another nonce) is the same record, not a fork.
	again := bytes.Clone(p.lockRaw)
	copy(again[ledger.EntrySize:], signRandomly(t, p.userKey, d))
	if bytes.Equal(again, p.lockRaw) {
		t.Fatal("the second signature does not differ")
	}
	if info, err := p.host.AcceptLock(t.Context(), again, time.Now()); err != nil || info.ID != p.lock {
		t.Errorf("same entry, other signature: %+v, %v", info, err)
	}
	if one, _, err := p.host.Frozen(p.user.Account()); one != nil || err != nil {
		t.Errorf("an honest payer was convicted: %v", err)
	}
}

// signRandomly is ECDSA with a random nonce, low S.
func signRandomly(t *testing.T, key ledger.Key, digest ledger.Digest) []byte {
	t.Helper()
	n := crypto.S256().Params().N
	k := ok(rand.Int(rand.Reader, n))(t)
	x, _ := crypto.S256().ScalarBaseMult(k.FillBytes(make([]byte, 32)))
	r := new(big.Int).Mod(x, n)
	s := new(big.Int).Mul(r, new(big.Int).SetBytes(key.Bytes()))
	s.Add(s, new(big.Int).SetBytes(digest[:]))
	s.Mul(s, new(big.Int).ModInverse(k, n)).Mod(s, n)
	if s.Cmp(new(big.Int).Rsh(n, 1)) > 0 {
		s.Sub(n, s)
	}
	sig := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	for v := range byte(2) {
		public, err := crypto.Ecrecover(digest[:], append(bytes.Clone(sig), v))
		if err == nil && ledger.Account(crypto.Keccak256(public[1:])[12:]) == key.Account() {
			return append(sig, v)
		}
	}
	t.Fatal("no V fits")
	return nil
}

// settleAt signs what no honest book would: a settle of any amount, right after the lock.
func settleAt(t *testing.T, key ledger.Key, lockRaw []byte, amount ledger.Credits) []byte {
	t.Helper()
	lock := ok(ledger.ParseEntry(lockRaw))(t)
	e := ledger.HeadAt(lock, lock.Digest()).Settle(lock, amount, 1, 1, ledger.Digest{1}, time.Now())
	return ok(key.SignEntry(e))(t)
}

func TestAttack11UnderSettlement(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	p.unit(t, 3*ledger.Credit)
	low := settleAt(t, p.userKey, p.lockRaw, 1*ledger.Credit)
	earn, err := p.host.Earn(t.Context(), low)
	var under *ledger.UnderSettleError
	if !errors.As(err, &under) || !bytes.Equal(under.Settle, low) {
		t.Fatalf("%v, want the proof", err)
	}
	if e := ok(ledger.ParseEntry(earn))(t); e.Amount != 3*ledger.Credit || e.Flags != ledger.FlagVoucher {
		t.Errorf("earned %s, want the vouched 3 cr", e.Amount)
	}
	if b := p.host.Balance(); b.Net != 3*ledger.Credit {
		t.Errorf("host %+v", b)
	}
	settle, voucher, err := p.host.Frozen(p.user.Account())
	if err != nil || !bytes.Equal(settle, low) || !bytes.Equal(voucher, under.Voucher) {
		t.Errorf("the proof is not kept: %v", err)
	}
	r := ok(p.host.Receipt(p.lock))(t)
	if _, err := r.Verify(); !errors.As(err, &under) {
		t.Errorf("the receipt does not show it: %v", err)
	}
	next := ok(p.user.Lock(t.Context(), ledger.LockRequest{Payee: p.host.Account(), Amount: 1, Expiry: time.Now().Add(time.Hour)}))(t)
	if _, err := p.host.AcceptLock(t.Context(), next.Raw, time.Now()); !errors.Is(err, ledger.ErrFrozen) {
		t.Errorf("a frozen payer got a lease: %v", err)
	}
	// The voucher that arrives after the low settle convicts as well.
	q := newPair(t, 5*ledger.Credit)
	claim := ok(q.host.Claim(t.Context(), q.lock, 1, 3*ledger.Credit, ledger.Digest{}))(t)
	late := ok(q.user.Vouch(t.Context(), q.lock, claim, 3*ledger.Credit))(t)
	ok(q.host.Earn(t.Context(), settleAt(t, q.userKey, q.lockRaw, 1*ledger.Credit)))(t)
	if err := q.host.Credit(t.Context(), late, 0); !errors.As(err, &under) {
		t.Errorf("late voucher: %v", err)
	}
}

func TestAttack12OverCommitment(t *testing.T) {
	user := openBook(t, ledgertest.NewMemory(), newKey(t))
	granted := 0
	for range 10 { // floor 10 cr, 3 cr each: three fit
		_, err := user.Lock(t.Context(), ledger.LockRequest{Payee: ledger.Account{1}, Amount: 3 * ledger.Credit, Expiry: time.Now().Add(time.Hour)})
		var no *ledger.NoCreditError
		switch {
		case err == nil:
			granted++
		case !errors.As(err, &no) || no.Have != 1*ledger.Credit:
			t.Errorf("%v", err)
		}
	}
	if granted != 3 || user.Balance().Locked != 9*ledger.Credit {
		t.Errorf("%d locks, %+v", granted, user.Balance())
	}
	// A payer that signs such a lock all the same is refused by the entry's own totals.
	p := newPair(t, 5*ledger.Credit)
	e := p.user.Head().Lock(p.host.Account(), 6*ledger.Credit, ledger.Digest{}, time.Now().Add(time.Hour), time.Now())
	if _, err := p.host.AcceptLock(t.Context(), ok(p.userKey.SignEntry(e))(t), time.Now()); !errors.Is(err, ledger.ErrChain) {
		t.Errorf("overdrawn lock: %v", err)
	}
	e.Locked, e.Spent = 6*ledger.Credit, 0 // or, hiding the other lock, by the totals seen before
	e.Granted = 100 * ledger.Credit
	if _, err := p.host.AcceptLock(t.Context(), ok(p.userKey.SignEntry(e))(t), time.Now()); !errors.Is(err, ledger.ErrChain) {
		t.Errorf("lock over an invented grant: %v", err)
	}
}

func TestDoubleSpendForkIsAProof(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	lock := ok(ledger.ParseEntry(p.lockRaw))(t)
	other := lock
	other.Evidence[0]++
	raw := ok(p.userKey.SignEntry(other))(t)
	_, err := p.host.AcceptLock(t.Context(), raw, time.Now())
	var fork *ledger.ForkError
	if !errors.As(err, &fork) || !bytes.Equal(fork.A, p.lockRaw) || !bytes.Equal(fork.B, raw) {
		t.Fatalf("%v, want both entries", err)
	}
	one, two, err := p.host.Frozen(p.user.Account())
	if bytes.Equal(one, raw) { // a proof has its entries in the order of their digests
		one, two = two, one
	}
	if err != nil || !bytes.Equal(one, p.lockRaw) || !bytes.Equal(two, raw) {
		t.Errorf("the proof is not kept: %v", err)
	}
}

func TestAttack13UserVanishes(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	p.unit(t, 2*ledger.Credit)
	due := ok(p.host.Info(p.lock))(t).Expiry.Add(network.Grace())
	if _, err := p.host.EarnVoucher(t.Context(), p.lock, due.Add(-time.Millisecond)); !errors.Is(err, ledger.ErrNotDue) {
		t.Fatalf("before expiry and grace: %v", err)
	}
	earn := ok(p.host.EarnVoucher(t.Context(), p.lock, due))(t)
	if b := p.host.Balance(); b.Net != 2*ledger.Credit {
		t.Fatalf("host %+v", b)
	}
	if m := ok(p.host.Pending())(t); len(m) != 1 || m[0].To != p.user.Account() || m[0].Type != ledger.TypeEarn {
		t.Errorf("pending %+v", m)
	}
	if s := ok(ok(p.host.Receipt(p.lock))(t).Verify())(t); s.State(due) != ledger.StateClaimed {
		t.Errorf("state %s", s.State(due))
	}
	// The user comes back, settles late, and all ends as it would have.
	if err := p.user.AcknowledgeEarn(t.Context(), earn); err != nil {
		t.Fatal(err)
	}
	settle := ok(p.user.Settle(t.Context(), p.lock))(t)
	if again := ok(p.host.Earn(t.Context(), settle))(t); !bytes.Equal(again, earn) {
		t.Error("a second earn for one lock")
	}
	if m := ok(p.host.Pending())(t); len(m) != 0 {
		t.Errorf("pending %+v", m)
	}
	if u, h := p.user.Balance(), p.host.Balance(); u.Net != -2*ledger.Credit || h.Net != 2*ledger.Credit || u.Locked != 0 {
		t.Errorf("user %+v host %+v", u, h)
	}
	for _, b := range []*ledger.Book{p.user, p.host} {
		if s := ok(ok(b.Receipt(p.lock))(t).Verify())(t); s.State(due) != ledger.StateComplete {
			t.Errorf("state %s", s.State(due))
		}
	}
}

func TestLateSettleAboveTheEarnedVoucherIsConsistent(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	p.unit(t, 1*ledger.Credit)
	claim := ok(p.host.Claim(t.Context(), p.lock, 1, 1*ledger.Credit, ledger.Digest{}))(t)
	ok(p.user.Vouch(t.Context(), p.lock, claim, 2*ledger.Credit))(t) // this voucher is lost on the way
	settle := ok(p.user.Settle(t.Context(), p.lock))(t)              // and so is the settle, at first
	earn := ok(p.host.EarnVoucher(t.Context(), p.lock, time.Now().Add(2*time.Hour)))(t)
	if again := ok(p.host.Earn(t.Context(), settle))(t); !bytes.Equal(again, earn) {
		t.Error("a second earn for one lock")
	}
	if err := p.user.AcknowledgeEarn(t.Context(), earn); err != nil {
		t.Fatal(err)
	}
	a := ok(ledger.NewAudit(network))(t)
	for _, b := range []*ledger.Book{p.user, p.host} {
		ok(ok(b.Receipt(p.lock))(t).Verify())(t)
		if err := a.Book(b); err != nil {
			t.Fatal(err)
		}
	}
	if s := ok(a.Check())(t); s.Net() != -1*ledger.Credit || s.InTransit != 1*ledger.Credit {
		t.Errorf("%+v", s)
	}
}

func TestAttack14WithheldCountersignature(t *testing.T) {
	p := newPair(t, 5*ledger.Credit)
	p.unit(t, 2*ledger.Credit)
	ok(p.user.Settle(t.Context(), p.lock))(t) // the provider never answers
	b := p.user.Balance()
	if b.Net != -2*ledger.Credit || b.Locked != 0 || b.Free != 8*ledger.Credit {
		t.Errorf("user %+v: the rest of the lock must be free at once", b)
	}
	if s := ok(ok(p.user.Receipt(p.lock))(t).Verify())(t); s.State(time.Now()) != ledger.StateSettled || s.Paid != 2*ledger.Credit {
		t.Errorf("receipt %+v", s)
	}
	ok(p.user.Lock(t.Context(), ledger.LockRequest{Payee: p.host.Account(), Amount: 8 * ledger.Credit, Expiry: time.Now().Add(time.Hour)}))(t)
}

func TestAttack15HitAndRun(t *testing.T) {
	const price = 1000 // µcr a unit
	p := newPair(t, 1*ledger.Credit)
	user := p.user.Account()
	var earned, lost uint32
	// The attacker pays until its window is as wide as it gets, then takes a full one and leaves;
	// and does so again under the same identity.
	for round := range 3 {
		for window := uint32(0); ; {
			x := ok(p.host.Exposure(user))(t)
			if x.Window.Allowed() < window {
				t.Fatal("a paying user's window shrank")
			}
			if window = x.Window.Allowed(); window == ledger.MaxWindow {
				break
			}
			p.unit(t, price)
			earned++
		}
		paid := ok(p.host.Exposure(user))(t)
		for ok(p.host.Exposure(user))(t).MayWork(0) {
			ok(p.host.Claim(t.Context(), p.lock, 1, price, ledger.Digest{}))(t)
			lost++
		}
		if x := ok(p.host.Exposure(user))(t); x.Unpaid != ledger.MaxWindow || paid.Unpaid != 0 {
			t.Fatalf("round %d: %d units at risk, want %d", round, x.Unpaid, ledger.MaxWindow)
		}
		ok(p.host.Earn(t.Context(), ok(p.user.Settle(t.Context(), p.lock))(t)))(t)
		if x := ok(p.host.Exposure(user))(t); x.Window.Allowed() != ledger.StartWindow || x.Window.Defaults() != uint32(round)+1 || x.Unpaid != 0 {
			t.Fatalf("after a default: %+v", x)
		}
		p.open(t, 1*ledger.Credit)
	}
	if lost > 3*ledger.MaxWindow || lost > earned+3 {
		t.Errorf("lost %d units, paid for %d", lost, earned)
	}
}

// TestAttack25IdleLocks: of 1,000 locks that one payer makes and leaves unused, a payee keeps the bound open, and
// none after expiry; all that is tied up is the payer's own credit.
func TestAttack25IdleLocks(t *testing.T) {
	const locks = 1000
	p := newPair(t, 1)
	refused := 0
	for range locks {
		e := ok(p.user.Lock(t.Context(), ledger.LockRequest{Payee: p.host.Account(), Amount: 1, Expiry: time.Now().Add(time.Hour)}))(t)
		if _, err := p.host.AcceptLock(t.Context(), e.Raw, time.Now()); errors.Is(err, ledger.ErrBusy) {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n := len(p.host.OpenLocks()); n != ledger.MaxOpenLocks || refused != locks+1-ledger.MaxOpenLocks {
		t.Errorf("%d open, %d refused", n, refused)
	}
	if n := ok(p.host.Sweep(t.Context(), time.Now().Add(2*time.Hour)))(t); n != ledger.MaxOpenLocks || len(p.host.OpenLocks()) != 0 {
		t.Errorf("swept %d", n)
	}
	if n := ok(p.user.Sweep(t.Context(), time.Now().Add(2*time.Hour)))(t); n != locks+1 || p.user.Balance().Locked != 0 {
		t.Errorf("swept %d, %+v", n, p.user.Balance())
	}
}
