package farm

import (
	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

// A HostID names one provider, in practice its libp2p peer ID.
type HostID string

// A Vote is what is compared between replicas: two votes are equal when digest and fuel are.
type Vote struct {
	Digest ledger.Digest // exec.Result.Digest
	Fuel   ledger.Fuel
	Status exec.Status
	OK     bool // exec.Result.OK
}

// An Action is what the caller must do next: one of the types below. Actions of one event
// are performed in order.
type Action interface{ action() }

// Assign sends a unit to a host.
type Assign struct {
	Host HostID
	Unit uint64
}

// Reveal asks a host, which has committed, for its result and nonce.
type Reveal struct {
	Host HostID
	Unit uint64
}

// Hide takes a Reveal back: the unit lacks a replica again, since a host was lost. What is asked
// for can then always be decided by the hosts that were asked, so hosts that show results in the
// order asked never wait for each other. A result that crosses a Hide counts all the same.
type Hide struct {
	Host HostID
	Unit uint64
}

// Compute asks the caller to compute a unit itself and to report Computed: its votes differ, or it is checked so.
type Compute struct{ Unit uint64 }

// Accept ends a unit: the vote is its result. Winners gave it and are to be paid; Losers gave
// another and each also gets a Refuse. Both in the order of assignment. The host may have left.
type Accept struct {
	Unit    uint64
	Winners []HostID // none when Own and no host gave the same
	Losers  []HostID
	Vote    Vote
	Own     bool // the vote is the caller's, see Compute
}

// Refuse says that a host is not paid for a unit: it was outvoted or broke its commitment.
type Refuse struct {
	Host   HostID
	Unit   uint64
	Reason string
}

// CancelUnit tells a host that its replica is no longer wanted; whatever it still sends of it is ignored.
type CancelUnit struct {
	Host HostID
	Unit uint64
}

// Fail ends a unit without a result.
type Fail struct {
	Unit   uint64
	Reason string
}

// Bad says that the host gets no more work in this job. Its lease should end.
type Bad struct {
	Host   HostID
	Reason string
}

// Finished is the last action: every unit is accepted or failed, or the job was cancelled.
type Finished struct{}

func (Assign) action()     {}
func (Reveal) action()     {}
func (Hide) action()       {}
func (Compute) action()    {}
func (Accept) action()     {}
func (Refuse) action()     {}
func (CancelUnit) action() {}
func (Fail) action()       {}
func (Bad) action()        {}
func (Finished) action()   {}
