//go:build cgo && !race

package main

// With cgo the threads of a worker cannot be shut in one by one, and it would not start: see
// exec/wasm. Failing here, at build time, says what to do.
var _ = build_p3_with_CGO_ENABLED_0
