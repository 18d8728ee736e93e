package job

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// The journal is what a job needs to go on after kill -9. A unit's row is durable before
// the voucher that pays for it is signed, so nothing is paid twice. Keys:
//
//	job/m/<id>          the manifest, as its bytes were hashed
//	job/s/<id>          jobState
//	job/i/<id><unit>    exec.Input, unit as 8 bytes big-endian
//	job/o/<id><unit>    outcome
//	job/l/<lock>        holder: with whom a LOCK is shared
//	job/c/<account>     conduct: what checks of its results came to
//	job/k/<id><lock>    a LOCK of ours for the job, so that what it paid is found in the ledger
type journal struct{ store ledger.Store }

type jobState struct {
	Units  uint64        `cbor:"1,keyasint"`
	Closed bool          `cbor:"2,keyasint"`
	State  node.JobState `cbor:"3,keyasint"`
	Ended  int64         `cbor:"4,keyasint,omitempty"` // Unix ms
	Why    string        `cbor:"5,keyasint,omitempty"`

	// Totals of a job that has ended, so that a restart need not read its results.
	Done     uint64         `cbor:"6,keyasint,omitempty"`
	Failed   uint64         `cbor:"7,keyasint,omitempty"`
	Spent    ledger.Credits `cbor:"8,keyasint,omitempty"`
	Disputes uint64         `cbor:"9,keyasint,omitempty"`
	Blobs    bool           `cbor:"10,keyasint,omitempty"` // some result has bytes outside the journal
	Doubtful uint64         `cbor:"11,keyasint,omitempty"`

	Halted string `cbor:"12,keyasint,omitempty"` // why it ended early

	Raised  ledger.Credits `cbor:"13,keyasint,omitempty"` // what it may spend beyond the manifest's budget
	Removed bool           `cbor:"14,keyasint,omitempty"` // its rows are being deleted
}

// outcome is one finished unit.
type outcome struct {
	Result result         `cbor:"1,keyasint"`
	Error  string         `cbor:"2,keyasint,omitempty"` // why there is no result
	Hosts  []string       `cbor:"3,keyasint,omitempty"`
	Cost   ledger.Credits `cbor:"4,keyasint"`
	Tries  int            `cbor:"5,keyasint"`
	Losers int            `cbor:"6,keyasint,omitempty"`
	Ended  int64          `cbor:"7,keyasint,omitempty"` // Unix ms

	Alone    *ledger.Account `cbor:"8,keyasint,omitempty"` // verify auto left the result of this one unchecked
	Doubtful uint64          `cbor:"9,keyasint,omitempty"` // earlier units whose results came into doubt
}

func (o *outcome) failed() bool { return o.Error != "" || !o.Result.Result.OK() }

func jobKey(part byte, id exec.JobID) []byte {
	return append([]byte{'j', 'o', 'b', '/', part, '/'}, id[:]...)
}

func unitKey(part byte, id exec.JobID, unit uint64) []byte {
	return binary.BigEndian.AppendUint64(jobKey(part, id), unit)
}

func put(key []byte, v any) (ledger.Op, error) {
	b, err := canon.Marshal(v)
	if err != nil {
		return ledger.Op{}, fmt.Errorf("journal %q: %w", key[:6], err)
	}
	return ledger.Op{Key: key, Value: b}, nil
}

func (j journal) get(key []byte, v any) error {
	b, err := j.store.Get(key)
	if err != nil {
		return err
	}
	return canon.Unmarshal(b, v)
}

// newJob writes the first rows of a job.
func (j journal) newJob(ctx context.Context, id exec.JobID, manifest []byte, s jobState) error {
	op, err := put(jobKey('s', id), s)
	if err != nil {
		return err
	}
	return j.store.Commit(ctx, ledger.Op{Key: jobKey('m', id), Value: manifest}, op)
}

func (j journal) input(id exec.JobID, unit uint64) (in exec.Input, err error) {
	return in, j.get(unitKey('i', id, unit), &in)
}

func (j journal) outcome(id exec.JobID, unit uint64) (o outcome, err error) {
	return o, j.get(unitKey('o', id, unit), &o)
}

// outcomes calls yield for the finished units of a job, ascending.
func (j journal) outcomes(id exec.JobID, yield func(unit uint64, o outcome)) error {
	prefix := jobKey('o', id)
	var bad error
	err := j.store.Scan(prefix, nil, func(k, v []byte) bool {
		var o outcome
		if bad = canon.Unmarshal(v, &o); bad != nil || len(k) != len(prefix)+8 {
			bad = errors.Join(bad, fmt.Errorf("job %s: damaged result row", id.Short()))
			return false
		}
		yield(binary.BigEndian.Uint64(k[len(prefix):]), o)
		return true
	})
	return errors.Join(err, bad)
}

// inputs calls yield for the inputs of a job, ascending.
func (j journal) inputs(id exec.JobID, yield func(exec.Input)) error {
	var bad error
	err := j.store.Scan(jobKey('i', id), nil, func(_, v []byte) bool {
		var in exec.Input
		if bad = canon.Unmarshal(v, &in); bad == nil {
			yield(in)
		}
		return bad == nil
	})
	return errors.Join(err, bad)
}

// jobs calls yield for every journaled job.
func (j journal) jobs(yield func(id exec.JobID, m exec.Manifest, raw []byte, s jobState) error) error {
	type row struct {
		id  exec.JobID
		raw []byte
	}
	var rows []row
	prefix := []byte("job/m/")
	err := j.store.Scan(prefix, nil, func(k, v []byte) bool {
		if len(k) == len(prefix)+32 {
			rows = append(rows, row{exec.JobID(k[len(prefix):]), append([]byte(nil), v...)})
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, r := range rows {
		m, id, err := exec.DecodeManifest(r.raw)
		if err != nil || id != r.id {
			return fmt.Errorf("journal: manifest of job %s is damaged", r.id.Short())
		}
		var s jobState
		if err := j.get(jobKey('s', id), &s); err != nil {
			return fmt.Errorf("journal: state of job %s: %w", id.Short(), err)
		}
		if err := yield(id, m, r.raw, s); err != nil {
			return err
		}
	}
	return nil
}

// locks calls yield for the LOCKs that a job of ours made.
func (j journal) locks(id exec.JobID, yield func(lock ledger.Digest)) error {
	prefix := jobKey('k', id)
	var bad error
	err := j.store.Scan(prefix, nil, func(k, _ []byte) bool {
		if len(k) != len(prefix)+len(ledger.Digest{}) {
			bad = fmt.Errorf("job %s: damaged row of a LOCK", id.Short())
			return false
		}
		yield(ledger.Digest(k[len(prefix):]))
		return true
	})
	return errors.Join(err, bad)
}

func lockKey(lock ledger.Digest) []byte { return append([]byte("job/l/"), lock[:]...) }

// holder is the peer that a LOCK is shared with.
type holder struct {
	Peer []byte     `cbor:"1,keyasint"`
	Job  exec.JobID `cbor:"2,keyasint"`
}
