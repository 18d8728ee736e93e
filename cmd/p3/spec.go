package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/wasm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/market"
	"github.com/personal-power-plant/p3/node"
)

// A spec is a job as people write it: the flags of `p3 map`, or a job file with the same
// words. It becomes an exec.Manifest once the program's bytes are known.
type spec struct {
	Version  int               `yaml:"version"`
	Name     string            `yaml:"name"`
	App      string            `yaml:"app"`
	Args     []string          `yaml:"args"`
	Env      map[string]string `yaml:"env"`
	Each     eachSpec          `yaml:"each"`
	Data     []string          `yaml:"data"`
	Verify   verifyWord        `yaml:"verify"`
	Need     string            `yaml:"need"`
	Limits   limitSpec         `yaml:"limits"`
	MaxCost  string            `yaml:"max_cost"`
	MaxPrice string            `yaml:"max_price"` // cr per Tfuel
	Deadline string            `yaml:"deadline"`
	Optimise optimiseWord      `yaml:"optimise"`
	Retries  int               `yaml:"retries"`
	Jobs     int               `yaml:"jobs"`
	Halt     string            `yaml:"halt"`
	Seed     uint64            `yaml:"seed"`
}

type eachSpec struct {
	Lines  string   `yaml:"lines"`  // a file, or "-"
	Files  []string `yaml:"files"`  // paths or patterns
	Range  string   `yaml:"range"`  // FROM:TO[:STEP], TO excluded
	Params []string `yaml:"params"` // NAME=FROM:TO:STEP, TO included, or NAME=WORD,WORD
	Colsep string   `yaml:"colsep"` // regular expression between the columns {1}, {2} of an input
}

type limitSpec struct {
	Fuel   string        `yaml:"fuel"`
	Memory string        `yaml:"memory"`
	Time   time.Duration `yaml:"time"`
	Output string        `yaml:"output"`
}

// A verifyWord is an exec.Verify in a flag or a job file: a number, or auto.
type verifyWord struct{ exec.Verify }

// Type implements pflag.Value.
func (*verifyWord) Type() string { return "int|auto" }

// UnmarshalYAML implements yaml.InterfaceUnmarshaler.
func (v *verifyWord) UnmarshalYAML(unmarshal func(any) error) error {
	var word string
	if err := unmarshal(&word); err != nil {
		return err
	}
	return v.Set(word)
}

// An optimiseWord is an exec.Optimise in a flag or a job file.
type optimiseWord struct{ exec.Optimise }

// Type implements pflag.Value.
func (*optimiseWord) Type() string { return "cost|time|balanced" }

// UnmarshalYAML implements yaml.InterfaceUnmarshaler.
func (o *optimiseWord) UnmarshalYAML(unmarshal func(any) error) error {
	var word string
	if err := unmarshal(&word); err != nil {
		return err
	}
	return o.Set(word)
}

func newSpec() spec { return spec{Version: 1, Verify: verifyWord{1}, Retries: 3, MaxCost: "1.00"} }

// flags binds the words of a spec to flags.
func (s *spec) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.Name, "name", "", "what to call the job (default: the program's)")
	f.StringToStringVar(&s.Env, "env", nil, "environment of the program, NAME=value")
	f.StringArrayVar(&s.Data, "data", nil, "file that every unit finds under /data, read-only")
	f.Var(&s.Verify, "verify", "compute each unit on this many accounts and compare (1 = do not); auto = again on another\naccount, always while a host is new, later by chance, at least 1 in 20")
	f.StringVar(&s.Need, "need", "", `condition on offers, such as 'arch == "amd64" && mem >= 4'`)
	f.StringVar(&s.Limits.Fuel, "fuel", "", "most fuel of one unit (default 100G)")
	f.StringVar(&s.Limits.Memory, "memory", "", "most memory of one unit (default 256MiB)")
	f.DurationVar(&s.Limits.Time, "time-limit", 0, "most time of one unit (default 1m)")
	f.StringVar(&s.Limits.Output, "output-limit", "", "most output of one unit (default 16MiB)")
	f.StringVar(&s.MaxCost, "max-cost", s.MaxCost, "most credit for the whole job")
	f.StringVar(&s.MaxPrice, "max-price", "", "most credit per Tfuel (default: any)")
	f.StringVar(&s.Deadline, "deadline", "", "when the job is to be done: a time from now (90m), of the day (18:30) or a date (2026-03-01T18:30:00Z)")
	f.Var(&s.Optimise, "optimise", "cost: spend as little as the deadline allows; time: be done as soon as --max-cost allows;\nbalanced: everybody who fits, or with a deadline, done by half of it")
	f.IntVarP(&s.Jobs, "jobs", "j", 0, "most units at a time (0 = as many as providers take)")
	f.StringVar(&s.Halt, "halt", "", "end early: now,fail=N, soon,success=N or now,done=N of the units that have ended; N may be a\npercentage; soon awaits what runs (default never)")
	f.IntVar(&s.Retries, "retries", s.Retries, "further tries of a unit after a host failed")
	f.Uint64Var(&s.Seed, "seed", 0, "of the programs' random numbers")
}

