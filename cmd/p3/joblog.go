package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
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
	done numberSet       // inputs, from 0, that are not units of this job
	ill  map[uint64]bool // of these, those to be done again all the same
}

func (l *jobLog) has(input uint64) bool { return l.done.has(input) && !l.ill[input] }

const jobLogHead = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand"

// noExit is the exit value of a unit that did not end by itself.
const noExit = 255

// openJobLog opens a log for what follows. What is in it counts only for resume, which does not repeat
// it, or failed, which repeats what failed; otherwise it must be new or empty.
func openJobLog(path, app string, args []string, resume, failed bool) (*jobLog, error) {
	w, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "name a file that can be written"}
	}
	l := &jobLog{w: w, app: app, args: args, ill: map[uint64]bool{}}
	whole, err := l.read(path)
	if n := l.done.len(); err == nil && n > 0 && !resume && !failed {
		err = usage("%s has %d units already: --resume does the others, --resume-failed those that failed too; or give --joblog another file", path, n)
	}
	if err == nil {
		if err = w.Truncate(whole); err == nil { // a crash may have cut off the last line
			_, err = w.Seek(0, io.SeekEnd)
		}
	}
	if err == nil && whole == 0 {
		_, err = fmt.Fprintln(w, jobLogHead)
	}
	if err != nil {
		w.Close()
		return nil, err
	}
	if !failed {
		l.ill = nil
	}
	return l, nil
}

// maxLogLine bounds a line of a job log, in bytes.
const maxLogLine = 4 << 20

// read takes in what the file has and returns the length of its whole lines. Of two lines of a unit the later counts.
func (l *jobLog) read(path string) (whole int64, err error) {
	lines := bufio.NewScanner(l.w)
	lines.Buffer(nil, maxLogLine)
	lines.Split(func(b []byte, atEOF bool) (int, []byte, error) {
		advance, line, err := bufio.ScanLines(b, atEOF)
		if atEOF && advance == len(b) && !bytes.HasSuffix(b, []byte{'\n'}) {
			return 0, nil, nil // no end, no line
		}
		whole += int64(advance)
		return advance, line, err
	})
	for n := 1; lines.Scan(); n++ {
		if n == 1 && lines.Text() == jobLogHead {
			continue
		}
		cols := strings.Split(lines.Text(), "\t")
		seq, err := strconv.ParseUint(cols[0], 10, 64)
		if err != nil || seq == 0 || len(cols) < 9 {
			return 0, usage("%s, line %d: this is no job log: give --joblog another file", path, n)
		}
		l.done.add(seq - 1)
		if delete(l.ill, seq-1); cols[6] != "0" || cols[7] != "0" {
			l.ill[seq-1] = true
		}
	}
	if err := lines.Err(); err != nil {
		return 0, usage("%s: %v", path, err)
	}
	return whole, nil
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
	_, err := fmt.Fprintf(l.w, "%d\t%s\t%.3f\t%.3f\t%d\t%d\t%d\t0\t%s\n", seq, oneField(strings.Join(u.Hosts, ",")), float64(u.Ended.Add(-took).UnixMilli())/1e3, took.Seconds(),
		sent, len(u.Result.Stdout)+len(u.Result.Stderr), exit, command(l.app, l.args, in))
	return err
}

// command is what a unit runs, for people.
func command(app string, args []string, in exec.Input) string {
	return oneField(strings.Join(append([]string{app}, exec.ExpandArgs(args, in)...), " "))
}

// oneField keeps tabs and newlines of strangers out of the columns.
func oneField(s string) string { return printable(strings.ReplaceAll(s, "\t", " ")) }

// A sieve leaves out of a source what an earlier run has done, and knows for each unit of this job
// that was not printed yet which input it is.
type sieve struct {
	log *jobLog // nil = all inputs are units

	mu     sync.Mutex
	base   uint64   // unit of inputs[0]
	inputs []uint64 // from 0, by unit
}

func (s *sieve) on(src source) source {
	if s.log == nil || s.log.done.len() == 0 {
		s.log = nil
		return src
	}
	input := uint64(0)
	return func() (exec.Input, error) {
		for ; ; input++ {
			in, err := src()
			if err != nil {
				return in, err
			}
			if !s.log.has(input) {
				s.mu.Lock()
				s.inputs = append(s.inputs, input)
				s.mu.Unlock()
				input++
				return in, nil
			}
		}
	}
}

// seq is the number of a unit's input, from 1.
func (s *sieve) seq(unit uint64) uint64 {
	if s == nil || s.log == nil {
		return unit + 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inputs[unit-s.base] + 1
}

// release forgets the units below n.
func (s *sieve) release(n uint64) {
	if s == nil || s.log == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inputs = append(s.inputs[:0:0], s.inputs[n-s.base:]...)
	s.base = n
}
