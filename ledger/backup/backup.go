// Package backup writes a book and the keys that go with it into one encrypted file, and reads it back.
//
// The file is an age file (age-encryption.org/v1) with an scrypt recipient: the passphrase alone opens it, every
// byte is authenticated, and a file that was cut off does not read as a shorter one. Inside are items,
// one after another:
//
//	"P3B" 1 u8 · { kind u8 · name length u16 · value length u32 · name · value } · 0 u8 · number of items u64
//
// kind is 1 for a file, 2 for a row of the store; numbers are big-endian. The package knows nothing of what the
// items mean. Functions are safe for concurrent use.
package backup

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"

	"filippo.io/age"
)

// Kinds of an Item. The numbers are part of the format.
const (
	File Kind = 1 // Name is a path below the data folder, with slashes
	Row  Kind = 2 // Name is a key of the store
)

// A Kind says what an Item is.
type Kind byte

// An Item is one thing that is kept.
type Item struct {
	Kind  Kind
	Name  string // 1 to MaxName bytes
	Value []byte // at most MaxValue bytes
}

// Bounds of an Item, those of a ledger.Store, in bytes.
const (
	MaxName  = 1 << 10
	MaxValue = 1 << 20
)

const magic = "P3B\x01"

// The cost of the passphrase, as the logarithm of scrypt's n at 1 KiB each: 18 takes about a second and 256 MiB. A file
// from elsewhere may ask for 1 GiB.
const (
	workFactor      = 18
	lightWorkFactor = 12
	maxWorkFactor   = 20
)

// ErrPassphrase reports a passphrase that does not open the file.
var ErrPassphrase = errors.New("wrong passphrase")

// ErrDamaged reports a file that is no backup, or not a whole one.
var ErrDamaged = errors.New("not a whole backup file")

// Write writes items to w, encrypted with a passphrase. light makes the passphrase cheaper to use, for machines with
// little memory, and as much cheaper to guess.
func Write(w io.Writer, passphrase string, light bool, items iter.Seq2[Item, error]) error {
	to, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return fmt.Errorf("encrypt the backup: %w", err)
	}
	to.SetWorkFactor(workFactor)
	if light {
		to.SetWorkFactor(lightWorkFactor)
	}
	sealed, err := age.Encrypt(w, to)
	if err != nil {
		return fmt.Errorf("encrypt the backup: %w", err)
	}
	if err := writeItems(sealed, items); err != nil {
		return err
	}
	return sealed.Close()
}

func writeItems(w io.Writer, items iter.Seq2[Item, error]) error {
	b := bufio.NewWriter(w)
	b.WriteString(magic)
	n := uint64(0)
	for x, err := range items {
		if err != nil {
			return err
		}
		if x.Kind != File && x.Kind != Row || x.Name == "" || len(x.Name) > MaxName || len(x.Value) > MaxValue {
			return fmt.Errorf("back up %q of kind %d with %d bytes: out of bounds", x.Name, x.Kind, len(x.Value))
		}
		head := binary.BigEndian.AppendUint16([]byte{byte(x.Kind)}, uint16(len(x.Name)))
		b.Write(binary.BigEndian.AppendUint32(head, uint32(len(x.Value))))
		b.WriteString(x.Name)
		if _, err := b.Write(x.Value); err != nil {
			return err
		}
		n++
	}
	b.Write(binary.BigEndian.AppendUint64([]byte{0}, n))
	return b.Flush()
}

// Read decrypts what Write wrote and yields its items, one at a time, until yield fails. Items come before it is known that
// the file is whole: only a nil error says so. It fails with ErrPassphrase, ErrDamaged or yield's error.
func Read(r io.Reader, passphrase string, yield func(Item) error) error {
	from, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return ErrPassphrase // an empty one
	}
	from.SetMaxWorkFactor(maxWorkFactor)
	opened, err := age.Decrypt(bufio.NewReader(r), from)
	if none := (*age.NoIdentityMatchError)(nil); errors.As(err, &none) {
		return ErrPassphrase
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return readItems(opened, yield)
}

func readItems(in io.Reader, yield func(Item) error) error {
	r := bufio.NewReader(in)
	cut := func(err error) error { return fmt.Errorf("%w: %w", ErrDamaged, err) }
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(r, head); err != nil {
		return cut(err)
	}
	if string(head[:3]) != magic[:3] {
		return ErrDamaged
	}
	if head[3] != magic[3] {
		return fmt.Errorf("backup version %d: this p3 knows version 1; update p3: %w", head[3], ErrDamaged)
	}
	for n := uint64(0); ; n++ {
		kind, err := r.ReadByte()
		if err != nil {
			return cut(err)
		}
		if kind == 0 {
			var end [8]byte
			if _, err := io.ReadFull(r, end[:]); err != nil {
				return cut(err)
			}
			if said := binary.BigEndian.Uint64(end[:]); said != n {
				return fmt.Errorf("%d items, it says %d: %w", n, said, ErrDamaged)
			}
			switch _, err := r.ReadByte(); {
			case err == nil:
				return fmt.Errorf("something after its end: %w", ErrDamaged)
			case !errors.Is(err, io.EOF):
				return cut(err)
			}
			return nil
		}
		var sizes [6]byte
		if _, err := io.ReadFull(r, sizes[:]); err != nil {
			return cut(err)
		}
		name, value := int(binary.BigEndian.Uint16(sizes[:])), int64(binary.BigEndian.Uint32(sizes[2:]))
		if Kind(kind) != File && Kind(kind) != Row || name == 0 || name > MaxName || value > MaxValue {
			return fmt.Errorf("item %d of kind %d with %d and %d bytes: %w", n, kind, name, value, ErrDamaged)
		}
		text := make([]byte, name)
		if _, err := io.ReadFull(r, text); err != nil {
			return cut(err)
		}
		b, err := io.ReadAll(io.LimitReader(r, value)) // grows with what is there, not with what is said
		if err == nil && int64(len(b)) < value {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return cut(err)
		}
		if err := yield(Item{Kind(kind), string(text), b}); err != nil {
			return err
		}
	}
}
