package blob

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"syscall"
	"testing"

	"github.com/personal-power-plant/p3/ledger"
)

// TestAFullDiskLeavesTheStoreWhole fills a file system that is smaller than the quota.
func TestAFullDiskLeavesTheStoreWhole(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("p3", dir, "tmpfs", 0, "size=256k,mode=0700"); err != nil {
		t.Skip("needs the right to mount a small tmpfs:", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s, err := Open(dir, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	small := put(t, s, "small", "")
	big := make([]byte, 1<<20)
	rand.Read(big)
	_, err = s.Put(bytes.NewReader(big), "")
	want(t, err, ErrFull)
	in, err := s.Create(ledger.Digest(sha256.Sum256(big)), int64(len(big)))
	if err != nil {
		t.Fatal(err)
	}
	for range 4 { // what does not fit does not fit the second time
		if _, err = in.Write(big[in.Offset():]); err == nil {
			t.Fatal("1 MiB on a disk of 256 KiB")
		}
	}
	var full *FullError
	if !errors.As(err, &full) || full.Disk == nil {
		t.Error(err)
	}
	in.Close()
	s.SetQuota(5) // frees the half transfer
	if u := s.Usage(); u.Used != 5 || read(t, s, small.Hash) != "small" {
		t.Errorf("%+v", u)
	}
}
