package nodetest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

var trees = []string{"maple", "birch", "oak", "spruce", "elm", "alder", "beech", "larch", "rowan", "willow", "cedar", "hazel"}

// Sample returns a network with the given number of offers, a day of receipts, and jobs in
// several states, as seen at now. The same arguments give the same State.
func Sample(now time.Time, offers int) State {
	rnd := rand.New(rand.NewPCG(1, 2))
	me := account(0)
	s := State{
		Units:   map[exec.JobID][]node.UnitState{},
		Results: map[exec.JobID]map[uint64]node.UnitResult{},
	}
	for i := range offers {
		s.Offers = append(s.Offers, sampleOffer(rnd, now, i))
	}
	for i := range min(offers, 12) {
		s.Peers = append(s.Peers, node.Peer{ID: peerID(i), Name: trees[i], Account: account(i + 1),
			Addrs: []string{fmt.Sprintf("/ip4/10.0.0.%d/udp/4001/quic-v1", i+2)}, Relayed: i%5 == 3,
			RTTMs: float64(3 + i*i*2), Agent: "p3/0.1.0", Since: now.Add(-time.Duration(i*i+1) * time.Minute)})
	}
	s.Jobs = []node.Job{sampleRunning(now), {
		ID: jobID(2), Name: "primes", State: node.JobDone, Created: now.Add(-2 * time.Hour), Ended: now.Add(-110 * time.Minute),
		Units: 200, Done: 200, Closed: true, Spent: 4_100_000, Budget: 5_000_000, Verify: 2,
	}, {
		ID: jobID(3), Name: "nightly-render", State: node.JobWaiting, Why: "no provider has 64 GiB: 37 of 37 offers are smaller",
		Created: now.Add(-5 * time.Minute), Units: 12, Closed: true, Budget: 900_000, Verify: 1,
	}}
	s.Units[s.Jobs[0].ID], s.Results[s.Jobs[0].ID] = sampleUnits()
	s.Receipts = sampleReceipts(rnd, now, me)
	var earned, spent ledger.Credits
	for _, r := range s.Receipts {
		if r.Payee == me {
			earned += r.Paid
		} else {
			spent += r.Paid
		}
	}
	sampleCredit(&s)
	s.Rows, s.History = sampleRows(now, me), sampleHistory(now)
	s.Why, s.Now = sampleWhy(now), now
	s.Status = node.Status{
		Schema: "p3.status/v1", Version: "0.1.0", PID: 4242, Peer: peerID(99), Account: me, NetName: "home",
		Addrs: []string{"/ip4/10.0.0.1/udp/4001/quic-v1"}, Started: now.Add(-26 * time.Hour), Peers: len(s.Peers), Offers: offers,
		Balance: node.Balance{Granted: 100_000_000, Earned: earned, Spent: spent, Locked: 492_000,
			Net: 100_000_000 + earned - spent, Free: 99_508_000 + earned - spent},
		Host: node.HostStatus{Donating: true, Native: "yes, 2 of 9 programs", Accepts: true, Why: "idle for 41m7s: accepting work", By: "x11", Policy: s.Why.Policy.Summary(),
			Capacity: exec.Capacity{Slots: 3, Memory: 4 << 30, Disk: 20 << 30, Engines: []string{"wasm"}, Arch: "amd64", OS: "linux", Speed: 1_300_000_000},
			Price:    ledger.Price{Num: 20_000, Den: ledger.PriceFuel}, Busy: 2, UnitsDone: 5531, FuelDone: 7_400_000_000_000,
			CPUPercent: 63, MemUsed: 9 << 30, MemTotal: 16 << 30},
		Guests: []node.Guest{
			{Job: jobID(7), Name: "protein", Unit: 91, For: account(1), Started: now.Add(-31 * time.Second)},
			{Job: jobID(8), Name: "mandel", Unit: 77, For: account(3), Started: now.Add(-65 * time.Second)},
		},
	}
	s.Events = sampleEvents(now)
	return s
}

func sampleOffer(rnd *rand.Rand, now time.Time, i int) node.Offer {
	slots := 1 << rnd.IntN(6)
	o := node.Offer{
		Peer: peerID(i), Name: trees[i%len(trees)], Account: account(i + 1), Free: rnd.IntN(slots + 1),
		Capacity: exec.Capacity{Slots: slots, Memory: int64(slots) << 31, Disk: 20 << 30, Engines: []string{"wasm"},
			Arch: []string{"amd64", "arm64"}[rnd.IntN(2)], OS: []string{"linux", "darwin", "windows"}[rnd.IntN(3)],
			Speed: uint64(600_000_000 + rnd.IntN(1_400_000_000))},
		Price: ledger.Price{Num: uint64(5_000 + rnd.IntN(60_000)), Den: ledger.PriceFuel}, RTTMs: float64(rnd.IntN(200)),
		Signed: now.Add(-time.Duration(rnd.IntN(280)) * time.Second), Score: rnd.Float64(),
	}
	if i >= len(trees) {
		o.Name = fmt.Sprintf("%s-%d", o.Name, i)
	}
	o.Expires = o.Signed.Add(5 * time.Minute)
	if rnd.IntN(3) > 0 {
		o.Done = uint64(rnd.IntN(500))
		o.Failed = o.Done / uint64(5+rnd.IntN(100))
	}
	return o
}

