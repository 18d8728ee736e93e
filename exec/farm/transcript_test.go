package farm

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

var update = flag.Bool("update", false, "rewrite the transcripts with what happens now")

// TestTranscripts replays testdata/*.txt. A line "> word …" is an event; the indented lines
// below it are the actions that must follow. Other lines are prose.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			have := replay(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(have), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(string(want), have); diff != "" {
				t.Errorf("%s (-want +have; rewrite with -update):\n%s", file, diff)
			}
		})
	}
}

func replay(t *testing.T, script string) string {
	t.Helper()
	var out strings.Builder
	s := &stage{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	s.start = s.now
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "  ") {
			continue // what happened when it was written
		}
		out.WriteString(line)
		if cmd, ok := strings.CutPrefix(line, "> "); ok {
			for _, l := range s.do(strings.Fields(cmd)) {
				out.WriteString("  " + l + "\n")
			}
		}
	}
	return out.String()
}

// A stage is a farm and the time of day in a transcript.
type stage struct {
	t          *testing.T
	farm       *Farm
	start, now time.Time
}

func (s *stage) do(w []string) []string {
	f, now := s.farm, s.now
	arg := func(i int) string {
		if i >= len(w) {
			s.t.Fatalf("%v: argument %d is missing", w, i)
		}
		return w[i]
	}
	num := func(i int) uint64 {
		n, err := strconv.ParseUint(arg(i), 10, 64)
		if err != nil {
			s.t.Fatal(w, err)
		}
		return n
	}
	opt := func(name, otherwise string) string {
		for _, x := range w {
			if v, ok := strings.CutPrefix(x, name+"="); ok {
				return v
			}
		}
		return otherwise
	}
	optN := func(name string) int {
		n, err := strconv.Atoi(opt(name, "0"))
		if err != nil {
			s.t.Fatal(w, err)
		}
		return n
	}
	switch w[0] {
	case "config":
		halt, err := exec.ParseHalt(opt("halt", ""))
		if err != nil {
			s.t.Fatal(w, err)
		}
		s.farm = New(Config{Halt: halt, Planned: optN("planned") > 0, Verify: optN("verify"), Retries: optN("retries"), MaxAhead: optN("ahead"), MaxOpen: optN("open"), Own: ledger.Fuel(optN("own")), BadAfter: optN("bad-after")})
		return nil
	case "add":
		return show(f.AddUnits(num(1), now))
	case "close":
		return show(f.Close(now))
	case "restore":
		return []string{fmt.Sprint(f.Restore(num(1), opt("well", "true") == "true"))}
	case "join":
		var a ledger.Account
		copy(a[:], opt("account", w[1]))
		return show(f.HostJoined(HostID(w[1]), a, optN("slots"), optN("queue"), now))
	case "lost":
		return show(f.HostLost(HostID(w[1]), now))
	case "slots":
		return show(f.HostSlots(HostID(w[1]), int(num(2)), now))
	case "share":
		return show(f.HostShare(HostID(w[1]), int(num(2)), now))
	case "to-give":
		replicas, fresh := f.ToGive()
		return []string{fmt.Sprintf("%d replicas and %d units", replicas, fresh)}
	case "pace":
		return []string{f.Pace(HostID(w[1])).String()}
	case "commits":
		return show(f.Committed(HostID(w[1]), num(2), ledger.Digest{1}, now))
	case "result":
		var d ledger.Digest
		copy(d[:], arg(3))
		v := Vote{Digest: d, Fuel: ledger.Fuel(optN("fuel")), Status: exec.Exited, OK: true}
		if st := opt("status", ""); st != "" {
			_ = v.Status.UnmarshalText([]byte(st))
			v.OK = false
		}
		return show(f.Revealed(HostID(w[1]), num(2), v, now))
	case "computed":
		if arg(2) == "nothing" {
			return show(f.Computed(num(1), nil, now))
		}
		var d ledger.Digest
		copy(d[:], arg(2))
		return show(f.Computed(num(1), &Vote{Digest: d, Fuel: ledger.Fuel(optN("fuel")), Status: exec.Exited, OK: true}, now))
	case "fault":
		return show(f.HostFault(HostID(w[1]), num(2), strings.Join(w[3:], " "), now))
	case "mismatch":
		return show(f.Mismatch(HostID(w[1]), num(2), now))
	case "wait":
		d, err := time.ParseDuration(arg(1))
		if err != nil {
			s.t.Fatal(w, err)
		}
		s.now = s.now.Add(d)
		return show(f.Tick(s.now))
	case "cancel":
		return show(f.Cancel(strings.Join(w[1:], " "), now))
	case "why":
		return []string{fmt.Sprintf("%q", f.Why())}
	case "next":
		if at := f.NextTick(); !at.IsZero() {
			return []string{"in " + at.Sub(s.now).String()}
		}
		return []string{"never"}
	case "done":
		return []string{fmt.Sprintf("%d", f.Done())}
	case "states":
		var b strings.Builder
		for u := range num(1) {
			b.WriteByte(".>r#"[f.State(u)])
		}
		return []string{b.String()}
	case "stats":
		return []string{fmt.Sprintf("%+v", f.Stats())}
	}
	s.t.Fatalf("unknown event %q", w[0])
	return nil
}

func show(actions []Action) []string {
	var out []string
	for _, a := range actions {
		switch a := a.(type) {
		case Assign:
			out = append(out, fmt.Sprintf("assign %d to %s", a.Unit, a.Host))
		case Reveal:
			out = append(out, fmt.Sprintf("ask %s for %d", a.Host, a.Unit))
		case Hide:
			out = append(out, fmt.Sprintf("hide %s for %d", a.Host, a.Unit))
		case Compute:
			out = append(out, fmt.Sprintf("compute %d ourselves", a.Unit))
		case Accept:
			s := fmt.Sprintf("accept %d = %s by %s", a.Unit, strings.TrimRight(string(a.Vote.Digest[:]), "\x00"), join(a.Winners))
			if a.Vote.Status != exec.Exited {
				s += ", " + a.Vote.Status.String()
			}
			if a.Own {
				s = strings.TrimSuffix(s, " ") + " ourselves"
			}
			if len(a.Losers) > 0 {
				s += " against " + join(a.Losers)
			}
			out = append(out, s)
		case Refuse:
			out = append(out, fmt.Sprintf("refuse %s for %d: %s", a.Host, a.Unit, a.Reason))
		case CancelUnit:
			out = append(out, fmt.Sprintf("cancel %d at %s", a.Unit, a.Host))
		case Fail:
			out = append(out, fmt.Sprintf("fail %d: %s", a.Unit, a.Reason))
		case Bad:
			out = append(out, fmt.Sprintf("bad %s: %s", a.Host, a.Reason))
		case Finished:
			out = append(out, "finished")
		}
	}
	return out
}

func join(ids []HostID) string {
	s := make([]string, len(ids))
	for i, id := range ids {
		s[i] = string(id)
	}
	return strings.Join(s, " ")
}
