package tui

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/personal-power-plant/p3/node"
)

// stateEvery is the least time between two lines about the state.
const stateEvery = 5 * time.Second

// Plain appends lines to out: the node's state when it has changed and every event as it
// comes. It neither moves the cursor nor uses colour, for screen readers, logs and pipes. It
// ends with ctx's error, or with out's when that can be written no more; a lost node is
// looked for again.
func Plain(ctx context.Context, n Node, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	f, fed := newFeed(), make(chan struct{})
	go func() { defer close(fed); f.run(ctx, n) }()
	defer func() { cancel(); <-fed }()

	p := plainLines{out: out}
	ticks := time.NewTicker(tickEvery)
	defer ticks.Stop()
	for {
		select {
		case now := <-ticks.C:
			if err := p.hear(f.take(), now); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type plainLines struct {
	out    io.Writer
	status *node.Status
	told   string // the state as last told
	at     time.Time
	seen   uint64 // newest event told
	lost   string // as last told, "" when the node is there
	err    error  // of out
}

func (p *plainLines) hear(n news, now time.Time) error {
	if n.fresh && len(n.events) > 0 && n.events[len(n.events)-1].Seq < p.seen {
		p.seen = 0 // another run of the node counts anew
	}
	for _, e := range n.events {
		if e.Seq > p.seen {
			p.seen = e.Seq
			p.line(e.Time, clean(e.Level), clean(e.Text))
		}
	}
	switch {
	case n.lost == nil:
		p.lost = ""
	case p.lost != n.lost.Error():
		p.lost, p.told = n.lost.Error(), ""
		p.line(now, "error", explain(n.lost)+"; retrying")
	}
	if n.status != nil {
		p.status = n.status
	}
	if p.status != nil && p.lost == "" && now.Sub(p.at) >= stateEvery {
		if s := plainState(p.status); s != p.told {
			p.told, p.at = s, now
			p.line(now, "state", s)
		}
	}
	return p.err
}

func (p *plainLines) line(at time.Time, level, text string) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.out, "%s %-5s %s\n", at.Local().Format("15:04:05"), level, text)
	}
}

// plainState is what matters of a status in one line.
func plainState(s *node.Status) string {
	host := "not donating"
	if s.Host.Donating {
		host = fmt.Sprintf("donating %d slots, %d busy", s.Host.Capacity.Slots, s.Host.Busy)
	}
	line := fmt.Sprintf("%s, %s cr, %s; %s", plural(uint64(s.Peers), "peer"), credits(s.Balance.Net), host, clean(s.Host.Why))
	for _, j := range s.Jobs {
		if r := newJobRow(j); !r.ended() {
			line += fmt.Sprintf("; %s %s %s, %s of %s done", r.id, r.name, r.State, count(r.Done), r.total())
		}
	}
	return line
}
