//go:build netns && linux

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/personal-power-plant/p3/exec/examples/noop"
)

// A node whose disk fills up says so, stays up to be asked, and goes on where it stood once
// there is room again.
func TestDiskFullIsSaidAndLosesNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	data := filepath.Join(dir, "you")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", data, "tmpfs", 0, "size=160m"); err != nil {
		t.Fatalf("mount a small disk (needs root): %v", err)
	}
	t.Cleanup(func() { unix.Unmount(data, unix.MNT_DETACH) })
	net, err := newLocalNet(dir, "you")
	if err != nil {
		t.Fatal(err)
	}
	you := net.nodes[0]
	t.Cleanup(func() { net.stop() })
	if err := net.start(ctx); err != nil {
		t.Fatal(err)
	}
	before, err := you.client.Balance(ctx)
	if err != nil {
		t.Fatal(err)
	}

	filler := filepath.Join(data, "filler")
	var st unix.Statfs_t
	if err := unix.Statfs(data, &st); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filler, make([]byte, int(st.Bavail)*int(st.Bsize)-(20<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "noop.wasm")
	if err := os.WriteFile(program, noop.Wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := net.p3("map", program, "--range", "0:3")
	if err == nil || !strings.Contains(string(out), "disk is full: free some space") {
		t.Errorf("p3 map on a full disk: %v: %s", err, out)
	}
	if out, err := net.p3("status"); err != nil {
		t.Errorf("the node does not answer any more: %v: %s", err, out)
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if out, err := net.p3("down"); err != nil {
		t.Fatalf("down: %v: %s", err, out)
	}
	<-you.ended
	if err := you.start(); err != nil {
		t.Fatal(err)
	}
	if err := you.ready(ctx); err != nil {
		t.Fatal(err)
	}
	if after, err := you.client.Balance(ctx); err != nil || after != before {
		t.Errorf("balance %+v %v, before %+v", after, err, before)
	}
	if out, err := net.p3("map", "-d", program, "--range", "0:3"); err != nil {
		t.Errorf("p3 map with room again: %v: %s", err, out)
	}
}
