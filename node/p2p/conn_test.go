package p2p

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// tape is a stream that reads what it was given and keeps what is written.
type tape struct {
	io.Reader
	bytes.Buffer
	writes int
}

func (t *tape) Read(b []byte) (int, error)       { return t.Reader.Read(b) }
func (t *tape) Write(b []byte) (int, error)      { t.writes++; return t.Buffer.Write(b) }
func (t *tape) Close() error                     { return nil }
func (t *tape) SetReadDeadline(time.Time) error  { return nil }
func (t *tape) SetWriteDeadline(time.Time) error { return nil }

func reading(b []byte, limit int) *Conn { return newConn(&tape{Reader: bytes.NewReader(b)}, "", limit) }

func TestFramesArriveAsTheyWereWritten(t *testing.T) {
	out := &tape{Reader: bytes.NewReader(nil)}
	c := newConn(out, "", 0)
	frames := [][]byte{[]byte("a"), {}, bytes.Repeat([]byte("b"), pieceSize-4), bytes.Repeat([]byte("c"), pieceSize), bytes.Repeat([]byte("d"), DefaultLimit)}
	if err := c.WriteFrame(frames...); err != nil {
		t.Fatal(err)
	}
	in := reading(out.Bytes(), 0)
	for i, want := range frames {
		got, err := in.ReadFrame()
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("frame %d: %d bytes, %v; want %d bytes", i, len(got), err, len(want))
		}
	}
	if _, err := in.ReadFrame(); err != io.EOF {
		t.Fatalf("at the end: %v, want EOF", err)
	}
}

func TestSmallFramesShareOneWrite(t *testing.T) {
	out := &tape{Reader: bytes.NewReader(nil)}
	c := newConn(out, "", 0)
	if err := c.WriteFrame([]byte("one"), []byte("two"), []byte("three")); err != nil || out.writes != 1 {
		t.Fatalf("%d writes, %v", out.writes, err)
	}
}

func TestFrameBeyondTheLimitIsRefused(t *testing.T) {
	head := binary.BigEndian.AppendUint32(nil, 1<<32-1)
	if _, err := reading(head, 100).ReadFrame(); !errors.Is(err, ErrFrameTooLarge) {
		t.Errorf("read: %v", err)
	}
	c := reading(nil, 100)
	if err := c.WriteFrame(make([]byte, 101)); !errors.Is(err, ErrFrameTooLarge) {
		t.Errorf("write: %v", err)
	}
}

func TestAnnouncedLengthAllocatesNothing(t *testing.T) {
	const limit = 1 << 30
	frame := append(binary.BigEndian.AppendUint32(nil, limit), "short"...)
	if _, err := reading(frame, limit).ReadFrame(); err != io.ErrUnexpectedEOF {
		t.Errorf("got %v", err)
	}
	r := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			reading(frame, limit).ReadFrame()
		}
	})
	if got := r.AllocedBytesPerOp(); got > 1<<20 {
		t.Errorf("%d bytes allocated for a frame that never came", got)
	}
}

// A peer that sends a byte now and then, or nothing at all, holds the reader for a bounded time.
func TestSlowLorisMeetsTheDeadline(t *testing.T) {
	for name, first := range map[string][]byte{"silent": nil, "half a header": {0, 0}, "half a frame": {0, 0, 1, 0, 'x'}} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			var wg sync.WaitGroup
			wg.Go(func() {
				theirs.Write(first)
				for { // a byte every ten seconds never resets the deadline
					time.Sleep(10 * time.Second)
					if len(first) < 5 {
						return
					}
					if _, err := theirs.Write([]byte{'y'}); err != nil {
						return
					}
				}
			})
			start := time.Now()
			_, err := newConn(ours, "", 0).ReadFrame()
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(start); took > IdleTimeout+FrameTimeout {
				t.Errorf("%s: held for %s", name, took)
			}
			ours.Close()
			wg.Wait()
		})
	}
}

func TestStuckWriterMeetsTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		defer theirs.Close()
		if err := newConn(ours, "", 0).WriteFrame([]byte("nobody reads")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 2, 'o', 'k', 0, 0, 0, 0})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, rest := reading(b, 1000), b
		for {
			got, err := c.ReadFrame()
			if err != nil {
				return
			}
			if n := binary.BigEndian.Uint32(rest); int(n) != len(got) || !bytes.Equal(rest[4:4+n], got) {
				t.Fatalf("read %q from %q", got, rest)
			}
			rest = rest[4+len(got):]
		}
	})
}
