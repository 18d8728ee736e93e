package master_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/localapi"
	"github.com/personal-power-plant/p3/node/master"
	"github.com/personal-power-plant/p3/node/nodetest"
)

// A site is where a node in memory, whose programs echo, answers.
type site struct {
	*node.Client
	t      *testing.T
	socket string
	n      *nodetest.Node
	stop   func()
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "p3") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, socket: filepath.Join(dir, "s"), n: nodetest.New(nodetest.State{})}
	s.Client = node.NewClient(s.socket)
	s.start()
	t.Cleanup(func() {
		s.stop()
		os.RemoveAll(dir)
	})
	return s
}

func (s *site) start() {
	s.t.Helper()
	l, err := localapi.Listen(s.socket)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- localapi.Serve(ctx, l, s.n) }()
	s.stop = func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	}
}

// open opens a farm, which is given up at the end of the test.
func (s *site) open(o master.Options) *master.Farm {
	s.t.Helper()
	app := filepath.Join(s.t.TempDir(), "echo.wasm")
	if err := os.WriteFile(app, []byte("any"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	f, err := master.Open(s.t.Context(), s.Client, app, exec.Manifest{}, o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := f.Cancel(); err != nil {
			s.t.Error(err)
		}
	})
	return f
}

// tree makes two units of each that is not at the ground.
func tree(seen *int) func(node.UnitResult) ([]exec.Input, error) {
	return func(r node.UnitResult) ([]exec.Input, error) {
		*seen++
		n, err := strconv.Atoi(string(r.Result.Stdout))
		if err != nil || n == 0 {
			return nil, err
		}
		x := master.Text(strconv.Itoa(n - 1))
		return []exec.Input{x, x}, nil
	}
}

func TestResultsMakeUnits(t *testing.T) {
	for _, window := range []int{1, 3, 0} {
		f, seen := newSite(t).open(master.Options{Window: window}), 0
		if err := f.Run(t.Context(), slices.Values([]exec.Input{master.Text("5"), master.Text("2")}), tree(&seen)); err != nil {
			t.Fatal(err)
		}
		if seen != 63+7 || f.Out() != 0 {
			t.Errorf("window %d: %d results, %d units out; want 70, 0", window, seen, f.Out())
		}
	}
}

func TestAFarmOfNoUnitsIsDone(t *testing.T) {
	s := newSite(t)
	f := s.open(master.Options{})
	if err := f.Run(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	if j, err := s.Job(t.Context(), f.Job().ID.String()); err != nil || j.State != node.JobDone {
		t.Errorf("the job is %s, %v", j.State, err)
	}
	if _, err := f.Submit(t.Context(), master.Text("late")); !errors.Is(err, master.ErrClosed) {
		t.Errorf("a unit after the end: %v", err)
	}
}

func TestSubmitWaitsForRoom(t *testing.T) {
	f := newSite(t).open(master.Options{Window: 2})
	hurry, cancel := context.WithCancel(t.Context())
	cancel() // waits for nothing
	for n := range uint64(2) {
		if unit, err := f.Submit(hurry, master.Text("x")); err != nil || unit != n {
			t.Fatalf("unit %d is %d, %v", n, unit, err)
		}
	}
	if _, err := f.Submit(hurry, master.Text("x")); !errors.Is(err, context.Canceled) {
		t.Fatalf("a third unit: %v", err)
	}
	if _, err := f.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	if unit, err := f.Submit(hurry, master.Text("x")); err != nil || unit != 2 {
		t.Errorf("after a result: unit %d, %v", unit, err)
	}
}

func TestLongInputsTravelAsBlobs(t *testing.T) {
	s := newSite(t)
	f := s.open(master.Options{})
	if _, err := f.Submit(t.Context(), master.Text(strings.Repeat("x", exec.MaxInline+1))); err != nil {
		t.Fatal(err)
	}
	if r, err := f.Next(t.Context()); err != nil || len(r.Result.Stdout) > 0 { // the node in memory echoes what is inline
		t.Errorf("%d bytes inline, %v", len(r.Result.Stdout), err)
	}
	if _, err := f.Submit(t.Context(), exec.Input{Args: []string{"a\x00b"}}); err == nil {
		t.Error("a zero byte passed")
	}
}

// TestARestartedNodeIsMetAgain stops the node in the midst of the units: none is lost, none comes twice.
func TestARestartedNodeIsMetAgain(t *testing.T) {
	s := newSite(t)
	gone := make(chan string, 100)
	f := s.open(master.Options{Notice: func(text string) { gone <- text }})
	const units = 40
	seen := map[uint64]string{}
	for n := range units {
		if n == 10 || n == 25 {
			s.stop()
		}
		if _, err := f.Submit(t.Context(), master.Text(fmt.Sprint(n))); err != nil {
			t.Fatal(err)
		}
		if n == 10 || n == 25 {
			if n == 10 { // of the second time it need not tell, so soon after the first
				if text := <-gone; !strings.Contains(text, "the node is gone") {
					t.Errorf("told %q", text)
				}
			}
			s.start()
		}
	}
	f.Close()
	for {
		r, err := f.Next(t.Context())
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := seen[r.Unit]; twice {
			t.Errorf("unit %d came twice", r.Unit)
		}
		seen[r.Unit] = string(r.Result.Stdout)
	}
	for n := range uint64(units) {
		if seen[n] != fmt.Sprint(n) {
			t.Errorf("unit %d gave %q", n, seen[n])
		}
	}
}

func TestAMasterThatGivesUpCancelsItsJob(t *testing.T) {
	s := newSite(t)
	f := s.open(master.Options{})
	if _, err := f.Submit(t.Context(), master.Text("x")); err != nil {
		t.Fatal(err)
	}
	if err := f.Cancel(); err != nil {
		t.Fatal(err)
	}
	if j, err := s.Job(t.Context(), f.Job().ID.String()); err != nil || j.State != node.JobCancelled {
		t.Errorf("the job is %s, %v", j.State, err)
	}
	if _, err := f.Next(t.Context()); err == nil || err == io.EOF {
		t.Errorf("a result of a farm that was given up: %v", err)
	}
	if _, err := f.Submit(t.Context(), master.Text("x")); err == nil {
		t.Error("a unit for a farm that was given up")
	}
}

func TestACancelledJobTellsItsMaster(t *testing.T) {
	s := newSite(t)
	f := s.open(master.Options{})
	if _, err := s.CancelJob(t.Context(), f.Job().ID.String()); err != nil {
		t.Fatal(err)
	}
	var p *node.Problem
	if _, err := f.Next(t.Context()); !errors.As(err, &p) || !strings.Contains(p.Message, "was cancelled") { // Run, with nothing to submit, might be done before it hears
		t.Errorf("%v", err)
	}
}

// serve gives the lines to a farm and returns the answers.
func serve(t *testing.T, lines string, o master.Lines) ([]master.Answer, error) {
	t.Helper()
	var out bytes.Buffer
	err := master.Serve(t.Context(), newSite(t).open(master.Options{Window: 2}), strings.NewReader(lines), &out, o)
	var all []master.Answer
	for d := json.NewDecoder(&out); d.More(); {
		var a master.Answer
		if err := d.Decode(&a); err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	return all, err
}

func TestLinesOfJSON(t *testing.T) {
	var printed strings.Builder
	var hooked []uint64
	all, err := serve(t, `{"stdin":"one <&>\n"}
{"id": "b", "stdin_base64": "/wA="}

{"output":"so far "}
{"args":["-x"], "id":3}
{"output":"so good\n"}
{"stdin":""}`, master.Lines{Output: &printed, Result: func(_ context.Context, r node.UnitResult) error { hooked = append(hooked, r.Unit); return nil }})
	if err != nil {
		t.Fatal(err)
	}
	got := map[uint64]string{}
	for _, a := range all {
		if a.Schema != "p3.farm/v1" || !a.OK || a.Status != exec.Exited || a.Error != "" {
			t.Errorf("%+v", a)
		}
		got[a.Unit] = fmt.Sprintf("%s %q %x", a.ID, a.Stdout, a.StdoutBytes)
	}
	want := map[uint64]string{0: ` "one <&>\n" `, 1: `"b" "" ff00`, 2: `3 "" `, 3: ` "" `}
	if !maps.Equal(got, want) {
		t.Errorf("answers %v, want %v", got, want)
	}
	if printed.String() != "so far so good\n" || len(hooked) != 4 {
		t.Errorf("output %q, results %v", printed.String(), hooked)
	}
}

func TestALineThatIsNotRightIsNamed(t *testing.T) {
	for line, want := range map[string]string{
		`hello`:                                `not a JSON object of a unit`,
		`"text"`:                               `not a JSON object of a unit`,
		`{"stdin":5}`:                          `not a JSON object of a unit`,
		`{"stdin":"a"`:                         `not a JSON object of a unit`,
		`{"stdin":"a"} {"stdin":"b"}`:          `more than one value`,
		`{"stdn":"a"}`:                         `unknown field "stdn"; did you mean "stdin"?`,
		`{"whatsoever":"a"}`:                   `the fields are id, stdin`,
		`{}`:                                   `neither stdin`,
		`{"id":1}`:                             `neither stdin`,
		`{"id":[1],"stdin":""}`:                `a string or a number`,
		`{"id":null,"output":"a","stdin":"b"}`: `a string or a number`,
		`{"output":"a","stdin":"b"}`:           `output goes without`,
		`{"output":"a"}`:                       `p3 farm APP -- MASTER`,
		`{"stdin":"a","stdin_base64":"YQ=="}`:  `both`,
		"{\"stdin\":\"\xff\"}":                 `send bytes as stdin_base64`,
		`{"args":["a\u0000b"]}`:                `zero byte`,
		`{"args":["` + strings.Repeat("x", 1<<17): `not a JSON object of a unit`,
	} {
		_, err := serve(t, "{\"stdin\":\"first\"}\n\n"+line+"\n", master.Lines{})
		var p *node.Problem
		if !errors.As(err, &p) || p.Code != node.CodeUsage || !strings.HasPrefix(p.Message, "line 3 of the master: ") || !strings.Contains(p.Message, want) || p.Hint == "" {
			t.Errorf("%.60q: %v, want %q of line 3", line, err, want)
		}
	}
}

// deaf is a reader that has gone.
type deaf struct{}

func (deaf) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestAMasterThatReadsNoMoreIsNoticed(t *testing.T) {
	f := newSite(t).open(master.Options{})
	if err := master.Serve(t.Context(), f, strings.NewReader(`{"stdin":"a"}`), deaf{}, master.Lines{}); err == nil || !strings.Contains(err.Error(), "nobody reads the results") {
		t.Error(err)
	}
}

// TestAMasterThatWaitsForItselfIsTold writes units and reads no result.
func TestAMasterThatWaitsForItselfIsTold(t *testing.T) {
	told := make(chan string, 1)
	f := newSite(t).open(master.Options{Window: 3, Notice: func(text string) { told <- text }})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	unread, results := io.Pipe()
	go func() {
		ended <- master.Serve(ctx, f, strings.NewReader(strings.Repeat("{\"stdin\":\"a\"}\n", 9)), results, master.Lines{})
	}()
	if text := <-told; !strings.Contains(text, "the master has 3 units out and does not read") {
		t.Errorf("told %q", text)
	}
	answers := json.NewDecoder(unread)
	for range 9 {
		var a master.Answer
		if err := answers.Decode(&a); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
