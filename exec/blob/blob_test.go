package blob

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

func open(t *testing.T, dir string, quota int64) *Store {
	t.Helper()
	s, err := Open(dir, quota)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t *testing.T, s *Store, text, owner string) exec.File {
	t.Helper()
	f, err := s.Put(strings.NewReader(text), owner)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func read(t *testing.T, s *Store, hash ledger.Digest) string {
	t.Helper()
	f, err := s.Open(hash)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// files lists the regular files and links below dir.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			names = append(names, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error %v, want %v", err, target)
	}
}

func TestBlobsSurviveReopening(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 1<<20)
	src := filepath.Join(t.TempDir(), "in.txt")
	if err := os.WriteFile(src, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := s.PutFile(src, "")
	if err != nil || a.Name != "in.txt" || a.Size != 5 || a.Hash != sha256.Sum256([]byte("hello")) {
		t.Fatal(a, err)
	}
	empty := put(t, s, "", "")
	s.Close()
	s = open(t, dir, 1<<20)
	if got := read(t, s, a.Hash); got != "hello" {
		t.Errorf("read %q", got)
	}
	if got := read(t, s, empty.Hash); got != "" {
		t.Errorf("read %q", got)
	}
	path, err := s.Path(a.Hash)
	if err != nil || path != filepath.Join(dir, a.Hash.String()[:2], a.Hash.String()) {
		t.Error(path, err)
	}
	_, err = s.Path(ledger.Digest{1})
	want(t, err, ErrNotFound)
	if u := s.Usage(); u.Blobs != 2 || u.Used != 5 {
		t.Errorf("%+v", u)
	}
}

func TestAFailedPutLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 1<<20)
	boom := errors.New("the source broke")
	_, err := s.Put(io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(boom)), "")
	want(t, err, boom)
	if f := files(t, dir); len(f) != 0 {
		t.Error("left:", f)
	}
	if u := s.Usage(); u.Used != 0 {
		t.Errorf("%+v", u)
	}
	if _, err := s.PutFile(dir, ""); err == nil {
		t.Error("a folder was stored")
	}
}

func TestChangedBytesAreFoundAndRemoved(t *testing.T) {
	for name, spoil := range map[string]func(string) error{
		"flipped":   func(p string) error { return os.WriteFile(p, []byte("hellO"), 0o600) },
		"truncated": func(p string) error { return os.Truncate(p, 3) },
		"grown":     func(p string) error { return os.WriteFile(p, []byte("hello!"), 0o600) },
		"gone":      os.Remove,
		"link": func(p string) error {
			other := p + ".other"
			return errors.Join(os.Rename(p, other), os.Symlink(filepath.Base(other), p))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, 1<<20)
			f := put(t, s, "hello", "")
			path, err := s.Path(f.Hash)
			if err != nil {
				t.Fatal(err)
			}
			if name == "flipped" {
				s.Close() // within a process bytes are hashed once
				s = open(t, dir, 1<<20)
			}
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			_, err = s.Open(f.Hash)
			want(t, err, ErrCorrupt)
			if s.Has(f.Hash) || s.Usage().Used != 0 {
				t.Error("a corrupt blob is still listed")
			}
			put(t, s, "hello", "")
			if got := read(t, s, f.Hash); got != "hello" {
				t.Errorf("stored again, it reads %q", got)
			}
		})
	}
}

func TestVerifyHashesAgain(t *testing.T) {
	s := open(t, t.TempDir(), 1<<20)
	f := put(t, s, "hello", "")
	if err := s.Verify(f.Hash); err != nil {
		t.Error(err)
	}
	path, _ := s.Path(f.Hash)
	if err := os.WriteFile(path, []byte("hellO"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, s.Verify(f.Hash), ErrCorrupt)
	want(t, s.Verify(f.Hash), ErrNotFound)
}

func TestGoodBytesReplaceAnUnreadBlobThatMayBeBad(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 1<<20)
	f := put(t, s, "hello", "")
	path, _ := s.Path(f.Hash)
	s.Close()
	if err := os.WriteFile(path, []byte("hellO"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, 1<<20)
	put(t, s, "hello", "")
	if got := read(t, s, f.Hash); got != "hello" || s.Usage().Used != 5 {
		t.Errorf("read %q, %+v", got, s.Usage())
	}
}

func TestQuotaCollectsTheLeastRecentlyUsedThatNobodyPinned(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 30)
	a, b, c := put(t, s, "aaaaaaaaaa", ""), put(t, s, "bbbbbbbbbb", "job"), put(t, s, "cccccccccc", "")
	read(t, s, a.Hash) // now c is the oldest that may go
	d := put(t, s, "dddddddddd", "")
	if !s.Has(a.Hash) || !s.Has(b.Hash) || s.Has(c.Hash) || !s.Has(d.Hash) {
		t.Error("another than the least recently used was collected")
	}
	s.Pin(a.Hash, "job")
	s.Pin(d.Hash, "other")
	_, err := s.Put(strings.NewReader("e"), "")
	want(t, err, ErrFull)
	var full *FullError
	if !errors.As(err, &full) || full.Pinned != 30 || full.Quota != 30 || !strings.Contains(err.Error(), "raise the quota") {
		t.Errorf("%+v", err)
	}
	s.Unpin("job")
	s.Unpin("nobody")
	put(t, s, "e", "")
	if !s.Has(d.Hash) || s.Has(b.Hash) {
		t.Error("what a job pinned was collected, or what was unpinned stayed")
	}
	if _, err := s.Put(strings.NewReader(strings.Repeat("x", 31)), ""); !errors.Is(err, ErrFull) {
		t.Error("a blob beyond the quota:", err)
	}
	s.SetQuota(10)
	if u := s.Usage(); u.Used != 10 || !s.Has(d.Hash) {
		t.Errorf("%+v", u)
	}
	if n := len(files(t, dir)); n != 1 {
		t.Errorf("%d files", n)
	}
}

