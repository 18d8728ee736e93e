package backup

import (
	"bytes"
	"errors"
	"iter"
	"reflect"
	"strings"
	"testing"
)

func some() []Item {
	return []Item{
		{File, "keys/account", []byte("secret\n")},
		{Row, "ledger/o/x", []byte{}},
		{Row, strings.Repeat("k", MaxName), bytes.Repeat([]byte("v"), MaxValue)},
	}
}

func seq(items []Item) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for _, x := range items {
			if !yield(x, nil) {
				return
			}
		}
	}
}

func write(t testing.TB, items []Item) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, "correct horse", true, seq(items)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(b []byte, passphrase string) (out []Item, err error) {
	err = Read(bytes.NewReader(b), passphrase, func(x Item) error { out = append(out, x); return nil })
	return out, err
}

func TestWhatIsWrittenComesBack(t *testing.T) {
	for _, items := range [][]Item{nil, some()} {
		b := write(t, items)
		if got, err := read(b, "correct horse"); err != nil || !reflect.DeepEqual(got, items) {
			t.Errorf("%d items, %v", len(got), err)
		}
		for _, wrong := range []string{"battery staple", ""} {
			if got, err := read(b, wrong); !errors.Is(err, ErrPassphrase) || got != nil {
				t.Errorf("%q: %d items, %v", wrong, len(got), err)
			}
		}
	}
	if b := write(t, some()); bytes.Contains(b, []byte("secret")) || bytes.Contains(b, []byte("keys/account")) {
		t.Error("it can be read without the passphrase")
	}
	full := errors.New("full")
	if err := Read(bytes.NewReader(write(t, some())), "correct horse", func(Item) error { return full }); !errors.Is(err, full) {
		t.Errorf("%v, want the reader's error", err)
	}
	if err := Write(&bytes.Buffer{}, "correct horse", true, func(yield func(Item, error) bool) { yield(Item{}, full) }); !errors.Is(err, full) {
		t.Errorf("%v, want the source's error", err)
	}
}

// A file that was cut off anywhere, or changed anywhere, is not taken for a backup.
func TestDamageIsNoticed(t *testing.T) {
	good := write(t, some()[:2])
	for n := range good {
		if _, err := read(good[:n], "correct horse"); err == nil {
			t.Fatalf("%d of %d bytes were taken", n, len(good))
		}
		if n%7 == 0 { // each opens the header anew
			bad := bytes.Clone(good)
			bad[n] ^= 1
			if _, err := read(bad, "correct horse"); err == nil {
				t.Fatalf("byte %d changed, and taken", n)
			}
		}
	}
	if _, err := read(append(bytes.Clone(good), 0), "correct horse"); err == nil {
		t.Error("a byte too many was taken")
	}
}

func TestItemsOutOfBoundsAreRefused(t *testing.T) {
	for _, x := range []Item{{0, "a", nil}, {3, "a", nil}, {File, "", nil}, {File, strings.Repeat("a", MaxName+1), nil}, {Row, "a", make([]byte, MaxValue+1)}} {
		if Write(&bytes.Buffer{}, "p", true, seq([]Item{x})) == nil {
			t.Errorf("kind %d, name of %d, value of %d bytes: written", x.Kind, len(x.Name), len(x.Value))
		}
	}
}

// FuzzItems: whatever lies under the encryption, an item that is read obeys the bounds, and what is
// taken as a whole is what would be written.
func FuzzItems(f *testing.F) {
	for _, items := range [][]Item{nil, some()[:2]} {
		var b bytes.Buffer
		if err := writeItems(&b, seq(items)); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
		f.Add(b.Bytes()[:b.Len()-3])
	}
	f.Add([]byte("P3B\x01\x02\x00\x01\xff\xff\xff\xffa"))
	f.Add([]byte("P3B\x01\x01\x04\x00\x00\x10\x00\x00a"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var items []Item
		err := readItems(bytes.NewReader(b), func(x Item) error {
			if x.Name == "" || len(x.Name) > MaxName || len(x.Value) > MaxValue || len(x.Value) > len(b) {
				t.Fatalf("%d and %d bytes", len(x.Name), len(x.Value))
			}
			items = append(items, x)
			return nil
		})
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		var again bytes.Buffer
		if err := writeItems(&again, seq(items)); err != nil || !bytes.Equal(again.Bytes(), b) {
			t.Fatalf("decode then encode is not the identity: %v", err)
		}
	})
}

// FuzzRead: a hostile file neither crashes nor starves who opens it.
func FuzzRead(f *testing.F) {
	f.Add(write(f, some()[:2]))
	f.Add([]byte("age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 30\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = Read(bytes.NewReader(b), "correct horse", func(Item) error { return nil })
	})
}
