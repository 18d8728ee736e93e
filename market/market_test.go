package market

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	t0      = time.UnixMilli(1_800_000_000_000)
	network = ledger.Network{1, 2, 3}
)

// A seller is a node key with an account that lets it act.
type seller struct {
	key     crypto.PrivKey
	peer    peer.ID
	account ledger.Account
	binding []byte
}

func newSeller(t testing.TB) seller {
	t.Helper()
	node, _, err := crypto.GenerateSecp256k1Key(nil)
	if err != nil {
		t.Fatal(err)
	}
	account, err := ledger.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return bind(t, node, account)
}

func bind(t testing.TB, node crypto.PrivKey, account ledger.Key) seller {
	t.Helper()
	id, err := peer.IDFromPrivateKey(node)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := account.SignBinding(ledger.NodeBinding{Network: network, Account: account.Account(), PeerID: []byte(id), Seq: 1, ExpiryMs: uint64(t0.Add(24 * time.Hour).UnixMilli())})
	if err != nil {
		t.Fatal(err)
	}
	return seller{node, id, account.Account(), raw}
}

func (s seller) header() Header {
	return Header{Network: network, Account: s.account, Name: "elm", Binding: s.binding}
}

func (s seller) offer(t testing.TB, change func(*Offer), now time.Time) Offer {
	t.Helper()
	o := Offer{Header: s.header(), Price: ledger.Price{Num: 20_000, Den: ledger.PriceFuel}, FreeSlots: 3, Policy: "idle only",
		Capacity: exec.Capacity{Slots: 4, Memory: 8 << 30, Disk: 20 << 30, Engines: []string{"wasm"}, Arch: "amd64", OS: "linux", Speed: 1_400_000_000}}
	if change != nil {
		change(&o)
	}
	o, err := SignOffer(o, s.key, now)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOfferComesBackAsSigned(t *testing.T) {
	o := newSeller(t).offer(t, nil, t0)
	got, err := ParseOffer(o.Raw(), network, t0.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if !got.Same(o) || got.Header.Peer != o.Peer || got.Seq != o.Seq || string(got.Raw()) != string(o.Raw()) || !got.ExpiresAt().Equal(t0.Add(OfferTTL)) {
		t.Errorf("got %+v, want %+v", got, o)
	}
	t.Logf("an offer has %d bytes", len(o.Raw()))
}

func TestOfferIsRefusedFor(t *testing.T) {
	s, thief := newSeller(t), newSeller(t)
	good := s.offer(t, nil, t0).Raw()
	resigned := func(change func(*Offer)) []byte { // by the thief's hand, with any content
		o := Offer{Header: s.header(), Price: ledger.Price{Num: 1, Den: 1}}
		o.Header.Version, o.Header.Peer, o.Signed, o.Expires, o.Seq = 1, thief.peer, t0.UnixMilli(), t0.Add(OfferTTL).UnixMilli(), 1
		change(&o)
		raw, err := seal(offerDomain, &o, thief.key)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	flipped := append([]byte(nil), good...)
	flipped[len(flipped)-1] ^= 1
	advert, err := SignAdvert(Advert{Header: s.header(), Waiting: 1}, s.key, t0)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		raw  []byte
		net  ledger.Network
		now  time.Time
		want error
	}{
		"nothing":                {nil, network, t0, ErrMalformed},
		"garbage":                {[]byte("garbage"), network, t0, ErrMalformed},
		"too large":              {make([]byte, MaxSigned+1), network, t0, ErrTooLarge},
		"another kind of record": {advert.Raw(), network, t0, ErrMalformed},
		"another network":        {good, ledger.Network{9}, t0, ErrWrongNetwork},
		"a changed bit":          {flipped, network, t0, ErrBadSignature},
		"expiry":                 {good, network, t0.Add(OfferTTL), ErrExpired},
		"the future":             {good, network, t0.Add(-MaxSkew - time.Second), ErrFuture},
		"another's peer ID":      {resigned(func(o *Offer) { o.Header.Peer = s.peer }), network, t0, ErrBadSignature},
		"another's account":      {resigned(func(o *Offer) {}), network, t0, ErrBadBinding},
		"no binding":             {resigned(func(o *Offer) { o.Binding = nil }), network, t0, ErrBadBinding},
		"a long life":            {resigned(func(o *Offer) { o.Expires = t0.Add(2 * MaxTTL).UnixMilli() }), network, t0, ErrLifetime},
		"a life backwards":       {resigned(func(o *Offer) { o.Expires = o.Signed }), network, t0, ErrMalformed},
		"a newer version":        {resigned(func(o *Offer) { o.Header.Version = 2 }), network, t0, ErrVersion},
		"escapes in its name":    {resigned(func(o *Offer) { o.Name = "\x1b[2J" }), network, t0, ErrMalformed},
	} {
		if _, err := ParseOffer(c.raw, c.net, c.now); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for name, change := range map[string]func(*Offer){
		"more free slots than slots": func(o *Offer) { o.FreeSlots = 5 },
		"no price":                   func(o *Offer) { o.Price.Den = 0 },
		"negative memory":            func(o *Offer) { o.Capacity.Memory = -1 },
		"a long policy":              func(o *Offer) { o.Policy = strings.Repeat("x", maxPolicy+1) },
	} {
		o := Offer{Header: s.header(), Price: ledger.Price{Num: 1, Den: 1}, Capacity: exec.Capacity{Slots: 4}}
		change(&o)
		if _, err := SignOffer(o, s.key, t0); !errors.Is(err, ErrMalformed) {
			t.Errorf("signing %s: %v", name, err)
		}
	}
}

func TestAdvertComesBackAsSigned(t *testing.T) {
	s := newSeller(t)
	a, err := SignAdvert(Advert{Header: s.header(), Job: exec.JobID{7}, Kind: exec.KindMap, Engine: exec.EngineWASM, Need: "mem > 1", Waiting: 12}, s.key, t0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseAdvert(a.Raw(), network, t0)
	if err != nil || got.Job != a.Job || got.Waiting != 12 || got.Need != a.Need || got.Key() != (AdvertKey{string(s.peer), a.Job}) {
		t.Errorf("%+v %v", got, err)
	}
}

func FuzzParseOffer(f *testing.F) {
	good := newSeller(f).offer(f, nil, t0).Raw()
	f.Add(good)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseOffer(b, network, t0)
		if err == nil && string(o.Raw()) != string(b) {
			t.Fatal("accepted other bytes than it keeps")
		}
		ParseAdvert(b, network, t0)
	})
}

func TestNeed(t *testing.T) {
	a := Attributes{Arch: "amd64", OS: "linux", Slots: 4, Free: 2, Mem: 8, Engines: []string{"wasm"}, Speed: 1.4, Price: 0.02, RTT: 12, Trust: 0.9, Name: "elm-42"}
	for source, want := range map[string]bool{
		"":                                 true,
		`arch == "amd64" && trust > 0.8`:   true,
		`mem >= 16`:                        false,
		`"wasm" in engines and free > 1`:   true,
		`arch in ["arm64", "riscv64"]`:     false,
		`price < 0.05 ? rtt < 20 : false`:  true,
		`name matches "^elm-[0-9]+$"`:      true,
		`name startsWith "oak"`:            false,
		`not (os == "windows")`:            true,
		`slots * 2 > 7 && speed / 2 < 1.0`: true,
	} {
		n, err := CompileNeed(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got, err := n.Match(a); err != nil || got != want {
			t.Errorf("%s: %v %v, want %v", source, got, err, want)
		}
	}
}

func TestBadNeedSaysWhatIsWrong(t *testing.T) {
	for source, want := range map[string]string{
		`memory > 4`:                             `no attribute "memory"`,
		`pricee < 1`:                             `did you mean "price"?`,
		`thrust > 0.5`:                           `did you mean "trust"?`,
		`zzzzzzzz`:                               `there are: arch, os, slots, free, mem, disk, engines, speed, price, rtt, trust, name, account, peer`,
		`mem`:                                    `expected bool`,
		`mem >`:                                  `unexpected token`,
		`len(name) > 3`:                          `no functions`,
		`1 in 1..1000000000`:                     `operator ".." is not allowed`,
		`let a = name + name; true`:              `no functions`,
		`all(engines, # == "wasm")`:              `no functions`,
		`engines[0] == "wasm"`:                   `no functions`,
		`name matches name`:                      `pattern in quotes`,
		`2 ** 3 > 1`:                             `operator "**" is not allowed`,
		strings.Repeat("(", 600):                 `unexpected token`,
		strings.Repeat("!", 300) + "true":        `more than`,
		"mem > 1" + strings.Repeat(" ", MaxNeed): `at most 1024`,
		`mem > 1` + strings.Repeat("&&true", 140): `more than`,
	} {
		if _, err := CompileNeed(source); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", source, err, want)
		}
	}
}

func FuzzNeed(f *testing.F) {
	for _, s := range []string{`arch == "amd64"`, `mem / 0 > 1`, `1 % 0 == 1`, `"a" in engines`, `name matches "("`, `slots[0]`, `{"a": 1}.a == 1`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := CompileNeed(s)
		if err != nil {
			return
		}
		n.Match(Attributes{Engines: []string{"wasm"}, Name: "elm"})
	})
}

func TestMatchKeepsTheReasonOfEveryRefusal(t *testing.T) {
	self := newSeller(t)
	need, err := CompileNeed(`arch == "amd64" && 10 % slots >= 0`)
	if err != nil {
		t.Fatal(err)
	}
	d := Demand{Self: self.peer, Engine: "wasm", Need: need, Ceiling: ledger.Price{Num: 50_000, Den: ledger.PriceFuel}, Memory: 1 << 30, UnitFuel: 1e12, Budget: 40_000}
	some := newSeller(t)
	for name, c := range map[string]struct {
		change func(*Candidate)
		want   Reason
	}{
		"fits":      {func(*Candidate) {}, 0},
		"withdrawn": {func(c *Candidate) { c.Offer.Capacity.Slots = 0 }, Withdrawn},
		"expired":   {func(c *Candidate) { c.Offer.Expires = t0.UnixMilli() }, Expired},
		"self":      {func(c *Candidate) { c.Offer.Header.Peer = self.peer }, Self},
		"blocked":   {func(c *Candidate) { c.Blocked = "lied" }, Blocked},
		"engine":    {func(c *Candidate) { c.Offer.Capacity.Engines = []string{"oci"} }, WrongEngine},
		"dear":      {func(c *Candidate) { c.Offer.Price.Num = 50_001 }, TooDear},
		"memory":    {func(c *Candidate) { c.Offer.Capacity.Memory = 1<<30 - 1 }, SmallMemory},
		"budget":    {func(c *Candidate) { c.Offer.Price.Num = 40_001 }, OverBudget},
		"need":      {func(c *Candidate) { c.Offer.Capacity.Arch = "arm64" }, NeedNotMet},
		"no slot":   {func(c *Candidate) { c.Offer.FreeSlots = 0 }, NoFreeSlots},
		"no speed":  {func(c *Candidate) { c.Offer.Capacity.Speed = 0 }, NoSpeedKnown},
	} {
		cand := Candidate{Offer: some.offer(t, nil, t0)}
		c.change(&cand)
		r := Match(d, []Candidate{cand}, t0)
		switch {
		case c.want == 0 && len(r.Ranked) == 1 && len(r.Refused) == 0:
		case c.want != 0 && len(r.Ranked) == 0 && len(r.Refused) == 1 && r.Refused[0].Reason == c.want:
		default:
			t.Errorf("%s: %+v", name, r)
		}
	}
	dear := Candidate{Offer: some.offer(t, func(o *Offer) { o.Price.Num = 1e6 }, t0)}
	blocked := Candidate{Offer: some.offer(t, nil, t0), Blocked: "lied"}
	got := Match(d, []Candidate{dear, blocked, dear}, t0).Reasons()
	if len(got) != 2 || got[0] != (ReasonCount{TooDear, 2}) || got[1] != (ReasonCount{Blocked, 1}) {
		t.Errorf("reasons %v", got)
	}
	if s := got[0].Reason.String(); s != "above the price ceiling" {
		t.Error(s)
	}
}

func TestMatchRanksAsTheBuyerWishes(t *testing.T) {
	make := func(name string, num, speed uint64, trust float64, rtt time.Duration) Candidate {
		o := newSeller(t).offer(t, func(o *Offer) { o.Name, o.Price.Num, o.Capacity.Speed = name, num, speed }, t0)
		return Candidate{Offer: o, Trust: trust, RTT: rtt}
	}
	all := []Candidate{
		make("cheap", 5_000, 2e8, 0.9, 0),
		make("fast", 60_000, 4e9, 0.9, 0),
		make("middle", 10_000, 3e9, 0.9, 0),
		make("bad", 10_000, 3e9, 0.1, 0),
		make("far", 10_000, 3e9, 0.9, 20*time.Second),
	}
	for mode, want := range map[Optimise]string{ForCost: "cheap", ForTime: "fast", Balanced: "middle"} {
		r := Match(Demand{Optimise: mode, UnitFuel: 5e9, Units: 3}, all, t0)
		if len(r.Ranked) != len(all) || r.Ranked[0].Offer.Name != want {
			t.Errorf("mode %d: %s first, want %s", mode, r.Ranked[0].Offer.Name, want)
		}
		place := map[string]int{}
		for i, c := range r.Ranked {
			place[c.Offer.Name] = i
			s := c.Score
			if s.Total < 0 || s.Total > 1 || s.Cost < 0 || s.Cost > 1 || s.Finish < 0 || s.Finish > 1 {
				t.Errorf("score %+v outside 0..1", s)
			}
		}
		if place["bad"] < place["middle"] || place["far"] < place["middle"] {
			t.Errorf("mode %d: order %v", mode, place)
		}
	}
	busy := all[1]
	busy.Queue = 300
	if r := Match(Demand{Optimise: ForTime, Units: 3}, []Candidate{busy, all[2]}, t0); r.Ranked[0].Offer.Name != "middle" {
		t.Error("a long queue costs nothing")
	}
}

func TestLeaseGoesItsWay(t *testing.T) {
	table, now := NewLeases(4), t0
	l, err := table.Grant(exec.JobID{1}, "p", 3, now)
	if err != nil || l.Slots != 3 || table.Free() != 1 || l.State != LeaseGranted {
		t.Fatalf("%+v %v", l, err)
	}
	for range 3 {
		if err := table.Start(l, now); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Start(l, now); !errors.Is(err, ErrLeaseFull) {
		t.Errorf("a fourth unit: %v", err)
	}
	now = now.Add(time.Hour)
	if over := table.Expire(now); len(over) != 0 || l.State != LeaseActive {
		t.Error("an active lease expired")
	}
	for range 3 {
		table.Done(l, now)
	}
	if l.State != LeaseWaiting || !table.NextExpiry().Equal(now.Add(LeaseIdle)) {
		t.Errorf("%+v", l)
	}
	if over := table.Expire(now.Add(LeaseIdle - 1)); len(over) != 0 {
		t.Error("expired early")
	}
	if err := table.Start(l, now.Add(LeaseIdle)); !errors.Is(err, ErrLeaseOver) || l.State != LeaseExpired || table.Free() != 4 {
		t.Errorf("after its time: %v, %s, %d free", err, l.State, table.Free())
	}
	table.Close(l)
	if table.Free() != 4 || l.State != LeaseExpired {
		t.Error("closing a lease that is over gave slots back twice")
	}
	rest, err := table.Grant(exec.JobID{1}, "p", 9, now)
	if err != nil || rest.Slots != 4 {
		t.Fatalf("%+v %v", rest, err)
	}
	if _, err := table.Grant(exec.JobID{2}, "q", 1, now); !errors.Is(err, ErrNoSlots) {
		t.Error(err)
	}
}

// Attack 25: a user that asks for leases and leaves them unused blocks few slots, for seconds.
func TestAttack25IdleLeases(t *testing.T) {
	table, granted := NewLeases(2000), 0
	for range 1000 {
		if _, err := table.Grant(exec.JobID{1}, "mallory", 1, t0); err == nil {
			granted++
		} else if !errors.Is(err, ErrIdleLeases) {
			t.Fatal(err)
		}
	}
	if granted != IdlePerPeer {
		t.Errorf("%d idle leases", granted)
	}
	if _, err := table.Grant(exec.JobID{2}, "alice", 1, t0); err != nil {
		t.Errorf("an honest peer was refused: %v", err)
	}
	if table.Expire(t0.Add(LeaseIdle)); table.Free() != 2000 || table.Len() != 0 {
		t.Errorf("%d free after the idle time", table.Free())
	}
}

func TestLeaseSlotsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, now := NewLeases(8), t0
		var all []*Lease
		t.Repeat(map[string]func(*rapid.T){
			"grant": func(t *rapid.T) {
				if l, err := table.Grant(exec.JobID{}, peer.ID(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "peer")), rapid.IntRange(0, 4).Draw(t, "slots"), now); err == nil {
					all = append(all, l)
				}
			},
			"start": func(t *rapid.T) { pick(t, all, func(l *Lease) { table.Start(l, now) }) },
			"done":  func(t *rapid.T) { pick(t, all, func(l *Lease) { table.Done(l, now) }) },
			"close": func(t *rapid.T) { pick(t, all, table.Close) },
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 15).Draw(t, "s")) * time.Second)
				table.Expire(now)
			},
			"": func(t *rapid.T) {
				used, open, idle := 0, 0, map[peer.ID]int{}
				for _, l := range all {
					if l.Over() {
						continue
					}
					open++
					used += l.Slots
					if (l.Running > 0) != (l.State == LeaseActive) || l.Running > l.Slots {
						t.Fatalf("%+v", l)
					}
					if l.Running == 0 {
						idle[l.Peer]++
					}
				}
				if used+table.Free() != 8 || open != table.Len() || len(idle) != len(table.idle) {
					t.Fatalf("%d used, %d free, %d open of %d", used, table.Free(), open, table.Len())
				}
				for p, n := range idle {
					if n != table.idle[p] {
						t.Fatalf("%d idle leases of %s counted as %d", n, p, table.idle[p])
					}
				}
			},
		})
	})
}

