package tui

import (
	"context"
	"errors"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/personal-power-plant/p3/node"
)

// A source is one thing that is fetched again and again while a screen shows it.
type source int

const (
	fromOffers source = iota
	fromPeers
	fromJobs
	fromJob
	fromUnit
	fromReceipts
	fromHistory
	fromWhy
	fromOrg
	fromWitness
	fromFrozen
	fromPeer
	fromJobWhy
)

// A poll is how far a source is.
type poll struct {
	at   time.Time // when it was last asked
	busy bool
	err  error // of the last answer
}

// A want is a source that a screen needs, not older than every.
type want struct {
	source source
	every  time.Duration
	fetch  func(context.Context) (func(*model), error) // returns how to take the answer in
}

// replyMsg is the answer of a source.
type replyMsg struct {
	source source
	take   func(*model)
	err    error
}

// wants is what the screen in front needs.
func (m *model) wants() []want {
	switch m.screen {
	case overview:
		return []want{m.wantReceipts(20 * time.Second)}
	case market:
		return []want{m.wantOffers(2 * time.Second), m.wantReceipts(time.Minute)}
	case jobs:
		if m.open != nil {
			return append(m.open.wants(m), m.open.wantPlan(m.node)...)
		}
		return []want{m.wantJobs(time.Second)}
	case credit:
		return m.part().wants
	case peers:
		return append([]want{m.wantPeers(2 * time.Second)}, m.wantStanding(2*time.Second)...)
	case settings:
		return []want{m.wantWhy(time.Second)}
	}
	return nil
}

// due asks for what is wanted and old. A lost node is not asked.
func (m *model) due() tea.Cmd {
	if m.status == nil || m.lost != nil {
		return nil
	}
	var cmds []tea.Cmd
	for _, w := range m.wants() {
		p := m.polls[w.source]
		if p == nil {
			p = &poll{}
			m.polls[w.source] = p
		}
		if p.busy || m.now.Sub(p.at) < w.every {
			continue
		}
		p.busy, p.at = true, m.now
		cmds = append(cmds, m.call(func(ctx context.Context) tea.Msg {
			take, err := w.fetch(ctx)
			return replyMsg{w.source, take, err}
		}))
	}
	return tea.Batch(cmds...)
}

// ask makes a source due again.
func (m *model) ask(s source) {
	if p := m.polls[s]; p != nil {
		p.at = time.Time{}
	}
}

func (m *model) reply(r replyMsg) {
	if p := m.polls[r.source]; p != nil {
		p.busy, p.err = false, r.err
	}
	if r.err == nil && r.take != nil {
		r.take(m)
	}
}

// trouble is the text for a source whose last answer was an error, "" otherwise.
func (m *model) trouble(s source) string {
	if p := m.polls[s]; p != nil && p.err != nil {
		return explain(p.err)
	}
	return ""
}

// explain tells an error and what to do about it in clean text.
func explain(err error) string {
	var p *node.Problem
	text := err.Error()
	if errors.As(err, &p) && p.Hint != "" {
		text += "; " + p.Hint
	}
	return clean(text)
}

// doneMsg is the end of something a key began.
type doneMsg = replyMsg

const byHand source = -1

// act runs a call that a key began; its error becomes a line on the screen.
func (m *model) act(f func(context.Context) (func(*model), error)) tea.Cmd {
	return m.actWith(m.call, f)
}

// actSlowly is act for a call that waits for other machines.
func (m *model) actSlowly(f func(context.Context) (func(*model), error)) tea.Cmd {
	return m.actWith(m.slow, f)
}

func (m *model) actWith(call caller, f func(context.Context) (func(*model), error)) tea.Cmd {
	return call(func(ctx context.Context) tea.Msg {
		take, err := f(ctx)
		if err != nil {
			text := explain(err)
			take = func(m *model) { m.say(text) }
		}
		return doneMsg{byHand, take, nil}
	})
}
