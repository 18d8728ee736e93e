package job

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/node"
)

// TestAJobWhoseInputsBrokeOffEnds: its sender was killed and cannot close it.
func TestAJobWhoseInputsBrokeOffEnds(t *testing.T) {
	withRequester(t, 1, honest(1, echo{}), func(t *testing.T, d *desk) {
		j, err := d.Submit(t.Context(), d.m)
		if err != nil {
			t.Fatal(err)
		}
		killed := errors.New("broke off")
		send := func(at uint64, text string) {
			t.Helper()
			more := only(texts(text)...)
			if _, err := d.AddInputs(t.Context(), j.ID, at, func() (exec.Input, error) {
				in, err := more()
				if err != nil {
					err = killed
				}
				return in, err
			}); !errors.Is(err, killed) {
				t.Fatal(err)
			}
		}
		state := func(want node.JobState) {
			t.Helper()
			synctest.Wait()
			if j, err = d.Job(j.ID); err != nil || j.State != want {
				t.Fatalf("the job is %s, want %s: %+v, %v", j.State, want, j, err)
			}
		}
		send(0, "x")
		time.Sleep(unattendedAfter - time.Minute)
		state(node.JobRunning)
		send(1, "y") // somebody came in time
		time.Sleep(unattendedAfter - time.Minute)
		state(node.JobRunning)
		if _, err := d.AddInputs(t.Context(), j.ID, 2, only(texts("z")...)); err != nil { // and one who will come again
			t.Fatal(err)
		}
		time.Sleep(3 * unattendedAfter)
		state(node.JobRunning)
		send(3, "w")
		time.Sleep(unattendedAfter + time.Minute)
		if state(node.JobDone); j.Units != 4 || j.Done != 4 {
			t.Errorf("%d of %d units done", j.Done, j.Units)
		}
	})
}
