package tui

import (
	"context"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/personal-power-plant/p3/node"
)

// A settingsPane is the owner's policy as it was last read, and where the cursor stands in it.
type settingsPane struct {
	why  *node.HostWhy // nil until it was read
	at   int           // key of node.PolicyKeys
	top  int           // first key in sight
	node bool          // on a small screen: this node instead of the signals
}

func (m *model) wantWhy(every time.Duration) want {
	return want{fromWhy, every, func(ctx context.Context) (func(*model), error) {
		w, err := m.node.HostWhy(ctx)
		return func(m *model) { m.settings.why = &w }, err
	}}
}

// settingsView shows the policy, what the machine says to it, and who this node is.
func (m *model) settingsView(w, h int) block {
	if w >= 140 {
		left := w * 9 / 20
		right := w - left
		low := min(len(m.nodeFacts())+2, h/2)
		return beside(m.policyBox(left, h), append(m.signalsBox(right, h-low), m.nodeBox(right, low)...))
	}
	low := min(h/2, 12)
	if h >= 40 {
		third := min(len(m.nodeFacts())+2, h/4)
		return append(append(m.policyBox(w, h-12-third), m.signalsBox(w, 12)...), m.nodeBox(w, third)...)
	}
	if m.settings.node {
		return append(m.policyBox(w, h-low), m.nodeBox(w, low)...)
	}
	return append(m.policyBox(w, h-low), m.signalsBox(w, low)...)
}

// nowLine says whether a unit would be taken, and why.
func (m *model) nowLine() string {
	host := m.status.Host
	if host.Accepts {
		return "would accept now: " + good.of("yes") + ", " + clean(host.Why)
	}
	return "would accept now: " + warn.of("no") + ", " + clean(host.Why)
}

func (m *model) policyBox(w, h int) block {
	lines := wrap(m.nowLine(), w-4)
	lines = lines[:min(len(lines), 2)]
	s := &m.settings
	if s.why == nil {
		text := "Reading the policy…"
		if trouble := m.trouble(fromWhy); trouble != "" {
			text = "The policy cannot be read: " + trouble
		}
		return m.g.box("Policy", m.donation(), append(lines, wrap(text, w-4)...), w, h)
	}
	if s.why.Problem != "" {
		lines = append(lines, bad.of(fit("file: "+clean(s.why.Problem), w-4)))
	}
	room := max(h-2-len(lines), 1)
	s.top = max(min(s.top, s.at, len(node.PolicyKeys)-room), s.at-room+1, 0)
	for i := s.top; i < min(s.top+room, len(node.PolicyKeys)); i++ {
		k := node.PolicyKeys[i]
		cursor, value := "  ", fit(clean(k.Get(s.why.Policy)), 14)
		if i == s.at {
			cursor, value = m.g.cursor+" ", pick.of(value)
		}
		lines = append(lines, cursor+fit(k.Name, 16)+value+" "+faint.of(k.Help))
	}
	remark := m.donation()
	if p := s.why.Policy.Preset; p != "" {
		remark = "preset " + p + ", " + remark
	}
	return m.g.box("Policy", remark, lines, w, h)
}

// signalsBox shows every layer, the one that decided first among equals.
func (m *model) signalsBox(w, h int) block {
	if m.settings.why == nil {
		return m.g.box("Signals", "", nil, w, h)
	}
	why := m.settings.why
	var lines []string
	for _, x := range why.Signals.Layers {
		mark, state := "  ", fit("knows", 11)
		switch {
		case !x.Known:
			state = faint.of(fit("cannot say", 11))
		case x.Layer == m.status.Host.By:
			mark, state = m.g.cursor+" ", active.of(fit("decides", 11))
		}
		lines = append(lines, mark+fit(clean(x.Layer), 12)+state+clean(x.Text))
	}
	if len(lines)+1 < h-1 {
		lines = append(lines, faint.of("  decided by "+clean(m.status.Host.By)))
	}
	return m.g.box("Signals", clean(why.Signals.Graphical), lines, w, h)
}

func (m *model) nodeFacts() []string {
	s, host := m.status, m.status.Host
	facts := []string{
		fact("account", s.Account.String()), fact("peer", clean(s.Peer)), fact("network", clean(s.NetName)+" "+faint.of(s.Network.String()[:16])),
		fact("version", clean(s.Version)+fmt.Sprintf(", pid %d, up %s", s.PID, since(m.now, s.Started))),
		fact("lends", fmt.Sprintf("%d slots, %s GiB memory, %s GiB disk at %s cr/Tfuel", host.Capacity.Slots, gibs(host.Capacity.Memory), gibs(host.Capacity.Disk), price(host.Price))),
		fact("speed", si(float64(host.Capacity.Speed))+"fuel/s a slot, "+clean(strings.Join(host.Capacity.Engines, ", "))+", "+clean(host.Capacity.Arch)+" "+clean(host.Capacity.OS)),
	}
	if host.Native != "" {
		facts = append(facts, fact("native", clean(host.Native)))
	}
	if m.settings.why != nil {
		facts = append(facts, fact("policy in", clean(m.settings.why.File)))
		switch why := m.settings.why; {
		case why.Missing() != "":
			facts = append(facts, fact("walls", warn.of("not all stand: ")+clean(why.Missing())))
		case len(why.Walls) > 0:
			facts = append(facts, fact("walls", fmt.Sprintf("all %d around guests stand", len(why.Walls))))
		}
	}
	for _, a := range s.Addrs {
		facts = append(facts, fact("listens", clean(a)))
	}
	if s.ReadOnly != "" {
		facts = append(facts, fact("ledger", bad.of("read-only: ")+clean(s.ReadOnly)))
	}
	return facts
}

