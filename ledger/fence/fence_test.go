package fence_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/badgerstore"
	"github.com/personal-power-plant/p3/ledger/fence"
)

var network = ledger.MutualGenesis("fence", 10*ledger.Credit)

func ok[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// A folder is a node's: ledger and high-water file.
type folder struct {
	*ledger.Book
	close func()
}

func open(t testing.TB, dir string, key ledger.Key) folder {
	t.Helper()
	s := ok(badgerstore.Open(filepath.Join(dir, "ledger")))(t)
	f := ok(fence.Open(filepath.Join(dir, "highwater")))(t)
	b := ok(ledger.OpenFenced(t.Context(), s, f, key, network))(t)
	return folder{b, func() {
		t.Helper()
		b.Close()
		if err := errors.Join(f.Close(), s.Close()); err != nil {
			t.Fatal(err)
		}
	}}
}

// sign makes n locks, each a commit of its own.
func (f folder) sign(t testing.TB, n int) {
	t.Helper()
	for range n {
		ok(f.Lock(t.Context(), ledger.LockRequest{Payee: ledger.Account{1}, Amount: 1, Expiry: time.Now().Add(time.Hour)}))(t)
	}
}

// refuses checks that the book signs nothing, for a reason that holds a text, and says the way out.
func (f folder) refuses(t testing.TB, why string) {
	t.Helper()
	_, err := f.Lock(t.Context(), ledger.LockRequest{Payee: ledger.Account{1}, Amount: 1, Expiry: time.Now().Add(time.Hour)})
	if !errors.Is(err, ledger.ErrReadOnly) || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), "p3 credit recover") {
		t.Errorf("%v, want a refusal for %q", err, why)
	}
}

func copyDir(t testing.TB, to, from string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(from))); err != nil {
		t.Fatal(err)
	}
}

func newKey(t testing.TB) ledger.Key { return ok(ledger.NewKey())(t) }

func TestBookThatKeptAllSignsOn(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	for range 4 {
		f := open(t, dir, key)
		f.sign(t, 3)
		f.close()
	}
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(dir, moved); err != nil {
		t.Skip("the test's folders lie on two file systems")
	}
	f := open(t, moved, key)
	f.sign(t, 1)
	f.close()
	if err := os.Mkdir(dir, 0o700); err != nil { // for the test's own cleanup
		t.Fatal(err)
	}
}

// The ledger's folder was restored from an older backup: the node refuses to sign what it may
// have signed before.
func TestAttack09SelfFork(t *testing.T) {
	for _, lost := range []int{1, 5} {
		dir, backup, key := t.TempDir(), t.TempDir(), newKey(t)
		f := open(t, dir, key)
		f.sign(t, 3)
		f.close()
		copyDir(t, filepath.Join(backup, "ledger"), filepath.Join(dir, "ledger"))
		f = open(t, dir, key)
		f.sign(t, lost)
		f.close()
		copyDir(t, filepath.Join(dir, "ledger"), filepath.Join(backup, "ledger"))
		for range 2 { // it stays so
			f = open(t, dir, key)
			f.refuses(t, "rolled back")
			if h := f.Head(); h.Seq != 3 {
				t.Errorf("the head is %d", h.Seq)
			}
			f.close()
		}
	}
}

// A voucher is no entry, but forgetting it would make the payer settle below it.
func TestLostVoucherIsNoticed(t *testing.T) {
	dir, backup, key := t.TempDir(), t.TempDir(), newKey(t)
	host := ok(ledger.NewKey())(t)
	f := open(t, dir, key)
	lock := ok(f.Lock(t.Context(), ledger.LockRequest{Payee: host.Account(), Amount: ledger.Credit, Expiry: time.Now().Add(time.Hour)}))(t)
	f.close()
	copyDir(t, filepath.Join(backup, "ledger"), filepath.Join(dir, "ledger"))
	f = open(t, dir, key)
	claim := ok(host.SignClaim(ledger.Claim{Network: f.Network(), Lock: lock.Digest, K: 1, Fuel: 1, Amount: 5}))(t)
	ok(f.Vouch(t.Context(), lock.Digest, claim, 5))(t)
	f.close()
	copyDir(t, filepath.Join(dir, "ledger"), filepath.Join(backup, "ledger"))
	f = open(t, dir, key)
	defer f.close()
	if _, err := f.Settle(t.Context(), lock.Digest); !errors.Is(err, ledger.ErrReadOnly) {
		t.Errorf("it settles without the voucher: %v", err)
	}
}

