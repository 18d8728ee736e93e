package witness

import (
	"fmt"

	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node/job"
)

// Protocol is spoken in frames: a question, an answer, and so on until the asker closes.
const Protocol = "/p3/witness/1.0.0"

const (
	maxFrame = 512 << 10
	maxText  = 512 // of a refusal, in bytes

	// One question shows at most so much, so that an answer never takes long.
	maxShown  = 256
	maxBytes  = maxFrame / 2
	maxChecks = 1024 // signatures
)

// A question shows a stretch of a chain, or asks for the witness' binding, or for entries of the asker's own chain.
type question struct {
	Shown []shown `cbor:"1,keyasint,omitempty"`
	Who   bool    `cbor:"2,keyasint,omitempty"`
	Own   *own    `cbor:"3,keyasint,omitempty"`
}

// own asks what the witness keeps of the chain that Account is part of, from a place on.
type own struct {
	Account ledger.Account `cbor:"1,keyasint"`
	From    uint64         `cbor:"2,keyasint"`
}

// shown is ledger.Shown.
type shown struct {
	Entry       []byte `cbor:"1,keyasint"`
	Lock        []byte `cbor:"2,keyasint,omitempty"`
	Certificate []byte `cbor:"3,keyasint,omitempty"`
	Paid        []byte `cbor:"4,keyasint,omitempty"`
	Grant       []byte `cbor:"5,keyasint,omitempty"`
}

// An answer has one of its fields, or none: no entries.
type answer struct {
	Statement []byte   `cbor:"1,keyasint,omitempty"` // on the last entry shown
	Behind    *behind  `cbor:"2,keyasint,omitempty"`
	Refuse    *refusal `cbor:"3,keyasint,omitempty"`
	Binding   []byte   `cbor:"4,keyasint,omitempty"` // to Who
	Entries   [][]byte `cbor:"5,keyasint,omitempty"` // to Own, ascending, at most maxOwn
}

// behind tells from which place on the witness has to be shown the chain.
type behind struct {
	Next uint64 `cbor:"1,keyasint"`
}

type refusal struct {
	Code  Code   `cbor:"1,keyasint"`
	Text  string `cbor:"2,keyasint,omitempty"`
	Entry []byte `cbor:"3,keyasint,omitempty"` // what the witness signed in that place, for CodeConflict
}

// A Code says why a witness does not sign. The numbers are on the wire and never change.
type Code uint16

// Reasons.
const (
	CodeBusy     Code = 1 // too many questions: ask again in a moment
	CodeRecord   Code = 2 // a record is malformed or not signed by its account
	CodeRule     Code = 3 // an entry breaks a rule of its chain
	CodeConflict Code = 4 // the account signed another entry in that place
	CodeFrozen   Code = 5 // the account was convicted
	CodeBacking  Code = 6 // credit was taken up that nobody set aside
	CodeReadOnly Code = 7 // the witness signs nothing now
)

var codeText = map[Code]string{
	CodeBusy: "asked too much at a time", CodeRecord: "a record is wrong", CodeRule: "an entry breaks a rule", CodeConflict: "it signed another entry in that place",
	CodeFrozen: "the account was convicted of cheating", CodeBacking: "credit without backing", CodeReadOnly: "it signs nothing now",
}

// A Refusal is a witness' no.
type Refusal struct {
	Code  Code
	Text  string
	Entry []byte
}

func (r *Refusal) Error() string {
	text, ok := codeText[r.Code]
	if !ok {
		text = fmt.Sprintf("refused with code %d, which this p3 does not know", r.Code)
	}
	if r.Text != "" {
		text += ": " + r.Text
	}
	return text
}

func clip(s string) string { return s[:min(len(s), maxText)] }

// parseQuestion reads a question, and says how many signatures it takes to answer.
func parseQuestion(b []byte, quorum int) (q question, checks int, err error) {
	if err := canon.Unmarshal(b, &q); err != nil {
		return q, 0, err
	}
	asks := 0
	for _, is := range []bool{len(q.Shown) > 0, q.Who, q.Own != nil} {
		if is {
			asks++
		}
	}
	if len(q.Shown) > maxShown || asks != 1 {
		return q, 0, fmt.Errorf("a question of %d entries: %w", len(q.Shown), ledger.ErrMalformed)
	}
	for _, s := range q.Shown {
		checks += s.checks(quorum)
	}
	if checks > maxChecks+(quorum+3) {
		return q, 0, fmt.Errorf("a question of %d signatures: %w", checks, ledger.ErrMalformed)
	}
	return q, checks, nil
}

func (s shown) checks(quorum int) int {
	switch {
	case len(s.Lock) > 0:
		return 3 + quorum
	case len(s.Grant) > 0:
		return 2
	}
	return 1
}

func write(s job.Stream, v any) error {
	b, err := canon.Marshal(v)
	if err != nil {
		return err
	}
	return s.WriteFrame(b)
}
