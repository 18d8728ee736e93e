package ledger_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

// peerID is the libp2p peer ID of a secp256k1 key.
func peerID(t testing.TB, k ledger.Key) []byte {
	t.Helper()
	private := ok(crypto.ToECDSA(k.Bytes()))(t)
	return append([]byte{0x00, 0x25, 0x08, 0x02, 0x12, 0x21}, crypto.CompressPubkey(&private.PublicKey)...)
}

var (
	officeJob   = ledger.Digest{7}
	officeQuota = ledger.Quota{Day: 1000, Days: 8}
)

// An owner has an account with its key on one PC, an office PC that is bound to it, and there is a payer.
type office struct {
	key, node         ledger.Key
	home, till, payer *ledger.Book
	homeStore, store  *ledgertest.Memory
	binding           []byte
	since             time.Time // of the quota
}

func errOf[T any](_ T, err error) error { return err }

func newOffice(t *testing.T, until time.Time) *office {
	t.Helper()
	o := &office{key: newKey(t), node: newKey(t), homeStore: ledgertest.NewMemory(), store: ledgertest.NewMemory()}
	o.home = openBook(t, o.homeStore, o.key)
	o.binding = ok(o.home.BindOffice(peerID(t, o.node), 1, until))(t)
	o.payer = openBook(t, ledgertest.NewMemory(), newKey(t))
	o.open(t)
	return o
}

// open opens the till again, as after a kill.
func (o *office) open(t *testing.T) {
	t.Helper()
	if o.till != nil {
		o.till.Close()
	}
	o.till = ok(ledger.OpenTill(t.Context(), o.store, nil, o.node, o.binding, network))(t)
	t.Cleanup(o.till.Close)
}

// works is one lease of amount up to the voucher.
func (o *office) works(t *testing.T, amount ledger.Credits) ledger.Digest {
	t.Helper()
	job := ledger.LockEvidence(officeJob, peerID(t, o.node))
	lock := ok(o.payer.Lock(t.Context(), ledger.LockRequest{Payee: o.home.Account(), Amount: amount, Evidence: job, Expiry: time.Now().Add(time.Hour)}))(t)
	ok(o.till.AcceptLock(t.Context(), lock.Raw, time.Now()))(t)
	claim := ok(o.till.Claim(t.Context(), lock.Digest, 1, amount, ledger.Digest{1}))(t)
	voucher := ok(o.payer.Vouch(t.Context(), lock.Digest, claim, amount))(t)
	if err := o.till.Credit(t.Context(), voucher, 1); err != nil {
		t.Fatal(err)
	}
	return lock.Digest
}

func (o *office) adopt(t *testing.T, now time.Time) (earned int) {
	t.Helper()
	for _, r := range ok(o.till.Untaken(ledger.Digest{}, 100))(t) {
		for range 2 { // said twice, it is taken up once
			earn := ok(o.home.Adopt(t.Context(), r, officeJob, peerID(t, o.node), officeQuota, now))(t)
			if earn == nil {
				continue
			}
			if err := o.till.Taken(t.Context(), earn); err != nil {
				t.Fatal(err)
			}
			earned++
		}
	}
	return earned / 2
}

