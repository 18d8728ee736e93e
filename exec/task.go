package exec

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"

	"github.com/personal-power-plant/p3/ledger"
)

// An Input is what one unit of a job gets.
type Input struct {
	Text      string   `cbor:"1,keyasint,omitempty" json:"text,omitempty"`       // replaces "{}" in the arguments
	Stdin     []byte   `cbor:"2,keyasint,omitempty" json:"stdin,omitempty"`      // at most MaxInline bytes
	Files     []File   `cbor:"3,keyasint,omitempty" json:"files,omitempty"`      // under /in
	StdinFile *File    `cbor:"4,keyasint,omitempty" json:"stdin_file,omitempty"` // instead of Stdin when that would be too long
	Args      []string `cbor:"5,keyasint,omitempty" json:"args,omitempty"`       // in place of the job's arguments, at most MaxInline bytes together
}

// MaxInline is the most bytes of stdin that travel inside a task instead of as a blob.
const MaxInline = 64 << 10

// A Status says how a unit ended. The numbers are on the wire and never change.
type Status uint8

const (
	Exited      Status = 1 // the program ended by itself; see ExitCode
	Trap        Status = 2 // the program did something undefined: Message says what
	OutOfFuel   Status = 3 // the fuel limit was reached
	OutOfMemory Status = 4 // the program needs more memory than the limit to start at all
	OutputLimit Status = 5 // stdout, stderr and /out grew beyond the limit
	Deadline    Status = 6 // wall time ran out: says nothing of the program
	HostFault   Status = 7 // this host failed: says nothing of the program
	BadProgram  Status = 8 // not a module that may run: Message says why
)

var statusNames = [...]string{Exited: "exited", Trap: "trap", OutOfFuel: "out-of-fuel", OutOfMemory: "out-of-memory",
	OutputLimit: "output-limit", Deadline: "deadline", HostFault: "host-fault", BadProgram: "bad-program"}

func (s Status) String() string {
	if int(s) < len(statusNames) && statusNames[s] != "" {
		return statusNames[s]
	}
	return "unknown"
}

// MarshalText writes the name.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name; an unknown one becomes 0.
func (s *Status) UnmarshalText(b []byte) error {
	*s = 0
	for i, n := range statusNames {
		if n != "" && n == string(b) {
			*s = Status(i)
		}
	}
	return nil
}

// Deterministic reports whether every honest host comes to the same status, so that it can be voted on and paid for.
func (s Status) Deterministic() bool { return s != Deadline && s != HostFault && s != 0 }

// A Result is what came out of one unit.
type Result struct {
	Status   Status      `cbor:"1,keyasint" json:"status"`
	ExitCode uint32      `cbor:"2,keyasint,omitempty" json:"exit_code"`         // with Exited
	Message  string      `cbor:"3,keyasint,omitempty" json:"message,omitempty"` // for people, at most 512 bytes; not in the digest
	Stdout   []byte      `cbor:"4,keyasint,omitempty" json:"stdout"`
	Stderr   []byte      `cbor:"5,keyasint,omitempty" json:"stderr"`
	Files    []File      `cbor:"6,keyasint,omitempty" json:"files,omitempty"` // what was left in /out, sorted by name
	Fuel     ledger.Fuel `cbor:"7,keyasint" json:"fuel"`
	WallMs   int64       `cbor:"8,keyasint,omitempty" json:"wall_ms"` // as the host measured it; not in the digest
}

// Digest covers all of a result but its timing and its message:
// SHA-256 over "p3 result 1", status, exit code, fuel and the length-prefixed rest.
func (r Result) Digest() ledger.Digest {
	h := sha256.New()
	num := func(v uint64) { h.Write(binary.BigEndian.AppendUint64(nil, v)) }
	str := func(b []byte) { num(uint64(len(b))); h.Write(b) }
	h.Write([]byte("p3 result 1"))
	num(uint64(r.Status))
	num(uint64(r.ExitCode))
	num(uint64(r.Fuel))
	str(r.Stdout)
	str(r.Stderr)
	num(uint64(len(r.Files)))
	for _, f := range r.Files {
		str([]byte(f.Name))
		h.Write(f.Hash[:])
		num(uint64(f.Size))
	}
	return ledger.Digest(h.Sum(nil))
}

// OK reports whether the program ended by itself with exit code 0.
func (r Result) OK() bool { return r.Status == Exited && r.ExitCode == 0 }

// A Mount puts one host file at a path of the guest, read-only.
type Mount struct {
	Name string // relative slash path below /in or /data
	Path string // on this host
}

// A Spec is one run, in terms of this host's files.
type Spec struct {
	Program   string        // path of the module, already verified against Hash
	Hash      ledger.Digest // SHA-256 of the module; keys the compile cache
	Args      []string      // after argv[0], which is always "main"
	Env       []string
	Stdin     []byte // used when StdinPath is "" and Stdio is nil
	StdinPath string // a file to read stdin from
	In        []Mount
	Data      []Mount
	OutDir    string // existing folder that receives what the guest left in /out; "" drops it
	Limits    Limits
	Seed      uint64
	Stdio     *Stdio // set only for `p3 run`: streams pass through instead of being kept
}

// Stdio passes the caller's own streams to the guest. The files stay the caller's.
type Stdio struct {
	In, Out, Err *os.File
	Live         bool // a read of In gives what has come, however little: for who talks with the guest
}

// ErrFrozen is in the error of a run that reached its deadline after it had been frozen: how much
// of the time was its own is uncertain, so it says nothing of the program.
var ErrFrozen = errors.New("it was frozen by the owner of this machine")

// A Freezer is an Engine whose runs can be made to stand still.
type Freezer interface {
	// Freeze(true) stops all runs where they are, within milliseconds and without their help, and
	// Freeze(false) lets them go on. What a run stands still does not count towards its wall time.
	// Runs begun meanwhile wait. An error means that this machine cannot: nothing is stopped then.
	Freeze(frozen bool) error
}

// An Engine runs programs. It is safe for concurrent use.
type Engine interface {
	// Name is the engine's name in offers and manifests.
	Name() string
	// Run runs one unit to its end. Whatever the guest does is a Result; an error means that this
	// host could not try (and is reported to the requester as HostFault). Cancelling ctx ends the
	// guest within 50 ms. Files of the Result lie in spec.OutDir under their names.
	Run(ctx context.Context, spec Spec) (Result, error)
	// Close ends all runs and frees what the engine holds.
	Close() error
}
