package ledger

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// What a book keeps of who worked for whom, to judge payers by (ledger/flow does) and to be judged:
//
//	ledger/w/ACCOUNT   what was done between that account and us, see Standing
//	ledger/u/FROM TO   credit given on the strength of that edge, µcr u64
//	ledger/day         what strangers were given today: day u32 · µcr u64
const (
	workPrefix = "ledger/w/"
	usedPrefix = "ledger/u/"
	dayKey     = "ledger/day"
)

// Bounds of what is shown to others.
const (
	bestWorks   = 4    // of one counterparty: large leases prove much with few signatures
	maxStanding = 4096 // counterparties looked at for them
)

// A Standing is what was done between another account and us, in µcr.
type Standing struct {
	Did Credits // by it for us, settled by us and taken up by it
	Got Credits // by us for it, taken up by us

	best []bestWork // the largest that we did for it and both signed, falling
}

type bestWork struct {
	amount Credits
	lock   Digest
}

func (s Standing) encode() []byte {
	b := binary.BigEndian.AppendUint64([]byte{1}, uint64(s.Did))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Got))
	for _, w := range s.best {
		b = append(binary.BigEndian.AppendUint64(b, uint64(w.amount)), w.lock[:]...)
	}
	return b
}

func decodeStanding(b []byte) (s Standing, err error) {
	if len(b) == 0 {
		return s, nil
	}
	const head, each = 1 + 8 + 8, 8 + 32
	if n := len(b) - head; b[0] != 1 || n < 0 || n%each != 0 || n/each > bestWorks {
		return s, fmt.Errorf("standing: the ledger is damaged, restore it from a backup: %w", ErrMalformed)
	}
	r := reader{b: b[1:]}
	s.Did, s.Got = r.credits(), r.credits()
	for len(r.b) > 0 {
		s.best = append(s.best, bestWork{r.credits(), r.word()})
	}
	if r.bad != "" {
		return Standing{}, fmt.Errorf("standing: %s: the ledger is damaged, restore it from a backup: %w", r.bad, ErrMalformed)
	}
	return s, nil
}

func (t *batch) standing(a Account) (Standing, error) {
	v, err := t.get(accountKey(workPrefix, a))
	if err != nil {
		return Standing{}, err
	}
	return decodeStanding(v)
}

func (t *batch) putStanding(a Account, s Standing) { t.put(accountKey(workPrefix, a), s.encode()) }

// saturating is a+b, at most MaxCredits.
func saturating(a, b Credits) Credits {
	s, err := a.Add(b)
	if err != nil {
		return MaxCredits
	}
	return s
}

// prove notes a lease that both sides signed, if it is among the largest.
func (s *Standing) prove(lock Digest, amount Credits) {
	s.best = append(s.best, bestWork{amount, lock})
	slices.SortStableFunc(s.best, func(a, b bestWork) int { return cmp.Compare(b.amount, a.amount) })
	s.best = s.best[:min(len(s.best), bestWorks)]
}

// Standing is what was done between account a and us.
func (b *Book) Standing(a Account) (Standing, error) {
	v, err := b.store.Get(accountKey(workPrefix, a))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Standing{}, err
	}
	return decodeStanding(v)
}

