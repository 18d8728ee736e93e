package tui

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/nodetest"
)

func TestFilterNarrowsTheMarket(t *testing.T) {
	r := newRig(t, nodetest.Sample(start, 1204), 120, 40, Options{})
	r.keys("2")
	r.tick(time.Second)
	r.shows("1,204 offers")
	r.keys("/", "slots>=16 price<0.02 arch=amd64", "enter")
	for _, i := range r.m.offers.view {
		o := r.m.offers.rows[i]
		if o.Capacity.Slots < 16 || o.Price.Num >= 20_000 || o.Capacity.Arch != "amd64" {
			t.Fatalf("accepted %+v", o.Offer)
		}
	}
	if n := len(r.m.offers.view); n == 0 || n == 1204 {
		t.Fatalf("%d offers", n)
	}
	r.keys("/", " cpu>3")
	r.shows(`no field "cpu"; there are peer slots`)
	r.keys("esc")
	r.shows("/slots>=16 price<0.02 arch=amd64 ")
	r.keys("/", " nosuchthing", "enter")
	r.shows("No offers match slots>=16 price<0.02 arch=amd64 nosuchthing. c clears the filter.")
	r.keys("enter")
	r.shows("the list is empty")
	r.keys("c")
	r.shows("1,204 offers")
	r.keys("c")
	r.shows("there is no filter to clear")
}

func TestSortAndReverse(t *testing.T) {
	r := newRig(t, nodetest.Sample(start, 200), 120, 40, Options{})
	r.keys("2")
	r.tick(time.Second)
	prices := func() (p []float64) {
		for _, i := range r.m.offers.view {
			p = append(p, priceOf(r.m.offers.rows[i].Price))
		}
		return p
	}
	for range len(r.m.offers.cols) {
		if strings.Contains(r.screen(), "sort: price") {
			break
		}
		r.keys("s")
	}
	p := prices()
	slices.Reverse(p)
	if !slices.IsSorted(p) {
		t.Errorf("not dearest first: %v", p)
	}
	r.keys("S")
	if !slices.IsSorted(prices()) {
		t.Errorf("not cheapest first: %v", prices())
	}
}

// While somebody moves the cursor, rows neither jump nor does the cursor leave its row.
func TestOrderHoldsWhileTheCursorMoves(t *testing.T) {
	r := newRig(t, nodetest.Sample(start, 50), 120, 40, Options{})
	r.keys("2")
	r.tick(time.Second)
	r.keys("j", "j", "j")
	chosen, order := r.m.offers.atID, ids(r.m)
	r.n.Change(func(s *nodetest.State) {
		s.Offers = slices.Clone(s.Offers)
		for i := range s.Offers {
			s.Offers[i].Score = 1 - s.Offers[i].Score
		}
	})
	r.keys("k", "j")
	r.m.ask(fromOffers)
	r.tick(time.Second)
	if !slices.Equal(ids(r.m), order) {
		t.Error("rows moved under the cursor")
	}
	r.shows("held while you move")
	r.tick(3 * time.Second)
	if slices.Equal(ids(r.m), order) {
		t.Error("order still held after the cursor rested")
	}
	if r.m.offers.atID != chosen || r.m.offers.selected().Peer != chosen {
		t.Error("the cursor left its row")
	}
	r.hides("held while you move")
}

func ids(m *model) (list []string) {
	for _, i := range m.offers.view {
		list = append(list, m.offers.rows[i].Peer)
	}
	return list
}

func TestMarkedOffersAreCompared(t *testing.T) {
	r := newRig(t, nodetest.Sample(start, 50), 120, 40, Options{})
	r.keys("2")
	r.tick(time.Second)
	r.keys(" ", "j", " ")
	r.shows("Compare 2", "round trip", "mandel")
	r.keys(" ", "k", " ")
	r.hides("Compare")
}

