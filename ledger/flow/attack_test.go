package flow

import (
	"errors"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// TestAttack16SybilNewcomers: 10,000 identities each ask for all they can get and never pay. What they get
// together is the day's budget, however many they are, also over a restart and with leases at the same time.
func TestAttack16SybilNewcomers(t *testing.T) {
	const identities, want = 10_000, ledger.Credit / 20
	host := newNode(t)
	l := NewLimiter(host)
	var lost ledger.Credits
	granted := 0
	for i := range identities {
		if i == 100 { // killed in the middle
			host.reopen(t)
			l = NewLimiter(host)
		}
		if got := newTaker(t, ok(ledger.NewKey())(t)).takes(t, l, host, want, noon); got > 0 {
			granted++
			lost += got
		}
	}
	var claimed ledger.Credits
	for _, o := range host.OpenLocks() {
		claimed += o.Claimed
	}
	if lost != terms.DayBudget || claimed != lost || granted != 200 {
		t.Errorf("%d identities got %s, claimed %s, want the day's %s", granted, lost, claimed, terms.DayBudget)
	}
	t.Logf("%d identities, %d of them got something: %s in all", identities, granted, lost)
	// Nobody who worked here is shut out by them, and tomorrow there is a budget again.
	friend := newNode(t)
	friend.worksFor(t, host, 3*ledger.Credit)
	if x := ok(l.Limit(friend.Account(), terms, noon))(t); x.Total() != 3*ledger.Credit {
		t.Errorf("who worked here gets %s", x.Total())
	}
	if got := newTaker(t, ok(ledger.NewKey())(t)).takes(t, l, host, 9*ledger.Credit, noon.Add(24*time.Hour)); got != terms.Starter {
		t.Errorf("tomorrow: %s", got)
	}
}

// circle is n identities, each of which has signed that it owes the one before it a fortune: proofs of work in
// due form, of which none was done.
func circle(t *testing.T, n int) (keys []ledger.Key, works [][]byte) {
	t.Helper()
	for range n {
		keys = append(keys, ok(ledger.NewKey())(t))
	}
	for i := range keys {
		works = append(works, invent(t, keys[(i+1)%n], keys[i], 1_000_000*ledger.Credit))
	}
	return keys, works
}

// invent signs both sides of a lease that never was.
func invent(t *testing.T, payer, payee ledger.Key, amount ledger.Credits) []byte {
	t.Helper()
	return inventIn(t, mutual, payer, payee, amount)
}

func inventIn(t *testing.T, network ledger.Genesis, payer, payee ledger.Key, amount ledger.Credits) []byte {
	t.Helper()
	head := func(k ledger.Key) ledger.Head {
		e := ledger.Head{Network: ok(network.ID())(t), Account: k.Account()}.Genesis(ledger.Digest{}, noon)
		return ledger.HeadAt(e, e.Digest())
	}
	lock := head(payer).Lock(payee.Account(), amount, ledger.Digest{}, noon.Add(time.Hour), noon)
	settle := ledger.HeadAt(lock, lock.Digest()).Settle(lock, amount, 1, 1, ledger.Digest{1}, noon)
	earn := head(payee).Earn(lock, amount, 1, 1, settle.Digest(), 0, noon)
	raw := ledger.Receipt{Settle: ok(payer.SignEntry(settle))(t), Earn: ok(payee.SignEntry(earn))(t)}.Work()
	ok(ledger.VerifyWork(raw, head(payer).Network))(t)
	return raw
}

// TestAttack17CollusionLoop: 50 identities work for each other in a circle, on paper. It gives none of them a
// µcr of flow; when one of them does real work it gives all of them together just that; and nobody outside
// is the poorer.
func TestAttack17CollusionLoop(t *testing.T) {
	host, outside := newNode(t), newNode(t)
	outside.worksFor(t, host, 5*ledger.Credit)
	l := NewLimiter(host)
	before := ok(l.Limit(outside.Account(), terms, noon))(t)
	keys, works := circle(t, 50)
	var takers []*taker
	for _, k := range keys {
		takers = append(takers, newTaker(t, k))
	}
	var lost ledger.Credits
	round := func(now time.Time) (got ledger.Credits) {
		for i, k := range keys {
			if err := l.Learn(k.Account(), [][]byte{works[i], works[(i+1)%50], works[(i+49)%50]}, always); err != nil {
				t.Fatal(err)
			}
			if x := ok(l.Limit(k.Account(), terms, now))(t); x.Flow > got+3*ledger.Credit {
				t.Fatalf("identity %d: flow %s", i, x.Flow)
			}
			got += takers[i].takes(t, l, host, 4*ledger.Credit, now)
		}
		lost += got
		return got
	}
	for i, k := range keys {
		if err := l.Learn(k.Account(), works[i:i+1], always); err != nil {
			t.Fatal(err)
		}
		if x := ok(l.Limit(k.Account(), terms, noon))(t); x.Flow != 0 {
			t.Fatalf("identity %d: flow %s out of nothing", i, x.Flow)
		}
	}
	if got := round(noon); got != terms.DayBudget {
		t.Errorf("a ring of strangers got %s, want what strangers get: %s", got, terms.DayBudget)
	}
	after := ok(l.Limit(outside.Account(), terms, noon))(t)
	if after.Flow != before.Flow || before.Flow != 5*ledger.Credit {
		t.Errorf("credit outside: %s before, %s after", before.Flow, after.Flow)
	}
	// A member works, 3 credits. It and its neighbours within two steps of it may share these.
	worker := newNode(t)
	keys[0] = worker.key
	works[0], works[49] = invent(t, keys[1], keys[0], ledger.Credit), invent(t, keys[0], keys[49], 1_000_000*ledger.Credit)
	worker.worksFor(t, host, 3*ledger.Credit)
	takers[0] = &taker{worker.key, worker.Head()}
	if got, most := round(noon.Add(24*time.Hour)), terms.DayBudget+3*ledger.Credit; got > most || got < 3*ledger.Credit {
		t.Errorf("with 3 cr of real work the ring got %s, at most %s", got, most)
	}
	if after := ok(l.Limit(outside.Account(), terms, noon))(t); after.Flow != before.Flow {
		t.Errorf("credit outside: %s before, %s after", before.Flow, after.Flow)
	}
	t.Logf("50 identities got %s in two days: strangers' budgets and 3 cr for 3 cr of work", lost)
}

// TestAttack18Slander: 100 accusers say of somebody who works and pays what they like. None of it is signed by
// him, so nothing changes.
func TestAttack18Slander(t *testing.T) {
	host, victim := newNode(t), newNode(t)
	l := NewLimiter(host)
	victim.worksFor(t, host, 5*ledger.Credit)
	host.worksFor(t, victim, 2*ledger.Credit)
	lock := ok(victim.Lock(t.Context(), ledger.LockRequest{Payee: host.Account(), Amount: ledger.Credit, Expiry: time.Now().Add(time.Hour)}))(t)
	ok(host.AcceptLock(t.Context(), lock.Raw, time.Now()))(t)
	type opinion struct {
		limit    ledger.Credits
		exposure ledger.Exposure
		standing ledger.Credits
		head     ledger.Head
		frozen   bool
	}
	look := func() opinion {
		one, _, err := host.Frozen(victim.Account())
		if err != nil {
			t.Fatal(err)
		}
		return opinion{ok(l.Limit(victim.Account(), terms, noon))(t).Total(), ok(host.Exposure(victim.Account()))(t),
			ok(host.Standing(victim.Account()))(t).Did, host.Head(), one != nil}
	}
	before := look()
	open := ok(ledger.ParseEntry(lock.Raw))(t)
	network := host.Network()
	for i := range 100 {
		k := ok(ledger.NewKey())(t)
		begin := ledger.Head{Network: network, Account: k.Account()}.Genesis(ledger.Digest{}, noon)
		head := ledger.HeadAt(begin, begin.Digest())
		// "He did work for me and I paid": his signature is missing.
		mine := head.Lock(victim.Account(), ledger.Credit, ledger.Digest{}, noon.Add(time.Hour), noon)
		settle := ledger.HeadAt(mine, mine.Digest()).Settle(mine, ledger.Credit, 1, 1, ledger.Digest{1}, noon)
		earn := ledger.Head{Network: network, Account: victim.Account(), Len: 1}.Earn(mine, ledger.Credit, 1, 1, settle.Digest(), 0, noon)
		one := ledger.Receipt{Settle: ok(k.SignEntry(settle))(t), Earn: ok(k.SignEntry(earn))(t)}.Work()
		if err := l.Learn(victim.Account(), [][]byte{one}, always); !errors.Is(err, ledger.ErrSignature) {
			t.Fatalf("accuser %d: a one-sided record: %v", i, err)
		}
		// "He settled low" and "he forked": records in his name that he did not sign.
		low := ledger.HeadAt(open, lock.Digest).Settle(open, 0, 0, 0, ledger.Digest{}, noon)
		fork := open
		fork.Evidence[0]++
		for name, e := range map[string]ledger.Entry{"settle": low, "fork": fork} {
			raw := append(e.Append(nil), make([]byte, ledger.SignatureSize)...)
			copy(raw[ledger.EntrySize:], ok(k.SignEntry(e))(t)[ledger.EntrySize:])
			var err error
			if name == "settle" {
				_, err = host.Earn(t.Context(), raw)
			} else {
				_, err = host.AcceptLock(t.Context(), raw, time.Now())
			}
			if !errors.Is(err, ledger.ErrSignature) {
				t.Fatalf("accuser %d: %s in another's name: %v", i, name, err)
			}
		}
		// "He owes me": an earn for a lock that he never made, and one for the lock he made for us.
		for _, of := range []ledger.Digest{{byte(i)}, lock.Digest} {
			e := head.Earn(open, ledger.Credit, 1, 1, ledger.Digest{1}, 0, noon)
			e.Ref, e.Peer = of, host.Account()
			if err := host.AcknowledgeEarn(t.Context(), ok(k.SignEntry(e))(t)); err == nil {
				t.Fatalf("accuser %d: a debt out of nothing", i)
			}
		}
	}
	if after := look(); after != before {
		t.Errorf("slander worked: %+v before, %+v after", before, after)
	}
	if before.limit != 5*ledger.Credit+terms.Starter || before.frozen {
		t.Errorf("%+v", before)
	}
}
