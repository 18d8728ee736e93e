package node

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/personal-power-plant/p3/ledger"
)

const somebody = "0x00000000000000000000000000000000000000aA"

func full(t *testing.T) HostPolicy {
	t.Helper()
	p, _ := HostPolicy{}.WithPreset("laptop")
	for _, kv := range [][2]string{{"hours", "22:00-07:30,12:00-13:00"}, {"days", "mon-wed,sun"}, {"slots", "3"}, {"memory", "1536MiB"}, {"disk", "20GiB"},
		{"price", "0.05"}, {"min_trust", "0.25"}, {"max_load", "33%"}, {"starter", "none"}, {"day_budget", "7.50"}, {"deny", "account:" + somebody + ",program:" + strings.Repeat("ab", 32)}} {
		var err error
		if p, err = p.Set(kv[0], kv[1]); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func TestPolicySurvivesFileAndWire(t *testing.T) {
	for _, p := range []HostPolicy{{}, full(t)} {
		if got, err := ParsePolicy(HostPolicy{}, []byte(p.Text())); err != nil || !cmp.Equal(got, p) {
			t.Errorf("file: %v %s\n%s", err, cmp.Diff(p, got), p.Text())
		}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var got HostPolicy
		if err := json.Unmarshal(b, &got); err != nil || !cmp.Equal(got, p) {
			t.Errorf("wire: %v %s\n%s", err, cmp.Diff(p, got), b)
		}
		if got, err := ParsePolicy(HostPolicy{}, b); err != nil || !cmp.Equal(got, p) {
			t.Errorf("a JSON file: %v %s", err, cmp.Diff(p, got))
		}
	}
}

func TestPolicyErrorsSayWhatIsMeant(t *testing.T) {
	for file, want := range map[string]string{
		"idle_afer: 5m":                  `did you mean "idle_after"?`,
		"preset: desktp":                 `did you mean "desktop"?`,
		"colour: red":                    "the keys are idle_only",
		"idle_after: soon":               "write a duration",
		"hours: 25:00-26:00":             "hours",
		"hours: evening":                 "write any, or from-to",
		"days: someday":                  "days are mon",
		"slots: 0":                       "0 slots",
		"cpu_share: 0":                   "percent",
		"cpu_share: 150":                 "percent",
		"memory: much":                   "is not a size",
		"memory: NaN":                    "is not a size",
		"min_trust: 2":                   "0 to 1",
		"min_trust: NaN":                 "0 to 1",
		"price: -1":                      "credits per Tfuel",
		"starter: -1":                    "write auto, none, or credits",
		"day_budget: lots":               "not an amount of credits",
		"allow: [him]":                   "program:",
		"deny: [\"account:0x12\"]":       "account:0x12",
		"deny: [[a]]":                    "list inside a list",
		"version: 2":                     "version 2",
		"slots: {a: 1}":                  "map",
		"idle_only: yes\nidle_only: no":  "idle_only",
		"idle_only: [":                   "",
		strings.Repeat("#", MaxPolicy+1): "at most",
	} {
		_, err := ParsePolicy(HostPolicy{}, []byte(file))
		var p *Problem
		if !errors.As(err, &p) || p.Code != CodeUsage || !strings.Contains(p.Message+" "+p.Hint, want) {
			t.Errorf("%.60q: %#v, want %q", file, err, want)
		}
	}
}

func TestTermsForStrangers(t *testing.T) {
	for _, x := range []struct {
		starter, budget string
		want            [2]ledger.Credits
	}{
		{"auto", "auto", [2]ledger.Credits{DefaultStarter, DefaultDayBudget}},
		{"0", "none", [2]ledger.Credits{0, 0}},
		{"0.25", "100", [2]ledger.Credits{ledger.Credit / 4, 100 * ledger.Credit}},
	} {
		p, err := HostPolicy{}.Apply(PolicyChange{Set: map[string]string{"starter": x.starter, "day_budget": x.budget}})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, c := p.Terms(); c != DefaultTentative {
			t.Errorf("tentative cap %s", c)
		}
		if a, b, _ := p.Terms(); [2]ledger.Credits{a, b} != x.want {
			t.Errorf("%s, %s: %s, %s", x.starter, x.budget, a, b)
		}
	}
}

func TestListsGrowAndShrink(t *testing.T) {
	p := HostPolicy{}
	for _, x := range []struct{ set, want string }{
		{"account:" + somebody, "account:" + strings.ToLower(somebody)},
		{"+account:" + somebody, "account:" + strings.ToLower(somebody)},
		{"+program:" + strings.Repeat("0", 64), "account:" + strings.ToLower(somebody) + ",program:" + strings.Repeat("0", 64)},
		{"-account:" + somebody, "program:" + strings.Repeat("0", 64)},
		{"none", "none"},
	} {
		q, err := p.Set("allow", x.set)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := json.Marshal(q); !strings.Contains(strings.ToLower(string(got)), `"allow":"`+x.want+`"`) {
			t.Errorf("allow %s: %s", x.set, got)
		}
		p = q
	}
}

func TestPolicyLetsIn(t *testing.T) {
	var a, b ledger.Account
	a[0], b[0] = 1, 2
	prog := ledger.Digest{7}
	rule := func(kind, value string) []Rule { return []Rule{{kind, value}} }
	for name, x := range map[string]struct {
		p    HostPolicy
		v    Visitor
		want string
	}{
		"anybody":         {HostPolicy{}, Visitor{Account: a}, ""},
		"denied account":  {HostPolicy{Deny: rule("account", a.String())}, Visitor{Account: a}, "denies this account"},
		"other account":   {HostPolicy{Deny: rule("account", a.String())}, Visitor{Account: b}, ""},
		"denied program":  {HostPolicy{Deny: rule("program", prog.String())}, Visitor{Program: prog}, "denies this program"},
		"denied peer":     {HostPolicy{Deny: rule("peer", "12D3")}, Visitor{Peer: "12D3"}, "denies this peer"},
		"not on the list": {HostPolicy{Allow: rule("program", prog.String())}, Visitor{}, "only what is on a list"},
		"on the list":     {HostPolicy{Allow: rule("program", prog.String())}, Visitor{Program: prog}, ""},
		"deny goes first": {HostPolicy{Allow: rule("program", prog.String()), Deny: rule("account", a.String())}, Visitor{Program: prog, Account: a}, "denies"},
		"too new":         {HostPolicy{MinTrust: 0.6}, Visitor{Trust: Trust(ledger.Window{})}, "trust 0.50, the owner wants 0.60"},
		"proven":          {HostPolicy{MinTrust: 0.6}, Visitor{Trust: Trust(ledger.Window{}.Paid(100))}, ""},
	} {
		if got := x.p.Refuses(x.v); x.want == "" && got != "" || !strings.Contains(got, x.want) {
			t.Errorf("%s: %q, want %q", name, got, x.want)
		}
	}
	if d := Trust(ledger.Window{}.Default()); d >= 0.5 {
		t.Errorf("a defaulter has %.2f", d)
	}
}

func TestPresetKeepsWhatIsNotItsOwn(t *testing.T) {
	p, err := full(t).Set("allow", "peer:12D3KooWGRUfSxEYG5fVPBcRQhcsyHYGv6hTo5rgmTPfYfQ9GZgU")
	if err != nil {
		t.Skip(err)
	}
	q, ok := p.WithPreset("server")
	if !ok || q.Price != p.Price || len(q.Allow) != 1 || q.IdleOnly || q.ACOnly || q.NeedsSignals() {
		t.Errorf("%+v", q)
	}
	if _, ok := p.WithPreset("desk"); ok {
		t.Error("a preset that is not there")
	}
}

func TestSummaryIsShort(t *testing.T) {
	if got, want := full(t).Summary(), "idle>5m, on AC, 22:00-07:30,12:00-13:00, mon-wed,sun, 50% CPU"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := (HostPolicy{}).Summary(); got != "at any time" {
		t.Error(got)
	}
}

func FuzzParsePolicy(f *testing.F) {
	p, _ := HostPolicy{}.WithPreset("desktop")
	f.Add([]byte(p.Text()))
	f.Add([]byte("hours: [22:00-07:00, 12-13]\ndays: fri-mon\nmax_load: 1e2\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePolicy(HostPolicy{}, b)
		if err != nil {
			return
		}
		again, err := ParsePolicy(HostPolicy{}, []byte(p.Text()))
		if err != nil || !cmp.Equal(again, p) {
			t.Fatalf("%v\n%s", err, cmp.Diff(p, again))
		}
		Decide(p, Signals{}, HostControl{Donate: true}, time.Unix(0, 0), Decision{})
	})
}
