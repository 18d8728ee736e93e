package job

import (
	"fmt"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/flow"
)

// Protocols. The version changes when the meaning of a frame does.
const (
	Protocol       = "/p3/job/1.0.0"
	BlobProtocol   = "/p3/blob/1.0.0"
	CreditProtocol = "/p3/credit/1.0.0"
)

// MaxFrame bounds a frame of the job protocol, in bytes: a batch of tasks or results
// whose longer parts travel as blobs.
const MaxFrame = 1 << 20

// A frame of the job protocol. What is present is meant; a frame may hold several parts,
// so that a voucher rides on the next tasks. Field numbers are never reused.
type frame struct {
	Open    *open    `cbor:"1,keyasint,omitempty"`
	Grant   *grant   `cbor:"2,keyasint,omitempty"`
	Refuse  *refusal `cbor:"3,keyasint,omitempty"` // ends the lease, from either side
	Tasks   []task   `cbor:"4,keyasint,omitempty"`
	Commits []commit `cbor:"5,keyasint,omitempty"`
	Reveal  []uint64 `cbor:"6,keyasint,omitempty"` // units whose results may be shown now
	Results []result `cbor:"7,keyasint,omitempty"`
	Claim   []byte   `cbor:"8,keyasint,omitempty"` // covers all Results so far
	Voucher []byte   `cbor:"9,keyasint,omitempty"` // covers all units named in Paid so far
	Paid    []uint64 `cbor:"10,keyasint,omitempty"`
	Drop    []drop   `cbor:"11,keyasint,omitempty"` // units that will not be paid, with the reason
	Cancel  []uint64 `cbor:"12,keyasint,omitempty"` // units no longer wanted
	Faults  []fault  `cbor:"13,keyasint,omitempty"` // units this provider could not run
	Hide    []uint64 `cbor:"14,keyasint,omitempty"` // units asked for by Reveal that may not be shown yet; read before Reveal
}

// open is the first flight of a lease.
type open struct {
	Manifest   []byte       `cbor:"1,keyasint"`
	Lock       []byte       `cbor:"2,keyasint"`           // the signed LOCK entry
	Binding    []byte       `cbor:"3,keyasint"`           // joins the requester's peer ID to its account
	Slots      int          `cbor:"4,keyasint"`           // how many units at a time it wants
	Price      ledger.Price `cbor:"5,keyasint"`           // what it will pay
	Membership []byte       `cbor:"6,keyasint,omitempty"` // signed member list of the job's group
	Work       [][]byte     `cbor:"7,keyasint,omitempty"` // ledger.Work that the payer, or who worked for it, has done: at most flow.MaxShown
	Grants     [][]byte     `cbor:"8,keyasint,omitempty"` // ledger.Grant to the payer, and to who paid it, in a granted network: at most maxGrants

	Certificate []byte `cbor:"9,keyasint,omitempty"` // of the witnesses for Lock, in a network that has them
}

// What a payer shows of the grants to it, and of those to each account that paid for the work it shows. A provider
// remembers them; so all of its own are shown with the first lease there, as far as they fit into 100 KB, and the
// newest after that.
const (
	maxGrants = 512
	newGrants = 8
)

type grant struct {
	Slots int `cbor:"1,keyasint"` // units run at a time
	Queue int `cbor:"2,keyasint"` // units that may wait here beyond these

	Limit ledger.Credits `cbor:"3,keyasint,omitempty"` // µcr that may be claimed in all; 0 = the whole LOCK
}

type task struct {
	Unit  uint64     `cbor:"1,keyasint"`
	Input exec.Input `cbor:"2,keyasint"`
	Try   uint32     `cbor:"3,keyasint,omitempty"` // units cancelled on this lease before it was assigned, so the same unit never has the same twice
}

// commit hides a result until every replica has one (LEDGER: replicated units).
type commit struct {
	Unit uint64        `cbor:"1,keyasint"`
	Hash ledger.Digest `cbor:"2,keyasint"`
	Try  uint32        `cbor:"3,keyasint,omitempty"` // of the task: a commitment that crossed a cancellation is not one to the next try
}

type result struct {
	Unit   uint64        `cbor:"1,keyasint"`
	Result exec.Result   `cbor:"2,keyasint"` // streams longer than exec.MaxInline are in Stdout, Stderr below
	Stdout *exec.File    `cbor:"3,keyasint,omitempty"`
	Stderr *exec.File    `cbor:"4,keyasint,omitempty"`
	Digest ledger.Digest `cbor:"5,keyasint"`           // Result.Digest with the streams in place
	Nonce  []byte        `cbor:"6,keyasint,omitempty"` // opens the commitment
}

type drop struct {
	Unit uint64 `cbor:"1,keyasint"`
	Code Code   `cbor:"2,keyasint"`
}

type fault struct {
	Unit uint64 `cbor:"1,keyasint"`
	Code Code   `cbor:"2,keyasint"`
	Text string `cbor:"3,keyasint,omitempty"` // for people, bounded by maxText
}

type refusal struct {
	Code Code   `cbor:"1,keyasint"`
	Text string `cbor:"2,keyasint,omitempty"`
}

// maxText bounds free text of a stranger, in bytes.
const maxText = 512

// A Code says why something was refused. The numbers are on the wire and never change.
type Code uint16