func sampleRunning(now time.Time) node.Job {
	return node.Job{ID: jobID(1), Name: "mandel", State: node.JobRunning, Created: now.Add(-2 * time.Minute), Units: 1000, Closed: true,
		Done: 618, Failed: 3, Running: 21, Spent: 8_100, Budget: 500_000, Verify: 2, Disputes: 1,
		Peers: []node.JobPeer{
			{Peer: peerID(2), Account: account(3), Name: "oak", State: "leased", Done: 314, Failed: 1, Running: 8, Paid: 3_900, RTTMs: 48},
			{Peer: peerID(0), Account: account(1), Name: "maple", State: "leased", Done: 240, Running: 8, Paid: 3_100, RTTMs: 39},
			{Peer: peerID(1), Account: account(2), Name: "birch", State: "lost", Why: "no answer for 15 s", Done: 64, Failed: 2, Running: 0, Paid: 1_100, RTTMs: 77},
			{Peer: peerID(3), Account: account(4), Name: "spruce", State: "refused", Why: "busy: its owner is at the keyboard", RTTMs: 140},
		}}
}

func sampleUnits() ([]node.UnitState, map[uint64]node.UnitResult) {
	states, results := make([]node.UnitState, 1000), map[uint64]node.UnitResult{}
	for i := range states {
		switch {
		case i == 208 || i == 209 || i == 331:
			states[i] = node.UnitFailed
			results[uint64(i)] = node.UnitResult{Unit: uint64(i), Tries: 3, Hosts: []string{"birch", "oak"}, Result: exec.Result{Status: exec.Trap,
				Message: "out of bounds memory access at main.render+0x41", Stderr: []byte("tile outside the picture\n"), Fuel: 2_100_000_000, WallMs: 1510}}
		case i < 618:
			states[i] = node.UnitDone
			results[uint64(i)] = node.UnitResult{Unit: uint64(i), Tries: 1, Hosts: []string{"maple", "oak"}, Cost: 13,
				Result: exec.Result{Status: exec.Exited, Stdout: fmt.Appendf(nil, "tile %d: 4096 points, 117 inside\n", i), Fuel: 1_900_000_000, WallMs: 1320}}
		case i < 634:
			states[i] = node.UnitRunning
		case i < 639:
			states[i] = node.UnitRetry
		default:
			states[i] = node.UnitWaiting
		}
	}
	return states, results
}

func sampleReceipts(rnd *rand.Rand, now time.Time, me ledger.Account) []node.Receipt {
	states := []string{"complete", "complete", "complete", "settled", "claimed"}
	var list []node.Receipt
	for i := range 140 {
		paid := ledger.Credits(rnd.IntN(900_000) + 1_000)
		r := node.Receipt{ID: digest(uint64(i) + 1000), Job: ledger.Digest(jobID(uint64(i % 9))), Payer: account(1 + i%12), Payee: me,
			Paid: paid, Locked: paid + ledger.Credits(rnd.IntN(100_000)), Fuel: ledger.Fuel(paid) * 50_000_000, Units: uint32(1 + rnd.IntN(60)),
			State: states[rnd.IntN(len(states))], Time: now.Add(-time.Duration(i*i) * 4500 * time.Millisecond), Verified: true}
		if i%3 == 1 {
			r.Payer, r.Payee = r.Payee, r.Payer
		}
		list = append(list, r)
	}
	list[0].State, list[0].Paid = "open", 0
	for i, state := range map[int]string{2: "complete", 7: "complete", 10: "open", 13: "expired"} { // given, not worked for
		r := &list[i]
		r.Transfer, r.State, r.Units, r.Fuel = true, state, 0, 0
		if state != "complete" {
			r.Paid = 0
		}
	}
	list[4].Verified, list[4].Problem = false, "the payee's signature is of another account"
	return list
}

