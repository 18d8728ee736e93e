package wasm

import (
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestCPUGroupsAreRead(t *testing.T) {
	mount := t.TempDir()
	for file, content := range map[string]string{
		"user.slice/cpu.weight": "100", "user.slice/app/cpu.weight": "100", "user.slice/app/cpu.idle": "0",
		"p3-guests-1-1/cpu.weight": "1", "user.slice/app/p3-guests-1-1/cpu.weight": "1", "p3.slice/cpu.weight": "1", "p3.slice/p3/cpu.weight": "100", "idle.slice/cpu.weight": "0", "idle.slice/cpu.idle": "1",
		"cpu,cpuacct/box/cpu.shares": "1024", "cpu,cpuacct/small/cpu.shares": "2", "memory-only/memory.max": "max",
	} {
		path := filepath.Join(mount, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]string{
		"0::/\n":                             " false",
		"0::/memory-only\n":                  " false",
		"0::/user.slice/app\n":               "/user.slice/app false",
		"0::/user.slice/app/none\n":          "/user.slice/app false",
		"0::/p3-guests-1-1\n":                "/p3-guests-1-1 true",
		"0::/user.slice/app/p3-guests-1-1\n": "/user.slice/app false",
		"0::/p3.slice/p3\n":                  "/p3.slice/p3 true",
		"0::/idle.slice\n":                   "/idle.slice true",
		"4:cpu,cpuacct:/box\n0::/\n":         "/box false",
		"4:cpu,cpuacct:/small\n0::/\n":       "/small true",
		"9:cpuset:/box\n":                    " false",
		"nonsense\n::\n0::relative\n\n":      " false",
	} {
		in, low := cpuGroup(mount, text, "p3-guests-1-1")
		if got := fmt.Sprint(in, " ", low); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// A real cgroup of version 1, where this machine has them and lets us.
func TestWeightIsToldOfARealCgroup(t *testing.T) {
	group := filepath.Join("/sys/fs/cgroup/cpu", fmt.Sprintf("p3-test-%d", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Skipf("no cgroup of version 1 of our own: %v", err)
	}
	t.Cleanup(func() { os.Remove(group) })
	cmd := osexec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	pid, none := cmd.Process.Pid, errors.New("no autogroup")
	if err := lowWeight(pid, "", none); !errors.Is(err, none) {
		t.Errorf("outside: %v", err)
	}
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(group, file), []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	write("cgroup.procs", strconv.Itoa(pid))
	if err := lowWeight(pid, "", nil); err == nil || !strings.Contains(err.Error(), "p3-test-") {
		t.Errorf("in a group of normal weight: %v", err)
	}
	write("cpu.shares", "2")
	if err := lowWeight(pid, "", none); err != nil {
		t.Errorf("in a group of little weight: %v", err)
	}
}
