package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/node"
)

// What an earlier run wrote decides which inputs are units of the next, also after a crash in the middle of a line.
func TestJobLogResumes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	log, err := openJobLog(path, "app", []string{"{}"}, false, false)
	if err != nil {
		t.Fatal(err)
	}
	end := time.UnixMilli(1_700_000_000_500)
	units := []node.UnitResult{
		{Result: exec.Result{Status: exec.Exited, Stdout: []byte("four"), WallMs: 250}, Hosts: []string{"maple", "o\tk"}, Ended: end},
		{Result: exec.Result{Status: exec.Exited, ExitCode: 3}, Ended: end},
		{Result: exec.Result{Status: exec.Trap}, Ended: end},
	}
	for i, u := range units {
		if err := log.add(uint64(i)+1, exec.Input{Text: "in\tput", Stdin: []byte("12345")}, u); err != nil {
			t.Fatal(err)
		}
	}
	log.w.WriteString("4\tma") // killed here
	log.w.Close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	if lines[0] != jobLogHead || lines[1] != "1\tmaple,o k\t1700000000.250\t0.250\t5\t4\t0\t0\tapp in put" {
		t.Errorf("log begins with\n%q\n%q", lines[0], lines[1])
	}

	if _, err := openJobLog(path, "", nil, false, false); !isUsage(err) {
		t.Errorf("over an old log: %v, want a usage problem", err)
	}
	for name, c := range map[string]struct {
		failed bool
		want   string
	}{"resume": {false, "4 5"}, "resume failed": {true, "2 3 4 5"}} {
		log, err := openJobLog(path, "app", []string{"{}"}, true, c.failed)
		if err != nil {
			t.Fatal(name, err)
		}
		s := &sieve{log: log}
		var got []string
		for unit, in := range drain(t, s.on(numbers(1, 1, 5))) {
			got = append(got, in.Text)
			if seq := s.seq(uint64(unit)); in.Text != string(rune('0'+seq)) {
				t.Errorf("%s: unit %d is input %d, got %s", name, unit, seq, in.Text)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: inputs %v, want %s", name, got, c.want)
		}
		if at, err := log.w.Seek(0, io.SeekCurrent); err != nil || at != int64(strings.LastIndexByte(string(b), '\n')+1) {
			t.Errorf("%s: writes on at %d (%v)", name, at, err)
		}
		log.w.Close()
	}

	other := filepath.Join(t.TempDir(), "other")
	os.WriteFile(other, []byte("dear diary\n"), 0o600)
	if _, err := openJobLog(other, "", nil, true, false); !isUsage(err) {
		t.Errorf("another file: %v, want a usage problem", err)
	}
	if b, _ := os.ReadFile(other); string(b) != "dear diary\n" {
		t.Errorf("another file was changed to %q", b)
	}
}