func pick(t *rapid.T, all []*Lease, f func(*Lease)) {
	if len(all) > 0 {
		f(rapid.SampledFrom(all).Draw(t, "lease"))
	}
}

// unsigned makes an offer of any peer and account, as the Board never looks at signatures.
func unsigned(p peer.ID, account uint32, seq uint64, expires time.Time) Offer {
	a := ledger.Account{byte(account), byte(account >> 8), byte(account >> 16), byte(account >> 24)}
	return Offer{Header: Header{Peer: p, Account: a, Seq: seq, Expires: expires.UnixMilli()}, Capacity: exec.Capacity{Slots: 1}}
}

// Attack 27: 10^5 offers, by one peer, one account or as many as there are, stay within the
// quotas, and neither push out what is known nor keep out who speaks to us himself.
func TestAttack27OfferSpam(t *testing.T) {
	const spam = 100_000
	d := NewDirectory()
	end := t0.Add(OfferTTL)
	honest := unsigned("honest", 1, 1, end)
	if err := d.Add(honest, false, t0); err != nil {
		t.Fatal(err)
	}
	for i := range spam {
		d.Add(unsigned("one peer", 2, uint64(i+1), end), false, t0)
	}
	if d.Len() != 2 {
		t.Errorf("one peer: %d listings", d.Len())
	}
	for i := range spam {
		d.Add(unsigned(peer.ID(string(rune(i))+"account"), 3, 1, end), false, t0)
	}
	if got := d.Len(); got > 2+MaxPerAccount {
		t.Errorf("one account: %d listings", got)
	}
	for i := range spam {
		d.Add(unsigned(peer.ID(string(rune(i))+"sybil"), uint32(10+i), 1, end), false, t0)
	}
	if got := d.Len(); got != MaxListings {
		t.Errorf("many accounts: %d listings, want %d", got, MaxListings)
	}
	if _, ok := d.Get("honest", t0); !ok {
		t.Error("a known offer was pushed out")
	}
	if err := d.Add(unsigned("honest", 1, 2, end), false, t0); err != nil {
		t.Errorf("a known offer was not renewed: %v", err)
	}
	if err := d.Add(unsigned("newcomer", 5, 1, end), false, t0); !errors.Is(err, ErrFull) {
		t.Errorf("hearsay on a full board: %v", err)
	}
	if err := d.Add(unsigned("newcomer", 5, 1, end), true, t0); err != nil {
		t.Errorf("a connected peer was kept out: %v", err)
	}
	if d.Expire(end); d.Len() != 0 {
		t.Errorf("%d listings after their time", d.Len())
	}
}

func TestDirectoryKeepsWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, now := newBoard[peer.ID, Offer](6, 3), t0
		newest := map[peer.ID]uint64{}
		state, changes, cancel := d.Subscribe(now)
		defer cancel()
		seen := map[peer.ID]bool{}
		for _, o := range state {
			seen[o.Peer] = true
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				p := peer.ID(rapid.StringMatching("[a-j]").Draw(t, "peer"))
				o := unsigned(p, rapid.Uint32Range(1, 3).Draw(t, "account"), rapid.Uint64Range(1, 20).Draw(t, "seq"), now.Add(time.Duration(rapid.IntRange(-1, 5).Draw(t, "life"))*time.Minute))
				if rapid.Bool().Draw(t, "withdraw") {
					o.Capacity.Slots = 0
				}
				before, had := d.entries[p]
				err := d.Add(o, rapid.Bool().Draw(t, "direct"), now)
				if err == nil && had && before.header.Seq >= o.Seq && before.header.ExpiresAt().After(now) {
					t.Fatalf("seq %d replaced %d", o.Seq, before.header.Seq)
				}
				if err == nil {
					newest[p] = o.Seq
				}
			},
			"wait": func(t *rapid.T) { now = now.Add(time.Duration(rapid.IntRange(0, 120).Draw(t, "s")) * time.Second) },
			"": func(t *rapid.T) {
				snap := d.Snapshot(now)
				for len(changes) > 0 {
					c := <-changes
					seen[c.Listing.Peer] = !c.Gone
				}
				shown := 0
				for _, on := range seen {
					if on {
						shown++
					}
				}
				if shown != len(snap) {
					t.Fatalf("subscriber sees %d, snapshot has %d", shown, len(snap))
				}
				if d.Len() > 6 || len(d.byExpiry) != d.Len() {
					t.Fatalf("%d listings, %d in the heap", d.Len(), len(d.byExpiry))
				}
				per := map[ledger.Account]int{}
				for p, e := range d.entries {
					per[e.header.Account]++
					if !now.Before(e.header.ExpiresAt()) || e.header.Seq != newest[p] {
						t.Fatalf("%+v at %s", e.header, now)
					}
				}
				for a, n := range per {
					if n > 3 || n != d.accounts[a] {
						t.Fatalf("account %s: %d listings, counted %d", a, n, d.accounts[a])
					}
				}
				if len(per) != len(d.accounts) {
					t.Fatal("an account without listings is still counted")
				}
			},
		})
	})
}

func TestLaggingSubscriberIsCutOff(t *testing.T) {
	d := NewDirectory()
	_, changes, cancel := d.Subscribe(t0)
	for i := range 300 {
		d.Add(unsigned("p", 1, uint64(i+1), t0.Add(time.Hour)), false, t0)
	}
	n := 0
	for range changes {
		n++
	}
	if n != 256 {
		t.Errorf("%d changes before the end", n)
	}
	cancel()
}

func BenchmarkParseOffer(b *testing.B) {
	raw := newSeller(b).offer(b, nil, t0).Raw()
	for b.Loop() {
		if _, err := ParseOffer(raw, network, t0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMatch10000(b *testing.B) {
	need, _ := CompileNeed(`arch == "amd64" && mem >= 2 && trust > 0.2`)
	o := newSeller(b).offer(b, nil, t0)
	all := make([]Candidate, 10_000)
	for i := range all {
		all[i] = Candidate{Offer: o, Trust: rand.Float64()}
	}
	for b.Loop() {
		Match(Demand{Need: need}, all, t0)
	}
}