// An office PC earns while the PC with the key is away; whatever is killed meanwhile, all that was vouched for is taken up, once.
func TestOfficeEarnsForAnAccountWhoseKeyIsElsewhere(t *testing.T) {
	o := newOffice(t, time.Now().Add(24*time.Hour))
	var settles [][]byte
	for i := range 5 {
		lock := o.works(t, ledger.Credits(10+i))
		settle := ok(o.payer.Settle(t.Context(), lock))(t)
		settles = append(settles, settle)
		if earn := ok(o.till.Earn(t.Context(), settle))(t); earn != nil {
			t.Fatal("an office PC signed an entry")
		}
		o.open(t)
	}
	if n := len(ok(o.till.Untaken(ledger.Digest{}, 100))(t)); n != 5 {
		t.Fatalf("%d leases wait", n)
	}
	r := ok(o.till.Untaken(ledger.Digest{}, 1))(t)[0]
	ok(o.home.Adopt(t.Context(), r, officeJob, peerID(t, o.node), officeQuota, time.Now()))(t) // the answer is lost, and both are killed
	o.home.Close()
	o.home = openBook(t, o.homeStore, o.key)
	o.open(t)
	if n := o.adopt(t, time.Now()); n != 5 {
		t.Errorf("%d taken up", n)
	}
	if b := o.home.Balance(); b.Net != 60 {
		t.Errorf("%+v", b)
	}
	if rest := ok(o.till.Untaken(ledger.Digest{}, 1))(t); len(rest) != 0 {
		t.Error("something still waits")
	}
	for _, settle := range settles { // the payer asks again, and gets the answer
		if err := o.payer.AcknowledgeEarn(t.Context(), ok(o.till.Earn(t.Context(), settle))(t)); err != nil {
			t.Error(err)
		}
	}
	if m := ok(o.payer.Pending())(t); len(m) != 0 {
		t.Errorf("pending %v", m)
	}
	if s := audited(t, o.payer, o.home); s.Net() != 0 || s.InTransit != 0 {
		t.Errorf("%+v", s)
	}
	// What it did is work, to show and to be judged by: for the account.
	if w := ok(o.home.ShowWork(8))(t); len(w) == 0 {
		t.Error("the account has no work to show")
	} else if x := ok(ledger.VerifyWork(w[0], o.home.Network()))(t); x.Payee != o.key.Account() {
		t.Errorf("%+v", x)
	}
}

// The payer vanished: the voucher is taken up when it is due, and the payer hears of it when it comes back.
func TestOfficeKeepsVouchersOfAPayerThatVanished(t *testing.T) {
	o := newOffice(t, time.Now().Add(24*time.Hour))
	lock := o.works(t, 50)
	late := time.Now().Add(3 * time.Hour)
	ok(o.till.Sweep(t.Context(), late))(t)
	if n := o.adopt(t, time.Now()); n != 0 {
		t.Error("taken up before it is due")
	}
	if n := o.adopt(t, late); n != 1 || o.home.Balance().Net != 50 {
		t.Errorf("%d taken up, %+v", n, o.home.Balance())
	}
	m := ok(o.till.Pending())(t)
	if len(m) != 1 || m[0].Type != ledger.TypeEarn {
		t.Fatalf("%v", m)
	}
	if err := o.payer.AcknowledgeEarn(t.Context(), m[0].Entry); err != nil {
		t.Fatal(err)
	}
	ok(o.till.Earn(t.Context(), ok(o.payer.Settle(t.Context(), lock))(t)))(t)
	if m := ok(o.till.Pending())(t); len(m) != 0 {
		t.Errorf("%v", m)
	}
}

