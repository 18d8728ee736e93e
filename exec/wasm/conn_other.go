//go:build !unix

package wasm

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// fdConn does not exist here: workers open inputs by their paths.
type fdConn struct {
	io.ReadWriteCloser
	keeps bool
}

func (*fdConn) take() *os.File { return nil }

func sendFile(io.Writer, []byte, *os.File) error {
	return errors.New("this connection carries no files")
}

func carriesFiles(io.Writer) bool { return false }

func wrapFile(*os.File) *fdConn { return nil }

type pipes struct{ r, w *os.File }

func (p pipes) Read(b []byte) (int, error)  { return p.r.Read(b) }
func (p pipes) Write(b []byte) (int, error) { return p.w.Write(b) }
func (p pipes) Close() error                { return errors.Join(p.w.Close(), p.r.Close()) }

// connect makes a pipe each way: our ends, and the worker's stdin and stdout.
func connect() (ours io.ReadWriteCloser, in, out *os.File, err error) {
	in, w, err := os.Pipe()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("pipe to worker: %w", err)
	}
	r, out, err := os.Pipe()
	if err != nil {
		in.Close()
		w.Close()
		return nil, nil, nil, fmt.Errorf("pipe to worker: %w", err)
	}
	return pipes{r, w}, in, out, nil
}
