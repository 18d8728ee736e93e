package wasm

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// lowWeight says why a process does not yield to other sessions, whose programs its niceness does not
// meet: nil when its autogroup or a cgroup makes it small against them.
//
// sched(7): with autogroups nice counts inside a session only, and the session's own weight is in
// /proc/PID/autogroup; but autogroups apply only to what is in no CPU cgroup. In one, as systemd makes for
// its services and desktops, the cgroup's weight counts instead.
//
// group is the workers' own cgroup: below another its weight counts only against what is in that one too.
func lowWeight(pid int, group string, autogroup error) error {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return err
	}
	in, low := cpuGroup(groupMount, string(b), group)
	switch {
	case low:
		return nil
	case in != "":
		return fmt.Errorf("the CPU cgroup %s has a normal weight, and autogroups do not count in it: give it the least, for example with systemd-run --user --scope -p Delegate=yes -p CPUWeight=1 p3 up", in)
	}
	return autogroup
}

// smallWeight is at most a tenth of the default of cgroup v2's cpu.weight, smallShares of v1's cpu.shares.
const smallWeight, smallShares = 10, 102

// cpuGroup reads a /proc/PID/cgroup (cgroups(7)): in which CPU cgroup other than the root it is, "" for
// none, and whether this or one above it has a small weight. A group named ours counts in the root only.
func cpuGroup(mount, text, ours string) (in string, low bool) {
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 || !path.IsAbs(f[2]) {
			continue
		}
		var roots []string
		var small func(dir string) (is, known bool)
		switch {
		case f[0] == "0" && f[1] == "": // v2, alone or beside v1
			roots = []string{mount, filepath.Join(mount, "unified")}
			small = func(dir string) (bool, bool) {
				w, known := readNumber(filepath.Join(dir, "cpu.weight"))
				idle, _ := readNumber(filepath.Join(dir, "cpu.idle"))
				return idle == 1 || w <= smallWeight, known
			}
		case contains(f[1], "cpu"):
			roots = []string{filepath.Join(mount, f[1]), filepath.Join(mount, "cpu")}
			small = func(dir string) (bool, bool) {
				n, known := readNumber(filepath.Join(dir, "cpu.shares"))
				return n <= smallShares, known
			}
		default:
			continue
		}
		for _, root := range roots {
			for p := path.Clean(f[2]); p != "/"; p = path.Dir(p) {
				if path.Base(p) == ours && path.Dir(p) != "/" {
					continue
				}
				if is, known := small(filepath.Join(root, p)); known {
					if in == "" {
						in = p
					}
					low = low || is
				}
			}
		}
	}
	return in, low
}

func contains(list, name string) bool {
	for x := range strings.SplitSeq(list, ",") {
		if x == name {
			return true
		}
	}
	return false
}

func readNumber(file string) (int, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	return n, err == nil
}
