package node

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// A HostPolicy is what the owner of a machine says about lending it: when, how much, to whom and
// for what price. Its keys, as people and files spell them, are in PolicyKeys. The zero value of a
// field means what its comment says; Decide applies the times, node/job the rest. A HostPolicy
// is a value; lists in it are never changed in place.
type HostPolicy struct {
	Preset string // where it began: a name of Presets, or ""

	IdleOnly      bool
	IdleAfter     time.Duration // without a sign of the owner, before new work is taken (HTCondor's StartIdleTime)
	ResumeAfter   time.Duration // the same, before frozen guests go on (ContinueIdleTime)
	Grace         time.Duration // how long the owner must be busy before that counts; 0 = at the first sign
	HandBackAfter time.Duration // frozen guests are given up after that (MaxSuspendTime)
	MaxLoad       int           // percent of the machine's CPU that others may use while guests run; 0 = any
	Hours         []Hours       // when guests may run, local time; none = at any
	Days          Days          // the same for weekdays; 0 = on any
	ACOnly        bool          // not on battery

	CPUShare      int   // percent of the machine's CPU for guests; 0 = all
	Slots         int   // units at a time; 0 = all cores but one
	Memory        int64 // bytes for guests; 0 = half of the machine's
	FreeMemory    int64 // bytes that must stay available to the owner; 0 = any
	Disk          int64 // bytes of programs and data; 0 = 10 GiB
	NetworkPerDay int64 // bytes moved for guests; 0 = any
	Price         ledger.Price
	MinTrust      float64 // 0..1, of requesters; a new one has 0.5
	Native        bool    // programs that run long may be compiled by this machine's C compiler

	Starter   ledger.Credits // µcr for one account that has not worked for us; 0 = DefaultStarter, below = none
	DayBudget ledger.Credits // µcr a day for all of them together; 0 = DefaultDayBudget, below = none
	Tentative ledger.Credits // µcr that one account of a granted network may claim before it settles; 0 = DefaultTentative, below = none

	Allow []Rule // none = all that Deny does not name
	Deny  []Rule // goes before Allow
}

// What strangers get of a machine in a mutual network, where nobody's balance proves anything.
const (
	// DefaultStarter lets a newcomer run its first jobs at once: four hours of a core at the usual price, a
	// thousand units of the default size at their most. It is a fifth of what an account of the public network
	// may owe in all, so that a newcomer who spends the rest meets several hosts or has to earn.
	DefaultStarter = 2 * ledger.Credit

	// DefaultDayBudget is about a day of one core at the usual price: what an owner loses at most, each day, to any
	// number of invented identities. What those who have worked here are given is not part of it.
	DefaultDayBudget = 10 * ledger.Credit

	// DefaultTentative is half a day of a core at the usual price: what a member of a granted network that spends the same
	// grant in many places at once can cost this host before the proof of it arrives.
	DefaultTentative = 5 * ledger.Credit
)

// Terms are what strangers get, with the defaults put in: one account, and all of them in a day; and one
// account of a granted network before it settles.
func (p HostPolicy) Terms() (starter, dayBudget, tentative ledger.Credits) {
	of := func(c, auto ledger.Credits) ledger.Credits {
		if c == 0 {
			return auto
		}
		return max(c, 0)
	}
	return of(p.Starter, DefaultStarter), of(p.DayBudget, DefaultDayBudget), of(p.Tentative, DefaultTentative)
}

// Presets of `p3 host policy --preset`, with what they are for.
var Presets = []struct{ Name, For string }{
	{"desktop", "a PC somebody works at: only when idle, frozen at the first key"},
	{"laptop", "like desktop, on mains only, half of the CPU, little network"},
	{"server", "a machine without a person in front: at any time"},
}

// WithPreset returns p with the times and shares of a preset. What else the owner has said, such as the
// price and who may come, stays. ok is false for an unknown name.
func (p HostPolicy) WithPreset(name string) (_ HostPolicy, ok bool) {
	q := p
	q.Preset = name
	q.IdleOnly, q.IdleAfter, q.ResumeAfter, q.Grace, q.HandBackAfter = true, 5*time.Minute, time.Minute, 0, 2*time.Minute
	q.MaxLoad, q.FreeMemory, q.ACOnly, q.CPUShare, q.NetworkPerDay = 50, 512<<20, false, 0, 0
	switch name {
	case "desktop":
	case "laptop":
		q.ACOnly, q.CPUShare, q.NetworkPerDay = true, 50, 2<<30
	case "server":
		q.IdleOnly, q.MaxLoad, q.FreeMemory = false, 0, 0
	default:
		return p, false
	}
	return q, true
}

