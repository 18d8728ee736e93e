package wasm

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A guestGroup is a cgroup that holds the workers of one spawner and nothing else, below the cgroup
// that the node is in (cgroups(7)). With version 2 the system bounds what all workers have together
// in memory and threads; with both versions they get CPU time that nobody beside them wants.
//
// It needs a cgroup that was delegated to us, or root. Of version 1 only the cpu controller is used,
// and only root can.
type guestGroup struct {
	dir  string // of the group
	v2   bool
	undo []func() // what to do when it is removed, last first
}

// groupMount is where systems mount their cgroups.
const groupMount = "/sys/fs/cgroup"

// groupSerial tells the groups of one process apart.
var groupSerial atomic.Int64

// What workers have together, besides the memory lent: machine code and their own, and what one
// compiler takes.
const (
	groupThreads  = 64
	groupMemory   = keepBytes + 64<<20
	groupBuilding = 3 << 30
)

// openGuestGroup makes a group below the one that we are in.
func openGuestGroup() (*guestGroup, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	return newGuestGroup(groupMount, string(b))
}

// newGuestGroup makes a group below the cgroup of this process, found in text, a /proc/PID/cgroup.
func newGuestGroup(mount, text string) (*guestGroup, error) {
	second, cpu := ownGroups(mount, text)
	if second == "" && cpu == "" {
		return nil, fmt.Errorf("no cgroups are mounted in %s", mount)
	}
	g, err := (*guestGroup)(nil), errors.New("there is none of version 2")
	if second != "" {
		if g, err = groupV2(second); err == nil {
			return g, nil
		}
	}
	if cpu == "" {
		return nil, err
	}
	g = &guestGroup{}
	if e := g.make(cpu); e != nil {
		return nil, fmt.Errorf("version 2: %w; version 1: %w", err, e)
	}
	if e := g.write("cpu.shares", "2"); e != nil {
		g.close()
		return nil, fmt.Errorf("version 2: %w; version 1: %w", err, e)
	}
	_ = g.write("cpu.idle", "1") // Linux 5.15
	return g, nil
}

// ownGroups is where the cgroup of version 2, and that of version 1's cpu controller, of a process
// lie; "" for those that are not there.
func ownGroups(mount, text string) (second, cpu string) {
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 || !filepath.IsAbs(f[2]) {
			continue
		}
		var roots []string
		at := &second
		switch {
		case f[0] == "0" && f[1] == "":
			roots = []string{mount, filepath.Join(mount, "unified")}
		case contains(f[1], "cpu"):
			roots, at = []string{filepath.Join(mount, f[1]), filepath.Join(mount, "cpu")}, &cpu
		}
		for _, root := range roots {
			dir := filepath.Join(root, filepath.Clean(f[2]))
			want := "cgroup.controllers"
			if at == &cpu {
				want = "cgroup.procs"
			}
			if _, err := os.Stat(filepath.Join(dir, want)); err == nil {
				*at = dir
				break
			}
		}
	}
	return second, cpu
}

// groupV2 makes a group below own. A cgroup hands controllers on only if it holds no process itself,
// unless it is the root: then p3's own processes move into a group beside the workers'.
func groupV2(own string) (g *guestGroup, err error) {
	b, err := os.ReadFile(filepath.Join(own, "cgroup.controllers"))
	if err != nil {
		return nil, err
	}
	has := strings.Fields(string(b))
	for _, c := range []string{"cpu", "memory", "pids"} {
		if !slices.Contains(has, c) {
			return nil, fmt.Errorf("%s has no controller %s", own, c)
		}
	}
	g = &guestGroup{v2: true}
	defer func() {
		if err != nil {
			g.close()
			g = nil
		}
	}()
	if err := g.make(own); err != nil {
		return g, notOurs(err)
	}
	if err := g.enable(own); err != nil {
		return g, notOurs(err)
	}
	if err := g.write("cpu.weight", "1"); err != nil {
		return g, err
	}
	_ = g.write("cpu.idle", "1") // Linux 5.15
	return g, g.room(1, 0)
}

