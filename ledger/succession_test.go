package ledger

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// founded is a chain whose first entry commits to addr(7) as recovery key.
func founded(t *testing.T) *Chain {
	t.Helper()
	c := NewChain(word(1), addr(2), testFloor, testEvery)
	applied(t, c, c.Head.Genesis(RecoveryCommitment(addr(7)), t0))
	return c
}

func applied(t *testing.T, c *Chain, e Entry) {
	t.Helper()
	if _, err := c.Apply(e); err != nil {
		t.Fatal(err)
	}
}

func TestRotationAndRecoveryContinueTheChain(t *testing.T) {
	c := founded(t)
	theirs := Entry{Type: TypeLock, Network: word(1), Account: addr(3), Peer: addr(2), Amount: 5 * Credit}
	applied(t, c, c.Head.Earn(theirs, 5*Credit, 7, 1, word(6), 0, t0))
	applied(t, c, c.Head.HandOver(addr(4), t0))
	applied(t, c, c.Head.TakeOver(RecoveryCommitment(addr(8)), t0))
	if h := c.Head; h.Account != addr(4) || h.Epoch != 1 || h.Seq != 3 || h.Net() != 5*Credit || !h.Heir.IsZero() {
		t.Fatalf("after the rotation: %+v", h)
	}
	lock := c.Head.Lock(addr(3), Credit, word(9), t0.Add(time.Hour), t0)
	applied(t, c, lock)
	applied(t, c, c.Head.Recover(addr(8), RecoveryCommitment(addr(9)), t0))
	if h := c.Head; h.Account != addr(8) || h.Epoch != 2 || h.Locked != Credit {
		t.Fatalf("after the recovery: %+v", h)
	}
	applied(t, c, c.Head.Settle(lock, Credit, 1, 1, word(8), t0)) // a lock outlives the key it was signed with
	applied(t, c, c.Head.Close(t0))
	if !c.Head.Closed || c.Head.Net() != 4*Credit {
		t.Fatalf("after the end: %+v", c.Head)
	}
}

// Every field of what changes a key is checked, but for the next recovery key and the time.
func TestEveryFieldOfASuccessionIsChecked(t *testing.T) {
	handed := func(t *testing.T) *Chain {
		c := founded(t)
		applied(t, c, c.Head.HandOver(addr(4), t0))
		return c
	}
	for name, step := range map[string]struct {
		chain func(*testing.T) *Chain
		draft func(*Chain) Entry
		free  string
	}{
		"hand over":                    {founded, func(c *Chain) Entry { return c.Head.HandOver(addr(4), t0) }, "peer time"},
		"take over":                    {handed, func(c *Chain) Entry { return c.Head.TakeOver(word(5), t0) }, "evidence time"},
		"recover":                      {founded, func(c *Chain) Entry { return c.Head.Recover(addr(7), word(5), t0) }, "evidence time"},
		"recover what was handed over": {handed, func(c *Chain) Entry { return c.Head.Recover(addr(7), word(5), t0) }, "evidence time"},
		"close":                        {founded, func(c *Chain) Entry { return c.Head.Close(t0) }, "time"},
	} {
		for _, field := range slices.Sorted(maps.Keys(changes)) {
			c := step.chain(t)
			head := c.Head
			bad := step.draft(c)
			changes[field](&bad)
			if field == "time" {
				bad.TimeMs = head.TimeMs + 5
			}
			_, err := c.Apply(bad)
			if free := slices.Contains(strings.Fields(step.free), field); (err == nil) != free {
				t.Errorf("%s with another %s: %v", name, field, err)
			}
			if err != nil && c.Head != head {
				t.Errorf("%s with another %s: refused, but the head moved", name, field)
			}
		}
	}
}

