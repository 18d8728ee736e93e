//go:build !linux

package wasm

import "time"

func nodeMain(string) int { return 1 }

func hoardMain() int { return 3 }

func cpuTime() time.Duration { return 0 }