// load reads a job file strictly. Paths in it are relative to it.
func (s *spec) load(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "name a job file that is there"}
	}
	d := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict())
	if err := d.Decode(s); err != nil && !errors.Is(err, io.EOF) {
		return &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("%s: %s", path, strings.TrimSpace(yaml.FormatError(err, false, true))),
			Hint: "correct it" + didYouMean(err.Error())}
	}
	if s.Version != 1 {
		return usage("%s: version %d: this p3 knows version 1", path, s.Version)
	}
	dir := filepath.Dir(path)
	at := func(p *string) {
		if *p != "" && *p != "-" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	at(&s.App)
	at(&s.Each.Lines)
	for i := range s.Each.Files {
		at(&s.Each.Files[i])
	}
	for i := range s.Data {
		at(&s.Data[i])
	}
	return nil
}

var specWords = []string{"version", "name", "app", "args", "env", "each", "data", "verify", "need", "limits", "max_cost", "max_price", "deadline", "optimise",
	"retries", "jobs", "halt", "seed", "lines", "files", "range", "params", "colsep", "fuel", "memory", "time", "output"}

// didYouMean finds the word that an unknown field was meant to be.
func didYouMean(msg string) string {
	_, rest, ok := strings.Cut(msg, `unknown field "`)
	if !ok {
		return ""
	}
	word, _, _ := strings.Cut(rest, `"`)
	best := node.Nearest(word, specWords)
	if best == "" {
		return "; the words are " + strings.Join(specWords, ", ")
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// manifest checks the spec against the program and uploads what every unit needs.
func (s *spec) manifest(ctx context.Context, put func(ctx context.Context, path string) (exec.File, error)) (exec.Manifest, error) {
	m := exec.Manifest{
		Version: 1, Kind: exec.KindMap, Engine: exec.EngineWASM, Name: s.Name, Args: s.Args, Verify: s.Verify.Verify,
		Need: s.Need, Retries: s.Retries, Jobs: s.Jobs, Halt: s.Halt, Optimise: s.Optimise.Optimise, Seed: s.Seed, Limits: exec.DefaultLimits, Costs: wasm.CostTable(),
	}
	if m.Name == "" {
		m.Name = strings.TrimSuffix(filepath.Base(s.App), ".wasm")
	}
	m.Name = m.Name[:min(len(m.Name), 64)]
	for k, v := range s.Env {
		m.Env = append(m.Env, k+"="+v)
	}
	if err := s.limits(&m.Limits); err != nil {
		return m, err
	}
	if _, err := exec.ParseHalt(s.Halt); err != nil {
		return m, usage("--%v", err)
	}
	if _, err := newTemplate(s.Args, s.Each.Colsep); err != nil {
		return m, err
	}
	if _, err := parseParams(s.Each.Params); err != nil {
		return m, err
	}
	var err error
	if m.Budget, err = ledger.ParseCredits(s.MaxCost); err != nil {
		return m, usage("--max-cost: %v", err)
	}
	if m.Deadline, err = parseDeadline(s.Deadline, time.Now()); err != nil {
		return m, err
	}
	if s.MaxPrice != "" {
		p, err := ledger.ParseCredits(s.MaxPrice)
		if err != nil || p < 0 {
			return m, usage("--max-price: %q is not an amount of credits per Tfuel", s.MaxPrice)
		}
		m.Ceiling = ledger.Price{Num: uint64(p), Den: ledger.PriceFuel}
	}
	if _, err := market.CompileNeed(s.Need); err != nil {
		return m, usage("--need: %v", err)
	}
	switch {
	case s.Each.Range != "":
		if _, _, _, err := parseRange(s.Each.Range); err != nil {
			return m, err
		}
		m.Each = exec.EachRange
	case len(s.Each.Files) > 0:
		m.Each = exec.EachFiles
	case len(s.Each.Params) > 0:
		m.Each = exec.EachParams
	default:
		m.Each = exec.EachLines
	}
	if err := checkProgram(s.App); err != nil {
		return m, err
	}
	if m.Program, err = put(ctx, s.App); err != nil {
		return m, err
	}
	m.Program.Name = filepath.Base(s.App)
	if m.Signed, err = publication(s.App, m.Program.Hash); err != nil {
		return m, err
	}
	for _, path := range s.Data {
		f, err := put(ctx, path)
		if err != nil {
			return m, err
		}
		f.Name = filepath.Base(path)
		m.Data = append(m.Data, f)
	}
	return m, nil
}

func (s *spec) limits(l *exec.Limits) error {
	if s.Limits.Fuel != "" {
		n, err := parseFuel(s.Limits.Fuel)
		if err != nil {
			return err
		}
		l.Fuel = ledger.Fuel(n)
	}
	for _, x := range []struct {
		text string
		dst  *int64
	}{{s.Limits.Memory, &l.Memory}, {s.Limits.Output, &l.Output}} {
		if x.text == "" {
			continue
		}
		n, err := parseSize(x.text)
		if err != nil {
			return err
		}
		*x.dst = n
	}
	if s.Limits.Time > 0 {
		l.WallMs = s.Limits.Time.Milliseconds()
	}
	return nil
}

// checkProgram says early, and for free, what a provider would say late.
func checkProgram(path string) error {
	b, err := readProgram(path)
	if err != nil {
		return err
	}
	if err := wasm.Check(b); err != nil {
		return badProgram(path, err.Error())
	}
	return nil
}

func badProgram(path, why string) error {
	return &node.Problem{Code: node.CodeUsage, Message: path + ": " + why,
		Hint: "build a WASI preview 1 command, for example with GOOS=wasip1 GOARCH=wasm go build"}
}

// readProgram reads a module file within the size limit.
func readProgram(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "name a WebAssembly module, such as app.wasm"}
	case info.IsDir():
		return nil, &node.Problem{Code: node.CodeUsage, Message: path + " is a folder", Hint: "name a WebAssembly module, such as app.wasm"}
	case info.Size() > exec.MaxProgram:
		return nil, &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("%s has %s, a program may have %s", path, showSize(info.Size()), showSize(exec.MaxProgram)),
			Hint: "strip it (wasm-strip, -ldflags=-s) or move data into --data files"}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, &node.Problem{Code: node.CodeUsage, Message: err.Error()}
	}
	return b, nil
}