// sampleRows has one line of each kind; what they prove is not looked at.
func sampleRows(now time.Time, me ledger.Account) []ledger.Row {
	base := ledger.Row{Schema: ledger.RowSchema, Account: me, Network: ledger.Network(digest(7)), Signed: ledger.HexBytes{1, 2}}
	rows := []ledger.Row{base, base, base}
	rows[0].Kind, rows[0].Name = ledger.RowNetwork, "p3"
	rows[1].Kind, rows[1].Type, rows[1].Time = ledger.RowEntry, "genesis", now.Add(-48*time.Hour).UTC()
	rows[2].Kind, rows[2].Type, rows[2].Time, rows[2].Seq = ledger.RowEntry, "earn", now.Add(-time.Hour).UTC(), 1
	rows[2].Amount, rows[2].Change, rows[2].Balance = 5, 5, 5
	return rows
}

func sampleHistory(now time.Time) node.History {
	h := node.History{Schema: "p3.history/v1", Zone: now.Location().String()}
	y, m, d := now.Date()
	net := ledger.Credits(0)
	for i := range 60 {
		start := time.Date(y, m, d-59+i, 0, 0, 0, 0, now.Location())
		day := node.Day{Date: start.Format(time.DateOnly), Start: start, Earned: ledger.Credits(i*i%13) * 200_000, Spent: ledger.Credits(i*i%7) * 150_000}
		net += day.Earned - day.Spent
		day.Net = net
		h.Days = append(h.Days, day)
	}
	return h
}

func sampleEvents(now time.Time) []node.Event {
	events := []node.Event{
		{Level: "ok", Kind: "credit", Text: "receipt from maple is complete, +0.02 cr"},
		{Level: "warn", Kind: "unit", Text: "birch did not answer, unit 604 moved to oak (attempt 2 of 3)"},
		{Level: "info", Kind: "host", Text: "idle for 5m00s: accepting work"},
		{Level: "error", Kind: "unit", Text: "unit 208 failed on birch, oak and maple with the same trap: likely the program"},
		{Level: "ok", Kind: "job", Text: "primes is done: 200 of 200 units, 4.10 cr"},
		{Level: "info", Kind: "peer", Text: "rowan joined through the LAN"},
	}
	for i := range events {
		events[i].Time = now.Add(-time.Duration(i*i*20+9) * time.Second)
	}
	slices.Reverse(events)
	for i := range events {
		events[i].Seq = uint64(i + 1)
	}
	return events
}

func digest(n uint64) (d ledger.Digest) {
	for i := range 4 { // spread, so that short forms differ
		binary.BigEndian.PutUint64(d[8*i:], (n+1)*0x9E3779B97F4A7C15>>i)
	}
	return d
}

func jobID(n uint64) exec.JobID { return exec.JobID(digest(n)) }

func account(n int) (a ledger.Account) {
	d := digest(uint64(n) + 1<<32)
	copy(a[:], d[:])
	return a
}

func peerID(n int) string { return "12D3KooW" + digest(uint64(n) + 2<<32).String()[:44] }

// sampleWhy is a desktop whose owner has been away for a while.
func sampleWhy(now time.Time) node.HostWhy {
	p, _ := node.HostPolicy{}.WithPreset("desktop")
	w := node.HostWhy{Schema: "p3.host-why/v1", Donating: true, Policy: p, File: "/home/ann/.local/share/p3/policy.yaml", Signals: node.Signals{
		Graphical: "session 2 of ann, x11",
		Layers: []node.Signal{
			{Layer: "logind", Kind: node.SignalPresence, Text: `session 2 of ann (x11): says "not idle", as some desktops always do`},
			{Layer: "gnome", Kind: node.SignalPresence, Text: "org.gnome.Mutter.IdleMonitor is not on the bus"},
			{Layer: "screensaver", Kind: node.SignalPresence, Text: "org.freedesktop.ScreenSaver is not on the bus"},
			{Layer: "x11", Kind: node.SignalPresence, Known: true, Screen: true, Text: "last input 41m7s ago", Last: now.Add(-41*time.Minute - 7*time.Second)},
			{Layer: "tty", Kind: node.SignalPresence, Known: true, Text: "pts/3 typed on 3h0m12s ago", Last: now.Add(-3*time.Hour - 12*time.Second)},
			{Layer: "load", Kind: node.SignalLoad, Known: true, Text: "other programs use 4% of 8 CPUs (over 10s)", Percent: 4},
			{Layer: "power", Kind: node.SignalPower, Known: true, Text: "on mains"},
			{Layer: "memory", Kind: node.SignalMemory, Known: true, Text: "7168 MiB available", Free: 7 << 30},
		},
	}}
	w.Walls = []node.Wall{{Name: "seccomp", OK: true}, {Name: "cgroup of the workers", Detail: "this cgroup was not delegated to us"}}
	w.Decision = node.Decide(p, w.Signals, node.HostControl{Donate: true}, now, node.Decision{})
	return w
}
