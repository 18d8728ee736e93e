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
}

func (a *app) newProgress(cl *node.Client, id string) *progress {
	p := &progress{a: a, cl: cl, id: id, start: time.Now()}
	// A bar and results on one terminal would write over each other.
	if a.quiet || a.json || !isTerminal(a.err) || isTerminal(a.out) {
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
	every := progressEvery
	if p.bar != nil {
		every = 250 * time.Millisecond
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		j, err := p.cl.Job(ctx, p.id)
		if err != nil {
			continue
		}
		if p.bar == nil {
			p.a.say("%s", progressLine(j, time.Since(p.start)))
			continue
		}
		p.note = " " + rest(j, time.Since(p.start))
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

func progressLine(j node.Job, d time.Duration) string {
	total := "?"
	if j.Closed {
		total = fmt.Sprint(j.Units)
	}
	return fmt.Sprintf("%s  %d of %s done  %s", j.ID.Short(), j.Done, total, rest(j, d))
}

// rest is what is worth knowing besides the count.
func rest(j node.Job, d time.Duration) string {
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
	if j.Closed && j.Done > 0 && j.Done < j.Units {
		s = append(s, "ETA "+showAge(time.Duration(float64(d)*float64(j.Units-j.Done)/float64(j.Done))))
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
