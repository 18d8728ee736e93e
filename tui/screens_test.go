package tui

import (
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/nodetest"
)

func TestEveryScreenFitsEverySize(t *testing.T) {
	for _, size := range [][2]int{{60, 15}, {79, 20}, {80, 24}, {100, 30}, {120, 40}, {159, 45}, {160, 48}, {200, 60}} {
		for _, asciiOnly := range []bool{false, true} {
			t.Run(fmt.Sprintf("%dx%d ascii %v", size[0], size[1], asciiOnly), func(t *testing.T) {
				r := newRig(t, nodetest.Granted(start, 300), size[0], size[1], Options{ASCII: asciiOnly})
				for key, texts := range map[string][]string{
					"1": {"[1 Overview]", "This machine", "accepting", "Events"},
					"2": {"[2 Market]", "Offers", "cr/Tfuel", "sort: score"},
					"3": {"[3 Jobs]", "mandel", "618/1,000"},
					"4": {"[4 Ledger]", "Receipts", "SIGNATURES", "BAD"},
					"5": {"[5 Peers]", "maple", "relay"},
					"6": {"[6 Settings]", "Policy", "would accept now: yes", "Signals", "> idle_only"},
				} {
					r.keys(key)
					r.tick(time.Second)
					r.shows(texts...)
					r.keys("?")
					r.shows("Keys of", "help")
					r.keys("esc", "p")
					r.check()
					r.keys("p")
				}
				for range r.m.parts() {
					r.keys(":ledger", "enter", "l")
					r.tick(5 * time.Second)
					r.check()
				}
				r.keys("3")
				r.tick(3 * time.Second)
				r.keys("enter", "l")
				r.tick(time.Second)
				r.shows("RUNNING", "Units", "####", "Unit 0", "tile 0: 4096 points")
				if asciiOnly && strings.ContainsFunc(r.screen(), func(c rune) bool { return c > '~' }) {
					t.Error("not ASCII")
				}
			})
		}
	}
}

// From 80x24 up the ledger shows what each day brought and took, in words and columns.
func TestLedgerChartsDays(t *testing.T) {
	r := newRig(t, nodetest.Sample(start, 3), 80, 24, Options{})
	r.keys("4")
	r.tick(time.Second)
	r.shows("By day, 29", "earned ", "spent ", "02-01", "03-01")
	r = newRig(t, nodetest.Sample(start, 3), 200, 60, Options{ASCII: true})
	r.keys("4")
	r.tick(time.Second)
	r.shows("By day, 60", "01-01", "03-01")
	r = newRig(t, nodetest.Sample(start, 3), 79, 24, Options{})
	r.keys("4")
	r.tick(time.Second)
	r.hides("By day")
	s := nodetest.Sample(start, 3)
	for i := range s.History.Days {
		s.History.Days[i].Earned, s.History.Days[i].Spent = 0, 0
	}
	r = newRig(t, s, 80, 24, Options{})
	r.keys("4")
	r.tick(time.Second)
	r.shows("Nothing earned or spent")
}

func TestColumnsShowALittleAndTheMost(t *testing.T) {
	for _, x := range []struct {
		values []float64
		rows   int
		want   string
	}{
		{[]float64{0, 0.001, 4, 8}, 1, " ▁▄█"},
		{[]float64{0, 0.001, 4, 8}, 2, "   █| ▁██"},
		{[]float64{0, 0}, 1, "  "},
	} {
		top := 0.0
		for _, v := range x.values {
			top = max(top, v)
		}
		if got := strings.Join(unicodeGlyphs.columns(x.values, top, x.rows), "|"); got != x.want {
			t.Errorf("%v: %q, want %q", x.values, got, x.want)
		}
	}
}

func TestTooSmall(t *testing.T) {
	r := newRig(t, nodetest.Sample(start, 3), 52, 12, Options{})
	r.shows("Need 60x15, have 52x12")
	r.send(tea.WindowSizeMsg{Width: 80, Height: 24})
	r.hides("Need 60x15")
}

func TestEmptyScreensSayWhatToDo(t *testing.T) {
	s := nodetest.Sample(start, 0)
	s.Jobs, s.Receipts, s.Events, s.Peers = nil, nil, nil, nil
	s.Status.Peers, s.Status.Guests, s.Status.Balance = 0, nil, node.Balance{}
	r := newRig(t, s, 100, 30, Options{})
	r.tick(time.Second)
	r.shows("searching for peers", "Balance 0.00. Donate to earn: press d", "No jobs yet", "Nobody's unit is running here")
	r.keys("2")
	r.tick(time.Second)
	r.shows("No offers: no peers yet")
	r.keys("5")
	r.tick(time.Second)
	r.shows("Searching this LAN 26h00m. Press i for an invite code")
	r.keys("i")
	r.shows("p3 join p3:example")
	r.keys("esc", "4")
	r.tick(time.Second)
	r.shows("No receipts yet. Donate to earn")
}

