package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/personal-power-plant/p3/node"
)

// progressEvery is how often progress is told where no terminal shows a bar.
const progressEvery = 10 * time.Second

// A progress shows on stderr how a job goes: a bar on a terminal, a line now and then elsewhere.
type progress struct {
	a     *app
	cl    *node.Client
	id    string
	bar   *mpb.Bar
	bars  *mpb.Progress
	note  string
	start time.Time
	every time.Duration // between two lines
	told  bool          // the first estimate
	pace  pace
}

// newProgress begins to watch a job; eta asks for lines each second.
func (a *app) newProgress(cl *node.Client, id string, eta bool) *progress {
	p := &progress{a: a, cl: cl, id: id, start: time.Now(), every: progressEvery}
	if eta {
		p.every = time.Second
	}
	// A bar and results on one terminal would write over each other.
	if a.quiet || a.json || eta || !isTerminal(a.err) || isTerminal(a.out) {
		return p
	}
	p.bars = mpb.New(mpb.WithOutput(a.err), mpb.WithWidth(48), mpb.WithRefreshRate(250*time.Millisecond))
	style := mpb.BarStyle().Lbound("[").Filler("#").Tip("#").Padding(".").Rbound("]")
	p.bar = p.bars.New(0, style,
		mpb.PrependDecorators(decor.CountersNoUnit("%d of %d ")),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return p.note })))
	return p
}

// run shows progress until ctx ends.
func (p *progress) run(ctx context.Context) {
	every := min(p.every, time.Second) // the pace is that of each
	if p.bar != nil {
		every = 250 * time.Millisecond
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for told := p.start; ; {
		var now time.Time
		select {
		case <-ctx.Done():
			return
		case now = <-tick.C:
		}
		j, err := p.cl.Job(ctx, p.id)
		if err != nil {
			continue
		}
		p.pace.look(j.Done, now)
		if j.Estimate != nil && !p.told && p.bar == nil && !p.a.json {
			p.told = true
			p.a.say("%s  %s", j.ID.Short(), j.Estimate)
		}
		if p.bar == nil {
			if now.Sub(told) >= p.every-every/2 {
				p.a.say("%s", p.line(j))
				told = now
			}
			continue
		}
		p.note = " " + p.rest(j)
		p.bar.SetTotal(int64(max(j.Units, 1)), false)
		p.bar.SetCurrent(int64(j.Done))
	}
}

// done shows the end.
func (p *progress) done(j node.Job) {
	if p.bar != nil {
		p.note = " done"
		p.bar.SetTotal(int64(j.Units), false)
		p.bar.SetCurrent(int64(j.Done))
		p.bar.EnableTriggerComplete()
		p.bar.Abort(false)
		p.bars.Wait()
	}
	if !p.a.json {
		p.a.say("%s", summary(j, time.Since(p.start)))
	}
}

func (p *progress) line(j node.Job) string {
	total := "?"
	if j.Closed {
		total = fmt.Sprint(j.Units)
	}
	return fmt.Sprintf("%s  %d of %s done  %s", j.ID.Short(), j.Done, total, p.rest(j))
}

// rest is what is worth knowing besides the count.
func (p *progress) rest(j node.Job) string {
	var s []string
	if j.State == node.JobWaiting {
		s = append(s, "waiting: "+j.Why)
	} else {
		n := 0
		for _, p := range j.Peers {
			if p.State == "leased" {
				n++
			}
		}
		s = append(s, fmt.Sprintf("%d running on %d peers", j.Running, n))
	}
	if j.Failed > 0 {
		s = append(s, fmt.Sprintf("%d failed", j.Failed))
	}
	s = append(s, j.Spent.String())
	if left, ok := p.pace.left(j.Units - min(j.Done, j.Units)); ok && j.Closed && j.Done < j.Units {
		s = append(s, "ETA "+showAge(left))
	}
	if j.Estimate != nil && j.Estimate.Late {
		s = append(s, "late")
	}
	return strings.Join(s, ", ")
}

// summary is the last line of a job.
func summary(j node.Job, d time.Duration) string {
	s := fmt.Sprintf("%s  %s: %d units in %s, %s", j.ID.Short(), j.State, j.Done, d.Round(100*time.Millisecond), j.Spent)
	if j.Failed > 0 {
		s += fmt.Sprintf(", %d failed", j.Failed)
	}
	if j.Disputes > 0 {
		s += fmt.Sprintf(", %d outvoted", j.Disputes)
	}
	return s
}

// noColor reports whether output must stay plain.
func (a *app) noColor() bool {
	switch a.color {
	case "never":
		return true
	case "always":
		return false
	}
	return os.Getenv("NO_COLOR") != "" || !a.terminal()
}
