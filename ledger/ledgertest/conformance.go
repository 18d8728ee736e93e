package ledgertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/personal-power-plant/p3/ledger"
)

// TestStore checks that a kind of store keeps the contract of ledger.Store. open gives an empty
// one each time; TestStore closes it.
func TestStore(t *testing.T, open func(t *testing.T) ledger.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, ledger.Store)
	}{
		{"MissingKeyIsErrNotFound", missing},
		{"GetReturnsACopy", getCopies},
		{"CommitTakesACopy", commitCopies},
		{"EmptyValueIsKept", emptyValue},
		{"LastWriteOfAKeyWins", lastWins},
		{"ScanIsOrderedAndBounded", scan},
		{"ScanSeesOneSnapshot", snapshot},
		{"LargestValue", largest},
		{"CancelledCommitWritesNothing", cancelled},
		{"ConcurrentCommitsAllArrive", concurrent},
		{"CommitsAreAtomic", atomic},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			defer func() {
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			}()
			c.test(t, s)
		})
	}
}

func put(k, v string) ledger.Op { return ledger.Op{Key: []byte(k), Value: []byte(v)} }

func commit(t *testing.T, s ledger.Store, ops ...ledger.Op) {
	t.Helper()
	if err := s.Commit(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, s ledger.Store, k, want string) {
	t.Helper()
	if v, err := s.Get([]byte(k)); err != nil || string(v) != want {
		t.Errorf("get %s: %q, %v, want %q", k, v, err, want)
	}
}

func keys(t *testing.T, s ledger.Store, prefix, from string, n int) []string {
	t.Helper()
	var out []string
	var start []byte
	if from != "" {
		start = []byte(from)
	}
	err := s.Scan([]byte(prefix), start, func(k, v []byte) bool {
		out = append(out, string(k)+"="+string(v))
		return len(out) != n
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func missing(t *testing.T, s ledger.Store) {
	if _, err := s.Get([]byte("job/none")); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
	commit(t, s, put("job/a", "1"), ledger.Op{Key: []byte("job/none"), Delete: true})
	commit(t, s, ledger.Op{Key: []byte("job/a"), Delete: true})
	if _, err := s.Get([]byte("job/a")); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("%v after delete, want ErrNotFound", err)
	}
}

func getCopies(t *testing.T, s ledger.Store) {
	commit(t, s, put("job/a", "one"))
	v, err := s.Get([]byte("job/a"))
	if err != nil {
		t.Fatal(err)
	}
	v[0] = 'X'
	get(t, s, "job/a", "one")
}

func commitCopies(t *testing.T, s ledger.Store) {
	k, v := []byte("job/a"), []byte("one")
	commit(t, s, ledger.Op{Key: k, Value: v})
	k[4], v[0] = 'Z', 'X'
	get(t, s, "job/a", "one")
}

func emptyValue(t *testing.T, s ledger.Store) {
	commit(t, s, put("job/a", ""))
	if v, err := s.Get([]byte("job/a")); err != nil || v == nil || len(v) != 0 {
		t.Errorf("%v, %v, want an empty value that is not nil", v, err)
	}
}

func lastWins(t *testing.T, s ledger.Store) {
	commit(t, s, put("job/a", "1"), put("job/a", "2"), put("job/b", "1"), ledger.Op{Key: []byte("job/b"), Delete: true})
	get(t, s, "job/a", "2")
	if got := keys(t, s, "job/", "", 0); len(got) != 1 {
		t.Errorf("%v, want only job/a", got)
	}
}

func scan(t *testing.T, s ledger.Store) {
	commit(t, s, put("job/c", "3"), put("job/a", "1"), put("job0", "x"), put("job/b", "2"), put("job.", "x"), put("job/b\x00", "2b"))
	for _, c := range []struct {
		prefix, from string
		n            int
		want         []string
	}{
		{"job/", "", 0, []string{"job/a=1", "job/b=2", "job/b\x00=2b", "job/c=3"}},
		{"job/", "job/b", 0, []string{"job/b=2", "job/b\x00=2b", "job/c=3"}},
		{"job/", "job/bb", 0, []string{"job/c=3"}},
		{"job/", "a", 1, []string{"job/a=1"}},
		{"job/", "job/d", 0, nil},
		{"job/", "z", 0, nil},
		{"none/", "", 0, nil},
	} {
		if d := cmp.Diff(c.want, keys(t, s, c.prefix, c.from, c.n)); d != "" {
			t.Errorf("scan %q from %q: %s", c.prefix, c.from, d)
		}
	}
}

func snapshot(t *testing.T, s ledger.Store) {
	commit(t, s, put("job/a", "1"), put("job/b", "1"))
	var got []string
	err := s.Scan([]byte("job/"), nil, func(k, v []byte) bool {
		if len(got) == 0 {
			commit(t, s, put("job/b", "2"), put("job/c", "2"))
		}
		got = append(got, string(k)+"="+string(v))
		return true
	})
	if d := cmp.Diff([]string{"job/a=1", "job/b=1"}, got); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
}

func largest(t *testing.T, s ledger.Store) {
	k, v := bytes.Repeat([]byte("k"), 1<<10), bytes.Repeat([]byte("v"), 1<<20)
	commit(t, s, ledger.Op{Key: k, Value: v})
	if got, err := s.Get(k); err != nil || !bytes.Equal(got, v) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func cancelled(t *testing.T, s ledger.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Commit(ctx, put("job/a", "1"))
	if _, getErr := s.Get([]byte("job/a")); (err == nil) != (getErr == nil) {
		t.Errorf("commit: %v, but get: %v", err, getErr)
	}
}

func concurrent(t *testing.T, s ledger.Store) {
	const writers, each = 16, 20
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := s.Commit(t.Context(), put(fmt.Sprintf("job/%02d/%02d", w, i), "x"), put(fmt.Sprintf("node/%02d", w), fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(keys(t, s, "job/", "", 0)); n != writers*each {
		t.Errorf("%d keys, want %d", n, writers*each)
	}
	for w := range writers {
		get(t, s, fmt.Sprintf("node/%02d", w), fmt.Sprint(each-1))
	}
}

// atomic moves one unit between two keys while another goroutine adds them up.
func atomic(t *testing.T, s ledger.Store) {
	commit(t, s, put("job/a", "\x40"), put("job/b", "\x00"))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range byte(0x40) {
			if err := s.Commit(t.Context(), put("job/a", string([]byte{0x3f - i})), put("job/b", string([]byte{i + 1}))); err != nil {
				t.Error(err)
			}
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		sum := 0
		if err := s.Scan([]byte("job/"), nil, func(_, v []byte) bool { sum += int(v[0]); return true }); err != nil || sum != 0x40 {
			t.Errorf("sum %#x, %v", sum, err)
		}
	}
}