func TestOrderOfUseSurvivesReopening(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 20)
	a, b := put(t, s, "aaaaaaaaaa", ""), put(t, s, "bbbbbbbbbb", "")
	path, _ := s.Path(b.Hash)
	s.Close()
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, 20)
	put(t, s, "c", "")
	if !s.Has(a.Hash) || s.Has(b.Hash) {
		t.Error("the blob used last was collected")
	}
}

func TestTransferResumesWhereItBroke(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 100)
	data := []byte("0123456789")
	hash := ledger.Digest(sha256.Sum256(data))
	in, err := s.Create(hash, 10)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(hash, 10); !errors.Is(err, ErrBusy) {
		t.Error("two transfers of one blob:", err)
	}
	if u := s.Usage(); u.Used != 10 {
		t.Errorf("room is not kept: %+v", u)
	}
	if _, err := in.Write(data[:4]); err != nil {
		t.Fatal(err)
	}
	_, err = in.Commit("")
	want(t, err, ErrShort)
	in.Close()
	if u := s.Usage(); u.Used != 4 || s.Has(hash) {
		t.Errorf("%+v", u)
	}
	s.Close()

	s = open(t, dir, 100)
	in, err = s.Create(hash, 10)
	if err != nil || in.Offset() != 4 {
		t.Fatal(in.Offset(), err)
	}
	if _, err := in.Write(data[4:]); err != nil {
		t.Fatal(err)
	}
	_, err = in.Write([]byte("x"))
	want(t, err, ErrTooLong)
	f, err := in.Commit("job")
	if err != nil || f.Hash != hash || f.Size != 10 {
		t.Fatal(f, err)
	}
	in.Close()
	if got := read(t, s, hash); got != string(data) {
		t.Errorf("read %q", got)
	}
	if u := s.Usage(); u.Used != 10 || u.Pinned != 10 {
		t.Errorf("%+v", u)
	}
	_, err = s.Create(hash, 10)
	want(t, err, ErrExists)
	if n := files(t, dir); len(n) != 1 {
		t.Error("left:", n)
	}
}

func TestWrongBytesNeverBecomeABlob(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 100)
	hash := ledger.Digest(sha256.Sum256([]byte("good")))
	in, err := s.Create(hash, 4)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte("evil")); err != nil {
		t.Fatal(err)
	}
	_, err = in.Commit("")
	want(t, err, ErrCorrupt)
	in.Close()
	if n := files(t, dir); len(n) != 0 || s.Has(hash) || s.Usage().Used != 0 {
		t.Error("left:", n)
	}
	// A sender that told a larger size first: what arrived is too long for the true one.
	in, _ = s.Create(hash, 50)
	if _, err := in.Write([]byte("good and then some")); err != nil {
		t.Fatal(err)
	}
	in.Close()
	in, err = s.Create(hash, 4)
	if err != nil || in.Offset() != 0 {
		t.Fatal(in.Offset(), err)
	}
	if _, err := in.Write([]byte("good")); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Commit(""); err != nil {
		t.Error(err)
	}
	for _, size := range []int64{-1, 101, 1 << 62} {
		if _, err := s.Create(ledger.Digest{1}, size); err == nil {
			t.Errorf("a transfer of %d bytes began", size)
		}
	}
	if !s.Has(hash) {
		t.Error("a blob was collected for one that cannot fit")
	}
	in, err = s.Create(sha256.Sum256(nil), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Commit(""); err != nil || !s.Has(sha256.Sum256(nil)) {
		t.Error("the empty blob:", err)
	}
}

func TestAbandonedTransfersAreCollectedFirst(t *testing.T) {
	s := open(t, t.TempDir(), 20)
	a := put(t, s, "aaaaaaaaaa", "")
	in, err := s.Create(ledger.Digest{1}, 10)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte("12345678")); err != nil {
		t.Fatal(err)
	}
	in.Close()
	put(t, s, "bbbbbbbbbb", "")
	if !s.Has(a.Hash) {
		t.Error("a blob was collected before an abandoned transfer")
	}
	if in, err = s.Create(ledger.Digest{1}, 10); err != nil || in.Offset() != 0 {
		t.Error("the transfer was not collected", err)
	}
}

