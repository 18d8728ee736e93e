//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/master"
)

// TestAMasterOutlivesItsNodeAndItsJobNotTheMaster kills the node under a master, which meets it again with each result
// once; and then a master itself, whose job is cancelled.
func TestAMasterOutlivesItsNodeAndItsJobNotTheMaster(t *testing.T) {
	t.Parallel()
	net := startNet(t, "maple")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tasks, err := filepath.Abs(filepath.Join("..", "..", "exec", "wasm", "testdata", "tasks.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	you := net.nodes[0]
	farm := func(args ...string) *osexec.Cmd {
		cmd := osexec.CommandContext(ctx, net.exe, append([]string{"--data-dir", you.dir, "--socket", filepath.Join(you.dir, "s"), "farm", "--arg", "cat", tasks}, args...)...)
		cmd.SysProcAttr = child()
		return cmd
	}

	cmd := farm()
	var said bytes.Buffer
	cmd.Stderr = &said
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	const units = 40
	results := json.NewDecoder(bufio.NewReader(out))
	seen := map[uint64]string{}
	next := func() {
		t.Helper()
		var a master.Answer
		if err := results.Decode(&a); err != nil {
			t.Fatalf("after %d results: %v\n%s", len(seen), err, said.String())
		}
		if _, twice := seen[a.Unit]; twice || !a.OK {
			t.Errorf("unit %d: twice %t, %+v", a.Unit, twice, a)
		}
		seen[a.Unit] = a.Stdout
	}
	for n := range units {
		fmt.Fprintf(in, "{\"stdin\":\"n%d\"}\n", n)
		if n == units/2 {
			for len(seen) < units/4 {
				next()
			}
			if err := you.kill(); err != nil {
				t.Fatal(err)
			}
			if err := you.start(); err != nil {
				t.Fatal(err)
			}
		}
	}
	in.Close()
	for len(seen) < units {
		next()
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	for n := range uint64(units) {
		if seen[n] != fmt.Sprintf("n%d", n) {
			t.Errorf("unit %d gave %q", n, seen[n])
		}
	}
	if !strings.Contains(said.String(), "the node is gone") {
		t.Errorf("it did not tell of the node's end:\n%s", said.String())
	}

	cmd = farm("--", "sh", "-c", `echo '{"stdin":"x"}'; read result; echo "$result" >&2; kill -9 $$`)
	b, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != exitError || !strings.Contains(string(b), `"stdout":"x"`) || !strings.Contains(string(b), "the master failed: signal: killed") {
		t.Errorf("%v\n%s", err, b)
	}
	jobs, err := you.client.Jobs(ctx)
	if err != nil || len(jobs) != 2 || jobs[0].Ended.IsZero() || jobs[1].State != node.JobDone {
		t.Errorf("%+v, %v", jobs, err)
	}
}