func (m *model) nodeBox(w, h int) block { return m.g.box("This node", "", m.nodeFacts(), w, h) }

// settingsActions is what the keys of Settings do, after donating and pausing.
var settingsActions = []action{
	{keys: "enter", label: "edit", help: "change the value under the cursor; yes and no change at once", why: (*model).whyNoEdit, do: (*model).editKey},
	{keys: "D", label: "desktop", help: "preset: a PC somebody works at, after a question", why: (*model).whyNoEdit, do: preset("desktop")},
	{keys: "L", label: "laptop", help: "preset: like desktop, on mains only, half of the CPU, after a question", why: (*model).whyNoEdit, do: preset("laptop")},
	{keys: "S", label: "server", help: "preset: a machine without a person in front, after a question", why: (*model).whyNoEdit, do: preset("server")},
	{keys: "i", label: "node", help: "show this node, or the signals", why: func(m *model) string {
		if m.w >= 140 || m.h >= 43 {
			return "both are in sight on a screen this large"
		}
		return ""
	}, do: always(func(m *model) { m.settings.node = !m.settings.node })},
}

func (m *model) whyNoEdit() string {
	switch w := m.settings.why; {
	case w == nil:
		return "the policy has not been read yet"
	case w.Problem != "":
		return "the policy's file must be corrected first"
	}
	return ""
}

// editKey asks for a new value, or turns over what has only two.
func (m *model) editKey() tea.Cmd {
	k := node.PolicyKeys[m.settings.at]
	old := k.Get(m.settings.why.Policy)
	switch old {
	case "yes":
		return m.setPolicy(node.PolicyChange{Set: map[string]string{k.Name: "no"}})
	case "no":
		return m.setPolicy(node.PolicyChange{Set: map[string]string{k.Name: "yes"}})
	}
	text := []rune(clean(old))
	if k.Name == "allow" || k.Name == "deny" { // too long to type again
		text = []rune("+")
	}
	m.prompt = &prompt{label: k.Name + ": ", hint: "  " + k.Form, text: text, at: len(text), enter: func(m *model, text string) tea.Cmd {
		return m.setPolicy(node.PolicyChange{Set: map[string]string{k.Name: text}})
	}}
	return nil
}

// preset asks before it overwrites times and shares that may have been chosen with care.
func preset(name string) func(*model) tea.Cmd {
	return func(m *model) tea.Cmd {
		p, _ := m.settings.why.Policy.WithPreset(name)
		m.dialog = &dialog{title: "Preset " + name + "?", body: []string{
			"From now on: " + p.Summary() + ".",
			"It replaces when and how much; price, slots, memory, disk, hours, days and lists stay.",
		}, do: func(m *model) tea.Cmd { return m.setPolicy(node.PolicyChange{Preset: name}) }}
		return nil
	}
}

func (m *model) setPolicy(c node.PolicyChange) tea.Cmd {
	n := m.node
	return m.act(func(ctx context.Context) (func(*model), error) {
		w, err := n.SetPolicy(ctx, c)
		return func(m *model) {
			m.settings.why = &w
			s := *m.status // the feed's value is shared
			s.Host.Accepts, s.Host.Why, s.Host.By, s.Host.Policy = w.Decision.Accepts, w.Decision.Why, w.Decision.By, w.Policy.Summary()
			m.status = &s
			if c.Preset != "" {
				m.say("preset " + c.Preset + ": " + w.Policy.Summary())
			}
			for key := range c.Set {
				for _, k := range node.PolicyKeys {
					if k.Name == key {
						m.say(key + " is " + clean(k.Get(w.Policy)) + " from now on")
					}
				}
			}
		}, err
	})
}

func (s *settingsPane) moveKey(key string) {
	last := len(node.PolicyKeys) - 1
	switch key {
	case "up", "k":
		s.at--
	case "down", "j":
		s.at++
	case "g", "home":
		s.at = 0
	case "G", "end":
		s.at = last
	case "pgup", "ctrl+b":
		s.at -= 10
	case "pgdown", "ctrl+f":
		s.at += 10
	}
	s.at = max(0, min(s.at, last))
}
