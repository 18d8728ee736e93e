// Package farm decides which host runs which unit of a master-worker job, and which
// answer counts: assignment, prefetch, retry elsewhere, duplicates for the slow tail,
// commit-reveal and voting.
//
// It is a state machine without goroutines, clock or I/O, in the manner of
// go.etcd.io/raft: an event goes in as a method call that carries the time, actions come
// out, and the caller performs them. The main type is Farm, one per job; it is not safe
// for concurrent use. Its memory is bounded by Config.MaxAhead units and the hosts
// that are joined, however long the job is.
//
// Words: a unit is one input of the job, numbered from 0. A replica is one host's try at a
// unit. A host has slots, which compute, and a queue of units for each slot, which hides
// the round trip. A vote is a revealed result; a quorum is Config.Verify equal
// votes, or two for a unit that Config.Check has checked.
package farm
