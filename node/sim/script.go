package sim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing/synctest"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/wasm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// patience is how long, in fake time, a step waits for what must come.
const patience = 40 * time.Minute

// A scenario is a script on its way.
type scenario struct {
	n     *Net
	owner *Node // of the job; the first node
	job   exec.JobID
	units uint64
}

// Run runs a script, one step a line. "#" begins a comment.
//
//	node NAME [donate] [slots=N] [speed=FUEL/S] [lies]   add a node; the first one owns the jobs
//	job PROGRAM ARGS... units=N verify=N|auto               unit i gets the line "unit i" on stdin
//	    [optimise=WORD] [deadline=DURATION] [budget=µCR]
//	until N                                              wait until so many units are done
//	kill NAME | restart NAME | cut NAME | heal NAME
//	pass DURATION                                        let time pass
//	audit                                                nothing is made of nothing, now
//	done                                                 wait for the end; each result is there, once, in order, right
//	settled                                              wait until nothing is open; the sum of all balances is zero,
//	                                                     and what was paid is the cost of the accepted units and few more
//	lied N                                               at least so many results were outvoted
//	unpaid NAME                                          it earned nothing
//	paid NAME                                            it earned something
//
// A step that fails ends the test and names its line.
func (n *Net) Run(script string) {
	n.t.Helper()
	s := &scenario{n: n}
	in := bufio.NewScanner(strings.NewReader(script))
	for line := 1; in.Scan(); line++ {
		text, _, _ := strings.Cut(in.Text(), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		synctest.Wait() // steps begin at rest
		if err := s.step(words[0], words[1:]); err != nil {
			n.t.Fatalf("line %d, %s, seed %d: %v", line, strings.Join(words, " "), n.seed, err)
		}
	}
}

func (s *scenario) step(verb string, args []string) error {
	node := func() *Node { return s.n.Node(strings.Join(args, " ")) }
	switch verb {
	case "node":
		return s.node(args)
	case "job":
		return s.submit(args)
	case "until":
		return s.until(args)
	case "kill":
		node().Kill()
	case "restart":
		node().Restart()
	case "cut":
		node().Cut()
	case "heal":
		node().Heal()
	case "pass":
		d, err := time.ParseDuration(strings.Join(args, ""))
		time.Sleep(d)
		return err
	case "audit":
		_, err := s.n.Audit()
		return err
	case "done":
		return s.results()
	case "settled":
		return s.settled()
	case "lied":
		return s.lied(args)
	case "paid", "unpaid":
		b, err := node().Balance()
		if err == nil && (b.Earned > 0) != (verb == "paid") {
			err = fmt.Errorf("earned %s", b.Earned)
		}
		return err
	default:
		return errors.New("no such step")
	}
	return nil
}

// number reads an argument NAME=N, or N alone.
func number(arg string) (name string, v uint64, err error) {
	name, text, ok := strings.Cut(arg, "=")
	if !ok {
		name, text = "", arg
	}
	v, err = strconv.ParseUint(text, 10, 63)
	return name, v, err
}

func (s *scenario) node(args []string) error {
	if len(args) == 0 {
		return errors.New("a node needs a name")
	}
	var opt Options
	for _, a := range args[1:] {
		switch a {
		case "donate":
			opt.Donate = true
		case "lies":
			opt.Lies = true
		default:
			name, v, err := number(a)
			switch {
			case err != nil:
				return err
			case name == "slots":
				opt.Slots = int(v)
			case name == "speed":
				opt.Speed = v
			default:
				return fmt.Errorf("%q: no such option", a)
			}
		}
	}
	x := s.n.Add(args[0], opt)
	if s.owner == nil {
		s.owner = x
	}
	return nil
}

// input is the stdin of a unit.
func input(unit uint64) []byte { return fmt.Appendf(nil, "unit %d\n", unit) }

func (s *scenario) submit(args []string) error {
	m := exec.Manifest{
		Version: 1, Kind: exec.KindMap, Engine: exec.EngineWASM, Name: "scenario", Each: exec.EachLines, Verify: 1,
		Limits: exec.Limits{Fuel: 10_000_000, Memory: 16 << 20, WallMs: 60_000, Output: 1 << 20},
		Budget: 5 * ledger.Credit, Retries: 5, Seed: s.n.seed, Costs: wasm.CostTable(),
	}
	program := ""
	for _, a := range args {
		name, v, err := number(a)
		switch {
		case strings.HasPrefix(a, "optimise="):
			if err := m.Optimise.Set(strings.TrimPrefix(a, "optimise=")); err != nil {
				return err
			}
		case strings.HasPrefix(a, "deadline="):
			d, err := time.ParseDuration(strings.TrimPrefix(a, "deadline="))
			if err != nil {
				return err
			}
			m.Deadline = time.Now().Add(d).UnixMilli()
		case err == nil && name == "budget":
			m.Budget = ledger.Credits(v)
		case err == nil && name == "units":
			s.units = v
		case name == "verify":
			if err := m.Verify.Set(strings.TrimPrefix(a, "verify=")); err != nil {
				return err
			}
		case program == "":
			program = a
		default:
			m.Args = append(m.Args, a)
		}
	}
	f, err := os.Open(program)
	if err != nil {
		return err
	}
	defer f.Close()
	ctx, d := context.Background(), s.owner.Daemon
	if m.Program, err = d.PutBlob(ctx, f); err != nil {
		return err
	}
	m.Program.Name = "program.wasm"
	j, err := d.SubmitJob(ctx, m)
	if err != nil {
		return err
	}
	s.job = j.ID
	next := uint64(0)
	total, err := d.AddInputs(ctx, s.job.String(), 0, func() (exec.Input, error) {
		if next == s.units {
			return exec.Input{}, io.EOF
		}
		next++
		return exec.Input{Stdin: input(next - 1)}, nil
	})
	if err != nil {
		return err
	}
	_, err = d.CloseInputs(ctx, s.job.String(), total)
	return err
}

// wait looks at each interval of fake time until ok.
func wait(every time.Duration, ok func() (bool, error)) error {
	for end := time.Now().Add(patience); ; time.Sleep(every) {
		if yes, err := ok(); yes {
			return nil
		} else if time.Now().After(end) {
			return fmt.Errorf("still waiting after %s: %v", patience, err)
		}
	}
}

func (s *scenario) until(args []string) error {
	_, want, err := number(strings.Join(args, ""))
	if err != nil {
		return err
	}
	return wait(50*time.Millisecond, func() (bool, error) {
		j, err := s.view()
		return err == nil && j.Done >= want, fmt.Errorf("%d of %d units done: %s %v", j.Done, want, j.Why, err)
	})
}

func (s *scenario) view() (node.Job, error) {
	return s.owner.Daemon.Job(context.Background(), s.job.String())
}

// accepted reads all results and checks them.
func (s *scenario) accepted() (cost ledger.Credits, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	next := uint64(0)
	err = s.owner.Daemon.Results(ctx, s.job.String(), 0, node.InOrder, func(r node.UnitResult) error {
		switch {
		case r.Unit != next:
			return fmt.Errorf("result of unit %d where that of %d belongs", r.Unit, next)
		case !r.Result.OK() || string(r.Result.Stdout) != string(input(r.Unit)):
			return fmt.Errorf("unit %d: %s %d %q %s", r.Unit, r.Result.Status, r.Result.ExitCode, r.Result.Stdout, r.Error)
		}
		next++
		cost += r.Cost
		return nil
	})
	if err == nil && next != s.units {
		err = fmt.Errorf("%d of %d results", next, s.units)
	}
	return cost, err
}

func (s *scenario) results() error {
	if _, err := s.accepted(); err != nil {
		j, _ := s.view()
		return fmt.Errorf("%w; the job is %s: %s", err, j.State, j.Why)
	}
	return wait(50*time.Millisecond, func() (bool, error) {
		j, err := s.view()
		return j.State == node.JobDone, fmt.Errorf("the job is %s %v", j.State, err)
	})
}

func (s *scenario) settled() error {
	err := wait(time.Second, func() (bool, error) { err := s.n.Settled(); return err == nil, err })
	if err != nil {
		return err
	}
	t, err := s.n.Audit()
	switch {
	case err != nil:
		return err
	case t.Net() != 0 || t.InTransit != 0 || t.Locked != 0:
		return fmt.Errorf("net %s, in transit %s, locked %s", t.Net(), t.InTransit, t.Locked)
	}
	cost, err := s.accepted()
	if err != nil {
		return err
	}
	b, err := s.owner.Balance()
	// A duplicate that was cancelled when its result was already on the way is paid too.
	if err == nil && (b.Spent < cost || b.Spent > cost+cost/10 || cost == 0) {
		err = fmt.Errorf("spent %s for units that cost %s", b.Spent, cost)
	}
	return err
}

func (s *scenario) lied(args []string) error {
	_, want, err := number(strings.Join(args, ""))
	if err != nil {
		return err
	}
	j, err := s.view()
	if err == nil && j.Disputes < want {
		err = fmt.Errorf("%d results were outvoted", j.Disputes)
	}
	return err
}
