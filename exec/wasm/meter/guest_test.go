package meter_test

import (
	"bytes"
	"context"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/personal-power-plant/p3/exec/wasm/meter"
)

const guest = `package main

import (
	"fmt"
	"os"
	"sort"
	"strings"
)

type tree struct{ l, r *tree }

func grow(n int) *tree {
	if n == 0 {
		return nil
	}
	return &tree{grow(n - 1), grow(n - 1)}
}

func (t *tree) size() int {
	if t == nil {
		return 0
	}
	return 1 + t.l.size() + t.r.size()
}

func main() {
	words := strings.Fields("the quick brown fox jumps over the lazy dog")
	sort.Strings(words)
	ch := make(chan int)
	go func() { ch <- grow(14).size() }()
	fmt.Println(words, <-ch, 1.0/3)
	defer func() { fmt.Println("recovered:", recover()); os.Exit(3) }()
	var m map[string]int
	m["x"] = 1
}
`

// TestGoProgramRuns builds a program with the Go in use and runs it rewritten: goroutines,
// collector, panics, exit code.
func TestGoProgramRuns(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "main.go")
	if err := os.WriteFile(src, []byte(guest), 0o600); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "main.wasm")
	cmd := osexec.Command("go", "build", "-o", bin, src)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	b, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	out, info, err := meter.Instrument(b, meter.Options{KeepNames: true, MemoryLimitPages: 4096})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d functions, %d to %d bytes", info.Functions, len(b), len(out))
	if e, ok := info.Export("_start"); !ok || e.Type != "() -> ()" {
		t.Errorf("_start: %+v", e)
	}
	ctx := context.Background()
	var used []int64
	for range 2 {
		h := newHost(t, wazero.NewRuntimeConfigCompiler())
		wasi_snapshot_preview1.MustInstantiate(ctx, h.rt)
		var stdout, stderr bytes.Buffer
		cfg := wazero.NewModuleConfig().WithName("").WithStartFunctions().WithStdout(&stdout).WithStderr(&stderr).WithArgs("main")
		m, err := h.rt.InstantiateWithConfig(ctx, out, cfg)
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.ExportedFunction("_start").Call(ctx)
		if !contains(err, "exit_code(3)") {
			t.Fatalf("ended with %v\n%s", err, stderr.String())
		}
		want := "[brown dog fox jumps lazy over quick the the] 16383 0.3333333333333333\nrecovered: assignment to entry in nil map\n"
		if stdout.String() != want {
			t.Errorf("printed %q, want %q", stdout.String(), want)
		}
		used = append(used, h.used(m))
	}
	if used[0] != used[1] || used[0] < 1_000_000 {
		t.Errorf("two runs used %v", used)
	}
}

func contains(err error, s string) bool { return err != nil && strings.Contains(err.Error(), s) }
