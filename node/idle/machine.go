package idle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/personal-power-plant/p3/node"
)

// load is the CPU time of others: what /proc/stat counts at normal priority, less this process and
// its workers. Niced programs are background by their own word, as guests are.
type load struct {
	opt     Options
	samples []sample // the last seconds, oldest first
	workers map[int]uint64
	guests  uint64 // ticks of workers at normal priority, gone ones included
}

type sample struct {
	at           time.Time
	others, full uint64 // ticks
}

// loadSpan is what a load is an average of: a page that loads is nothing, a compiler is.
const loadSpan = 10 * time.Second

func newLoad(o Options) *load { return &load{opt: o, workers: map[int]uint64{}} }

func (*load) name() string          { return "load" }
func (*load) kind() node.SignalKind { return node.SignalLoad }
func (*load) close()                {}

func (l *load) look(ctx context.Context, s *node.Signal) error {
	if len(l.samples) == 0 {
		if err := l.sample(); err != nil {
			return err
		}
		select { // one look has to say something, too
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := l.sample(); err != nil {
		return err
	}
	for len(l.samples) > 2 && time.Since(l.samples[1].at) > loadSpan {
		l.samples = l.samples[1:]
	}
	a, b := l.samples[0], l.samples[len(l.samples)-1]
	if b.full > a.full && b.others > a.others {
		s.Percent = min(100*float64(b.others-a.others)/float64(b.full-a.full), 100)
	}
	s.Text = fmt.Sprintf("other programs use %.0f%% of %d CPUs (over %s)", s.Percent, runtime.NumCPU(), b.at.Sub(a.at).Truncate(100*time.Millisecond))
	return nil
}

func (l *load) sample() error {
	b, err := os.ReadFile(l.opt.path("/proc/stat"))
	if err != nil {
		return err
	}
	user, full, err := parseStat(b)
	if err != nil {
		return err
	}
	self, err := l.ticks("self")
	if err != nil {
		return err
	}
	seen := map[int]uint64{}
	for _, pid := range l.children() {
		if t, err := l.ticks(strconv.Itoa(pid)); err == nil {
			seen[pid] = t
			l.guests += t - min(l.workers[pid], t)
		}
	}
	l.workers = seen
	l.samples = append(l.samples, sample{time.Now(), user - min(self+l.guests, user), full})
	return nil
}

// parseStat reads the first line of /proc/stat (proc_stat(5)): ticks at normal priority, and all.
func parseStat(b []byte) (normal, full uint64, err error) {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	f := strings.Fields(string(line))
	if len(f) < 8 || f[0] != "cpu" {
		return 0, 0, errors.New("/proc/stat is not as it should be")
	}
	for i, text := range f[1:min(len(f), 9)] { // guest time is in user already
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/stat: %w", err)
		}
		full += n
		switch i {
		case 0, 2, 5, 6: // user, system, irq, softirq
			normal += n
		}
	}
	return normal, full, nil
}

// ticks is the part of a process's CPU time that counts as normal in /proc/stat (proc_pid_stat(5)).
func (l *load) ticks(pid string) (uint64, error) {
	b, err := os.ReadFile(l.opt.path("/proc/" + pid + "/stat"))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // f[0] is field 3
	if len(f) < 17 {
		return 0, errors.New("a stat file is not as it should be")
	}
	user, e1 := strconv.ParseUint(f[11], 10, 64)
	system, e2 := strconv.ParseUint(f[12], 10, 64)
	nice, e3 := strconv.Atoi(f[16])
	if nice > 0 {
		user = 0
	}
	return user + system, errors.Join(e1, e2, e3)
}

// children are the processes that this one has started: its workers.
func (l *load) children() (pids []int) {
	found, _ := filepath.Glob(l.opt.path("/proc/self/task/*/children"))
	for _, f := range found {
		b, _ := os.ReadFile(f)
		for _, text := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(text); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// power asks /sys/class/power_supply (the kernel's ABI/testing/sysfs-class-power).
type power struct{ opt Options }

func (*power) name() string          { return "power" }
func (*power) kind() node.SignalKind { return node.SignalPower }
func (*power) close()                {}

func (p *power) look(_ context.Context, s *node.Signal) error {
	mains, offline, discharging := 0, 0, ""
	for _, dir := range p.supplies() {
		switch p.read(dir, "type") {
		case "Mains", "USB":
			if p.read(dir, "online") == "1" {
				mains++
			} else {
				offline++
			}
		case "Battery":
			if p.read(dir, "status") == "Discharging" {
				discharging = filepath.Base(dir) + " at " + p.read(dir, "capacity") + "%"
			}
		}
	}
	switch {
	case mains > 0:
		s.Text = "on mains"
	case discharging != "":
		s.Battery, s.Text = true, "on battery "+discharging
	case p.batteries() == 0:
		s.Text = "no battery here: on mains"
	case offline > 0:
		s.Battery, s.Text = true, "on battery"
	default:
		s.Text = "the battery is not discharging"
	}
	return nil
}

// supplies are those of the machine: a mouse's battery says nothing.
func (p *power) supplies() (dirs []string) {
	found, _ := filepath.Glob(p.opt.path("/sys/class/power_supply/*"))
	for _, dir := range found {
		if p.read(dir, "scope") != "Device" {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func (p *power) batteries() (n int) {
	for _, dir := range p.supplies() {
		if p.read(dir, "type") == "Battery" {
			n++
		}
	}
	return n
}

func (p *power) read(dir, file string) string {
	b, _ := os.ReadFile(filepath.Join(dir, file))
	return strings.TrimSpace(string(b))
}

// memory asks /proc/meminfo for what programs may still have without swapping.
type memory struct{ opt Options }

func (*memory) name() string          { return "memory" }
func (*memory) kind() node.SignalKind { return node.SignalMemory }
func (*memory) close()                {}

func (m *memory) look(_ context.Context, s *node.Signal) error {
	b, err := os.ReadFile(m.opt.path("/proc/meminfo"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 50)
			if err != nil {
				return err
			}
			s.Free = kb << 10
			s.Text = fmt.Sprintf("%d MiB available", kb>>10)
			return nil
		}
	}
	return errors.New("the kernel does not tell")
}
