package sim

import (
	"context"
	"time"

	"github.com/personal-power-plant/p3/exec"
)

// A paced engine runs real programs and takes as long, in fake time, as a machine of its speed
// would. The engine behind it is shared by all nodes and outlives them.
type paced struct {
	exec.Engine
	speed uint64 // fuel per second
}

// Run implements exec.Engine.
func (p paced) Run(ctx context.Context, s exec.Spec) (exec.Result, error) {
	start := time.Now()
	r, err := p.Engine.Run(ctx, s)
	if err != nil {
		return r, err
	}
	t := time.NewTimer(time.Duration(float64(r.Fuel) / float64(p.speed) * float64(time.Second)))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return exec.Result{}, ctx.Err()
	}
	r.WallMs = time.Since(start).Milliseconds()
	return r, nil
}

// Close implements exec.Engine.
func (paced) Close() error { return nil }

// A liar does the work and reports something else.
type liar struct{ exec.Engine }

// Run implements exec.Engine.
func (l liar) Run(ctx context.Context, s exec.Spec) (exec.Result, error) {
	r, err := l.Engine.Run(ctx, s)
	r.Stdout = append([]byte("a lie: "), r.Stdout...)
	return r, err
}
