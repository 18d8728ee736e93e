package meter

import (
	"fmt"
)

// What the rewritten module imports and exports besides its own. A module that uses these
// names itself is refused.
const (
	ImportModule = "p3"
	ImportRefuel = "refuel" // func(left i64) (left i64); must return at least 0, or panic
	FuelGlobal   = "p3_fuel"
	DepthGlobal  = "p3_depth" // i64; negative after a trap = call stack exhausted
)

// PageSize is a page of linear memory in bytes.
const PageSize = 64 << 10

// DefaultDepth is the depth limit when Options gives none, in frame weights.
const DefaultDepth = MaxDepth

// Options say how to rewrite. The zero value is usable. They change the result, so they
// belong to whatever key a compiled module is cached under.
type Options struct {
	// MemoryLimitPages caps linear memory, in pages of 64 KiB. Growing beyond it is an
	// ordinary failed memory.grow. 0 means 65536 pages.
	MemoryLimitPages uint32
	// DepthLimit is the deepest nesting of calls, in frame weights (a frame of at
	// most 63 values and 1 KiB of code weighs one). 0 means DefaultDepth; above MaxDepth is an error.
	DepthLimit uint32
	// AnyNaN leaves NaN as the machine makes them, instead of canonical. Fuel is the same, but
	// results may differ between machines: only for what nobody compares.
	AnyNaN bool
	// KeepNames keeps function names, so that traps say where they happened.
	KeepNames bool
}

// An Extern is one import or export.
type Extern struct {
	Module string // of an import
	Name   string
	Kind   byte   // KindFunc, KindTable, KindMemory, KindGlobal
	Type   string // of a function: "(i32 i32) -> (i32)"; of others ""
}

// Kinds of Extern, as in the binary format.
const (
	KindFunc   = 0
	KindTable  = 1
	KindMemory = 2
	KindGlobal = 3
)

// Info describes the module that was given, not the rewritten one.
type Info struct {
	Imports   []Extern
	Exports   []Extern
	HasMemory bool
	MemoryMin uint32 // pages
	MemoryMax uint32 // pages, after the limit was applied
	HasStart  bool   // a start function runs, metered, when the module is instantiated
	Functions int    // defined functions

	DepthLimit uint32 // value of DepthGlobal before a call of an export
}

// Export returns the export of that name.
func (i Info) Export(name string) (Extern, bool) {
	for _, e := range i.Exports {
		if e.Name == name {
			return e, true
		}
	}
	return Extern{}, false
}

// ErrMalformed reports bytes that are not a valid module.
type ErrMalformed struct {
	Offset int // in the module
	Reason string
}

func (e ErrMalformed) Error() string {
	return fmt.Sprintf("not a valid WebAssembly module: %s at byte %d", e.Reason, e.Offset)
}

// ErrUnsupported reports a feature that P3 does not run.
type ErrUnsupported struct {
	Feature string
	Offset  int
}

func (e ErrUnsupported) Error() string {
	return fmt.Sprintf("module uses %s (byte %d), which P3 does not run: build for WASI preview 1 without it", e.Feature, e.Offset)
}

// ErrTooComplex reports a module beyond a bound that protects the compiler.
type ErrTooComplex struct {
	What        string
	Have, Limit uint64
}

func (e ErrTooComplex) Error() string {
	return fmt.Sprintf("module has %s: %d, at most %d: split the code or lower the optimisation level", e.What, e.Have, e.Limit)
}

// ErrMemory reports a module that needs more memory to start than the limit allows.
type ErrMemory struct{ NeedPages, LimitPages uint32 }

func (e ErrMemory) Error() string {
	return fmt.Sprintf("module needs %d KiB of memory to start, the limit is %d KiB: raise the memory limit",
		uint64(e.NeedPages)*64, uint64(e.LimitPages)*64)
}

// Instrument validates a core WebAssembly module against what P3 allows and returns it with
// exact fuel counting, depth counting and canonical NaN built in. The result is a function
// of the arguments alone.
//
// Errors are ErrMalformed, ErrUnsupported, ErrTooComplex and ErrMemory.
func Instrument(module []byte, opt Options) (out []byte, info Info, err error) {
	defer func() {
		switch f := recover().(type) {
		case nil:
		case fault:
			out, err = nil, f.err
		default:
			panic(f)
		}
	}()
	if opt.MemoryLimitPages == 0 || opt.MemoryLimitPages > maxPages {
		opt.MemoryLimitPages = maxPages
	}
	if opt.DepthLimit == 0 {
		opt.DepthLimit = DefaultDepth
	}
	atMost("depth limit", uint64(opt.DepthLimit), MaxDepth)
	m := parse(module, opt)
	info = m.info(opt)
	m.validateBodies()
	m.findSmall()
	return m.encode(opt), info, nil
}

// A fault carries an error through the decoder by panic; Instrument alone recovers it.
type fault struct{ err error }

func atMost(what string, have, limit uint64) {
	if have > limit {
		panic(fault{ErrTooComplex{what, have, limit}})
	}
}
