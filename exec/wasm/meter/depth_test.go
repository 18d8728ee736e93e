package meter_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/personal-power-plant/p3/exec/wasm/meter"
)

// recursive is a program whose function calls itself for ever, in a frame that keeps many
// values: some on the operand stack across the call, some in turn across later calls.
func recursive(stacked, sequential int) program {
	var body []ins
	for range stacked {
		body = append(body, join(op("local.get", 0), op("i32.load", 8))...)
	}
	body = append(body, join(op("local.get", 0), op("call", 0))...)
	for range stacked {
		body = append(body, op("i32.add")...)
	}
	for range sequential { // store(0, not(load(0) kept over a call))
		body = append(body, join(op("local.get", 0), op("local.get", 0), op("v128.load", 0),
			op("local.get", 0), op("call", 0), op("drop"), op("v128.store", 0))...)
	}
	return program{fns: []fn{{params: 1, body: body}}}
}

var frameShapes = [][2]int{{0, 0}, {60, 60}, {1000, 0}, {9000, 0}, {0, 70}, {0, 1000}, {0, 10_000}}

// TestEndlessRecursionEndsBeforeTheNativeStack takes frames of the worst shapes to the
// depth limit: it must be the module that ends them, not the engine's own stack.
func TestEndlessRecursionEndsBeforeTheNativeStack(t *testing.T) {
	for _, s := range frameShapes {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			out := mustInstrument(t, recursive(s[0], s[1]).encode(), meter.Options{})
			h := newHost(t, wazero.NewRuntimeConfigCompiler())
			m, err := h.instantiate(t, out)
			if err != nil {
				t.Fatal(err)
			}
			_, err = m.ExportedFunction("run").Call(context.Background(), 0)
			if err == nil || !strings.Contains(err.Error(), "unreachable") || h.depth(m) >= 0 {
				t.Errorf("ended with %v at depth %d, want unreachable below 0", err, h.depth(m))
			}
			h.rt.Close(context.Background())
		})
	}
}

// TestDepthIsTheSameOnBothEngines stays below the interpreter's own 2,000 frames.
func TestDepthIsTheSameOnBothEngines(t *testing.T) {
	for _, s := range frameShapes[:5] {
		out := mustInstrument(t, recursive(s[0], s[1]).encode(), meter.Options{DepthLimit: 1500})
		var got []string
		for _, cfg := range engines() {
			h := newHost(t, cfg)
			m, err := h.instantiate(t, out)
			if err != nil {
				t.Fatal(err)
			}
			_, err = m.ExportedFunction("run").Call(context.Background(), 0)
			got = append(got, fmt.Sprint(strings.Contains(fmt.Sprint(err), "unreachable"), h.depth(m), h.used(m)))
		}
		if got[0] != got[1] || !strings.HasPrefix(got[0], "true -") {
			t.Errorf("%v: %q", s, got)
		}
	}
}
