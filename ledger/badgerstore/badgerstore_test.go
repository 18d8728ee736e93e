package badgerstore

import (
	"errors"
	"testing"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

func open1(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	ledgertest.TestStore(t, func(t *testing.T) ledger.Store { return open1(t, t.TempDir()) })
}

func TestSecondOpenSaysWhoHasTheFolder(t *testing.T) {
	dir := t.TempDir()
	s := open1(t, dir)
	if _, err := Open(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("%v, want ErrInUse", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open1(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestNewerFormatIsDeclined(t *testing.T) {
	dir := t.TempDir()
	s := open1(t, dir)
	if err := s.Commit(t.Context(), ledger.Op{Key: []byte(formatKey), Value: []byte{format + 1}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the refusal must free the folder
		if _, err := Open(dir); !errors.Is(err, ErrTooNew) {
			t.Errorf("%v, want ErrTooNew", err)
		}
	}
}

func TestCommitAfterCloseFails(t *testing.T) {
	s := open1(t, t.TempDir())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), ledger.Op{Key: []byte("job/a")}); err == nil {
		t.Error("a closed store took a commit")
	}
}