// NeedsSignals reports whether the policy depends on anything but the clock.
func (p HostPolicy) NeedsSignals() bool {
	return p.IdleOnly || p.MaxLoad > 0 || p.ACOnly || p.FreeMemory > 0
}

// Summary is the policy in a few words, for offers and headers.
func (p HostPolicy) Summary() string {
	var s []string
	if p.IdleOnly {
		s = append(s, "idle>"+shortSpan(p.IdleAfter))
	}
	if p.ACOnly {
		s = append(s, "on AC")
	}
	if len(p.Hours) > 0 {
		s = append(s, textHours(p.Hours))
	}
	if p.Days != 0 {
		s = append(s, p.Days.String())
	}
	if p.CPUShare > 0 {
		s = append(s, fmt.Sprintf("%d%% CPU", p.CPUShare))
	}
	if len(s) == 0 {
		return "at any time"
	}
	return strings.Join(s, ", ")
}

// Hours is a part of the day, in minutes after midnight; To ≤ From means that it ends the day after.
type Hours struct{ From, To int }

// Days is a set of weekdays: bit n is time.Weekday n.
type Days uint8

// open reports whether guests may run at t, by hours and weekdays. A night belongs to the day
// on which it begins.
func (p HostPolicy) open(t time.Time) bool {
	day := func(t time.Time) bool { return p.Days == 0 || p.Days>>t.Weekday()&1 == 1 }
	if len(p.Hours) == 0 {
		return day(t)
	}
	minute := t.Hour()*60 + t.Minute()
	for _, h := range p.Hours {
		switch {
		case h.From < h.To && minute >= h.From && minute < h.To && day(t),
			h.From >= h.To && minute >= h.From && day(t),
			h.From >= h.To && minute < h.To && day(t.AddDate(0, 0, -1)):
			return true
		}
	}
	return false
}

// A Rule names a program, an account or a peer, in the field of that kind.
type Rule struct {
	Kind  string // "program", "account", "peer"
	Value string // SHA-256 of the module in hex; account as it prints; peer ID
}

func (r Rule) String() string { return r.Kind + ":" + r.Value }

// A Visitor is who wants to run what here.
type Visitor struct {
	Program ledger.Digest  // SHA-256 of the module
	Account ledger.Account // who submitted the job and pays for it

	Publisher ledger.Account // who signed the program, or else Account

	Peer  string  // ID of the node that asks
	Trust float64 // see Trust
}

func (r Rule) names(v Visitor) bool {
	switch r.Kind {
	case "program":
		return r.Value == v.Program.String()
	case "account":
		return r.Value == v.Account.String()
	case "publisher":
		return r.Value == v.Publisher.String()
	case "peer":
		return r.Value == v.Peer
	}
	return false
}

// Refuses says why the policy does not let a visitor in, "" if it does.
func (p HostPolicy) Refuses(v Visitor) string {
	named := func(list []Rule) int { return slices.IndexFunc(list, func(r Rule) bool { return r.names(v) }) }
	if i := named(p.Deny); i >= 0 {
		return "the owner denies this " + p.Deny[i].Kind
	}
	if len(p.Allow) > 0 && named(p.Allow) < 0 {
		return "the owner allows only what is on a list"
	}
	if v.Trust < p.MinTrust {
		return fmt.Sprintf("trust %.2f, the owner wants %.2f: it grows with each unit paid", v.Trust, p.MinTrust)
	}
	return ""
}

// Trust is what a provider thinks of a payer, 0..1, from the units it was seen to pay for and the
// leases it left unpaid: 0.5 for a stranger, 0.94 at the largest window.
func Trust(w ledger.Window) float64 {
	good, bad := float64(w.Allowed()), float64(w.Defaults())
	return good / (good + 1 + 2*bad)
}
