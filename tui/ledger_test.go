package tui

import (
	"strings"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/nodetest"
)

func TestPartsOfTheLedgerGoRound(t *testing.T) {
	r := newRig(t, nodetest.Granted(start, 30), 80, 24, Options{})
	r.keys("4")
	for _, name := range []string{"Transfers", "Grants", "Witnesses", "Frozen", "Receipts"} {
		r.keys("l")
		r.shows("<" + name + ">")
	}
	r.keys("left")
	r.shows("<Frozen>")
	r.keys(":grants", "enter")
	r.tick(time.Second)
	r.shows("<Grants>", "maple", "5.00/week")
	r.keys("/", "granted>110", "enter")
	r.shows("1 of 3 members")
	r.hides("elm                0x")
	r.keys("enter")
	r.shows("125.00 cr in 5 grants", "5.00 cr each week")
}

// What a network does not have is explained, not left empty.
func TestPartsWithoutAnythingSayWhy(t *testing.T) {
	s := nodetest.Sample(start, 3)
	s.Caught = node.Convictions{}
	r := newRig(t, s, 80, 24, Options{})
	for part, text := range map[string]string{
		"grants": "Nobody grants credit here", "witnesses": "Network home has no witnesses", "frozen": "Nobody was caught", "transfers": "coming back",
	} {
		r.keys(":"+part, "enter")
		r.tick(time.Second)
		r.shows(text)
		r.keys("enter", "y", "esc", "j", "G", "?", "esc")
		r.check()
	}
}

func TestSendAsksAndDefaultsToNo(t *testing.T) {
	r := newRig(t, nodetest.Sample(start, 5), 80, 24, Options{})
	free := func() node.Balance { b, _ := r.n.Balance(t.Context()); return b }
	before := free().Free
	r.keys(":transfers", "enter")
	r.tick(time.Second)
	for _, x := range [][2]string{{"maple", "give an account or a name"}, {"maple 0", "no amount above zero"}, {"maple x", "no amount above zero"}, {"nobody 1", "nobody known as nobody"}} {
		r.keys("n", x[0], "enter")
		r.shows(x[1])
	}
	r.keys("n", "maple 2.50", "enter")
	r.shows("Send 2.50 cr?", "0xbbb96f87", "calls itself maple", "Undo: it comes back by itself if nobody takes it up within 24h00m")
	r.keys("enter")
	r.hides("Send 2.50 cr?")
	if free().Free != before {
		t.Fatal("Enter alone sent credit")
	}
	r.keys(":send maple 2.50", "enter", "y")
	r.shows("2.50 cr to 0xbbb96f87")
	if got := before - free().Free; got != 2_500_000 {
		t.Fatalf("%s left", got)
	}
	r.n.Change(func(s *nodetest.State) { s.Status.ReadOnly = "ledger signs nothing now: the disk is full" })
	r.tick(time.Second)
	r.keys("n")
	r.shows("the ledger signs nothing now")
	r.keys(":send maple 1", "enter")
	r.hides("Send 1.00 cr?")
}

// A ledger that is behind leads to its way out in one key, and never signs again without a second question.
func TestRecoverAsksTwice(t *testing.T) {
	s := nodetest.Granted(start, 5)
	rollBack(&s)
	s.Recovery = node.Recovery{Asked: 5, Answers: 4, Entries: 13, Leases: 2, Missing: 3, From: 58, Why: "ledger signs nothing now: entries 58 to 60 are not here"}
	r := newRig(t, s, 80, 24, Options{})
	r.keys("4")
	r.shows("Read-only", "Way out: R")
	r.keys("R")
	r.shows("Recover the ledger?")
	r.keys("enter")
	r.hides("Not whole yet")
	r.keys("R", "y")
	r.shows("Not whole yet", "3 entries from 58 on are missing", "5 peers asked, 4 answered")
	r.keys("enter")
	r.n.Change(func(s *nodetest.State) { s.Recovery.Missing = 0 })
	r.keys("R", "y")
	r.shows("Sign again?", "no other copy of this account is at work")
	r.keys("enter")
	r.tick(time.Second)
	r.shows("Way out: R")
	r.keys("R", "y", "y")
	r.shows("The ledger signs again")
	r.keys("esc")
	r.tick(time.Second)
	r.hides("Way out")
	r.keys("R")
	r.hides("Recover the ledger?")
}

// A convicted account or a full disk is not mended by asking peers.
func TestReadOnlyWithoutPeersNamesItsOwnWayOut(t *testing.T) {
	s := nodetest.Sample(start, 5)
	s.Status.ReadOnly = "ledger signs nothing now: the disk is full: free disk space or repair the disk, then restart p3"
	r := newRig(t, s, 80, 24, Options{})
	r.keys("4")
	r.shows("Why: the disk is full", "remove the cause, then p3 down; p3 up")
}

// The credit of the peer under the cursor comes with its reason, and follows the cursor.
func TestPeersShowCreditAndItsReason(t *testing.T) {
	r := newRig(t, nodetest.Sample(start, 5), 120, 40, Options{})
	r.keys("5")
	r.tick(time.Second)
	r.keys("enter")
	r.tick(time.Second)
	r.shows("limit      16.30 cr: flow 12.300000 cr via", "starter left today 4.000000 cr", "41 in a row", "unpaid 2 of at most 8 units in 1 lease")
	r.keys("j")
	r.tick(time.Second)
	r.shows("none: it was caught cheating", "1 default")
	r.n.Change(func(s *nodetest.State) { s.Peers = append([]node.Peer(nil), s.Peers...); s.Peers[2].Name = "gone" })
	r.keys("j")
	r.tick(time.Second)
	r.shows("limit      what it locks")
}

func TestPlannedJobsTellTheirForecast(t *testing.T) {
	over := &node.JobEstimate{From: 8, Units: 1000, Cost: 900_000, Ends: start.Add(time.Minute), Over: true}
	for _, x := range []struct {
		estimate *node.JobEstimate
		list     string
		open     []string
	}{
		{nil, "in 3m", []string{"planned    for cost, due 14:06:10 (in 3m", "none yet"}},
		{onPlan, "in 3m", []string{"on plan: ends 14:04:20, 1m50s early; about 0.0131 cr of at most 0.50 cr", "by 64 of 1,000 units", "2 of 3 providers work"}},
		{late, "late", []string{"LATE: ends 14:08:10, 2m00s late", "1 kept back: dearer than the deadline asks for"}},
		{over, "over max", []string{"over the budget, nothing more is begun: about 0.90 cr of at most 0.50 cr"}},
	} {
		s := nodetest.Sample(start, 5)
		plan(x.estimate)(&s)
		r := newRig(t, s, 120, 40, Options{})
		r.keys("3")
		r.tick(time.Second)
		r.shows("DUE", x.list)
		r.keys("enter")
		r.tick(time.Second)
		r.tick(3 * time.Second)
		r.shows(x.open...)
	}
}

func TestEndedPlanTellsHowEarly(t *testing.T) {
	s := nodetest.Sample(start, 5)
	plan(onPlan)(&s)
	s.Jobs[0].State, s.Jobs[0].Ended = node.JobDone, start.Add(5*time.Minute)
	r := newRig(t, s, 120, 40, Options{})
	r.keys("3")
	r.tick(time.Second)
	r.keys("p")
	if !strings.Contains(r.screen(), "ended 1m00s late") {
		r.keys("G")
	}
	r.shows("due 14:06:10, ended 1m00s late")
	r.hides("forecast")
}
