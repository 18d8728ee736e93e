package wasm

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/ledger"
)

// The protocol between a node and its worker: frames of a 4-byte big-endian length and that
// many bytes of canonical CBOR. Both ends are the same binary, so it has no versions.
//
//	node → worker   setup, then per unit: task; file (answers open); stood (answers late); cancel
//	worker → node   ready, then per unit: loaded (unless it was); open (asks for a file); late; chunk…; done
//
// A worker that is to become a native process starts it when its first task comes, and speaks
// no more; one that compiles natively sends its result as a file.
//
// The node trusts nothing that comes back: one bad frame ends the worker.

// Bounds of one frame, in bytes, by direction.
const (
	maxToWorker   = 8 << 20
	maxFromWorker = 1 << 20
	chunkSize     = 256 << 10
)

// toWorker is a frame to a worker; exactly one field is set.
type toWorker struct {
	Setup  *setup   `cbor:"1,keyasint,omitempty"`
	Task   *task    `cbor:"2,keyasint,omitempty"`
	File   *fileMsg `cbor:"3,keyasint,omitempty"`
	Cancel bool     `cbor:"4,keyasint,omitempty"`
	Stood  *int64   `cbor:"5,keyasint,omitempty"` // answers late: ms of this run in which the worker was frozen
}

// fromWorker is a frame from a worker; exactly one field is set.
type fromWorker struct {
	Ready  *ready     `cbor:"1,keyasint,omitempty"`
	Open   *openMsg   `cbor:"2,keyasint,omitempty"`
	Chunk  *chunk     `cbor:"3,keyasint,omitempty"`
	Done   *done      `cbor:"4,keyasint,omitempty"`
	Built  *doneBuild `cbor:"5,keyasint,omitempty"`
	Loaded bool       `cbor:"6,keyasint,omitempty"` // the program was not in memory and is now: the unit's time begins
	Late   bool       `cbor:"7,keyasint,omitempty"` // the wall time is over: how much of it was I frozen?
}

// setup tells a new worker what it will be, before it shuts itself in.
type setup struct {
	Modules    string `cbor:"1,keyasint,omitempty"`  // folder of verified cache entries, to read
	Build      string `cbor:"2,keyasint,omitempty"`  // or: one folder to compile into, then end
	Memory     int64  `cbor:"3,keyasint"`            // bytes that guests may have
	Streams    bool   `cbor:"4,keyasint,omitempty"`  // stdin, stdout, stderr of the guest are open files 3, 4, 5
	Bare       bool   `cbor:"5,keyasint,omitempty"`  // do not shut in: only where nothing else works
	Probe      bool   `cbor:"6,keyasint,omitempty"`  // attack the walls, report, end
	Foreground bool   `cbor:"8,keyasint,omitempty"`  // at normal priority
	CPU        int64  `cbor:"9,keyasint,omitempty"`  // seconds of CPU time that compiling may take, natively each process of it
	Spaces     bool   `cbor:"7,keyasint,omitempty"`  // it has namespaces of its own
	Native     bool   `cbor:"10,keyasint,omitempty"` // become the program in Modules; open files 3 and 4 are its socket and memory
	Compile    bool   `cbor:"11,keyasint,omitempty"` // compile one program natively, then end
	Live       bool   `cbor:"13,keyasint,omitempty"` // see exec.Stdio
	Nobody     bool   `cbor:"12,keyasint,omitempty"` // user 1 is there to become
}

// ready says that a worker has shut itself in.
type ready struct {
	Protections []Protection `cbor:"1,keyasint,omitempty"`
}

// A task is one unit. Files are numbered: 0 the module (to compile) or stdin, then /in, then /data.
type task struct {
	Entry  string        `cbor:"1,keyasint,omitempty"` // cache entry to run
	Hash   ledger.Digest `cbor:"2,keyasint"`           // of the module, to compile
	Pages  uint32        `cbor:"3,keyasint"`
	Args   []string      `cbor:"4,keyasint,omitempty"`
	Env    []string      `cbor:"5,keyasint,omitempty"`
	Stdin  []byte        `cbor:"6,keyasint,omitempty"`
	Input  bool          `cbor:"7,keyasint,omitempty"` // stdin is file 0
	In     []mount       `cbor:"8,keyasint,omitempty"`
	Data   []mount       `cbor:"9,keyasint,omitempty"`
	Limits exec.Limits   `cbor:"10,keyasint"`
	Seed   uint64        `cbor:"11,keyasint"`
	Drop   []string      `cbor:"12,keyasint,omitempty"` // entries to forget first
	Native uint64        `cbor:"13,keyasint,omitempty"` // native process to run it; 0 = none
}

