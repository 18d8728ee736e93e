package tui

import (
	"context"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/node"
)

// A jobRow is a job with its text made clean.
type jobRow struct {
	node.Job
	id, name, why, hay string
}

func newJobRow(j node.Job) jobRow {
	j.State = node.JobState(clean(string(j.State)))
	r := jobRow{Job: j, id: j.ID.Short(), name: clean(j.Name), why: clean(j.Why)}
	r.hay = strings.ToLower(strings.Join([]string{r.id, j.ID.String(), r.name, string(j.State), r.why}, " "))
	return r
}

func (r *jobRow) ended() bool {
	return r.State == node.JobDone || r.State == node.JobFailed || r.State == node.JobCancelled
}

// total is how many units there are to show: "+" says that more may come.
func (r *jobRow) total() string {
	if r.Closed {
		return count(r.Units)
	}
	return count(r.Units) + "+"
}

// eta guesses from the pace so far when the job ends.
func (r *jobRow) eta(now time.Time) string {
	switch {
	case r.ended():
		return "-"
	case r.Estimate != nil && !r.Estimate.Over:
		return span(r.Estimate.Ends.Sub(now))
	case r.State == node.JobWaiting || !r.Closed || r.Done == 0 || r.Done > r.Units:
		return "?"
	}
	left := float64(now.Sub(r.Created)) * float64(r.Units-r.Done) / float64(r.Done)
	return span(time.Duration(min(left, 1e18)))
}

func (r *jobRow) tint() style {
	switch r.State {
	case node.JobDone:
		return good
	case node.JobFailed:
		return bad
	case node.JobWaiting:
		return warn
	}
	return plain
}

func jobTable() table[jobRow] {
	type row = jobRow
	return table[row]{
		id: func(r *row) string { return r.id }, hay: func(r *row) string { return r.hay },
		sort: 2, reverse: true,
		cols: []column[row]{
			{field: "name", width: 10, str: func(r *row) string { return r.name }},
			{field: "job", width: 10, need: 72, str: func(r *row) string { return r.id }},
			{field: "age", width: 6, right: true, num: func(r *row) float64 { return float64(r.Created.UnixMilli()) },
				text: func(r *row, now time.Time) string { return since(now, r.Created) }},
			{field: "state", width: 9, str: func(r *row) string { return string(r.State) }, tint: (*row).tint},
			{field: "done", head: "DONE OF", width: 15, right: true, num: func(r *row) float64 { return ratio(r.Done, r.Units) * 100 },
				text: func(r *row, _ time.Time) string { return count(r.Done) + "/" + r.total() }},
			{field: "failed", width: 6, right: true, num: func(r *row) float64 { return float64(r.Failed) },
				text: func(r *row, _ time.Time) string { return count(r.Failed) },
				tint: func(r *row) style {
					if r.Failed > 0 {
						return bad
					}
					return plain
				}},
			{field: "spent", head: "SPENT cr", width: 9, right: true, num: func(r *row) float64 { return float64(r.Spent) / 1e6 },
				text: func(r *row, _ time.Time) string { return credits(r.Spent) }},
			{field: "budget", head: "MAX cr", width: 9, right: true, need: 96, num: func(r *row) float64 { return float64(r.Budget) / 1e6 },
				text: func(r *row, _ time.Time) string { return credits(r.Budget) }},
			{field: "eta", width: 7, right: true, need: 88, str: func(r *row) string { return r.eta(r.Created) },
				text: func(r *row, now time.Time) string { return r.eta(now) }},
			{field: "due", width: 9, need: 104, str: func(r *row) string { return r.due(r.Created) },
				text: func(r *row, now time.Time) string { return r.due(now) }, tint: (*row).dueTint},
			{field: "why", width: 30, need: 128, str: func(r *row) string { return r.why }},
		},
	}
}

func (m *model) wantJobs(every time.Duration) want {
	return want{fromJobs, every, func(ctx context.Context) (func(*model), error) {
		list, err := m.node.Jobs(ctx)
		rows := make([]jobRow, len(list))
		for i, j := range list {
			rows[i] = newJobRow(j)
		}
		return func(m *model) { m.jobs.set(rows, m.now) }, err
	}}
}

func (m *model) jobsView(w, h int) block {
	if m.open != nil {
		return m.open.view(m, w, h)
	}
	return m.listWith(w, h, false, func(w, h int) block {
		return m.tableView(&m.jobs, "My jobs", "job", "No jobs yet. Start one with: p3 map APP.wasm INPUTS.txt", w, h)
	}, func(w, h int) block {
		r := m.jobs.selected()
		if r == nil {
			return m.g.box("Job", "", nil, w, h)
		}
		facts := []string{
			fact("job", r.ID.String()), fact("state", r.tint().of(string(r.State))),
			fact("started", r.Created.In(m.now.Location()).Format("2006-01-02 15:04:05")),
			fact("units", fmt.Sprintf("%s of %s done, %s running, %s failed", count(r.Done), r.total(), count(r.Running), count(r.Failed))),
		}
		facts = append(facts, r.planFacts(m, w-4)...)
		facts = append(facts,
			fact("credits", fmt.Sprintf("%s spent of at most %s", credits(r.Spent), r.Budget)),
			fact("replicas", fmt.Sprintf("%s, %s outvoted", replicas(r.Verify), count(r.Disputes))))
		if r.Doubtful > 0 {
			facts = append(facts, fact("in doubt", fmt.Sprintf("%s results, unchecked, of hosts that were wrong later", count(r.Doubtful))))
		}
		if r.why != "" {
			facts = append(facts, fact("why", r.why))
		}
		return m.g.box(r.name, "enter opens", facts, w, h)
	})
}

// replicas says how the results of a job are compared.
func replicas(v exec.Verify) string {
	switch v {
	case exec.VerifyAuto:
		return "checked by chance"
	case 1:
		return "not compared"
	}
	return v.String() + " that must agree"
}

// theJob is the job in front, in the list or opened; nil when there is none.
func (m *model) theJob() *jobRow {
	if m.open != nil {
		return m.open.job
	}
	return m.jobs.selected()
}

func (m *model) whyNoCancel() string {
	switch j := m.theJob(); {
	case j == nil:
		return "no job is selected"
	case j.ended():
		return "the job has ended already: " + string(j.State)
	}
	return ""
}

// askCancel asks before it cancels the job in front.
func (m *model) askCancel() tea.Cmd {
	j := m.theJob()
	id, short, n := j.ID.String(), j.id, m.node
	left := count(j.Units - min(j.Done, j.Units))
	if !j.Closed {
		left += " or more"
	}
	m.dialog = &dialog{title: "Cancel " + short + "?", body: []string{
		fmt.Sprintf("%s units of %s stop; %s results are kept.", left, j.name, count(j.Done)),
		fmt.Sprintf("%s spent so far; the %s running now may still be owed.", j.Spent, plural(j.Running, "unit")),
	}, do: func(m *model) tea.Cmd {
		return m.act(func(ctx context.Context) (func(*model), error) {
			_, err := n.CancelJob(ctx, id)
			return func(m *model) {
				m.say(short + " is cancelled")
				m.ask(fromJobs)
				m.ask(fromJob)
			}, err
		})
	}}
	return nil
}
