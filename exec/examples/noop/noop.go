// Package noop holds a guest program that does nothing: it measures what a unit costs beyond its own work.
//
// The program is noop.c; noop.wasm is built from it by build.sh.
package noop

import _ "embed"

// Wasm is the program: it reads nothing, writes nothing and exits with 0.
//
//go:embed noop.wasm
var Wasm []byte