type mount struct {
	Name string `cbor:"1,keyasint"`
	Size int64  `cbor:"2,keyasint"`
}

// Files of a task that are no files of the unit: the worker's ends of a native process.
const (
	nativeSocket = -1
	nativeMemory = -2
)

// openMsg asks for an open file of the host by its number in the task.
type openMsg struct {
	File int `cbor:"1,keyasint"`
}

// fileMsg answers openMsg. The descriptor travels beside it, where the system can do that.
type fileMsg struct {
	Error string `cbor:"1,keyasint,omitempty"`
	Path  string `cbor:"2,keyasint,omitempty"` // only where descriptors cannot travel
}

// chunk is a piece of stdout, stderr or a file.
type chunk struct {
	Stream uint8  `cbor:"1,keyasint"`           // 1 stdout, 2 stderr, 3 a file
	Name   string `cbor:"2,keyasint,omitempty"` // of the file; a new name starts a new file
	Data   []byte `cbor:"3,keyasint"`
}

// done ends a unit.
type done struct {
	Status  exec.Status `cbor:"1,keyasint"`
	Exit    uint32      `cbor:"2,keyasint,omitempty"`
	Message string      `cbor:"3,keyasint,omitempty"`
	Fuel    ledger.Fuel `cbor:"4,keyasint"`
	WallMs  int64       `cbor:"5,keyasint,omitempty"`
	Fault   string      `cbor:"6,keyasint,omitempty"` // why this host could not; the rest is void
	Reload  bool        `cbor:"7,keyasint,omitempty"` // with Fault: the cache entry is of no use
	Native  bool        `cbor:"8,keyasint,omitempty"` // with Fault: the native process is at fault
	Lost    bool        `cbor:"9,keyasint,omitempty"` // the native process must be ended
}

// doneBuild ends a compilation.
type doneBuild struct {
	Status exec.Status `cbor:"1,keyasint,omitempty"` // BadProgram, OutOfMemory or 0
	Why    string      `cbor:"2,keyasint,omitempty"`
	Fault  string      `cbor:"3,keyasint,omitempty"`
}

func encodeFrame(v any, limit int) ([]byte, error) {
	body, err := canon.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode frame: %w", err)
	}
	if len(body) > limit {
		return nil, fmt.Errorf("frame of %d bytes, at most %d: use fewer or shorter arguments, or files", len(body), limit)
	}
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body))), body...), nil
}

func writeFrame(w io.Writer, v any, limit int) error {
	b, err := encodeFrame(v, limit)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// readFrame reads one frame of at most limit bytes into v. Memory grows with what arrives, not
// with what the length claims.
func readFrame(r io.Reader, v any, limit int) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := int64(binary.BigEndian.Uint32(head[:]))
	if n > int64(limit) {
		return fmt.Errorf("frame of %d bytes, at most %d", n, limit)
	}
	body := make([]byte, 0, min(n, 64<<10))
	for int64(len(body)) < n {
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
		part := body[len(body):min(int64(cap(body)), n)]
		got, err := io.ReadFull(r, part)
		body = body[:len(body)+got]
		if err != nil {
			return io.ErrUnexpectedEOF
		}
	}
	return canon.Unmarshal(body, v)
}

// fields counts what is set, for "exactly one".
func (f fromWorker) fields() (n int) {
	for _, set := range []bool{f.Ready != nil, f.Open != nil, f.Chunk != nil, f.Done != nil, f.Built != nil, f.Loaded, f.Late} {
		if set {
			n++
		}
	}
	return n
}

// readFromWorker reads and checks a worker's frame.
func readFromWorker(r io.Reader) (fromWorker, error) {
	var f fromWorker
	if err := readFrame(r, &f, maxFromWorker); err != nil {
		return f, err
	}
	if f.fields() != 1 {
		return f, fmt.Errorf("frame with %d messages", f.fields())
	}
	if c := f.Chunk; c != nil && (c.Stream < 1 || c.Stream > 3 || c.Stream == 3 && !exec.ValidName(c.Name) || c.Stream != 3 && len(c.Data) == 0) {
		return f, fmt.Errorf("chunk of %d bytes of stream %d, file %q", len(c.Data), c.Stream, c.Name)
	}
	if d := f.Done; d != nil && d.Fault == "" && d.Status.String() == "unknown" {
		return f, fmt.Errorf("status %d", d.Status)
	}
	if d := f.Done; d != nil && len(d.Message) > 512 {
		return f, fmt.Errorf("message of %d bytes", len(d.Message))
	}
	return f, nil
}