func TestAttack10ClonedData(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	f := open(t, dir, key)
	f.sign(t, 3)
	// In the same folder the second process does not even open it.
	if _, err := badgerstore.Open(filepath.Join(dir, "ledger")); !errors.Is(err, badgerstore.ErrInUse) {
		t.Errorf("second process: %v", err)
	}
	f.close()
	// A copy in another folder notices that it is one, though nothing of it is old.
	clone := filepath.Join(t.TempDir(), "clone")
	copyDir(t, clone, dir)
	c := open(t, clone, key)
	c.refuses(t, "is a copy")
	c.close()
	// So does a ledger without its file, and one with the file of another.
	if err := os.Remove(filepath.Join(clone, "highwater")); err != nil {
		t.Fatal(err)
	}
	c = open(t, clone, key)
	c.refuses(t, "missing")
	c.close()
	// The original goes on.
	f = open(t, dir, key)
	f.sign(t, 1)
	f.close()
}

func TestFileOfAnotherHistoryIsNoticed(t *testing.T) {
	key := newKey(t)
	var dirs [2]string
	for i := range dirs {
		dirs[i] = t.TempDir()
		f := open(t, dirs[i], key) // as two copies that went different ways
		f.sign(t, 3)
		f.close()
	}
	copyDir(t, filepath.Join(dirs[0], "ledger"), filepath.Join(dirs[1], "ledger"))
	f := open(t, dirs[0], key)
	defer f.close()
	f.refuses(t, "different ways")
}

// A torn write of the file leaves the mark before it; a file that is all damage is no mark.
func TestDamagedFileIsNoticed(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	f := open(t, dir, key)
	f.sign(t, 4)
	f.close()
	path := filepath.Join(dir, "highwater")
	whole := ok(os.ReadFile(path))(t)
	torn := bytes.Clone(whole)
	clear(torn[4096+100 : 4096+200]) // five commits: the newest mark lies in the second slot
	write(t, path, torn)
	f = open(t, dir, key)
	f.sign(t, 1)
	f.close()
	for name, b := range map[string][]byte{"zeros": make([]byte, len(whole)), "cut": whole[:50], "empty": nil, "noise": bytes.Repeat([]byte{0xa5}, len(whole))} {
		write(t, path, b)
		f = open(t, dir, key)
		f.refuses(t, "damaged")
		f.close()
		_ = name
	}
}

// write changes a file in place, so that it keeps its inode.
func write(t testing.TB, path string, b []byte) {
	t.Helper()
	f := ok(os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0))(t)
	_, err := f.Write(b)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// Badger reopens a damaged log without its tail and without a word. The fence has one.
