// Package spin holds a guest program that misbehaves: it shows that limits, deadlines and cancellation hold.
//
// The program is spin.c; spin.wasm is built from it by build.sh.
package spin

import _ "embed"

// Wasm is the program: it computes for ever. With input that begins with "m" it first takes all
// memory it can get, with "r" it recurses and with "o" it writes for ever.
//
//go:embed spin.wasm
var Wasm []byte
