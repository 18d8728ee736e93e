package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// A Period is how often an allowance is given. The numbers are stored and never change.
type Period uint8

// Periods of the calendar in UTC; weeks begin on Monday.
const (
	Daily   Period = 1
	Weekly  Period = 2
	Monthly Period = 3
)

var periodNames = [...]string{Daily: "day", Weekly: "week", Monthly: "month"}

func (p Period) known() bool { return p >= Daily && p <= Monthly }

func (p Period) String() string {
	if p.known() {
		return periodNames[p]
	}
	return fmt.Sprintf("period %d", uint8(p))
}

// ParsePeriod reads "day", "week" or "month".
func ParsePeriod(s string) (Period, error) {
	for p := Daily; p.known(); p++ {
		if s == p.String() {
			return p, nil
		}
	}
	return 0, fmt.Errorf("%q is no period: write day, week or month", s)
}

// Start is when the period of the calendar in UTC that holds now began.
func (p Period) Start(now time.Time) time.Time {
	year, month, day := now.UTC().Date()
	switch p {
	case Weekly:
		day -= (int(now.UTC().Weekday()) + 6) % 7
	case Monthly:
		day = 1
	}
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// An Allowance is credit that a mint grants a member once in each period of the calendar. A period in which
// the mint's node did not run is not made up for, and a clock that goes back gives nothing: by up to a period it is still
// the same one, and beyond, where the clock must have been wrong before, it is as if it had been given now, so
// that the next one comes with the next period and not in years.
type Allowance struct {
	Amount Credits // 0: none
	Every  Period
	LastMs uint64 // when it was last given, Unix ms; 0 = never
}

// due reports whether it is to be given now.
func (a Allowance) due(now time.Time) bool {
	return a.Amount > 0 && now.UnixMilli() > 0 && (a.LastMs == 0 || time.UnixMilli(int64(a.LastMs)).Before(a.Every.Start(now)))
}

// end is when the period that holds now ends.
func (p Period) end(now time.Time) time.Time {
	switch start := p.Start(now); p {
	case Weekly:
		return start.AddDate(0, 0, 7)
	case Monthly:
		return start.AddDate(0, 1, 0)
	default:
		return start.AddDate(0, 0, 1)
	}
}

// ahead reports whether it was last given beyond the end of the next period.
func (a Allowance) ahead(now time.Time) bool {
	return a.Amount > 0 && !time.UnixMilli(int64(a.LastMs)).Before(a.Every.end(a.Every.end(now)))
}

// Next is when it is due after it was last given; the zero time if there is none, or it never was.
func (a Allowance) Next() time.Time {
	if a.Amount == 0 || a.LastMs == 0 {
		return time.Time{}
	}
	return a.Every.end(time.UnixMilli(int64(a.LastMs)))
}

// A Member is an account that a mint has granted something, or will.
type Member struct {
	Account   Account
	Granted   Credits
	Grants    uint64
	Allowance Allowance
}

const memberSize = 8 + 8 + 8 + 1 + 8

func (m Member) encode() []byte {
	be := binary.BigEndian
	b := be.AppendUint64(make([]byte, 0, memberSize), uint64(m.Granted))
	b = be.AppendUint64(b, m.Grants)
	b = append(be.AppendUint64(b, uint64(m.Allowance.Amount)), byte(m.Allowance.Every))
	return be.AppendUint64(b, m.Allowance.LastMs)
}

func decodeMember(a Account, b []byte) (Member, error) {
	if len(b) != memberSize {
		return Member{}, fmt.Errorf("member %s: the ledger is damaged, restore it from a backup: %w", a, ErrMalformed)
	}
	r := reader{b: b}
	m := Member{a, r.credits(), r.u64(), Allowance{r.credits(), Period(r.u8()), r.time()}}
	if r.bad != "" || m.Allowance.Amount > 0 && !m.Allowance.Every.known() {
		return Member{}, fmt.Errorf("member %s: the ledger is damaged, restore it from a backup: %w", a, ErrMalformed)
	}
	return m, nil
}

func (i *Issuer) putMember(m Member) Op {
	return Op{Key: append(i.row('m'), m.Account[:]...), Value: m.encode()}
}

// member reads what is noted of an account; an empty Member if nothing is.
func (i *Issuer) member(a Account) (Member, error) {
	v, err := i.store.Get(append(i.row('m'), a[:]...))
	if errors.Is(err, ErrNotFound) {
		return Member{Account: a}, nil
	}
	if err != nil {
		return Member{}, err
	}
	return decodeMember(a, v)
}

// Members lists all of them, by account.
func (i *Issuer) Members() (out []Member, err error) {
	prefix := i.row('m')
	var bad error
	err = i.store.Scan(prefix, nil, func(k, v []byte) bool {
		if len(k) != len(prefix)+len(Account{}) {
			return true
		}
		var m Member
		if m, bad = decodeMember(Account(k[len(prefix):]), v); bad == nil {
			out = append(out, m)
		}
		return bad == nil
	})
	return out, errors.Join(err, bad)
}