// notOurs says what to do about a cgroup in which we may do nothing.
func notOurs(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return fmt.Errorf("this cgroup was not delegated to us (%w): start the node with systemd-run --user --scope -p Delegate=yes -p CPUWeight=1 p3 up", err)
	}
	return err
}

// enable hands the controllers on from own to the group.
func (g *guestGroup) enable(own string) error {
	const on, off = "+cpu +memory +pids", "-cpu -memory -pids"
	file := filepath.Join(own, "cgroup.subtree_control")
	before, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err = writeGroup(file, on); errors.Is(err, unix.EBUSY) {
		if err = g.stepAside(own); err != nil {
			return err
		}
		if err = writeGroup(file, on); errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("other programs share %s with us: start the node with systemd-run --user --scope -p Delegate=yes -p CPUWeight=1 p3 up", own)
		}
	}
	if err == nil && len(bytes.TrimSpace(before)) == 0 {
		g.undo = append(g.undo, func() { _ = writeGroup(file, off) })
	}
	return err
}

// stepAside moves this process, and others of its executable, such as the command that waits for a
// node to come up, from own to a group below it.
func (g *guestGroup) stepAside(own string) error {
	aside := filepath.Join(own, "p3-node-"+filepath.Base(g.dir))
	if err := os.Mkdir(aside, 0o755); err != nil {
		return err
	}
	g.undo = append(g.undo, func() { _ = os.Remove(aside) })
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(own, "cgroup.procs"))
	if err != nil {
		return err
	}
	for _, pid := range strings.Fields(string(b)) {
		if other, err := os.Readlink(filepath.Join("/proc", pid, "exe")); err != nil || other != exe {
			continue
		}
		if err := writeGroup(filepath.Join(aside, "cgroup.procs"), pid); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		g.undo = append(g.undo, func() { _ = writeGroup(filepath.Join(own, "cgroup.procs"), pid) })
	}
	return nil
}

// make makes the group below own, and removes what processes that are no more have left there.
func (g *guestGroup) make(own string) error {
	const name = "p3-guests-"
	old, _ := filepath.Glob(filepath.Join(own, name+"*"))
	for _, dir := range old {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), name), "-")
		if _, err := os.Stat(filepath.Join("/proc", pid)); errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(dir)
		}
	}
	g.dir = filepath.Join(own, fmt.Sprintf("%s%d-%d", name, os.Getpid(), groupSerial.Add(1)))
	return os.Mkdir(g.dir, 0o755)
}

// room bounds what so many workers have together, of which the largest has memory bytes for guests.
func (g *guestGroup) room(workers int, memory int64) error {
	if !g.v2 {
		return nil
	}
	most := memory + groupBuilding + int64(workers)*groupMemory
	if err := g.write("memory.max", strconv.FormatInt(most, 10)); err != nil {
		return err
	}
	return g.write("pids.max", strconv.Itoa((workers+1)*groupThreads))
}

// name tells the group from others where it is listed.
func (g *guestGroup) name() string { return filepath.Base(g.dir) }

// add moves a worker into the group; what it starts follows it.
func (g *guestGroup) add(pid int) error { return g.write("cgroup.procs", strconv.Itoa(pid)) }

// close ends what is in the group, and removes it.
func (g *guestGroup) close() {
	if g.v2 {
		_ = g.write("cgroup.kill", "1") // Linux 5.14; workers also end each by itself
	}
	_ = os.Remove(g.dir)
	for i := len(g.undo) - 1; i >= 0; i-- {
		g.undo[i]()
	}
	g.undo = nil
}

func (g *guestGroup) write(file, text string) error {
	return writeGroup(filepath.Join(g.dir, file), text)
}

func writeGroup(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0) // never makes a file
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