func TestCancelAsksAndDefaultsToNo(t *testing.T) {
	r := newRig(t, nodetest.Sample(start, 5), 80, 24, Options{})
	r.keys("3")
	r.tick(time.Second)
	state := func() node.JobState { j, _ := r.n.Jobs(t.Context()); return j[0].State }
	r.keys("K")
	r.shows("Cancel j-", "382 units of mandel stop; 618 results are kept.", "0.0081 cr spent so far; the 21 units running now may still be owed.")
	r.keys("enter")
	r.hides("Cancel j-")
	if state() != node.JobRunning {
		t.Fatal("Enter alone cancelled the job")
	}
	for _, no := range []string{"esc", "n"} {
		r.keys("K", no)
	}
	r.keys("K", "tab", "tab", "enter")
	if state() != node.JobRunning {
		t.Fatal("cancelled after No")
	}
	r.keys("K", "tab", "enter")
	r.shows("is cancelled")
	if state() != node.JobCancelled {
		t.Fatal("not cancelled after Yes")
	}
	r.tick(2 * time.Second)
	r.keys("g", "K")
	r.shows("the job has ended already: cancelled")
}

func TestJobGridMovesToFailedUnitsAndShowsTheirLog(t *testing.T) {
	r := newRig(t, nodetest.Sample(start, 5), 120, 40, Options{})
	r.keys("3")
	r.tick(time.Second)
	r.keys("enter")
	r.tick(time.Second)
	r.shows("618 of 1,000", "oak", "lost", "  no answer for 15 s", "refused", "  busy: its owner is at the keyboard")
	r.keys("f", "l")
	r.shows("Unit 208", "FAILED trap on birch, oak", "out of bounds memory access at main.render+0x41", "tile outside the picture")
	r.keys("f", "f")
	r.shows("Unit 331")
	r.keys("f")
	r.shows("Unit 208")
	r.keys("G")
	r.shows("Unit 999", "Waiting for a provider")
	r.keys("g", "right")
	r.shows("Unit 1 ", "tile 1: 4096 points")
	r.keys("left", "left", "up", "pgup")
	r.shows("Unit 0 ")
	r.keys("esc")
	r.shows("My jobs")
	r.keys(":j-", r.m.jobs.rows[1].ID.String()[:6], "enter")
	r.tick(time.Second)
	r.shows("primes", "DONE")
}

// A job of many units shows them in windows, several to a cell.
func TestGridOfAMillionUnits(t *testing.T) {
	s := nodetest.Sample(start, 1)
	s.Jobs[0].Units = 1_000_000
	units := make([]node.UnitState, 1_000_000)
	for i := range units {
		units[i] = node.UnitDone
	}
	units[700_000] = node.UnitFailed
	s.Units[s.Jobs[0].ID] = units
	r := newRig(t, s, 80, 24, Options{})
	r.keys("3")
	r.tick(time.Second)
	r.keys("enter")
	r.tick(time.Second)
	r.shows("of 1,000,000", "per cell")
	r.m.open.seek(700_000)
	r.tick(2 * time.Second)
	r.shows("655,360", "x")
}

func TestDonateAndPause(t *testing.T) {
	s := nodetest.Sample(time.Now(), 3) // the node in memory pauses by its own clock
	r := newRig(t, s, 100, 30, Options{})
	r.now = time.Now()
	r.tick(time.Second)
	r.shows("donating 3 slots", "donate off", "pause 1 h")
	r.keys("p")
	r.shows("paused for 1 h", "paused by the owner")
	r.tick(6 * time.Second)
	r.shows("paused 59m", "resume")
	r.keys("p")
	r.tick(6 * time.Second)
	r.hides("paused")
	r.keys("d")
	r.shows("donating is off")
	r.tick(6 * time.Second)
	r.shows("not donating", "not accepting: donation is off", "donate on")
	r.keys("p")
	r.shows("there is nothing to pause: donating is off (d turns it on)")
	r.keys(":donate", "enter")
	r.tick(6 * time.Second)
	r.shows("donating 3 slots")
}

