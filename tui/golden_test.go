package tui

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/nodetest"
)

var update = flag.Bool("update", false, "write the golden screens anew: then look at each")

// Whole screens as a person sees them, in testdata/screens.
func TestGoldenScreens(t *testing.T) {
	org := func(*nodetest.State) {}
	for _, x := range []struct {
		name   string
		w, h   int
		change func(*nodetest.State)
		keys   string
	}{
		{"receipts", 80, 24, org, "4"},
		{"transfers", 80, 24, org, "4l"},
		{"transfers", 120, 40, org, "4l"},
		{"grants", 80, 24, org, "4ll"},
		{"grants-member", 80, 24, func(s *nodetest.State) { s.Org = member(*s.Org) }, "4ll"},
		{"witnesses", 80, 24, org, "4lll"},
		{"witnesses", 120, 40, org, "4lll"},
		{"witnesses-lost", 80, 24, loseWitnesses, "4lll"},
		{"frozen", 80, 24, org, "4h"},
		{"read-only", 80, 24, rollBack, "4"},
		{"read-only", 120, 40, rollBack, "4"},
		{"standing", 80, 24, org, "5p"},
		{"planned", 80, 24, plan(nil), "3p"},
		{"planned-job", 80, 24, plan(onPlan), "3\n"},
		{"planned-job-late", 120, 40, plan(late), "3\n"},
	} {
		name := strings.Join([]string{x.name, count(x.w) + "x" + count(x.h)}, "-")
		t.Run(name, func(t *testing.T) {
			s := nodetest.Granted(start, 30)
			x.change(&s)
			r := newRig(t, s, x.w, x.h, Options{})
			for _, k := range x.keys {
				if k == '\n' {
					r.keys("enter")
				} else {
					r.keys(string(k))
				}
				r.tick(time.Second)
			}
			r.tick(3 * time.Second)
			golden(t, name, r.screen())
		})
	}
}

// golden compares a screen with the one that was kept.
func golden(t *testing.T, name, screen string) {
	t.Helper()
	file := filepath.Join("testdata", "screens", name+".txt")
	var b strings.Builder
	for line := range strings.Lines(screen + "\n") {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(b.String(), "\n")); d != "" {
		t.Errorf("another screen than %s (go test ./tui -update writes it anew):\n%s", file, d)
	}
}

// member is what a node without the mint's key knows of a network.
func member(o node.Org) *node.Org {
	o.Mint, o.Issued, o.Left, o.Grants, o.Members = ledger.Account{}, 0, 0, 0, []node.OrgMember{}
	return &o
}

func loseWitnesses(s *nodetest.State) {
	seats := append([]node.WitnessSeat(nil), s.Witness.Witnesses...)
	seats[1].Why, seats[2].Convicted = "no answer: deadline reached", true
	s.Witness.Witnesses, s.Witness.Certified = seats, nil
	s.Witness.Serving, s.Witness.Why = false, "its records went back"
}

func rollBack(s *nodetest.State) {
	s.Status.ReadOnly = "ledger signs nothing now: the ledger was rolled back or damaged: it ends with entry 44, entry 57 was signed; 13 commits are lost: run p3 credit recover"
}

// plan makes the first job a planned one with this estimate.
func plan(e *node.JobEstimate) func(*nodetest.State) {
	return func(s *nodetest.State) {
		j := &s.Jobs[0]
		j.Deadline, j.Optimise, j.Estimate = start.Add(4*time.Minute), exec.ForCost, e
		s.JobWhys = map[exec.JobID]node.JobWhy{j.ID: {Plan: "2 of 3 providers work, the cheapest first",
			Kept: []node.WhyStep{{Count: 1, Why: "dearer than the deadline asks for", Such: "birch"}}}}
	}
}

var (
	onPlan = &node.JobEstimate{From: 64, Units: 1000, Cost: 13_100, Ends: start.Add(130 * time.Second)}
	late   = &node.JobEstimate{From: 64, Units: 1000, Cost: 13_100, Ends: start.Add(6 * time.Minute), Late: true}
)
