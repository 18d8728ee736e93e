package wasm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Workers are in a group that has little weight and, with version 2, bounds; it goes with the pool, and
// whoever had to step aside for it is back where it was.
func TestWorkersHaveACgroupOfTheirOwn(t *testing.T) {
	before, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Skip(err)
	}
	p, err := NewPool(PoolOptions{Slots: 2, Memory: 64 << 20, CacheDir: t.TempDir(), Argv: selfWorker, Bare: !haveSpaces})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c, err := p.start(t.Context(), p.workerSetup(), nil)
	if err != nil {
		t.Fatal(err)
	}
	g := p.spawn.group
	if g == nil {
		c.end()
		t.Skipf("no cgroup here: %v", p.spawn.groupErr)
	}
	t.Logf("%s (version 2: %v)", g.dir, g.v2)
	in, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(string(in)); len(got) != 1 || got[0] != strconv.Itoa(c.cmd.Process.Pid) {
		t.Errorf("in the group are %q, want the worker %d alone", got, c.cmd.Process.Pid)
	}
	for _, w := range c.walls {
		if w.Name == "cgroup of the workers" && !w.OK {
			t.Errorf("%s: %s", w.Name, w.Detail)
		}
	}
	want := map[string]string{"cpu.idle": "1"}
	if g.v2 {
		want["pids.max"], want["memory.max"] = "128", fmt.Sprint(64<<20+groupBuilding+groupMemory)
	}
	for file, text := range want {
		b, err := os.ReadFile(filepath.Join(g.dir, file))
		if file == "cpu.idle" && errors.Is(err, fs.ErrNotExist) {
			continue // before Linux 5.15
		}
		if got := strings.TrimSpace(string(b)); err != nil || got != text {
			t.Errorf("%s: %q, %v, want %s", file, got, err, text)
		}
	}
	c.end()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(g.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the group is left: %v", err)
	}
	if after, err := os.ReadFile("/proc/self/cgroup"); err != nil || string(after) != string(before) {
		t.Errorf("this process is in %q, %v, was in %q", after, err, before)
	}
}

// A group whose node was killed is removed by the next one; that of a node that lives is not.
func TestCgroupOfAKilledNodeIsRemoved(t *testing.T) {
	g, err := openGuestGroup()
	if err != nil {
		t.Skipf("no cgroup here: %v", err)
	}
	defer g.close()
	own := filepath.Dir(g.dir)
	old := filepath.Join(own, "p3-guests-4194305-1") // one more than the most processes a system has
	if err := os.Mkdir(old, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(old)
	next := &guestGroup{}
	if err := next.make(own); err != nil {
		t.Fatal(err)
	}
	defer next.close()
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old group is left: %v", err)
	}
	if _, err := os.Stat(g.dir); err != nil {
		t.Error(err)
	}
}

// Where there can be no group, workers run without, and the reason is told.
func TestWhyThereIsNoCgroup(t *testing.T) {
	mount := t.TempDir()
	for file, text := range map[string]string{"bare/cgroup.controllers": "cpuset hugetlb", "some/cgroup.controllers": "cpu pids"} {
		path := filepath.Join(mount, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]string{
		"":                          "no cgroups are mounted",
		"0::/nowhere\n":             "no cgroups are mounted",
		"3:cpu:/\n":                 "no cgroups are mounted",
		"nonsense\n::\n0::../x\n\n": "no cgroups are mounted",
		"0::/bare\n":                "no controller cpu",
		"0::/some\n":                "no controller memory",
	} {
		if g, err := newGuestGroup(mount, text); g != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	s := newSpawner()
	defer s.close()
	s.groupErr = errors.New("because")
	c, err := s.start(context.Background(), selfWorker, setup{Memory: 64 << 20, Bare: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.end()
	for _, w := range c.walls {
		if w.Name == "cgroup of the workers" && (w.OK || w.Detail != "because") {
			t.Errorf("%+v", w)
		}
	}
}