func TestDamagedLogIsNoticed(t *testing.T) {
	for name, damage := range map[string]func(b []byte, used int) []byte{
		"truncated":       func(b []byte, used int) []byte { return b[:used/2] },
		"tail zeroed":     func(b []byte, used int) []byte { clear(b[used-300:]); return b },
		"tail of garbage": func(b []byte, used int) []byte { copy(b[used-300:], bytes.Repeat([]byte{0xa5}, 300)); return b },
		"bit flipped":     func(b []byte, used int) []byte { b[used/2] ^= 4; return b },
	} {
		t.Run(name, func(t *testing.T) {
			root, key := t.TempDir(), newKey(t)
			dir, killed := filepath.Join(root, "node"), filepath.Join(root, "killed")
			f := open(t, dir, key)
			f.sign(t, 20)
			copyDir(t, filepath.Join(killed, "ledger"), filepath.Join(dir, "ledger")) // as kill -9 leaves it
			f.close()
			logs := ok(filepath.Glob(filepath.Join(killed, "ledger", "*.mem")))(t)
			if len(logs) != 1 {
				t.Fatalf("%d logs", len(logs))
			}
			b := ok(os.ReadFile(logs[0]))(t)
			used := len(bytes.TrimRight(b, "\x00"))
			if used < 1000 {
				t.Fatalf("the log holds %d bytes", used)
			}
			write(t, logs[0], damage(b, used))
			if err := errors.Join(os.RemoveAll(filepath.Join(dir, "ledger")), os.Rename(filepath.Join(killed, "ledger"), filepath.Join(dir, "ledger"))); err != nil {
				t.Fatal(err)
			}
			s, err := badgerstore.Open(filepath.Join(dir, "ledger"))
			if err != nil {
				t.Logf("the store says: %v", err)
				return
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			f = open(t, dir, key)
			defer f.close()
			f.refuses(t, "commits are lost")
			t.Log(f.ReadOnly())
		})
	}
}

// A key change moves the mark to the new account; a node that stopped before its mark was saved opens all the same.
func TestKeyChangeMovesTheMark(t *testing.T) {
	dir, key, next, recovery := t.TempDir(), newKey(t), newKey(t), newKey(t)
	n := open(t, dir, key)
	n.close()
	s := ok(badgerstore.Open(filepath.Join(dir, "ledger")))(t)
	old := ok(os.ReadFile(filepath.Join(dir, "highwater")))(t)
	f := ok(fence.Open(filepath.Join(dir, "highwater")))(t)
	b := ok(ledger.RotateBook(t.Context(), s, f, key, next, network, ledger.RecoveryCommitment(recovery.Account())))(t)
	b.Close()
	if m := ok(f.Load())(t); m.Account != next.Account() || m.Epoch != 1 {
		t.Errorf("mark %+v after the rotation", m)
	}
	b = ok(ledger.RecoverBook(t.Context(), s, f, recovery, network, ledger.Digest{}))(t)
	b.Close()
	if m := ok(f.Load())(t); m.Account != recovery.Account() || m.Epoch != 2 {
		t.Errorf("mark %+v after the recovery", m)
	}
	if err := errors.Join(f.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	n = open(t, dir, recovery)
	n.sign(t, 2)
	n.close()
	h, err := os.OpenFile(filepath.Join(dir, "highwater"), os.O_WRONLY, 0) // in place: the file may not move
	if err == nil {
		_, err = h.WriteAt(old, 0)
		err = errors.Join(err, h.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	n = open(t, dir, recovery)
	n.sign(t, 1)
	n.close()
}

// What was written to a table is not handed out with a bit flipped: opening the ledger says so, or reading it does.
func TestDamagedTableIsNoticed(t *testing.T) {
	for _, at := range []float64{0.1, 0.5, 0.9, 0.99} {
		dir, key := t.TempDir(), newKey(t)
		f := open(t, dir, key)
		f.sign(t, 40)
		f.close()
		tables := ok(filepath.Glob(filepath.Join(dir, "ledger", "*.sst")))(t)
		if len(tables) == 0 {
			t.Fatal("no table")
		}
		before := rows(t, dir)
		b := ok(os.ReadFile(tables[0]))(t)
		b[int(at*float64(len(b)))] ^= 4
		write(t, tables[0], b)
		if err := readAll(t, dir, key); err == nil {
			if rows(t, dir) == before { // a repetition that was compressed may stand in two places
				t.Logf("%.0f %%: the bit makes no difference", 100*at)
				continue
			}
			t.Errorf("a bit at %.0f %% is flipped, and nobody notices", 100*at)
		} else {
			t.Logf("%.0f %%: %v", 100*at, err)
		}
	}
}

// rows is a digest of all that a store holds.
func rows(t testing.TB, dir string) [32]byte {
	t.Helper()
	s := ok(badgerstore.Open(filepath.Join(dir, "ledger")))(t)
	defer s.Close()
	h := sha256.New()
	if err := s.Scan(nil, nil, func(k, v []byte) bool { fmt.Fprintf(h, "%x %x\n", k, v); return true }); err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

// readAll opens a node's ledger and reads every entry.
func readAll(t testing.TB, dir string, key ledger.Key) (err error) {
	s, err := badgerstore.Open(filepath.Join(dir, "ledger"))
	if err != nil {
		return err
	}
	defer s.Close()
	mark := ok(fence.Open(filepath.Join(dir, "highwater")))(t)
	defer mark.Close()
	b, err := ledger.OpenFenced(t.Context(), s, mark, key, network)
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.ReadOnly(); err != nil {
		return err
	}
	n := 0
	scan := b.Entries(0, 0, func(raw []byte) bool {
		n++
		_, _, err = ledger.VerifyEntry(raw)
		return err == nil
	})
	if n != 41 {
		return errors.Join(scan, err, errors.New("entries are missing"))
	}
	rest := s.Scan(nil, nil, func(_, _ []byte) bool { return true }) // the bit may lie in another row
	return errors.Join(scan, err, rest)
}

// BenchmarkSave is what the fence adds to each group of commits, with its share of syncs, which run beside the store's own.
func BenchmarkSave(b *testing.B) {
	f := ok(fence.Open(filepath.Join(b.TempDir(), "highwater")))(b)
	defer f.Close()
	m := ledger.Mark{Head: ledger.Digest{1}}
	for b.Loop() {
		m.Commits++
		if err := errors.Join(f.Sync(), f.Save(m)); err != nil {
			b.Fatal(err)
		}
	}
}
