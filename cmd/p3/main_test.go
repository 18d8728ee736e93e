package main

import (
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this test binary a p3 as well. Scripts run it under that name; node and
// worker processes are started as os.Executable with a verb, where the go tool gives flags.
func TestMain(m *testing.M) {
	p3 := func() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-test.") {
		p3()
	}
	testscript.Main(m, map[string]func(){"p3": p3})
}
