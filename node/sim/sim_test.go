package sim

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

var (
	seed    = flag.Uint64("seed", 1, "of the simulations")
	verbose = flag.Bool("log", false, "show what the nodes log")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestScenarios(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, path := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			script, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				n := New(t, *seed, Link{Latency: 20 * time.Millisecond, Jitter: 5 * time.Millisecond})
				if *verbose {
					n.Log = os.Stderr
				}
				n.Run(string(script))
			})
		})
	}
}
