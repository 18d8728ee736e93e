//go:build unix

package wasm

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A fdConn is one end of a unix socket whose frames may carry open files. Reads are for one
// goroutine.
type fdConn struct {
	*net.UnixConn
	// keeps is whether files that arrive are kept: at the worker's end only. A node that held
	// what a worker sends could be made to hold the worker's own end of the socket, and would
	// then wait for ever for a dead worker's last word.
	keeps bool
	mu    sync.Mutex // guards files
	files []*os.File // received, not yet taken
}

// maxWaiting bounds files received and not taken; a worker asks for one at a time.
const maxWaiting = 4

// Read reads bytes and keeps what files come with them, or closes them.
func (c *fdConn) Read(b []byte) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4*maxWaiting))
	n, oobn, _, _, err := c.ReadMsgUnix(b, oob)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, io.EOF
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return n, nil
	}
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		c.mu.Lock()
		for _, fd := range fds {
			if !c.keeps || len(c.files) >= maxWaiting {
				unix.Close(fd)
				continue
			}
			c.files = append(c.files, os.NewFile(uintptr(fd), "input"))
		}
		c.mu.Unlock()
	}
	return n, nil
}

// take returns the oldest received file, or nil.
func (c *fdConn) take() *os.File {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.files) == 0 {
		return nil
	}
	f := c.files[0]
	c.files = c.files[1:]
	return f
}

// sendFile sends a frame together with an open file.
func sendFile(w io.Writer, frame []byte, f *os.File) error {
	c, ok := w.(*fdConn)
	if !ok {
		return fmt.Errorf("this connection carries no files")
	}
	n, _, err := c.WriteMsgUnix(frame, unix.UnixRights(int(f.Fd())), nil)
	if err == nil && n < len(frame) {
		_, err = c.Write(frame[n:])
	}
	return err
}

// carriesFiles reports whether open files can be sent over w.
func carriesFiles(w io.Writer) bool { _, ok := w.(*fdConn); return ok }

// wrapFile turns a socket into a connection; nil when f is none.
func wrapFile(f *os.File) *fdConn {
	conn, err := net.FileConn(f)
	if err != nil {
		return nil
	}
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil
	}
	return &fdConn{UnixConn: uc}
}

// connect makes the two ends: ours, and the file that becomes the worker's stdin and stdout.
func connect() (ours io.ReadWriteCloser, in, out *os.File, err error) {
	fds, err := socketpair()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	mine, theirs := os.NewFile(uintptr(fds[0]), "worker"), os.NewFile(uintptr(fds[1]), "node")
	defer mine.Close()
	c := wrapFile(mine)
	if c == nil {
		theirs.Close()
		return nil, nil, nil, fmt.Errorf("socket pair: not a unix socket")
	}
	return c, theirs, theirs, nil
}
