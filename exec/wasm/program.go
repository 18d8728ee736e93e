package wasm

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/wasm/meter"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"
)

// pageSize is the unit of linear memory, in bytes.
const pageSize = 64 << 10

// A badProgram is a module that no host may run; every host says so.
type badProgram struct {
	status exec.Status // BadProgram or OutOfMemory
	why    string
}

func (e *badProgram) Error() string { return e.why }

func bad(format string, a ...any) error {
	return &badProgram{exec.BadProgram, fmt.Sprintf(format, a...)}
}

// pages is a memory limit in pages.
func pages(l exec.Limits) uint32 { return uint32(min(l.Memory/pageSize, 65536)) }

// instrument puts the meter into a module, or says why it may not run.
func instrument(module []byte, limit uint32) ([]byte, error) {
	if len(module) > exec.MaxProgram {
		return nil, bad("module of %d bytes, at most %d", len(module), exec.MaxProgram)
	}
	out, info, err := meter.Instrument(module, meter.Options{MemoryLimitPages: limit, KeepNames: true})
	var memory meter.ErrMemory
	if errors.As(err, &memory) {
		return nil, &badProgram{exec.OutOfMemory, err.Error()}
	}
	if err != nil {
		return nil, bad("%s", err)
	}
	for _, i := range info.Imports {
		if i.Kind != meter.KindFunc {
			return nil, bad("imports %s.%s, which is no function: only WASI preview 1 (%s) is there", i.Module, i.Name, wasiModule)
		}
	}
	return out, nil
}

// A program is a compiled module, ready to be run any number of times, also at once.
type program struct {
	rt    wazero.Runtime
	cache wazero.CompilationCache // nil without a folder
	mod   wazero.CompiledModule
}

