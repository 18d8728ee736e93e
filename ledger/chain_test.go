package ledger

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

var t0 = time.UnixMilli(1_800_000_000_000)

const (
	testFloor = 10 * Credit
	testEvery = 8
)

// drafts builds a chain of one account: genesis, lock, settle, earn, checkpoint.
func drafts(t *testing.T) (entries []Entry) {
	t.Helper()
	c := NewChain(word(1), addr(2), testFloor, testEvery)
	add := func(e Entry) {
		t.Helper()
		if _, err := c.Apply(e); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	add(c.Head.Genesis(Digest{}, t0))
	lock := c.Head.Lock(addr(3), 4*Credit, word(9), t0.Add(time.Hour), t0)
	add(lock)
	add(c.Head.Settle(lock, 3*Credit, 100, 2, word(8), t0))
	theirs := Entry{Type: TypeLock, Network: word(1), Account: addr(3), Peer: addr(2), Amount: 5 * Credit}
	add(c.Head.Earn(theirs, 5*Credit, 7, 1, word(6), 0, t0))
	add(c.Checkpoint(t0))
	if h := c.Head; h.Net() != 2*Credit || h.Locked != 0 || h.Len != 5 || h.Free(testFloor) != 12*Credit {
		t.Fatalf("head %+v", h)
	}
	return entries
}

// changes changes one field each.
var changes = map[string]func(*Entry){
	"type":     func(e *Entry) { e.Type ^= TypeCheckpoint },
	"flags":    func(e *Entry) { e.Flags ^= 2 },
	"network":  func(e *Entry) { e.Network[0]++ },
	"account":  func(e *Entry) { e.Account[0]++ },
	"epoch":    func(e *Entry) { e.Epoch++ },
	"seq":      func(e *Entry) { e.Seq++ },
	"prev":     func(e *Entry) { e.Prev[0]++ },
	"peer":     func(e *Entry) { e.Peer[0]++ },
	"ref":      func(e *Entry) { e.Ref[0]++ },
	"amount":   func(e *Entry) { e.Amount++ },
	"fuel":     func(e *Entry) { e.Fuel++ },
	"units":    func(e *Entry) { e.Units++ },
	"evidence": func(e *Entry) { e.Evidence[0]++ },
	"granted":  func(e *Entry) { e.Granted++ },
	"earned":   func(e *Entry) { e.Earned++ },
	"spent":    func(e *Entry) { e.Spent++ },
	"locked":   func(e *Entry) { e.Locked++ },
	"mmrRoot":  func(e *Entry) { e.MMRRoot[0]++ },
	"time":     func(e *Entry) { e.TimeMs = 0 },
	"expiry":   func(e *Entry) { e.ExpiryMs++ },
}

// Every field of every entry is checked: changing any one of them makes the entry invalid, but
// for those that carry free content.
func TestEveryFieldOfAnEntryIsChecked(t *testing.T) {
	free := map[Type]string{
		TypeGenesis: "evidence time",
		TypeLock:    "peer evidence expiry",
		TypeSettle:  "fuel units evidence",
		TypeEarn:    "peer ref fuel units evidence flags", // Book and Audit check these against the lease
	}
	entries := drafts(t)
	for i, e := range entries {
		for name, change := range changes {
			c := NewChain(word(1), addr(2), testFloor, testEvery)
			for _, before := range entries[:i] {
				if _, err := c.Apply(before); err != nil {
					t.Fatal(err)
				}
			}
			bad := e
			change(&bad)
			head := c.Head
			_, err := c.Apply(bad)
			if wantFree := slices.Contains(strings.Fields(free[e.Type]), name); (err == nil) != wantFree {
				t.Errorf("%s with another %s: %v", e.Type, name, err)
			}
			if err != nil && c.Head != head {
				t.Errorf("%s with another %s: refused, but the head moved", e.Type, name)
			}
		}
	}
}

func TestChainRefuses(t *testing.T) {
	start := func() *Chain {
		c := NewChain(word(1), addr(2), testFloor, testEvery)
		if _, err := c.Apply(c.Head.Genesis(Digest{}, t0)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	lock := func(c *Chain, amount Credits) Entry {
		return c.Head.Lock(addr(3), amount, word(9), t0.Add(time.Hour), t0)
	}
	for name, test := range map[string]func(c *Chain) error{
		"a second genesis": func(c *Chain) error {
			_, err := c.Apply(c.Head.Genesis(Digest{}, t0))
			return err
		},
		"a lock below the floor": func(c *Chain) error {
			_, err := c.Apply(lock(c, testFloor+1))
			return err
		},
		"a lock of nothing": func(c *Chain) error {
			_, err := c.Apply(lock(c, 0))
			return err
		},
		"a lock for oneself": func(c *Chain) error {
			e := lock(c, 1)
			e.Peer = e.Account
			_, err := c.Apply(e)
			return err
		},
		"a lock that has expired": func(c *Chain) error {
			e := lock(c, 1)
			e.ExpiryMs = e.TimeMs
			_, err := c.Apply(e)
			return err
		},
		"a settle without its lock": func(c *Chain) error {
			_, err := c.Apply(c.Head.Settle(lock(c, 5), 1, 1, 1, word(1), t0))
			return err
		},
		"a settle over the lock": func(c *Chain) error {
			e := lock(c, 5)
			if _, err := c.Apply(e); err != nil {
				return nil
			}
			_, err := c.Apply(c.Head.Settle(e, 6, 1, 1, word(1), t0))
			return err
		},
		"a second settle": func(c *Chain) error {
			e := lock(c, 5)
			if _, err := c.Apply(e); err != nil {
				return nil
			}
			if _, err := c.Apply(c.Head.Settle(e, 5, 1, 1, word(1), t0)); err != nil {
				return nil
			}
			_, err := c.Apply(c.Head.Settle(e, 5, 1, 1, word(1), t0))
			return err
		},
		"a second earn of one lock": func(c *Chain) error {
			theirs := Entry{Type: TypeLock, Network: word(1), Account: addr(3), Peer: addr(2), Amount: 5}
			if _, err := c.Apply(c.Head.Earn(theirs, 5, 1, 1, word(6), 0, t0)); err != nil {
				return nil
			}
			_, err := c.Apply(c.Head.Earn(theirs, 5, 1, 1, word(7), FlagVoucher, t0))
			return err
		},
		"an entry where a checkpoint is due": func(c *Chain) error {
			for c.Head.Len < testEvery {
				if _, err := c.Apply(c.Checkpoint(t0)); err != nil {
					return nil
				}
			}
			_, err := c.Apply(lock(c, 1))
			return err
		},
		"a checkpoint of another past": func(c *Chain) error {
			e := c.Checkpoint(t0)
			if _, err := c.Apply(lock(c, 1)); err != nil {
				return nil
			}
			e.Seq, e.Prev, e.Locked = c.Head.Len, c.Head.Digest, c.Head.Locked
			_, err := c.Apply(e)
			return err
		},
		"a checkpoint without a root": func(c *Chain) error {
			_, err := c.Apply(c.Head.next(TypeCheckpoint, t0))
			return err
		},
		"a grant of nothing, by nobody": func(c *Chain) error {
			_, err := c.Apply(c.Head.next(TypeGrant, t0))
			return err
		},
	} {
		if err := test(start()); !errors.Is(err, ErrChain) && !errors.Is(err, ErrUnknownLock) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAttack06Overflow(t *testing.T) {
	network := Network(word(1))
	rich := Head{Network: network, Account: addr(2), Len: 3, Seq: 2, Digest: word(4), Earned: MaxCredits - 1}
	theirs := Entry{Type: TypeLock, Network: network, Account: addr(3), Peer: addr(2), Amount: MaxCredits}
	if _, err := rich.Apply(rich.Earn(theirs, 1, 1, 1, word(1), 0, t0), testFloor, 0); err != nil {
		t.Errorf("earning up to the cap: %v", err)
	}
	for name, e := range map[string]Entry{
		"earned beyond the cap": rich.Earn(theirs, 2, 1, 1, word(1), 0, t0),
		"earned around zero":    rich.Earn(theirs, MaxCredits, 1, 1, word(1), 0, t0),
		"negative amount":       rich.Earn(theirs, -1, 1, 1, word(1), 0, t0),
		"negative lock":         rich.Lock(addr(3), -MaxCredits, word(9), t0.Add(1), t0),
	} {
		if _, err := rich.Apply(e, testFloor, 0); !errors.Is(err, ErrChain) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// On the wire every amount above the cap is refused before any arithmetic.
	k := goldenKey(t)
	for offset, name := range map[int]string{152: "amount", 204: "granted", 212: "earned", 220: "spent", 228: "locked"} {
		raw, err := k.SignEntry(sampleEntry(k.Account()))
		if err != nil {
			t.Fatal(err)
		}
		for _, top := range []byte{0x40, 0x80, 0xff} {
			raw[offset] = top
			raw[offset+7] = 1 // 0x40…01 is one above the cap
			if _, err := ParseEntry(raw); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s %#x…: %v", name, top, err)
			}
		}
	}
	if _, err := (Genesis{Version: 1, Name: "g", Floor: MaxCredits, Params: DefaultGenesis().Params}).Encode(); err == nil {
		t.Error("a floor whose sum with a balance overflows was taken")
	}
}

func TestWindowDoublesPerPaidWindow(t *testing.T) {
	var w Window
	paid := 0
	for _, want := range []struct {
		after int
		size  uint32
	}{{0, 1}, {1, 2}, {2, 2}, {3, 4}, {6, 4}, {7, 8}, {14, 8}, {15, 16}, {1000, 16}} {
		for ; paid < want.after; paid++ {
			w = w.Paid(1)
		}
		if w.Allowed() != want.size {
			t.Errorf("after %d paid units: %d, want %d", paid, w.Allowed(), want.size)
		}
	}
	if got := (Window{}).Paid(15); got.Allowed() != 16 {
		t.Errorf("15 units at once: %d", got.Allowed())
	}
	if got := (Window{}).Paid(1<<32 - 1); got.Allowed() != MaxWindow {
		t.Errorf("many units at once: %d", got.Allowed())
	}
	if w = w.Default(); w.Allowed() != StartWindow || w.Defaults() != 1 {
		t.Errorf("after a default: %d, %d defaults", w.Allowed(), w.Defaults())
	}
}
