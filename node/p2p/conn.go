package p2p

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Bounds and deadlines of framed streams.
const (
	DefaultLimit = 1 << 20          // bytes of a frame's payload
	IdleTimeout  = 2 * time.Minute  // between frames
	FrameTimeout = 30 * time.Second // from a frame's first byte to its last, and for each write
	pieceSize    = 64 << 10         // written at once; smaller pieces cost 25 to 40 % of throughput
)

// ErrFrameTooLarge reports a frame beyond the protocol's limit.
var ErrFrameTooLarge = errors.New("frame larger than the protocol allows")

// A Conn carries frames over one stream:
//
//	length  4 bytes  big-endian, of the payload
//	payload length bytes
//
// One goroutine may read while others write. Whoever got the Conn closes it.
type Conn struct {
	s     stream
	peer  peer.ID
	limit int
	idle  time.Duration
	r     *bufio.Reader

	wmu sync.Mutex // one WriteFrame at a time
}

// stream is what a Conn needs of a libp2p stream.
type stream interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// newConn frames a stream; limit ≤ 0 means DefaultLimit.
func newConn(s stream, p peer.ID, limit int) *Conn {
	if limit <= 0 {
		limit = DefaultLimit
	}
	return &Conn{s: s, peer: p, limit: limit, idle: IdleTimeout, r: bufio.NewReader(s)}
}

// Peer is who is at the other end, proven by its key.
func (c *Conn) Peer() peer.ID { return c.peer }

// Relayed reports whether the stream runs through a relay.
func (c *Conn) Relayed() bool {
	s, ok := c.s.(network.Stream)
	return ok && relayed(s.Conn())
}

// SetIdle changes how long ReadFrame waits for the next frame to begin (at first
// IdleTimeout); 0 waits for ever. Call it from the reading goroutine.
func (c *Conn) SetIdle(d time.Duration) { c.idle = d }

// SetLimit changes the largest payload, in bytes, that is read or written. Call it before use.
func (c *Conn) SetLimit(n int) { c.limit = n }

// ReadFrame returns the next payload, which is the caller's to keep. It returns io.EOF when
// the other side closed between frames, ErrFrameTooLarge, io.ErrUnexpectedEOF, or the
// stream's error; os.ErrDeadlineExceeded when a deadline passed. After an error the Conn is
// of no further use. Memory grows with the bytes that arrive, not with the length announced.
func (c *Conn) ReadFrame() ([]byte, error) {
	if c.r.Buffered() == 0 {
		if err := c.s.SetReadDeadline(after(c.idle)); err != nil {
			return nil, err
		}
		if _, err := c.r.Peek(1); err != nil {
			return nil, err
		}
	}
	if !c.buffered() {
		if err := c.s.SetReadDeadline(after(FrameTimeout)); err != nil {
			return nil, err
		}
	}
	var head [4]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return nil, unexpected(err)
	}
	size := binary.BigEndian.Uint32(head[:])
	if uint64(size) > uint64(c.limit) {
		return nil, fmt.Errorf("%d bytes, limit %d: %w", size, c.limit, ErrFrameTooLarge)
	}
	n := int(size)
	buf := make([]byte, min(n, pieceSize))
	for have := 0; ; {
		m, err := io.ReadFull(c.r, buf[have:])
		if err != nil {
			return nil, unexpected(err)
		}
		if have += m; have == n {
			return buf, nil
		}
		grown := make([]byte, min(n, 2*have))
		copy(grown, buf)
		buf = grown
	}
}

// buffered reports whether the next frame is here already, so that no deadline is needed.
func (c *Conn) buffered() bool {
	if c.r.Buffered() < 4 {
		return false
	}
	head, _ := c.r.Peek(4)
	return uint64(c.r.Buffered()) >= 4+uint64(binary.BigEndian.Uint32(head))
}

var pieces = sync.Pool{New: func() any { b := make([]byte, 0, pieceSize); return &b }}

// WriteFrame sends each payload as a frame, several small ones in one write. It returns when
// the stream has taken them all, or its error, and leaves the payloads alone.
func (c *Conn) WriteFrame(payloads ...[]byte) error {
	for _, p := range payloads {
		if len(p) > c.limit {
			return fmt.Errorf("%d bytes, limit %d: %w", len(p), c.limit, ErrFrameTooLarge)
		}
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	pooled := pieces.Get().(*[]byte)
	defer pieces.Put(pooled)
	buf := (*pooled)[:0]
	for _, p := range payloads {
		if len(buf)+4 > pieceSize {
			if err := c.write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(p)))
		for len(p) > pieceSize-len(buf) {
			n := pieceSize - len(buf)
			if err := c.write(append(buf, p[:n]...)); err != nil {
				return err
			}
			buf, p = buf[:0], p[n:]
		}
		buf = append(buf, p...)
	}
	if len(buf) == 0 {
		return nil
	}
	return c.write(buf)
}

func (c *Conn) write(b []byte) error {
	if err := c.s.SetWriteDeadline(after(FrameTimeout)); err != nil {
		return err
	}
	_, err := c.s.Write(b)
	return err
}

// CloseWrite tells the other side that no more frames come; reading goes on.
func (c *Conn) CloseWrite() error {
	if s, ok := c.s.(interface{ CloseWrite() error }); ok {
		return s.CloseWrite()
	}
	return c.s.Close()
}

// Close ends the stream in order: what was written still arrives.
func (c *Conn) Close() error { return c.s.Close() }

// Reset drops the stream at once; both sides' reads and writes fail.
func (c *Conn) Reset() error {
	if s, ok := c.s.(interface{ Reset() error }); ok {
		return s.Reset()
	}
	return c.s.Close()
}

func after(d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
