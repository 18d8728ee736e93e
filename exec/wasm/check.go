package wasm

import (
	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/wasm/meter"
)

// Check says why a module could not run as a unit, without compiling it: malformed, too
// complex, no WASI command, or with an import that is not there. It is what a requester asks
// before it pays anybody to find out.
func Check(module []byte) error {
	if len(module) > exec.MaxProgram {
		return bad("module of %d bytes, at most %d", len(module), exec.MaxProgram)
	}
	_, info, err := meter.Instrument(module, meter.Options{MemoryLimitPages: 65536})
	if err != nil {
		return err
	}
	for _, i := range info.Imports {
		if _, ok := signature(i.Module, i.Name); !ok || i.Kind != meter.KindFunc || i.Module == meter.ImportModule {
			return bad("imports %s.%s: only WASI preview 1 (%s) is there", i.Module, i.Name, wasiModule)
		}
	}
	if e, ok := info.Export("_start"); !ok || e.Kind != meter.KindFunc {
		return bad("exports no _start: build it as a WASI command")
	}
	return nil
}
