package tui

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/node"
)

// planned tells whether a plan says who works for the job: it has a deadline, or is optimised for something.
func (r *jobRow) planned() bool {
	return !r.Deadline.IsZero() || r.Optimise == exec.ForCost || r.Optimise == exec.ForTime || r.Estimate != nil
}

// due is the deadline of a planned job in a word or two.
func (r *jobRow) due(now time.Time) string {
	switch {
	case r.ended() || !r.planned():
		return "-"
	case r.Estimate != nil && r.Estimate.Over:
		return "over max"
	case r.Estimate != nil && r.Estimate.Late:
		return "late"
	case r.Deadline.IsZero():
		return "none"
	case r.Deadline.Before(now):
		return "past"
	}
	return "in " + span(r.Deadline.Sub(now))
}

func (r *jobRow) dueTint() style {
	if e := r.Estimate; e != nil && !r.ended() {
		switch {
		case e.Over:
			return bad
		case e.Late:
			return warn
		}
	}
	return plain
}

// planFacts is what a planned job aims for, and the forecast of its end and its cost, in lines of w cells; nil for any other.
func (r *jobRow) planFacts(m *model, w int) []string {
	if !r.planned() {
		return nil
	}
	aim := clean(r.Optimise.String())
	if !r.Deadline.IsZero() {
		aim += ", due " + m.moment(r.Deadline)
		switch {
		case r.ended() && !r.Ended.IsZero():
			aim += ", ended " + early(r.Deadline, r.Ended)
		case r.ended():
		case r.Deadline.Before(m.now):
			aim += " (" + warn.of(span(m.now.Sub(r.Deadline))+" ago") + ")"
		default:
			aim += " (in " + span(r.Deadline.Sub(m.now)) + ")"
		}
	}
	facts := factWrapped("planned", "for "+aim, w)
	switch e := r.Estimate; {
	case r.ended():
		return facts
	case e == nil:
		return append(facts, fact("forecast", "none yet: it is made when half of the pilot units have ended"))
	default:
		return append(facts, factWrapped("forecast", r.forecast(m, e), w)...)
	}
}

// early tells how far an end is before a deadline, or after it.
func early(deadline, end time.Time) string {
	if gap := deadline.Sub(end); gap < 0 {
		return span(-gap) + " late"
	}
	return span(deadline.Sub(end)) + " early"
}

// forecast tells the end and the cost that an estimate comes to, and whether both will do.
func (r *jobRow) forecast(m *model, e *node.JobEstimate) string {
	cost := fmt.Sprintf("about %s of at most %s", e.Cost, r.Budget)
	end := "ends " + m.moment(e.Ends)
	if !r.Deadline.IsZero() {
		end += ", " + early(r.Deadline, e.Ends)
	}
	from := fmt.Sprintf("by %s of %s", count(e.From), plural(e.Units, "unit"))
	switch {
	case e.Over:
		return bad.of("over the budget") + ", nothing more is begun: " + cost + "; " + from
	case e.Late:
		return warn.of("LATE") + ": " + end + "; " + cost + "; " + from
	}
	return good.of("on plan") + ": " + end + "; " + cost + "; " + from
}

// moment is the time of day, with the date when that is another.
func (m *model) moment(t time.Time) string {
	t, now := t.In(m.now.Location()), m.now
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04:05")
	}
	return t.Format("02 Jan 15:04")
}

// wantPlan reads what the plan of a job that runs is up to.
func (v *jobView) wantPlan(n Node) []want {
	if v.job == nil || !v.job.planned() || v.job.ended() {
		return nil
	}
	id := v.id
	return []want{{fromJobWhy, 2 * time.Second, func(ctx context.Context) (func(*model), error) {
		why, err := n.JobWhy(ctx, id)
		return func(m *model) {
			if m.open == v {
				v.plan = planLine(why)
			}
		}, err
	}}}
}

// planLine is what a plan is up to, and whom it gives nothing.
func planLine(w node.JobWhy) string {
	if w.Plan == "" {
		return ""
	}
	parts := []string{clean(w.Plan)}
	for _, k := range w.Kept {
		parts = append(parts, fmt.Sprintf("%d kept back: %s", k.Count, clean(k.Why)))
	}
	return strings.Join(parts, "; ")
}
