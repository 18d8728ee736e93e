//go:build !linux

package wasm

func nodeMain(string) int { return 1 }

func hoardMain() int { return 3 }