// Who steals an office PC has its node key and its binding, and cannot spend, nor be paid twice for one LOCK, nor go on
// when the binding has ended.
func TestStolenOfficeCanOnlyEarn(t *testing.T) {
	o := newOffice(t, time.Now().Add(time.Hour))
	ctx := t.Context()
	if _, err := o.till.Lock(ctx, ledger.LockRequest{Payee: o.payer.Account(), Amount: 1, Expiry: time.Now().Add(time.Hour)}); !errors.Is(err, ledger.ErrTill) {
		t.Errorf("it locks: %v", err)
	}
	if err := o.till.CloseChain(ctx); !errors.Is(err, ledger.ErrTill) {
		t.Errorf("it closes the account: %v", err)
	}
	if _, err := o.till.Bind(peerID(t, newKey(t)), 2, time.Now().Add(time.Hour)); err == nil {
		t.Error("it binds others")
	}
	e := o.home.Head().Lock(o.payer.Account(), 1, ledger.Digest{}, time.Now().Add(time.Hour), time.Now())
	if _, err := o.payer.AcceptLock(ctx, ok(o.node.SignEntry(e))(t), time.Now()); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("an entry signed with the node key: %v", err)
	}
	// A second office PC of the account, stolen by a friend of the payer, claims on the LOCK that was made for the first.
	lock := o.works(t, 20)
	ok(o.till.Earn(ctx, ok(o.payer.Settle(ctx, lock))(t)))(t)
	r := ok(o.till.Untaken(ledger.Digest{}, 1))(t)[0]
	adopt := func(r ledger.Receipt, job ledger.Digest, by ledger.Key) ([]byte, error) {
		return o.home.Adopt(ctx, r, job, peerID(t, by), officeQuota, time.Now())
	}
	second := newKey(t)
	bound := ok(o.home.BindOffice(peerID(t, second), 1, time.Now().Add(time.Hour)))(t)
	c := ok(ledger.ParseClaim(r.Claim))(t)
	c.Office = string(bound)
	forged := ledger.Receipt{Lock: r.Lock, Claim: ok(second.SignClaim(c))(t), Settle: r.Settle}
	for name, err := range map[string]error{
		"the receipt of another node": errOf(adopt(r, officeJob, second)),
		"a claim on another's LOCK":   errOf(adopt(forged, officeJob, second)),
		"for another job":             errOf(adopt(r, ledger.Digest{8}, o.node)),
		"without a claim":             errOf(adopt(ledger.Receipt{Lock: r.Lock, Settle: r.Settle}, officeJob, o.node)),
	} {
		if !errors.Is(err, ledger.ErrConflict) && !errors.Is(err, ledger.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if earn, err := adopt(r, officeJob, o.node); err != nil || o.home.Balance().Net != 20 || earn == nil {
		t.Errorf("the node that worked is not paid: %+v, %v", o.home.Balance(), err)
	}
	// No node claims without a binding of the payee, for another account, or with an ordinary one.
	next := ok(o.payer.Lock(ctx, ledger.LockRequest{Payee: o.home.Account(), Amount: 5, Expiry: time.Now().Add(time.Hour)}))(t)
	claim := ledger.Claim{Network: o.home.Network(), Lock: next.Digest, K: 1, Fuel: 1, Amount: 5}
	foreign := openBook(t, ledgertest.NewMemory(), newKey(t))
	for name, binding := range map[string][]byte{
		"none": nil, "for another node": bound, "of another account": ok(foreign.BindOffice(peerID(t, o.node), 1, time.Now().Add(time.Hour)))(t),
		"that ended before the lock": ok(o.home.BindOffice(peerID(t, o.node), 1, time.Now().Add(-time.Hour)))(t),
		"with the key":               ok(o.home.Bind(peerID(t, o.node), 1, time.Now().Add(time.Hour)))(t),
	} {
		c := claim
		c.Office = string(binding)
		if _, err := o.payer.Vouch(ctx, next.Digest, ok(o.node.SignClaim(c))(t), 5); err == nil {
			t.Errorf("a claim with a binding %s was paid", name)
		}
	}
	if _, err := ledger.OpenTill(ctx, ledgertest.NewMemory(), nil, o.node, bound, network); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("a till with another node's binding: %v", err)
	}
	if _, err := ledger.OpenBook(ctx, o.store, o.key, network); err == nil {
		t.Error("a till opened as the account's ledger")
	}
	if _, err := ledger.OpenTill(ctx, o.homeStore, nil, o.node, o.binding, network); err == nil {
		t.Error("the account's ledger opened as a till")
	}
	// The peers' newest entry of the account says nothing about a till.
	var newest []byte
	if err := o.home.Entries(0, 0, func(raw []byte) bool { newest = bytes.Clone(raw); return true }); err != nil {
		t.Fatal(err)
	}
	if err := o.till.CheckOwn(ctx, newest); err != nil || o.till.ReadOnly() != nil {
		t.Errorf("%v, %v", err, o.till.ReadOnly())
	}
}