func TestLostNodeLeavesDimmedData(t *testing.T) {
	r := newRig(t, nodetest.Sample(start, 5), 100, 30, Options{})
	retried := 0
	r.m.retry = func() { retried++ }
	down := &node.Problem{Code: node.CodeNoNode, Message: "the node has stopped", Hint: "start it with: p3 up"}
	r.lose(down, r.now, 12*time.Second)
	r.shows("stale 12s, retrying (r)", "the node has stopped; start it with: p3 up", "mandel")
	body := r.m.frame()[3]
	if !strings.HasPrefix(body, "\x1b[2m") || strings.Count(body, "\x1b") != 2 {
		t.Errorf("body is not dimmed as a whole: %q", body)
	}
	r.keys("d", "2", "r")
	if retried != 1 {
		t.Errorf("%d retries after one r", retried)
	}
	if s, _ := r.n.Status(t.Context()); !s.Host.Donating {
		t.Error("a key acted on a lost node")
	}
	r.tick(time.Second)
	r.hides("stale")
}

func TestReceiptIsVerifiedFromItsBytes(t *testing.T) {
	key, err := ledger.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	network := ledger.Network{7}
	lock := ledger.Entry{Type: ledger.TypeLock, Network: network, Account: key.Account(), Seq: 1, Prev: ledger.Digest{1}, Peer: ledger.Account{2},
		Amount: 500_000, Evidence: ledger.Digest{3}, Granted: ledger.Credit, Locked: 500_000,
		TimeMs: uint64(start.UnixMilli()), ExpiryMs: uint64(start.Add(time.Hour).UnixMilli())}
	signed, err := key.SignEntry(lock)
	if err != nil {
		t.Fatal(err)
	}
	raw := ledger.Receipt{Lock: signed}.Encode()
	s := nodetest.Sample(start, 1)
	s.Status.Network = network
	s.Receipts[0].ID = lock.Digest()
	s.Files = map[ledger.Digest][]byte{lock.Digest(): raw, s.Receipts[1].ID: raw}

	r := newRig(t, s, 100, 30, Options{})
	r.keys("4")
	r.tick(time.Second)
	r.keys("enter")
	r.shows(lock.Digest().String(), "open: work may still be added")
	r.keys("esc", "v")
	r.shows("valid  every signature in it holds", key.Account().String()+" locked 0.50 cr")
	r.keys("esc", "j", "v")
	r.shows("NOT VALID  these are the bytes of another receipt")
	r.keys("esc", "j", "v")
	r.shows("NOT VALID  not a receipt file")

	forged := append([]byte(nil), raw...)
	forged[len(raw)/2] ^= 1
	r.n.Change(func(s *nodetest.State) { s.Files = map[ledger.Digest][]byte{lock.Digest(): forged} })
	r.keys("esc", "g", "v")
	r.shows("NOT VALID  receipt")
	r.n.Change(func(s *nodetest.State) {
		s.Files = map[ledger.Digest][]byte{lock.Digest(): raw}
		s.Status.Network = ledger.Network{8}
	})
	r.tick(time.Second)
	r.keys("esc", "v")
	r.shows("NOT VALID  it is of another credit network")
}

func TestHelpListsWhatCannotActAndWhy(t *testing.T) {
	r := newRig(t, nodetest.Sample(start, 3), 120, 40, Options{})
	r.keys("2")
	r.tick(time.Second)
	r.keys("?")
	r.shows("Keys of Market", "(not now: there is no filter to clear)")
	r.keys("esc", ":peers", "enter")
	r.shows("[5 Peers]")
	r.keys(":market slots>1", "enter")
	r.shows("[2 Market]", "/slots>1")
	r.keys(":bogus", "enter")
	r.shows(`no command "bogus"`)
	r.keys("tab")
	r.shows("[3 Jobs]")
}
