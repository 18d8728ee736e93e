package node

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write what the transcripts come to")

// TestDecideTranscripts reads testdata/decide.txt aloud: lines that say what happens, and below each
// moment (a time) the decision, behind ">".
//
//	policy PRESET [KEY=VALUE]...   a machine with this policy, never seen before
//	LAYER input                    the layer sees input at this moment
//	close LAYER                    it is not there any more
//	graphical TEXT | load PERCENT | battery yes | free SIZE | donate no | pause D | finish yes | network SIZE
//	from 15:04:05                  time passes until then
//	[mon] 15:04:05                 the same, and the node decides
func TestDecideTranscripts(t *testing.T) {
	const path = "testdata/decide.txt"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	var r deciding
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, ">") {
			continue
		}
		fmt.Fprintln(&out, line)
		if text := strings.TrimSpace(line); text != "" && text[0] != '#' {
			said, err := r.do(strings.Fields(text))
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if said != "" {
				fmt.Fprintf(&out, "> %s\n", said)
			}
		}
	}
	if *update {
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, got := bufio.NewScanner(strings.NewReader(string(b))), bufio.NewScanner(strings.NewReader(out.String()))
	for n := 1; want.Scan(); n++ {
		if got.Scan(); want.Text() != got.Text() {
			t.Fatalf("%s:%d\nhave %s\nwant %s", path, n, got.Text(), want.Text())
		}
	}
}

// deciding is one machine of a transcript. Monday is 2 March 2026.
type deciding struct {
	p   HostPolicy
	s   Signals
	c   HostControl
	d   Decision
	now time.Time
}

func (r *deciding) do(words []string) (string, error) {
	word, rest := words[0], ""
	if len(words) > 1 {
		rest = words[1]
	}
	var err error
	switch word {
	case "policy":
		var ok bool
		*r = deciding{c: HostControl{Donate: true}, now: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)}
		if r.p, ok = r.p.WithPreset(rest); !ok {
			return "", fmt.Errorf("no preset %s", rest)
		}
		for _, kv := range words[2:] {
			k, v, _ := strings.Cut(kv, "=")
			if r.p, err = r.p.Set(k, v); err != nil {
				return "", err
			}
		}
	case "graphical":
		r.s.Graphical = rest
	case "load":
		r.signal(Signal{Layer: "load", Kind: SignalLoad}).Percent, err = strconv.ParseFloat(rest, 64)
	case "battery":
		r.signal(Signal{Layer: "power", Kind: SignalPower}).Battery = rest == "yes"
	case "free":
		r.signal(Signal{Layer: "memory", Kind: SignalMemory}).Free, err = ParseSize(rest)
	case "donate":
		r.c.Donate = rest == "yes"
	case "finish":
		r.c.Finish = rest == "yes"
	case "network":
		r.c.Network, err = ParseSize(rest)
	case "pause":
		var d time.Duration
		d, err = time.ParseDuration(rest)
		r.c.Paused = r.now.Add(d)
	case "x11", "tty":
		r.signal(Signal{Layer: word, Kind: SignalPresence, Screen: word == "x11"}).Last = r.now
	case "close":
		r.s.Layers = slices.DeleteFunc(r.s.Layers, func(x Signal) bool { return x.Layer == rest })
	case "from":
		err = r.until(words[1:])
	default:
		if err = r.until(words); err == nil {
			return r.decide(), nil
		}
	}
	return "", err
}

func (r *deciding) signal(x Signal) *Signal {
	for i := range r.s.Layers {
		if r.s.Layers[i].Layer == x.Layer {
			return &r.s.Layers[i]
		}
	}
	x.Known = true
	r.s.Layers = append(r.s.Layers, x)
	return &r.s.Layers[len(r.s.Layers)-1]
}

func (r *deciding) until(words []string) error {
	at, err := time.Parse(time.TimeOnly, words[len(words)-1])
	if err != nil {
		return err
	}
	for h, m, s := r.now.Clock(); ; h, m, s = r.now.Clock() {
		day := strings.ToLower(r.now.Weekday().String()[:3])
		if (len(words) == 1 || day == words[0]) && h == at.Hour() && m == at.Minute() && s == at.Second() {
			return nil
		}
		r.now = r.now.Add(time.Second)
	}
}

func (r *deciding) decide() string {
	r.d = Decide(r.p, r.s, r.c, r.now, r.d)
	does := "accepts"
	switch {
	case r.d.HandBack:
		does = "hands back"
	case r.d.Freeze:
		does = "freezes"
	case !r.d.Accepts:
		does = "takes nothing new"
	}
	return fmt.Sprintf("%s (%s): %s", does, r.d.By, r.d.Why)
}

// Whatever the signals: guests that run have been accepted by nobody's hand on the keyboard, what is
// handed back stands still, and the same moment twice comes to the same.
func TestDecisionsAreConsistent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, _ := HostPolicy{}.WithPreset(rapid.SampledFrom([]string{"desktop", "laptop", "server"}).Draw(t, "preset"))
		p.Grace = time.Duration(rapid.IntRange(0, 30).Draw(t, "grace")) * time.Second
		now, last := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC), time.Time{}
		var d Decision
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 200).Draw(t, "seconds")) * time.Second)
			if rapid.Bool().Draw(t, "input") {
				last = now
			}
			s := Signals{Layers: []Signal{
				{Layer: "x11", Kind: SignalPresence, Known: rapid.Bool().Draw(t, "known"), Last: last, Screen: true},
				{Layer: "load", Kind: SignalLoad, Known: true, Percent: float64(rapid.IntRange(0, 100).Draw(t, "load"))},
				{Layer: "power", Kind: SignalPower, Known: true, Battery: rapid.Bool().Draw(t, "battery")},
			}}
			c := HostControl{Donate: true}
			d = Decide(p, s, c, now, d)
			switch {
			case d.Why == "" || d.By == "":
				t.Fatal("no reason")
			case d.Accepts != (len(d.Reasons) == 0):
				t.Fatalf("accepts %v with %v", d.Accepts, d.Reasons)
			case d.HandBack && !d.Freeze, d.Freeze && d.Accepts, d.Freeze == d.Frozen.IsZero():
				t.Fatalf("%+v", d)
			case d.Accepts && p.IdleOnly && (!s.Layers[0].Known || p.Grace == 0 && now.Sub(last) < p.ResumeAfter):
				t.Fatalf("accepts at the owner's hands: %+v", d)
			case d.Accepts && p.ACOnly && s.Layers[2].Battery:
				t.Fatal("accepts on battery")
			}
			if again := Decide(p, s, c, now, d); again.Accepts != d.Accepts || again.Freeze != d.Freeze || again.Why != d.Why {
				t.Fatalf("%+v, then %+v", d, again)
			}
		}
	})
}
