package wasm

import (
	"context"
	"strings"
	"testing"
)

// TestWorkerCannotLeaveItsWalls attacks from inside a shut-in worker. What a kernel does not
// have may be missing; what an attack can do through it may not.
func TestWorkerCannotLeaveItsWalls(t *testing.T) {
	attacks(t, Probe(selfWorker...))
}

// TestWorkerCannotLeaveItsWallsWithoutNamespaces is the same where the system allows none.
func TestWorkerCannotLeaveItsWallsWithoutNamespaces(t *testing.T) {
	s := newSpawner()
	defer s.close()
	s.spaces = false
	c, err := s.start(context.Background(), selfWorker, setup{Modules: t.TempDir(), Memory: 64 << 20, Probe: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.end()
	for _, w := range c.walls {
		if strings.HasPrefix(w.Name, "namespaces") && w.OK {
			t.Error("it says that it has namespaces")
		}
		if w.Name == "Landlock" && !w.OK {
			t.Skip("this kernel has no Landlock: without namespaces files stay readable, and Probe says so")
		}
	}
	attacks(t, c.walls)
}

func attacks(t *testing.T, walls []Protection) {
	t.Helper()
	attacks := 0
	for _, w := range walls {
		t.Logf("%-5v %s: %s", w.OK, w.Name, w.Detail)
		if strings.HasPrefix(w.Name, "cannot ") {
			attacks++
			if !w.OK {
				t.Errorf("%s: %s", w.Name, w.Detail)
			}
		}
	}
	if attacks < 10 {
		t.Errorf("%d attacks were tried", attacks)
	}
}