// compile makes an instrumented module ready. dir is a folder of machine code for just this
// module, "" for none: the caller answers for what is in it.
func compile(ctx context.Context, instrumented []byte, dir string, interpret bool) (p *program, err error) {
	if p, err = load(ctx, instrumented, dir, interpret); err != nil {
		return nil, err
	}
	if err = linkable(p.mod); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// load is compile for what compile has accepted before: looking at each function's type again would
// take as long as the rest.
func load(ctx context.Context, instrumented []byte, dir string, interpret bool) (p *program, err error) {
	config := wazero.NewRuntimeConfig()
	if interpret {
		config = wazero.NewRuntimeConfigInterpreter()
	}
	config = config.WithDebugInfoEnabled(false).WithCoreFeatures(api.CoreFeaturesV2)
	p = &program{}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if dir != "" {
		if p.cache, err = newCodeCache(dir); err != nil {
			return nil, fmt.Errorf("open compile cache: %w", err)
		}
		config = config.WithCompilationCache(p.cache)
	}
	p.rt = wazero.NewRuntimeWithConfig(ctx, config)
	if err := instantiateHost(ctx, p.rt); err != nil {
		return nil, err
	}
	if p.mod, err = p.rt.CompileModule(ctx, instrumented); err != nil {
		if strings.Contains(err.Error(), dir) && dir != "" {
			return nil, fmt.Errorf("compile cache: %w", err)
		}
		return nil, bad("%s", err)
	}
	return p, nil
}

func (p *program) close() {
	ctx := context.Background()
	if p.rt != nil {
		p.rt.Close(ctx)
	}
	if p.cache != nil {
		p.cache.Close(ctx)
	}
}

// linkable checks that a module is a WASI command and asks for nothing else.
func linkable(mod wazero.CompiledModule) error {
	for _, f := range mod.ImportedFunctions() {
		module, name, _ := f.Import()
		want, ok := signature(module, name)
		switch {
		case !ok:
			return bad("imports %s.%s: only WASI preview 1 (%s) is there", module, name, wasiModule)
		case !equalTypes(f.ParamTypes(), want.params) || !equalTypes(f.ResultTypes(), want.results):
			return bad("imports %s.%s with a signature that is not WASI's", module, name)
		}
	}
	start, ok := mod.ExportedFunctions()["_start"]
	if !ok {
		return bad("exports no _start: build it as a WASI command")
	}
	if len(start.ParamTypes()) != 0 || len(start.ResultTypes()) != 0 {
		return bad("_start takes or returns values: build it as a WASI command")
	}
	return nil
}

type funcType struct{ params, results string }

func signature(module, name string) (funcType, bool) {
	switch {
	case module == meter.ImportModule && name == meter.ImportRefuel:
		return funcType{"I", "I"}, true
	case module == wasiModule && name == "proc_exit":
		return funcType{"i", ""}, true
	case module == wasiModule:
		for _, f := range hostFuncs {
			if f.name == name {
				return funcType{f.params, "i"}, true
			}
		}
	}
	return funcType{}, false
}

func equalTypes(types []api.ValueType, want string) bool {
	return string(types) == string(valueTypes(want))
}

// run runs a guest to its end and returns everything but its files. An error means that this
// host failed. The caller closes g afterwards.
func (p *program) run(g *guest) (exec.Result, error) {
	ctx := context.WithValue(context.Background(), guestKey{}, g)
	ctx = experimental.WithMemoryAllocator(ctx, newAllocator(g))
	mod, err := p.rt.InstantiateModule(ctx, p.mod, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	exhausted := false
	if err == nil {
		depth := mod.ExportedGlobal(meter.DepthGlobal).(api.MutableGlobal)
		depth.Set(meter.DefaultDepth) // a start function may have used it
		_, err = mod.ExportedFunction("_start").Call(ctx)
		exhausted = int64(depth.Get()) < 0
		g.global = mod.ExportedGlobal(meter.FuelGlobal).(api.MutableGlobal)
	}
	res, err := g.outcome(err)
	if res.Status == exec.Trap && exhausted {
		res.Message = "call stack exhausted"
	}
	if mod != nil {
		mod.Close(ctx)
	}
	return res, err
}

// outcome tells how a guest ended from what its call returned.
func (g *guest) outcome(err error) (exec.Result, error) {
	res := exec.Result{Stdout: g.out.kept, Stderr: g.err.kept, Fuel: ledger.Fuel(g.spent())}
	over := g.global != nil && g.used(int64(g.global.Get())) > g.limit
	var exit *sys.ExitError
	var fault *hostFault
	var goErr runtime.Error
	switch {
	case g.fault != nil:
		return res, g.fault
	case errors.As(err, &fault):
		return res, fault.err
	case errors.Is(err, errCancelled):
		return res, context.Cause(g.ctx)
	case errors.Is(err, errDeadline):
		res.Status, res.Message = exec.Deadline, errDeadline.Error()
	case errors.As(err, &goErr):
		return res, fmt.Errorf("host call: %w", err)
	case err != nil && strings.Contains(err.Error(), "wasm error: stack overflow"):
		// Where native stack ends differs from engine to engine; the meter ends recursion before.
		return res, errors.New("the engine's call stack ended before the depth limit")
	case over || errors.Is(err, errOutOfFuel):
		res.Status, res.Message, res.Fuel = exec.OutOfFuel, errOutOfFuel.Error(), ledger.Fuel(g.limit)
	case errors.Is(err, errOutputLimit):
		res.Status, res.Message = exec.OutputLimit, fmt.Sprintf("stdout, stderr and files grew beyond %d bytes, or to more than %d files", g.quota.limit, maxNodes)
	case err == nil:
		res.Status = exec.Exited
	case errors.As(err, &exit):
		res.Status, res.ExitCode = exec.Exited, exit.ExitCode()
	case strings.Contains(err.Error(), "wasm error: "), strings.Contains(err.Error(), "out of bounds"):
		res.Status, res.Message = exec.Trap, trapMessage(err.Error())
	default:
		res.Status, res.Message = exec.BadProgram, clip(err.Error())
	}
	return res, nil
}

// trapMessage shortens an engine's trap to its kind and the function it happened in.
func trapMessage(s string) string {
	head, trace, _ := strings.Cut(s, "\nwasm stack trace:\n\t")
	if _, after, ok := strings.Cut(head, "wasm error: "); ok {
		head = after
	}
	frame, _, _ := strings.Cut(trace, "\n")
	frame, _, _ = strings.Cut(frame, "(")
	if frame = strings.TrimPrefix(frame, "."); frame != "" {
		head += " in " + frame
	}
	return clip(head)
}

// clip cuts a message for people to the length that a Result may carry.
func clip(s string) string {
	const most = 512
	if len(s) > most {
		s = s[:most-3] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
