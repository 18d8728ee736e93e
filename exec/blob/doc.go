// Package blob keeps content-addressed bytes on disk: programs, inputs and outputs, each under
// its SHA-256, within a quota.
//
// A blob is visible only when it is whole, verified and on disk; from then on it never changes.
// Layout of the folder:
//
//	ab/abcdef…   a blob, named by the 64 hex digits of its SHA-256
//	part/abcdef… what has arrived so far of a blob that is being fetched
//	tmp/…        writes under way; emptied by Open
//
// What is pinned by no owner is collected, least recently used first, when room is needed.
// Pins live in memory: whoever resumes a job pins its blobs again before anything else is
// stored. Symbolic links in the folder are never followed and never counted.
//
// The main type is Store. It is safe for concurrent use within one process, which must have the folder
// to itself.
package blob
