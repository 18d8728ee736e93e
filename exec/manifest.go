package exec

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/ledger"
)

// A JobID is the SHA-256 of a job's manifest in canonical CBOR.
type JobID ledger.Digest

func (j JobID) String() string { return ledger.Digest(j).String() }

// Short is how people see a job: "j-" and eight hex digits.
func (j JobID) Short() string { return "j-" + ledger.Digest(j).Short() }

// MarshalText writes lower-case hex.
func (j JobID) MarshalText() ([]byte, error) { return ledger.Digest(j).MarshalText() }

// UnmarshalText reads 64 hex digits.
func (j *JobID) UnmarshalText(b []byte) error { return (*ledger.Digest)(j).UnmarshalText(b) }

// Kinds of job.
const (
	KindMap = "map" // one program over many inputs
)

// Engines.
const (
	EngineWASM = "wasm" // WebAssembly, WASI preview 1
)

// Ways to make units out of inputs (Manifest.Each).
const (
	EachLines  = "lines"  // one unit a line; the line, with its newline, is the unit's stdin
	EachFiles  = "files"  // one unit a file, at /in/NAME and on stdin
	EachParams = "params" // one unit a combination of parameters, in its arguments; the values, between tabs, are its stdin
	EachRange  = "range"  // one unit a number; its decimal, with a newline, is the unit's stdin
)

// A Manifest is the whole statement of a job. Its canonical CBOR is what requester and
// provider agree on; numbers of fields are never reused.
type Manifest struct {
	Version  uint           `cbor:"1,keyasint" json:"version"`                       // 1
	Kind     string         `cbor:"2,keyasint" json:"kind"`                          // KindMap
	Engine   string         `cbor:"3,keyasint" json:"engine"`                        // EngineWASM
	Name     string         `cbor:"4,keyasint" json:"name"`                          // for people, at most 64 bytes
	Program  File           `cbor:"5,keyasint" json:"program"`                       // the module
	Args     []string       `cbor:"6,keyasint,omitempty" json:"args"`                // after argv[0]; "{}" stands for the unit's input
	Env      []string       `cbor:"7,keyasint,omitempty" json:"env"`                 // "KEY=value"
	Each     string         `cbor:"8,keyasint" json:"each"`                          // EachLines, EachFiles, EachParams, EachRange
	Data     []File         `cbor:"9,keyasint,omitempty" json:"data"`                // read-only, under /data
	Limits   Limits         `cbor:"10,keyasint" json:"limits"`                       // per unit
	Verify   Verify         `cbor:"11,keyasint" json:"verify"`                       // replicas that must agree; 1 = no voting
	Need     string         `cbor:"12,keyasint,omitempty" json:"need"`               // expression over offer attributes; "" = any
	Ceiling  ledger.Price   `cbor:"13,keyasint" json:"ceiling"`                      // highest price accepted; zero Den = any
	Budget   ledger.Credits `cbor:"14,keyasint" json:"budget"`                       // µcr for the whole job
	Retries  int            `cbor:"15,keyasint" json:"retries"`                      // further attempts of a unit after a host failed
	Seed     uint64         `cbor:"16,keyasint" json:"seed"`                         // of the guest's random numbers
	Costs    ledger.Digest  `cbor:"17,keyasint" json:"costs"`                        // the fuel cost table the prices refer to
	Account  ledger.Account `cbor:"18,keyasint" json:"account"`                      // who pays
	Nonce    []byte         `cbor:"19,keyasint" json:"nonce"`                        // 16 bytes: the same job twice is two jobs
	Created  int64          `cbor:"20,keyasint" json:"created"`                      // Unix ms
	Signed   []byte         `cbor:"23,keyasint,omitempty" json:"signed,omitempty"`   // the program's ledger.Publication, if it has a publisher
	Jobs     int            `cbor:"21,keyasint,omitempty" json:"jobs,omitempty"`     // units at a time; 0 = as many as hosts take
	Halt     string         `cbor:"25,keyasint,omitempty" json:"halt,omitempty"`     // an early end, as ParseHalt reads it
	Deadline int64          `cbor:"26,keyasint,omitempty" json:"deadline,omitempty"` // Unix ms by which it is to be done; 0 = none
	Optimise Optimise       `cbor:"27,keyasint,omitempty" json:"optimise,omitempty"` // "" = Balanced
}

// Publisher is who published the program: the signer of its publication, which it checks, or, without one, who pays.
func (m Manifest) Publisher(network ledger.Network) (ledger.Account, error) {
	if len(m.Signed) == 0 {
		return m.Account, nil
	}
	p, err := ledger.VerifyPublication(m.Signed, network, m.Program.Hash)
	return p.Account, err
}

// A File is a blob under a name. Names are relative slash paths without "." or "..".
type File struct {
	Name string        `cbor:"1,keyasint" json:"name"`
	Hash ledger.Digest `cbor:"2,keyasint" json:"hash"` // SHA-256
	Size int64         `cbor:"3,keyasint" json:"size"` // bytes
}

// Limits bound one unit. Zero in any field is invalid in a Manifest.
type Limits struct {
	Fuel   ledger.Fuel `cbor:"1,keyasint" json:"fuel"`
	Memory int64       `cbor:"2,keyasint" json:"memory"`  // bytes of linear memory, rounded down to 64 KiB pages
	WallMs int64       `cbor:"3,keyasint" json:"wall_ms"` // a host property: exceeding it is never voted on
	Output int64       `cbor:"4,keyasint" json:"output"`  // bytes: stdout, stderr and /out together
}

// DefaultLimits suit a unit of seconds on a small PC.
var DefaultLimits = Limits{Fuel: 100_000_000_000, Memory: 256 << 20, WallMs: 60_000, Output: 16 << 20}

// MaxManifest is the largest encoded manifest, in bytes.
const MaxManifest = 64 << 10

// Encode returns the canonical bytes and the identity they have.
func (m Manifest) Encode() ([]byte, JobID, error) {
	b, err := canon.Marshal(m)
	if err != nil {
		return nil, JobID{}, fmt.Errorf("encode manifest: %w", err)
	}
	if len(b) > MaxManifest {
		return nil, JobID{}, fmt.Errorf("manifest of %d bytes, at most %d: move arguments into a /data file", len(b), MaxManifest)
	}
	return b, sha256.Sum256(b), nil
}

// DecodeManifest reads and validates a manifest; its identity is that of the bytes given.
func DecodeManifest(b []byte) (Manifest, JobID, error) {
	var m Manifest
	if len(b) > MaxManifest {
		return m, JobID{}, fmt.Errorf("manifest of %d bytes, at most %d", len(b), MaxManifest)
	}
	if err := canon.Unmarshal(b, &m); err != nil {
		return m, JobID{}, fmt.Errorf("decode manifest: %w", err)
	}
	return m, sha256.Sum256(b), m.Validate()
}

// JSON is the manifest as people read it.
func (m Manifest) JSON() string {
	b, _ := json.MarshalIndent(m, "", "  ")
	return string(b)
}
