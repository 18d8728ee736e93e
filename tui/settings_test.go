package tui

import (
	"strings"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/node/nodetest"
)

func settingsRig(t *testing.T, w, h int) *rig {
	r := newRig(t, nodetest.Sample(start, 3), w, h, Options{})
	r.keys("6")
	r.tick(time.Second)
	return r
}

// policy is the node's value of a key.
func (r *rig) policy(key string) string {
	r.t.Helper()
	w, _ := r.n.HostWhy(r.t.Context())
	text := w.Policy.Text()
	_, rest, ok := strings.Cut(text, "\n"+key+": ")
	if !ok {
		r.t.Fatalf("no %s in %s", key, text)
	}
	value, _, _ := strings.Cut(rest, "\n")
	return strings.Trim(value, `"`)
}

func TestSettingsShowWhatDecides(t *testing.T) {
	r := settingsRig(t, 120, 40)
	r.shows("would accept now: yes, idle for 41m7s", "preset desktop", "> x11         decides    last input 41m7s ago", "logind      cannot say", "power       knows      on mains")
	r.keys("i")
	r.shows("This node", "policy in  /home/ann/.local/share/p3/policy.yaml")
	r.shows("native     yes, 2 of 9 programs")
	r.shows("walls      not all stand: cgroup of the workers: this cgroup was not delegated to us")
	r.n.Change(func(s *nodetest.State) { s.Why.Walls[1].OK = true })
	r.tick(time.Minute)
	r.shows("walls      all 2 around guests stand")
	r.keys("i")
	r.hides("This node")
	r = settingsRig(t, 200, 60)
	r.shows("Signals", "This node", "never these")
	r.keys("i")
	r.shows("both are in sight")
}

func TestSettingsAreEditedLive(t *testing.T) {
	r := settingsRig(t, 100, 30)
	r.keys("j", "enter") // idle_after
	r.shows("idle_after: 5m   a duration such as 30s, 5m or 1h")
	r.keys("backspace", "backspace", "90m", "enter")
	if got := r.policy("idle_after"); got != "1h30m" {
		t.Errorf("idle_after is %s", got)
	}
	r.shows("idle_after is 1h30m from now on", "would accept now: no, in use 41m7s ago (x11); idle after 1h30m without input")
	r.keys("g", "enter") // idle_only turns over at once
	if got := r.policy("idle_only"); got != "no" {
		t.Errorf("idle_only is %s", got)
	}
	r.shows("would accept now: yes, accepting work")
	r.keys("j", "enter", "x", "enter")
	if got := r.policy("idle_after"); got != "1h30m" {
		t.Errorf("after nonsense idle_after is %s", got)
	}
	r.shows("is not a duration of at most a day; write a duration")
	r.keys("enter", "esc")
	r.keys("G")
	r.shows("> deny")
	r.keys("enter")
	r.shows("deny: +   none, or program:SHA256, publisher:0x")
	r.keys(strings.Repeat("x", 150), "end of it")
	r.shows("xend of it")
	r.keys("esc")
	r.keys("d")
	r.shows("donating is off")
}

func TestPresetsAskFirst(t *testing.T) {
	r := settingsRig(t, 80, 24)
	r.keys("L")
	r.shows("Preset laptop?", "From now on: idle>5m, on AC, 50% CPU.", "price, slots, memory")
	r.keys("enter") // the default is No
	if got := r.policy("ac_only"); got != "no" {
		t.Errorf("ac_only is %s", got)
	}
	r.keys("L", "y")
	if r.policy("ac_only") != "yes" || r.policy("cpu_share") != "50%" {
		t.Error("the preset was not taken")
	}
	r.shows("preset laptop: idle>5m, on AC, 50% CPU", "preset laptop,")
	r.keys("S", "y")
	r.shows("preset server: at any time")
}

// A file that is wrong must not be overwritten from here.
func TestSettingsThatCannotActSayWhy(t *testing.T) {
	s := nodetest.Sample(start, 3)
	s.Why.Problem = `policy.yaml: host policy: unknown key "idle_onyl"`
	r := newRig(t, s, 120, 40, Options{})
	r.keys("6", "enter")
	r.tick(time.Second)
	r.shows(`file: policy.yaml: host policy: unknown key "idle_onyl"`)
	r.keys("enter")
	r.shows("must be corrected first")
	r.keys("?")
	r.shows("not now: the policy's")
}

func TestSettingsBeforeThePolicyIsRead(t *testing.T) {
	r := newRig(t, nodetest.Sample(start, 3), 80, 24, Options{})
	r.m.screen = settings
	r.shows("Reading the policy…")
	for _, k := range []string{"j", "G", "D", "enter"} {
		r.m.key(keyPress(k))
		r.check()
	}
	r.shows("the policy has not been read yet")
}