// Reasons.
const (
	CodeBusy       Code = 1  // no free slot
	CodePrice      Code = 2  // the price is below this provider's
	CodePolicy     Code = 3  // the owner's policy forbids it
	CodeCredit     Code = 4  // the LOCK does not cover the work, or the requester's credit limit is reached
	CodeRecord     Code = 5  // a signed record is wrong
	CodeManifest   Code = 6  // the manifest is invalid or beyond this host's limits
	CodeBlob       Code = 7  // program or data could not be fetched
	CodePaused     Code = 8  // the owner uses the machine, or paused it
	CodeStopping   Code = 9  // the node is going down
	CodeIdle       Code = 10 // the lease expired unused
	CodeOutvoted   Code = 11 // the replicas came to another result
	CodeLate       Code = 12 // another replica was faster
	CodeOvercharge Code = 13 // the claim is above price times fuel
	CodeHost       Code = 14 // this host failed to run it
	CodeProtocol   Code = 15 // a frame broke the protocol
	CodeCancelled  Code = 16 // the requester cancelled
	CodeDeadline   Code = 17 // the unit's wall time ran out here
	CodeFrozen     Code = 18 // an account was convicted of cheating; the proof is with whoever says so
	CodeDisk       Code = 19 // program and data, or what a unit leaves, do not fit on this host's disk
)

var codeText = map[Code]string{
	CodeBusy: "no free slot", CodePrice: "price below this provider's", CodePolicy: "the owner's policy forbids it",
	CodeCredit: "not enough locked credit", CodeRecord: "a signed record is wrong", CodeManifest: "job beyond this host's limits",
	CodeBlob: "program or data could not be fetched", CodePaused: "the owner uses the machine", CodeStopping: "node is going down",
	CodeIdle: "lease expired unused", CodeOutvoted: "outvoted", CodeLate: "another replica was faster", CodeOvercharge: "overcharged",
	CodeHost: "host fault", CodeProtocol: "protocol violation", CodeCancelled: "cancelled", CodeDeadline: "time limit reached",
	CodeFrozen: "the account was convicted of cheating", CodeDisk: "not enough disk",
}

func (c Code) String() string {
	if s, ok := codeText[c]; ok {
		return s
	}
	return fmt.Sprintf("reason %d", uint16(c))
}

// A Refusal is what a provider answered instead of a grant, or why a lease ended.
type Refusal struct {
	Code Code
	Text string
}

func (r *Refusal) Error() string {
	if r.Text == "" || r.Text == r.Code.String() {
		return r.Code.String()
	}
	return r.Code.String() + ": " + r.Text
}

func refuse(c Code, format string, args ...any) *Refusal {
	return &Refusal{Code: c, Text: clip(fmt.Sprintf(format, args...))}
}

func clip(s string) string { return s[:min(len(s), maxText)] }

func readFrame(s Stream) (frame, error) {
	var f frame
	b, err := s.ReadFrame()
	if err != nil {
		return f, err
	}
	return f, f.decode(b)
}

func (f *frame) decode(b []byte) error {
	if err := canon.Unmarshal(b, f); err != nil {
		return fmt.Errorf("frame: %w", err)
	}
	if f.Open != nil && len(f.Open.Work) > flow.MaxShown {
		return fmt.Errorf("open: %d proofs of work, at most %d", len(f.Open.Work), flow.MaxShown)
	}
	if f.Open != nil && len(f.Open.Grants) > maxGrants {
		return fmt.Errorf("open: %d grants, at most %d", len(f.Open.Grants), maxGrants)
	}
	for _, t := range f.Tasks {
		if err := validInput(t.Input); err != nil {
			return fmt.Errorf("task %d: %w", t.Unit, err)
		}
	}
	for _, r := range f.Results {
		if err := exec.ValidFiles(r.Result.Files); err != nil {
			return fmt.Errorf("result %d: %w", r.Unit, err)
		}
		if len(r.Result.Stdout) > exec.MaxInline || len(r.Result.Stderr) > exec.MaxInline || r.size() > MaxFrame/2 {
			return fmt.Errorf("result %d: longer than may be inline", r.Unit)
		}
		if len(r.Result.Message) > maxText {
			return fmt.Errorf("result %d: message too long", r.Unit)
		}
	}
	return nil
}

func validInput(in exec.Input) error {
	if len(in.Stdin) > exec.MaxInline || len(in.Text) > exec.MaxInline {
		return fmt.Errorf("input longer than %d bytes", exec.MaxInline)
	}
	if len(in.Args) > 0 {
		if err := exec.CheckArgs(nil, in); err != nil {
			return err
		}
	}
	if f := in.StdinFile; f != nil && f.Size < 0 {
		return fmt.Errorf("negative size")
	}
	return exec.ValidFiles(in.Files)
}

func writeFrame(s Stream, f frame) error {
	b, err := canon.Marshal(f)
	if err != nil {
		return err
	}
	return s.WriteFrame(b)
}

// emptyFrame is the heartbeat: no part at all.
var emptyFrame = func() []byte {
	b, err := canon.Marshal(frame{})
	if err != nil {
		panic(err)
	}
	return b
}()

func (f *frame) empty() bool {
	return f.Open == nil && f.Grant == nil && f.Refuse == nil && len(f.Tasks)+len(f.Commits)+len(f.Reveal)+len(f.Results)+
		len(f.Claim)+len(f.Voucher)+len(f.Paid)+len(f.Drop)+len(f.Cancel)+len(f.Faults)+len(f.Hide) == 0
}

// size is about how many bytes the result takes in a frame.
func (r *result) size() int {
	n := 256 + len(r.Result.Stdout) + len(r.Result.Stderr) + len(r.Result.Message)
	for _, f := range r.Result.Files {
		n += len(f.Name) + 64
	}
	return n
}

// size is about how many bytes the task takes in a frame.
func (t *task) size() int {
	n := 64 + len(t.Input.Text) + len(t.Input.Stdin)
	for _, f := range t.Input.Files {
		n += len(f.Name) + 64
	}
	for _, a := range t.Input.Args {
		n += len(a) + 8
	}
	return n
}
