package meter_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/personal-power-plant/p3/exec/wasm/meter"
)

var errOutOfFuel = errors.New("out of fuel")

// A host grants fuel in slices, as the engine does.
type host struct {
	rt      wazero.Runtime
	slice   int64
	limit   int64 // 0: none
	granted int64
	refuels int
}

func newHost(t testing.TB, cfg wazero.RuntimeConfig) *host {
	t.Helper()
	h := &host{slice: 1_000_000}
	ctx := context.Background()
	h.rt = wazero.NewRuntimeWithConfig(ctx, cfg)
	t.Cleanup(func() { h.rt.Close(ctx) })
	_, err := h.rt.NewHostModuleBuilder(meter.ImportModule).NewFunctionBuilder().
		WithFunc(h.refuel).Export(meter.ImportRefuel).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *host) refuel(left int64) int64 {
	h.refuels++
	add := h.slice
	if left+add < 0 {
		add = -left // a bulk operator went beyond a slice
	}
	if h.limit > 0 && h.granted+add > h.limit {
		add = h.limit - h.granted
		if left+add < 0 {
			panic(errOutOfFuel)
		}
	}
	h.granted += add
	return left + add
}

func (h *host) used(m api.Module) int64 {
	return h.granted - int64(m.ExportedGlobal(meter.FuelGlobal).Get())
}

func (h *host) depth(m api.Module) int64 { return int64(m.ExportedGlobal(meter.DepthGlobal).Get()) }

func (h *host) instantiate(t testing.TB, bin []byte) (api.Module, error) {
	t.Helper()
	return h.rt.InstantiateWithConfig(context.Background(), bin, wazero.NewModuleConfig().WithName("").WithStartFunctions())
}

func mustInstrument(t testing.TB, bin []byte, opt meter.Options) []byte {
	t.Helper()
	out, _, err := meter.Instrument(bin, opt)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// engines are wazero's two, which share no code below validation.
func engines() map[string]wazero.RuntimeConfig {
	return map[string]wazero.RuntimeConfig{
		"compiler":    wazero.NewRuntimeConfigCompiler(),
		"interpreter": wazero.NewRuntimeConfigInterpreter(),
	}
}
