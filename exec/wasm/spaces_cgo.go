//go:build linux && cgo

package wasm

// Workers of a build with cgo are not shut in well: glibc starts threads by calls that the
// filter refuses, and libpsx then finds the threads of a process in /proc, which a PID namespace and a root of
// its own hide. P3 is built without; the race detector is not.
const haveSpaces = false