func TestSuccessionRefuses(t *testing.T) {
	open := func(c *Chain) {
		_, _ = c.Apply(c.Head.Lock(addr(3), Credit, word(9), t0.Add(time.Hour), t0))
	}
	handed := func(c *Chain) { _, _ = c.Apply(c.Head.HandOver(addr(4), t0)) }
	closed := func(c *Chain) { _, _ = c.Apply(c.Head.Close(t0)) }
	for name, test := range map[string]struct {
		before func(*Chain)
		bad    func(*Chain) Entry
	}{
		"a rotation with open locks":       {open, func(c *Chain) Entry { return c.Head.HandOver(addr(4), t0) }},
		"a rotation to oneself":            {nil, func(c *Chain) Entry { return c.Head.HandOver(addr(2), t0) }},
		"a rotation to nobody":             {nil, func(c *Chain) Entry { return c.Head.HandOver(Account{}, t0) }},
		"a second hand-over":               {handed, func(c *Chain) Entry { return c.Head.HandOver(addr(5), t0) }},
		"a lock between the halves":        {handed, func(c *Chain) Entry { return c.Head.Lock(addr(3), 1, word(9), t0.Add(time.Hour), t0) }},
		"a checkpoint between the halves":  {handed, func(c *Chain) Entry { return c.Checkpoint(t0) }},
		"a closing between the halves":     {handed, func(c *Chain) Entry { return c.Head.Close(t0) }},
		"a take-over without hand-over":    {nil, func(c *Chain) Entry { e := c.Head.TakeOver(word(5), t0); e.Account = addr(4); return e }},
		"a take-over by another":           {handed, func(c *Chain) Entry { e := c.Head.TakeOver(word(5), t0); e.Account = addr(5); return e }},
		"a take-over by the old key":       {handed, func(c *Chain) Entry { e := c.Head.TakeOver(word(5), t0); e.Account = addr(2); return e }},
		"a take-over in the same epoch":    {handed, func(c *Chain) Entry { e := c.Head.TakeOver(word(5), t0); e.Epoch--; return e }},
		"a recovery by another key":        {nil, func(c *Chain) Entry { return c.Head.Recover(addr(6), word(5), t0) }},
		"a recovery by the account itself": {nil, func(c *Chain) Entry { return c.Head.Recover(addr(2), word(5), t0) }},
		"closing with open locks":          {open, func(c *Chain) Entry { return c.Head.Close(t0) }},
		"a lock after the end":             {closed, func(c *Chain) Entry { return c.Head.Lock(addr(3), 1, word(9), t0.Add(time.Hour), t0) }},
		"a recovery after the end":         {closed, func(c *Chain) Entry { return c.Head.Recover(addr(7), word(5), t0) }},
		"a checkpoint after the end":       {closed, func(c *Chain) Entry { return c.Checkpoint(t0) }},
		"a grant that names none":          {nil, func(c *Chain) Entry { return c.Head.next(TypeGrant, t0) }},
		"a rotation that a checkpoint would part": {func(c *Chain) {
			for c.Head.Len < testEvery-1 {
				_, _ = c.Apply(c.Checkpoint(t0))
			}
		}, func(c *Chain) Entry { return c.Head.HandOver(addr(4), t0) }},
		"a recovery where a checkpoint is due": {func(c *Chain) {
			for c.Head.Len < testEvery {
				_, _ = c.Apply(c.Checkpoint(t0))
			}
		}, func(c *Chain) Entry { return c.Head.Recover(addr(7), word(5), t0) }},
	} {
		c := founded(t)
		if test.before != nil {
			test.before(c)
			if c.Head.Len < 2 {
				t.Fatalf("%s: the chain did not get there", name)
			}
		}
		if _, err := c.Apply(test.bad(c)); !errors.Is(err, ErrChain) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The first key's commitment no longer counts after a rotation that made another.
	c := founded(t)
	applied(t, c, c.Head.HandOver(addr(4), t0))
	applied(t, c, c.Head.TakeOver(RecoveryCommitment(addr(8)), t0))
	if _, err := c.Apply(c.Head.Recover(addr(7), word(5), t0)); !errors.Is(err, ErrChain) {
		t.Errorf("a recovery by the key before: %v", err)
	}
}
