package badgerstore

import (
	"errors"
	"math"
	"testing"

	"github.com/personal-power-plant/p3/ledger"
)

// A full disk must refuse writes while Badger still has its own room, and lose nothing.
func TestFullDiskRefusesWritesAndKeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), ledger.Op{Key: []byte("node/a"), Value: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	s.minFree = math.MaxUint64
	err = s.Commit(t.Context(), ledger.Op{Key: []byte("node/a"), Value: []byte("2")})
	if !errors.Is(err, ErrFull) {
		t.Errorf("commit on a full disk: %v", err)
	}
	if v, err := s.Get([]byte("node/a")); err != nil || string(v) != "1" {
		t.Errorf("after the refusal: %q %v", v, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := room(dir, math.MaxUint64); !errors.Is(err, ErrFull) {
		t.Errorf("room: %v", err)
	}
}
