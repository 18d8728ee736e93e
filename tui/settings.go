package tui

import (
	"fmt"
	"strings"
)

// settingsView shows the provider's policy as the node states it, and who this node is.
func (m *model) settingsView(w, h int) block {
	s, host := m.status, m.status.Host
	accepts := good.of("yes") + ", " + clean(host.Why)
	if !host.Accepts {
		accepts = warn.of("no") + ", " + clean(host.Why)
	}
	policy := []string{
		fact("now", "would accept a unit: "+accepts),
		fact("state", m.donation()),
		fact("lends", fmt.Sprintf("%d slots, %s GiB memory, %s GiB disk", host.Capacity.Slots, gibs(host.Capacity.Memory), gibs(host.Capacity.Disk))),
		fact("runs", clean(strings.Join(host.Capacity.Engines, ", "))),
		fact("speed", si(float64(host.Capacity.Speed))+"fuel/s a slot, measured here"),
		fact("price", price(host.Price)+" cr/Tfuel"),
		"", faint.of("d turns donating on or off, p pauses it for an hour."),
	}
	who := []string{
		fact("account", s.Account.String()), fact("peer", clean(s.Peer)), fact("network", clean(s.NetName)+" "+faint.of(s.Network.String()[:16])),
		fact("version", clean(s.Version)+fmt.Sprintf(", pid %d, up %s", s.PID, since(m.now, s.Started))),
		fact("machine", clean(host.Capacity.Arch)+" "+clean(host.Capacity.OS)),
	}
	for _, a := range s.Addrs {
		who = append(who, fact("listens", clean(a)))
	}
	if s.ReadOnly != "" {
		who = append(who, fact("ledger", bad.of("read-only: ")+clean(s.ReadOnly)))
	}
	if w >= 140 {
		return beside(m.g.box("Policy", "", policy, w/2, h), m.g.box("This node", "", who, w-w/2, h))
	}
	top := min(len(policy)+2, h*3/5)
	return append(m.g.box("Policy", "", policy, w, top), m.g.box("This node", "", who, w, h-top)...)
}
