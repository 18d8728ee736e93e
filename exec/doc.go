// Package exec says what may run and what came out: Manifest (a job), Input (one unit of
// it), Limits, Result, and Engine, the contract of whatever runs a program.
//
// It has no engine, no disk and no socket of its own; exec/wasm runs programs, exec/blob
// keeps their bytes, exec/farm decides which host runs what. Values are immutable once
// shared. The name hides the standard os/exec; import that as osexec.
package exec