func TestLeftoversOfACrashAreRemoved(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	s := open(t, dir, 100)
	a := put(t, s, "a", "")
	s.Close()
	secret := filepath.Join(outside, "secret")
	stale := filepath.Join(dir, partDir, ledger.Digest{2}.String())
	fresh := filepath.Join(dir, partDir, ledger.Digest{3}.String())
	for _, f := range []string{filepath.Join(dir, tmpDir, "half"), stale, fresh, secret, filepath.Join(dir, "notes.txt")} {
		if err := os.WriteFile(f, []byte("xyz"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-2 * partAge)
	if err := os.Chtimes(stale, old, old); err != nil {
		t.Fatal(err)
	}
	link := ledger.Digest(sha256.Sum256([]byte("xyz")))
	if err := os.MkdirAll(filepath.Join(dir, folder(link)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(dir, folder(link), link.String())); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, 100)
	if s.Has(link) {
		t.Error("a link counts as a blob")
	}
	if u := s.Usage(); u.Blobs != 1 || u.Used != 4 || !s.Has(a.Hash) {
		t.Errorf("%+v", u)
	}
	for _, f := range []string{filepath.Join(dir, tmpDir, "half"), stale} {
		if _, err := os.Lstat(f); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there", f)
		}
	}
	put(t, s, "xyz", "") // replaces the link, not what it points to
	if got := read(t, s, link); got != "xyz" {
		t.Errorf("read %q", got)
	}
	if b, err := os.ReadFile(secret); err != nil || string(b) != "xyz" {
		t.Error("the file outside was touched")
	}
}

func TestManyWritersOfOneBlob(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 16<<20)
	data := bytes.Repeat([]byte("power"), 100_000)
	hash := ledger.Digest(sha256.Sum256(data))
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if i%4 == 0 {
				in, err := s.Create(hash, int64(len(data)))
				if errors.Is(err, ErrBusy) || errors.Is(err, ErrExists) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				defer in.Close()
				if _, err := in.Write(data); err != nil {
					t.Error(err)
				}
				if _, err := in.Commit(fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
				return
			}
			f, err := s.Put(bytes.NewReader(data), fmt.Sprint(i))
			if err != nil || f.Hash != hash {
				t.Error(f, err)
			}
			s.Unpin(fmt.Sprint(i))
		})
	}
	wg.Wait()
	if u := s.Usage(); u.Blobs != 1 || u.Used != int64(len(data)) {
		t.Errorf("%+v", u)
	}
	if n := files(t, dir); len(n) != 1 {
		t.Error("files:", n)
	}
	if got := read(t, s, hash); got != string(data) {
		t.Error("the bytes are wrong")
	}
}

func TestReadersAndCollectionDoNotMeet(t *testing.T) {
	s := open(t, t.TempDir(), 1000)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				text := strings.Repeat(string(rune('a'+(i+j)%20)), 100)
				f, err := s.Put(strings.NewReader(text), "")
				if err != nil {
					t.Error(err)
					return
				}
				r, err := s.Open(f.Hash)
				if errors.Is(err, ErrNotFound) {
					continue // collected at once
				}
				if err != nil {
					t.Error(err)
					return
				}
				if b, err := io.ReadAll(r); err != nil || string(b) != text {
					t.Errorf("read %q, %v", b, err)
				}
				r.Close()
			}
		})
	}
	wg.Wait()
	if u := s.Usage(); u.Used > 1000 || u.Used != int64(u.Blobs)*100 {
		t.Errorf("%+v", u)
	}
}

func TestAFullDiskSaysWhatToDo(t *testing.T) {
	err := diskFull(&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, 7)
	var full *FullError
	if !errors.As(err, &full) || full.Need != 7 || !errors.Is(err, ErrFull) || !errors.Is(err, syscall.ENOSPC) ||
		!strings.Contains(err.Error(), "free some space") {
		t.Error(err)
	}
	if err := diskFull(os.ErrClosed, 7); errors.Is(err, ErrFull) {
		t.Error("every error is a full disk")
	}
}

func FuzzFileNames(f *testing.F) {
	d := ledger.Digest{0xab}.String()
	for _, s := range []string{"ab/" + d, "part/" + d, "tmp/x", d, "ab/" + strings.ToUpper(d), "cd/" + d, "ab/../ab/" + d, "ab/cd/" + d} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		hash, isPart, ok := parseName(name)
		switch {
		case ok && isPart && partName(hash) != name, ok && !isPart && blobName(hash) != name:
			t.Errorf("%q is taken for %s", name, hash)
		}
	})
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s, err := Open(b.TempDir(), 1<<30)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			data := make([]byte, size)
			b.SetBytes(int64(size))
			for i := 0; b.Loop(); i++ {
				copy(data, fmt.Sprint(i, " "))
				if _, err := s.Put(bytes.NewReader(data), ""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
