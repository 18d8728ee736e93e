//go:build linux && !cgo

package wasm

const haveSpaces = true
