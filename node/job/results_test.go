package job

import (
	"fmt"
	"slices"
	"testing"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/node"
)

// warm is units enough for hosts to trust us with several at a time, a long one and short ones behind it.
func warm() []exec.Input {
	in := texts(slices.Repeat([]string{"s"}, 60)...)
	in[warmLong].Stdin = []byte("long")
	return in
}

const warmLong = 40

// Results come in the order of the units, or as these end; a reader that comes late gets all of them too.
func TestResultsComeInTheOrderAskedFor(t *testing.T) {
	withRequester(t, 1, honest(2, varied{}), func(t *testing.T, d *desk) {
		d.m.Limits.WallMs = 60_000
		j := d.submit(true, warm()...)
		read := func(from uint64, order node.Order) (units []uint64) {
			err := d.Results(t.Context(), j.ID, from, order, func(u node.UnitResult) error {
				units = append(units, u.Unit)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			return units
		}
		if got := read(0, node.AsEnded); len(got) != 60 || got[59] != warmLong {
			t.Errorf("as they end: %v, want the long unit last", got)
		}
		for _, order := range []node.Order{node.InOrder, node.AsEnded} {
			if got := read(56, order); !slices.Equal(got, []uint64{56, 57, 58, 59}) {
				t.Errorf("%s, after the end: %v", order, got)
			}
		}
	})
}

// A job that is to end early does so though an earlier unit still runs; what has ended can be read beyond the gap,
// also after a restart, and it stays ended.
func TestHaltCountsUnitsAsTheyEnd(t *testing.T) {
	withRequester(t, 1, honest(2, varied{}), func(t *testing.T, d *desk) {
		d.m.Limits.WallMs, d.m.Halt = 60_000, "now,success=50"
		j := d.submit(true, warm()...)
		r := d.Requester
		for range 2 {
			var units []uint64
			err := r.Results(t.Context(), j.ID, 0, node.InOrder, func(u node.UnitResult) error {
				units = append(units, u.Unit)
				return nil
			})
			if err != nil || len(units) < 50 || slices.Contains(units, warmLong) || !slices.IsSorted(units) {
				t.Errorf("results of %v, %v", units, err)
			}
			j, err := r.Job(j.ID)
			if want := fmt.Sprintf("%d units have ended, 0 of them failed", len(units)); err != nil || j.State != node.JobDone || j.Halted != want || j.Done != uint64(len(units)) {
				t.Errorf("the job is %s, halted %q, %d done: %v", j.State, j.Halted, j.Done, err)
			}
			r = NewRequester(d.me.Env, d.me.x, d.me.settler, fair{})
			defer r.Close()
			if err := r.Resume(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