// parseDeadline reads a time from now, of the day (the next such) or a date, as Unix ms; "" is none.
func parseDeadline(s string, now time.Time) (int64, error) {
	if s == "" {
		return 0, nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if d, bad := time.ParseDuration(s); bad == nil {
		at, err = now.Add(d), nil
	}
	if clock, bad := time.ParseInLocation("15:04", s, now.Location()); bad == nil {
		at, err = time.Date(now.Year(), now.Month(), now.Day(), clock.Hour(), clock.Minute(), 0, 0, now.Location()), nil
		if at.Before(now) {
			at = time.Date(now.Year(), now.Month(), now.Day()+1, clock.Hour(), clock.Minute(), 0, 0, now.Location())
		}
	}
	switch {
	case err != nil:
		return 0, usage("--deadline %q: write a time from now, such as 90m, of the day, such as 18:30, or a date, such as 2026-03-01T18:30:00Z", s)
	case !at.After(now):
		return 0, usage("--deadline %q is not ahead", s)
	}
	return at.UnixMilli(), nil
}

// parseRange reads FROM:TO[:STEP] and returns how many numbers that is.
func parseRange(s string) (from, step int64, n uint64, err error) {
	parts := strings.Split(s, ":")
	bad := usage("--range %q: write FROM:TO or FROM:TO:STEP with whole numbers, such as 0:100", s)
	if len(parts) < 2 || len(parts) > 3 {
		return 0, 0, 0, bad
	}
	v := []int64{0, 0, 1}
	for i, p := range parts {
		if v[i], err = strconv.ParseInt(strings.TrimSpace(p), 10, 62); err != nil {
			return 0, 0, 0, bad
		}
	}
	if v[2] == 0 || v[2] > 0 != (v[1] > v[0]) && v[1] != v[0] {
		return 0, 0, 0, bad
	}
	if v[1] == v[0] {
		return v[0], v[2], 0, nil
	}
	span, by := v[1]-v[0], v[2]
	if by < 0 {
		span, by = -span, -by
	}
	return v[0], v[2], uint64((span + by - 1) / by), nil
}

// begin reads the job file, if there is one, and takes the program from the arguments where that names none; use is how the
// command is used. It returns the other arguments.
func (s *spec) begin(file string, args []string, use string) (rest []string, err error) {
	if file != "" {
		if err := s.load(file); err != nil {
			return nil, err
		}
	}
	if s.App == "" {
		if len(args) == 0 {
			return nil, usage("name a program: p3 %s", use)
		}
		s.App, args = args[0], args[1:]
	}
	return args, nil
}

// manifest makes the job's manifest and gives the node the program and the data. A dry run prints it, and hashes the files only.
func (a *app) manifest(ctx context.Context, s *spec, cl *node.Client, dryRun bool) (exec.Manifest, error) {
	if !dryRun {
		if _, err := cl.Status(ctx); err != nil {
			return exec.Manifest{}, err
		}
	}
	m, err := s.manifest(ctx, func(ctx context.Context, path string) (exec.File, error) {
		r, err := os.Open(path)
		if err != nil {
			return exec.File{}, &node.Problem{Code: node.CodeUsage, Message: err.Error()}
		}
		defer r.Close()
		if dryRun {
			return hashFile(r)
		}
		return cl.PutBlob(ctx, r)
	})
	if err != nil || !dryRun {
		return m, err
	}
	m.Nonce = make([]byte, 16)
	if err := m.Validate(); err != nil {
		return m, usage("%v", err)
	}
	fmt.Fprintln(a.out, m.JSON())
	return m, nil
}
