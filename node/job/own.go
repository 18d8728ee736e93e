package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/farm"
	"github.com/personal-power-plant/p3/ledger"
)

// ownFuel is the most fuel of a unit that we compute ourselves when hosts disagree on it, or to check one of them: a second
// or two. Nobody can collude with us.
const ownFuel ledger.Fuel = 2_000_000_000

// maxOwn is how many such units wait for each other. Further ones are left to votes.
const maxOwn = 16

// compute has a unit computed on this machine, one at a time over all jobs, and tells the farm.
func (r *run) compute(unit uint64) {
	select {
	case r.req.ownQueue <- struct{}{}:
	default:
		r.req.wg.Go(func() { r.computed(unit, nil) })
		return
	}
	r.req.wg.Go(func() {
		defer func() { <-r.req.ownQueue }()
		select {
		case r.req.ownSlot <- struct{}{}:
			defer func() { <-r.req.ownSlot }()
		case <-r.ctx.Done():
			return
		}
		x, err := r.own(r.ctx, unit)
		if err != nil {
			r.log.Info("unit not computed here", "unit", unit, "err", err)
		}
		r.computed(unit, x)
	})
}

func (r *run) computed(unit uint64, x *result) {
	r.post(func(now time.Time) []farm.Action {
		switch {
		case r.over:
			return nil
		case x == nil:
			return r.farm.Computed(unit, nil, now)
		}
		r.owned[unit] = x
		defer delete(r.owned, unit)
		r.perform(r.farm.Computed(unit, &farm.Vote{Digest: x.Digest, Fuel: x.Result.Fuel, Status: x.Result.Status, OK: x.Result.OK()}, now))
		return nil // done: who accepts it looks at owned
	})
}

// own runs a unit as a provider would, and stores what came out as the job's.
func (r *run) own(ctx context.Context, unit uint64) (*result, error) {
	in, err := r.input(unit)
	if err != nil {
		return nil, err
	}
	if err := exec.CheckArgs(r.m.Args, in); err != nil {
		return nil, err
	}
	program, err := r.env.Blobs.Path(r.m.Program.Hash)
	if err != nil {
		return nil, err
	}
	data, err := mounts(r.env.Blobs, r.m.Data)
	if err != nil {
		return nil, err
	}
	spec, err := unitSpec(r.env.Blobs, r.m, unit, in)
	if err != nil {
		return nil, err
	}
	spec.Program, spec.Data = program, data
	spec.Limits.Fuel = min(spec.Limits.Fuel, ownFuel)
	dir, err := r.env.Blobs.TempDir()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	spec.OutDir = dir
	res, err := r.env.Engine.Run(ctx, spec)
	switch {
	case err != nil:
		return nil, err
	case !res.Status.Deterministic():
		return nil, fmt.Errorf("%s: %s", res.Status, res.Message)
	case res.Status == exec.OutOfFuel && spec.Limits.Fuel < r.m.Limits.Fuel:
		return nil, fmt.Errorf("it takes more than %d fuel", ownFuel)
	}
	return pack(r.env.Blobs, "result/"+r.id.String(), dir, unit, res)
}

// unitSpec is how a unit runs, on every host the same, but for program, data sets and the folder for output.
func unitSpec(blobs Blobs, m exec.Manifest, unit uint64, in exec.Input) (exec.Spec, error) {
	spec := exec.Spec{
		Hash: m.Program.Hash, Args: exec.ExpandArgs(m.Args, in), Env: m.Env, Stdin: in.Stdin, Limits: m.Limits, Seed: unitSeed(m.Seed, unit),
	}
	var err, bad error
	if in.StdinFile != nil {
		spec.StdinPath, bad = blobs.Path(in.StdinFile.Hash)
	}
	spec.In, err = mounts(blobs, in.Files)
	return spec, errors.Join(bad, err)
}

// mounts finds where files lie.
func mounts(blobs Blobs, files []exec.File) (out []exec.Mount, err error) {
	for _, f := range files {
		path, err := blobs.Path(f.Hash)
		if err != nil {
			return nil, err
		}
		out = append(out, exec.Mount{Name: f.Name, Path: path})
	}
	return out, nil
}

// pack makes a result of what a unit left in dir, with all that is too long for a frame in blobs of owner.
func pack(blobs Blobs, owner, dir string, unit uint64, res exec.Result) (*result, error) {
	x := &result{Unit: unit, Digest: res.Digest()}
	res.Message = clip(res.Message)
	for _, f := range res.Files {
		if err := keep(blobs, owner, f, filepath.Join(dir, filepath.FromSlash(f.Name))); err != nil {
			return nil, err
		}
	}
	var err error
	if x.Stdout, err = spill(blobs, owner, &res.Stdout); err != nil {
		return nil, err
	}
	if x.Stderr, err = spill(blobs, owner, &res.Stderr); err != nil {
		return nil, err
	}
	x.Result = res
	if n := x.size(); n > MaxFrame/2 {
		return nil, fmt.Errorf("the list of %d output files is too long to send", len(res.Files))
	}
	return x, nil
}
