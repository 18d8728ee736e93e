package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// gridPatience bounds the start and the end of a network of processes; a busy machine needs some of it.
const gridPatience = 5 * time.Minute

func TestScripts(t *testing.T) {
	testscript.Run(t, scripts(filepath.Join("testdata", "script")))
}

// scripts are the parameters of all scripts: a home of their own, no network but loopback,
// and the commands below.
func scripts(dir string) testscript.Params {
	return testscript.Params{
		Dir:                dir,
		RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			repo, err := filepath.Abs(filepath.Join("..", ".."))
			if err != nil {
				return err
			}
			home := filepath.Join(e.WorkDir, "home")
			for _, kv := range []string{
				"HOME=" + home, "XDG_DATA_HOME=" + home + "/data", "XDG_CONFIG_HOME=" + home + "/config", "XDG_STATE_HOME=" + home + "/state",
				"XDG_CACHE_HOME=" + home + "/cache", "XDG_RUNTIME_DIR=" + home + "/run", "REPO=" + repo, "EXAMPLES=" + repo + "/exec/examples",
				"TASKS=" + repo + "/exec/wasm/testdata/tasks.wasm", "FOREIGN=" + repo + "/exec/wasm/testdata/foreign.wasm",
				"GOCACHE=" + goEnv("GOCACHE"), "GOMODCACHE=" + goEnv("GOMODCACHE"), "GOFLAGS=" + goEnv("GOFLAGS"),
				"P3_NO_LAN=true", "P3_LISTEN=/ip4/127.0.0.1/tcp/0", "P3_REACH=public", "P3_SLOTS=1", "P3_MEMORY=512MiB", "P3_PRESET=server", "P3_PRIORITY=normal",
			} {
				k, v, _ := strings.Cut(kv, "=")
				e.Setenv(k, v)
			}
			return os.MkdirAll(home+"/run", 0o700)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": cmdExits, "json": cmdJSON, "grid": cmdGrid, "truncate": cmdTruncate, "down-at-end": cmdDownAtEnd,
		},
	}
}

// goEnv is a setting of the go tool, which would differ below another home.
func goEnv(name string) string {
	out, err := osexec.Command("go", "env", name).Output()
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(out))
}

// cmdExits runs a command that must end with a certain code: exits CODE COMMAND [ARGS]...
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARGS]...")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *osexec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// cmdJSON checks that a file (stdout, stderr) is lines of JSON objects, at least one, that each
// has the fields named, and that those written FIELD=VALUE have the value: json FILE [FIELD[=VALUE]]...
// A dot leads into an object.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: json FILE [FIELD[=VALUE]]...")
	}
	d := json.NewDecoder(strings.NewReader(ts.ReadFile(args[0])))
	d.UseNumber()
	n := 0
	for ; d.More(); n++ {
		var object map[string]any
		ts.Check(d.Decode(&object))
		for _, want := range args[1:] {
			field, value, exact := strings.Cut(want, "=")
			have, ok := lookUp(object, field)
			if !ok || exact && fmt.Sprint(have) != value {
				ts.Fatalf("object %d: %s is %v, want %s", n, field, have, want)
			}
		}
	}
	if n == 0 {
		ts.Fatalf("no JSON in %s", args[0])
	}
}

func lookUp(object map[string]any, field string) (any, bool) {
	head, rest, deeper := strings.Cut(field, ".")
	v, ok := object[head]
	if inner, is := v.(map[string]any); deeper && is {
		return lookUp(inner, rest)
	}
	return v, ok && !deeper
}

// cmdGrid starts a network of node processes on loopback for the rest of the script, the first
// of which the script's p3 speaks to, or, with -aside, invites to it by $INVITE: grid [-aside] NAME...
func cmdGrid(ts *testscript.TestScript, neg bool, args []string) {
	aside := len(args) > 0 && args[0] == "-aside"
	if aside {
		args = args[1:]
	}
	n, err := newLocalNet(ts.MkAbs("grid"), args...)
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), gridPatience)
	defer cancel()
	ts.Defer(func() {
		if err := n.stop(); err != nil {
			ts.Logf("stop the grid: %v", err)
		}
	})
	if err := errors.Join(n.start(ctx), n.offers(ctx)); err != nil {
		for _, p := range n.nodes {
			b, _ := os.ReadFile(p.logPath())
			ts.Logf("%s: %s", p.name, bytes.TrimSpace(b))
		}
		ts.Check(err)
	}
	if aside {
		invite, err := n.nodes[0].client.Invite(ctx)
		ts.Check(err)
		ts.Setenv("INVITE", invite)
		return
	}
	ts.Setenv("P3_DATA_DIR", n.nodes[0].dir)
	ts.Setenv("P3_SOCKET", filepath.Join(n.nodes[0].dir, "s"))
}

// cmdTruncate makes a file of a size: truncate SIZE FILE
func cmdTruncate(ts *testscript.TestScript, neg bool, args []string) {
	size, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[1]), os.O_CREATE|os.O_WRONLY, 0o644)
	ts.Check(err)
	ts.Check(errors.Join(f.Truncate(size), f.Close()))
}

// cmdDownAtEnd stops the background node of the script, or that of a data folder, however the script ends:
// down-at-end [DIR [SOCKET]]
func cmdDownAtEnd(ts *testscript.TestScript, neg bool, args []string) {
	ts.Defer(func() {
		down := []string{"down", "--timeout", "1m"}
		if len(args) > 0 {
			down = append(down, "--data-dir", args[0])
		}
		if len(args) > 1 {
			down = append(down, "--socket", args[1])
		}
		if err := ts.Exec("p3", down...); err != nil {
			ts.Logf("p3 down: %v", err)
		}
	})
}
