package wasm

import (
	"context"
	"fmt"
	"os"
)

// A Toolchain is what compiles programs natively on this host.
type Toolchain struct {
	Wasm2c   string `json:"wasm2c"`   // name and version
	Compiler string `json:"compiler"` // as it says itself
}

// SecondTier says whether this host can have one: the tools are there, and every wall that
// their sandbox needs stands. argv is as in PoolOptions; none means this executable with "worker".
func SecondTier(ctx context.Context, argv ...string) (Toolchain, error) {
	tools, err := FindToolchain(ctx)
	if err != nil {
		return tools, err
	}
	if len(argv) == 0 {
		exe, err := os.Executable()
		if err != nil {
			return tools, fmt.Errorf("find the worker's executable: %w", err)
		}
		argv = []string{exe, "worker"}
	}
	s := newSpawner()
	defer s.close()
	c, err := s.start(ctx, argv, setup{Compile: true, CPU: 1})
	if err != nil {
		return tools, err
	}
	defer c.end()
	return tools, complete(c.shut)
}
