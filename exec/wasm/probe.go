package wasm

import (
	"context"
	"fmt"
	"os"
)

// Probe starts a worker, lets it shut itself in and attack its walls, and says of each
// protection whether it holds on this machine. argv is as in PoolOptions; none means this
// executable with "worker".
func Probe(argv ...string) []Protection {
	if len(argv) == 0 {
		exe, err := os.Executable()
		if err != nil {
			return []Protection{held("worker process", fmt.Errorf("find the worker's executable: %w", err))}
		}
		argv = []string{exe, "worker"}
	}
	s := newSpawner()
	defer s.close()
	c, err := s.start(context.Background(), argv, setup{Memory: 64 << 20, Probe: true})
	if err != nil {
		return []Protection{held("worker process", err)}
	}
	defer c.end()
	return append([]Protection{{Name: "worker process", OK: true}}, c.walls...)
}
