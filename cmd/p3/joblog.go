package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/node"
)

// A jobLog is a file with a line for each unit that ended, in the columns of GNU parallel's --joblog
// (https://www.gnu.org/software/parallel/parallel.html), so that its users' scripts read ours.
type jobLog struct {
	w    *os.File
	app  string
	args []string
	done map[uint64]bool // units in the file, from 1, and whether the last line says that it was well
}

const jobLogHead = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand"

// noExit is the exit value of a unit that did not end by itself.
const noExit = 255

// openJobLog opens a log for what follows. What is in it counts only for resume, which does not repeat
// it, or failed, which repeats what failed; otherwise it must be new or empty.
func openJobLog(path, app string, args []string, resume, failed bool) (*jobLog, error) {
	l := &jobLog{app: app, args: args, done: map[uint64]bool{}}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "name a file that can be written"}
	}
	whole := 0 // a crash may have cut off the last line
	if i := strings.LastIndexByte(string(b), '\n'); i >= 0 {
		whole = i + 1
	}
	lines := bufio.NewScanner(strings.NewReader(string(b[:whole])))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		if n == 1 && lines.Text() == jobLogHead {
			continue
		}
		cols := strings.Split(lines.Text(), "\t")
		seq, err := strconv.ParseUint(cols[0], 10, 64)
		if err != nil || seq == 0 || len(cols) < 9 {
			return nil, usage("%s, line %d: this is no job log: give --joblog another file", path, n)
		}
		l.done[seq] = cols[6] == "0" && cols[7] == "0"
	}
	if err := lines.Err(); err != nil {
		return nil, usage("%s: %v", path, err)
	}
	switch {
	case len(l.done) > 0 && !resume && !failed:
		return nil, usage("%s has %d units already: --resume does the others, --resume-failed those that failed too; or give --joblog another file", path, len(l.done))
	case failed:
		for seq, well := range l.done {
			if !well {
				delete(l.done, seq)
			}
		}
	}
	if l.w, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return nil, &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "name a file that can be written"}
	}
	if err = l.w.Truncate(int64(whole)); err == nil {
		_, err = l.w.Seek(0, io.SeekEnd)
	}
	if err == nil && whole == 0 {
		_, err = fmt.Fprintln(l.w, jobLogHead)
	}
	return l, err
}

// add writes the line of a unit. in is its input, if it is still known.
func (l *jobLog) add(seq uint64, in exec.Input, u node.UnitResult) error {
	exit, sent := int(u.Result.ExitCode), int64(len(in.Stdin))
	if u.Error != "" || u.Result.Status != exec.Exited {
		exit = noExit
	}
	if in.StdinFile != nil {
		sent = in.StdinFile.Size
	}
	took := time.Duration(u.Result.WallMs) * time.Millisecond
	command := strings.Join(append([]string{l.app}, exec.ExpandArgs(l.args, in)...), " ")
	_, err := fmt.Fprintf(l.w, "%d\t%s\t%.3f\t%.3f\t%d\t%d\t%d\t0\t%s\n", seq, oneField(strings.Join(u.Hosts, ",")), float64(u.Ended.Add(-took).UnixMilli())/1e3, took.Seconds(),
		sent, len(u.Result.Stdout)+len(u.Result.Stderr), exit, oneField(command))
	return err
}

// oneField keeps tabs and newlines of strangers out of the columns.
func oneField(s string) string { return printable(strings.ReplaceAll(s, "\t", " ")) }

// A sieve leaves out of a source what an earlier run has done, and knows for each unit of this job
// which input it is.
type sieve struct {
	done map[uint64]bool // inputs from 1

	mu   sync.Mutex
	seqs []uint64 // by unit
}

func (s *sieve) on(src source) source {
	if len(s.done) == 0 {
		return src
	}
	seq := uint64(0)
	return func() (exec.Input, error) {
		for {
			in, err := src()
			if err != nil {
				return in, err
			}
			if seq++; !s.has(seq) {
				s.mu.Lock()
				s.seqs = append(s.seqs, seq)
				s.mu.Unlock()
				return in, nil
			}
		}
	}
}

func (s *sieve) has(seq uint64) bool { _, ok := s.done[seq]; return ok }

// seq is the number of a unit's input, from 1.
func (s *sieve) seq(unit uint64) uint64 {
	if s == nil || len(s.done) == 0 {
		return unit + 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seqs[unit]
}
