package tui

import (
	"context"
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

func (m *model) whyNoSend() string {
	switch {
	case m.status.ReadOnly != "":
		return "the ledger signs nothing now"
	case m.status.Balance.Free <= 0:
		return "no credit is free"
	}
	return ""
}

// promptSend asks for receiver and amount in one line.
func (m *model) promptSend() tea.Cmd {
	m.prompt = &prompt{label: "send to: ", hint: "  ACCOUNT or name, then the amount: elm 2.50", enter: (*model).prepareSend}
	return nil
}

// prepareSend finds the receiver's account and asks before anything is given.
func (m *model) prepareSend(text string) tea.Cmd {
	if why := m.whyNoSend(); why != "" {
		m.say(why)
		return nil
	}
	words := strings.Fields(text)
	if len(words) < 2 {
		m.say("give an account or a name, and an amount: elm 2.50")
		return nil
	}
	last := len(words) - 1
	amount, err := ledger.ParseCredits(words[last])
	if err != nil || amount <= 0 {
		m.say(fmt.Sprintf("%q is no amount above zero", words[last]))
		return nil
	}
	n, who := m.node, strings.Join(words[:last], " ")
	return m.act(func(ctx context.Context) (func(*model), error) {
		v, err := n.Peer(ctx, who)
		return func(m *model) { m.dialog = m.confirmSend(v, amount) }, err
	})
}

// confirmSend names the amount, the receiver and what can be undone.
func (m *model) confirmSend(v node.PeerView, amount ledger.Credits) *dialog {
	to, name, free := v.Account, clean(v.Name), m.status.Balance.Free
	body := []string{to.String()}
	if name != "" {
		body = append(body, fmt.Sprintf("Its node calls itself %s, as any might: compare the account with what p3 status shows there.", name))
	}
	if len(v.Peers) == 0 {
		body = append(body, "No node of it is connected: the credit waits for one.")
	}
	body = append(body, "",
		fmt.Sprintf("%s are free now, %s after it.", free, free-amount),
		fmt.Sprintf("Undo: it comes back by itself if nobody takes it up within %s. Once taken up, only the receiver can send it back.", span(node.DefaultTransferLife)),
	)
	n := m.node
	return &dialog{title: fmt.Sprintf("Send %s?", amount), body: body, do: func(m *model) tea.Cmd {
		return m.act(func(ctx context.Context) (func(*model), error) {
			s, err := n.Send(ctx, node.Transfer{To: to.String(), Amount: amount})
			return func(m *model) {
				where := "on its way"
				if s.Peer == "" {
					where = "waiting for its receiver"
				}
				m.say(fmt.Sprintf("%s to %s: %s", amount, to.Short(), where))
				m.ask(fromReceipts)
			}, err
		})
	}}
}