// ShowWork returns at most n proofs of what we did for others, largest first and at most bestWorks of one
// account, each as VerifyWork reads it: what a payer shows of itself.
func (b *Book) ShowWork(n int) ([][]byte, error) {
	var best []bestWork
	var bad error
	left := maxStanding
	err := b.store.Scan([]byte(workPrefix), nil, func(_, v []byte) bool {
		var s Standing
		s, bad = decodeStanding(v)
		best = append(best, s.best...)
		left--
		return bad == nil && left > 0
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, err
	}
	slices.SortStableFunc(best, func(a, b bestWork) int { return cmp.Compare(b.amount, a.amount) })
	out := make([][]byte, 0, min(n, len(best)))
	for _, w := range best[:min(n, len(best))] {
		r, err := b.Receipt(w.lock)
		if errors.Is(err, ErrUnknownLock) {
			continue // no longer kept
		}
		if err != nil {
			return nil, err
		}
		if raw := r.Work(); raw != nil {
			out = append(out, raw)
		}
	}
	return out, nil
}

// A Charge is credit given on the strength of an edge: To worked for From.
type Charge struct {
	From, To Account
	Amount   Credits
}

// Charges are what a claim uses up of what the payer was trusted with. The zero Charges use up nothing.
type Charges struct {
	Edges   []Charge
	Starter Credits // of the day's budget for strangers
	Now     time.Time
}

func usedKey(from, to Account) []byte { return append(accountKey(usedPrefix, from), to[:]...) }

func decodeUsed(v []byte, err error) (Credits, error) {
	if errors.Is(err, ErrNotFound) || err == nil && v == nil {
		return 0, nil
	}
	if err == nil && len(v) != 8 {
		err = fmt.Errorf("credit used: the ledger is damaged, restore it from a backup: %w", ErrMalformed)
	}
	if err != nil {
		return 0, err
	}
	return Credits(min(binary.BigEndian.Uint64(v), uint64(MaxCredits))), nil
}

// Used is the credit given so far on the strength of what to did for from.
func (b *Book) Used(from, to Account) (Credits, error) {
	return decodeUsed(b.store.Get(usedKey(b.self(from), b.self(to))))
}

// charge writes down what is used up, or nothing and an error.
func (t *batch) charge(c Charges) error {
	used := make([]Credits, len(c.Edges))
	for i, e := range c.Edges {
		var err error
		if used[i], err = decodeUsed(t.get(usedKey(e.From, e.To))); err != nil {
			return err
		}
	}
	if c.Starter > 0 {
		d, err := decodeDay(t.get([]byte(dayKey)))
		if err != nil {
			return err
		}
		t.put([]byte(dayKey), d.On(c.Now).add(c.Starter).encode())
	}
	for i, e := range c.Edges { // each edge once: flow.Credit sums
		t.put(usedKey(e.From, e.To), binary.BigEndian.AppendUint64(nil, uint64(saturating(used[i], e.Amount))))
	}
	return nil
}

// A Day is what strangers were given on one day of this machine's calendar. It is a plain value; the
// zero Day is long ago.
type Day struct {
	Number  uint32 // days since 1970-01-01
	Starter Credits
}

// On is the day at now: with the next one the count begins again. A clock that goes back, or the clock
// of another time zone, gives nothing back: up to a day it is still the same Day, and beyond, where the
// clock must have been wrong before, the count goes on under the day it shows now, so that it ends at the
// next midnight and not in a year.
func (d Day) On(now time.Time) Day {
	year, month, day := now.Date()
	n := uint32(max(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix(), 0) / (24 * 60 * 60))
	switch {
	case n > d.Number:
		return Day{Number: n}
	case n+1 < d.Number:
		d.Number = n
	}
	return d
}

func (d Day) add(amount Credits) Day {
	d.Starter = saturating(d.Starter, amount)
	return d
}

func (d Day) encode() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, d.Number), uint64(d.Starter))
}

func decodeDay(v []byte, err error) (Day, error) {
	if errors.Is(err, ErrNotFound) || err == nil && v == nil {
		return Day{}, nil
	}
	if err == nil && len(v) != 12 {
		err = fmt.Errorf("the day's budget: the ledger is damaged, restore it from a backup: %w", ErrMalformed)
	}
	if err != nil {
		return Day{}, err
	}
	return Day{binary.BigEndian.Uint32(v), Credits(min(binary.BigEndian.Uint64(v[4:]), uint64(MaxCredits)))}, nil
}

// Given is what strangers were given on the last day that anything was; Day.On makes it today's.
func (b *Book) Given() (Day, error) { return decodeDay(b.store.Get([]byte(dayKey))) }
