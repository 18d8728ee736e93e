package ledger

import "time"

// Judgements, each with its reason. What two nodes must agree on is in Genesis.Params; the
// rest binds only the node that runs it.
const (
	// DefaultFloor is how far an account of the public network may go below zero: some
	// twenty core-hours at the usual price, enough for a first job and little to lose for
	// those who grant it.
	DefaultFloor = 10 * Credit

	// DefaultGrace is added to a lock's expiry before either side closes it alone. It must
	// exceed the clock error of an ordinary PC (minutes, seldom more) and leave a restarted
	// node time to send what it had stored.
	DefaultGrace = 10 * time.Minute

	// DefaultCheckpointEvery is the number of entries between checkpoints: a balance proof
	// carries at most that many, 90 KB.
	DefaultCheckpointEvery = 256

	// MaxCheckpointEvery bounds what a network may choose, so that a balance proof is bounded: its
	// tail then has 350 KB.
	MaxCheckpointEvery = 1024

	// MaxLease bounds how far ahead a lock may expire. Credit in a lock that nobody closes is
	// of no use to its owner; a week is the longest unit a manifest may ask for.
	MaxLease = 8 * 24 * time.Hour

	// MaxOpenLocks bounds the locks one payer may hold open with us, so that idle leases
	// cannot fill memory. A payer needs one per slot it hires here.
	MaxOpenLocks = 256

	// maxOutstanding bounds the claims of one lease that wait for a voucher. It exceeds
	// MaxWindow by far, so that only a node that ignores its window ever meets it.
	maxOutstanding = 256

	// StartWindow and MaxWindow bound the units done but not paid: see Window.
	StartWindow = 1
	MaxWindow   = 16
)
