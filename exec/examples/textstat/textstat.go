// Package textstat holds a guest program that counts what is in a text.
//
// The program is textstat.c; textstat.wasm is built from it by build.sh.
package textstat

import _ "embed"

// Wasm is the program: a text on stdin, one line of counts and its SHA-256 on stdout.
//
//go:embed textstat.wasm
var Wasm []byte