func TestBeforeTheFirstStatus(t *testing.T) {
	r := &rig{t: t, n: nodetest.New(nodetest.State{}), now: start}
	r.m = newModel(t.Context(), r.n, newFeed(), Options{})
	r.m.tick = func(time.Duration) tea.Cmd { return nil }
	r.send(tea.WindowSizeMsg{Width: 80, Height: 24})
	r.shows("Connecting to the node")
	r.lose(&node.Problem{Code: node.CodeNoNode, Message: "no node is running at /run/p3.sock", Hint: "start it with: p3 up"}, start, time.Second)
	r.shows("no node is running at /run/p3.sock; start it with: p3 up")
	r.keys("1", "2", "d", "p", "/", "enter", "K", "?")
	r.check()
	r.keys("esc", ":donate", "enter")
	r.shows("the node is not there")
	r.keys("q")
	if !r.quit {
		t.Error("q does not quit")
	}
}

// Strangers choose names, reasons and logs; none of them may bend the screen.
func TestHostileTextStaysInItsCell(t *testing.T) {
	s := hostile("\x1b[2J\x1b]52;c;aGk=\x07\u202eevil\u200b👩‍👩‍👧‍👦\U0001F3F4\r\n\tZ\u0335\u0321\u0322\u0323\u0324ا\xff\u009b31m界界界界界界界界界界界界")
	for _, size := range [][2]int{{60, 15}, {80, 24}, {120, 40}, {200, 60}} {
		r := newRig(t, s, size[0], size[1], Options{})
		visit(r)
	}
}

// visit goes through every screen and checks its frame.
func visit(r *rig) {
	for _, keys := range []string{"1", "2", "p", " ", "3", "p", "4", "p", "5", "p", "6"} {
		r.keys(keys)
		r.tick(5 * time.Second)
		r.check()
	}
	r.keys("2", "enter")
	r.check()
	r.keys("esc", "4")
	for range r.m.parts() {
		r.tick(5 * time.Second)
		for _, k := range []string{"p", "enter", "esc", "p", "y", "?", "esc", "l"} {
			r.keys(k)
			r.check()
		}
	}
	r.keys("5", "p")
	r.tick(5 * time.Second)
	r.check()
	r.keys("p", "3", "enter")
	r.tick(5 * time.Second)
	r.keys("f", "l")
	r.tick(5 * time.Second)
	r.check()
}

// hostile is a network where everybody is called text.
func hostile(text string) nodetest.State {
	s := nodetest.Granted(start, 5)
	plan(late)(&s)
	s.Jobs[0].Optimise = exec.Optimise(text)
	for i := range s.Offers {
		o := &s.Offers[i]
		o.Name, o.Capacity.Arch, o.Capacity.OS, o.Capacity.Engines = text, text, text, []string{text, text}
	}
	for i := range s.Peers {
		s.Peers[i].Name, s.Peers[i].Agent, s.Peers[i].Addrs = text, text, []string{text}
	}
	for i := range s.Jobs {
		j := &s.Jobs[i]
		j.Name, j.Why, j.State = text, text, node.JobState(text)
		for k := range j.Peers {
			j.Peers[k].Name, j.Peers[k].State, j.Peers[k].Why = text, text, text
		}
		for u, res := range s.Results[j.ID] {
			res.Hosts, res.Error, res.Result.Message = []string{text}, text, text
			res.Result.Stdout, res.Result.Stderr = []byte(strings.Repeat(text, 3)), []byte(text)
			s.Results[j.ID][u] = res
		}
	}
	for i := range s.Receipts {
		s.Receipts[i].State, s.Receipts[i].Problem = text, text
	}
	for i := range s.Events {
		s.Events[i].Text, s.Events[i].Level = text, text
	}
	for a, v := range s.Views {
		v.Why = text
		s.Views[a] = v
	}
	org := *s.Org
	org.Name, org.Problem, org.Members = text, text, append([]node.OrgMember(nil), org.Members...)
	for i := range org.Members {
		org.Members[i].Name, org.Members[i].Every = text, text
	}
	s.Org = &org
	s.Witness.NetName, s.Witness.Witnesses = text, append([]node.WitnessSeat(nil), s.Witness.Witnesses...)
	for i := range s.Witness.Witnesses {
		x := &s.Witness.Witnesses[i]
		x.Here, x.Name, x.Peer, x.Why = false, text, text, text
	}
	for i := range s.Caught.List {
		x := &s.Caught.List[i]
		x.Name, x.Role, x.Why = text, text, text
	}
	for id := range s.JobWhys {
		s.JobWhys[id] = node.JobWhy{Plan: text, Kept: []node.WhyStep{{Count: 1, Why: text}}}
	}
	st := &s.Status
	st.NetName, st.Version, st.Peer, st.ReadOnly, st.Addrs, st.Host.Why = text, text, text, text, []string{text}, text
	st.Host.By, st.Host.Policy = text, text
	for i := range st.Guests {
		st.Guests[i].Name = text
	}
	s.Why.Signals.Graphical, s.Why.File, s.Why.Problem = text, text, text
	for i := range s.Why.Signals.Layers {
		x := &s.Why.Signals.Layers[i]
		x.Layer, x.Text = text, text
	}
	return s
}
