// Package job is both sides of the job protocol, /p3/job/1.0.0, and what goes with it.
//
// A lease is one stream from a requester to a provider: an Open that carries the manifest
// and the signed LOCK, a Grant or a numbered refusal, then tasks one way, results with
// claims the other, and vouchers riding on the next tasks. Requester turns jobs into leases
// and drives an exec/farm state machine; Provider turns leases into runs of an exec.Engine.
// Settlement has a protocol of its own, /p3/credit/1.0.0, because it outlives streams, and
// bytes travel by hash over /p3/blob/1.0.0.
//
// The package opens no socket and no file: it speaks through the interfaces in ports.go.
// Requester and Provider are safe for concurrent use; each job and each lease is owned by one
// goroutine of theirs.
package job
