package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/personal-power-plant/p3/ledger"
)

// tree is every file of a folder with its bytes; the value log, which is long and empty, has none.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if filepath.Ext(f.Name()) == ".vlog" {
			out[f.Name()] = ""
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[f.Name()] = string(b)
	}
	return out
}

func TestSnapshotOfAStoreThatIsOpen(t *testing.T) {
	dir := t.TempDir()
	s := open1(t, dir)
	defer s.Close()
	// A writer keeps two counters equal in each commit, and moves enough bytes for tables to
	// be written and compacted meanwhile.
	stop, stopped := make(chan struct{}), make(chan error, 1)
	acknowledged := make(chan uint64, 1)
	acknowledged <- 0
	go func() {
		for n := uint64(1); ; n++ {
			v := binary.BigEndian.AppendUint64(make([]byte, 0, 900), n)
			err := s.Commit(t.Context(), ledger.Op{Key: []byte("ledger/a"), Value: v}, ledger.Op{Key: []byte("ledger/b"), Value: v},
				ledger.Op{Key: fmt.Appendf(nil, "ledger/x/%d", n), Value: v[:900]})
			select {
			case <-stop:
				stopped <- err
				return
			default:
			}
			if err != nil {
				stopped <- err
				return
			}
			<-acknowledged
			acknowledged <- n
		}
	}()
	for range 8 {
		least := <-acknowledged
		acknowledged <- least
		c, err := OpenSnapshot(dir)
		if err != nil {
			t.Fatal(err)
		}
		var a, b uint64
		if v, err := c.Get([]byte("ledger/a")); err == nil {
			a = binary.BigEndian.Uint64(v)
		}
		if v, err := c.Get([]byte("ledger/b")); err == nil {
			b = binary.BigEndian.Uint64(v)
		}
		if a != b || a < least {
			t.Errorf("counters %d and %d, %d were acknowledged before", a, b, least)
		}
		n := uint64(0)
		if err := c.Scan([]byte("ledger/x/"), nil, func(_, _ []byte) bool { n++; return true }); err != nil || n != a {
			t.Errorf("%d rows with the counter at %d: %v", n, a, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(c.dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the copy stays: %v", err)
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestSnapshotChangesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open1(t, dir)
	if err := s.Commit(t.Context(), ledger.Op{Key: []byte("ledger/a"), Value: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	running := tree(t, dir)
	look := func(state string, want map[string]string) {
		t.Helper()
		c, err := OpenSnapshot(dir)
		if err != nil {
			t.Fatalf("%s: %v", state, err)
		}
		if v, err := c.Get([]byte("ledger/a")); err != nil || string(v) != "1" {
			t.Errorf("%s: %q, %v", state, v, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		now := tree(t, dir)
		if len(now) != len(want) {
			t.Errorf("%s: %d files, before %d", state, len(now), len(want))
		}
		for name, b := range want {
			if now[name] != b {
				t.Errorf("%s: %s has changed", state, name)
			}
		}
	}
	look("open", running)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	look("closed", tree(t, dir))
	// The files as they were while it was open are what kill -9 leaves.
	dir = t.TempDir()
	for name, b := range running {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	look("killed", running)
}

func TestSnapshotOfNothing(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if _, err := OpenSnapshot(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v, want not exist", err)
		}
	}
}
