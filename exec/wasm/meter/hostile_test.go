package meter_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/personal-power-plant/p3/exec/wasm/meter"
)

// one is a module of one function () -> () with this body, one memory and one i32 global.
func one(locals []byte, body ...byte) []byte {
	b := section([]byte(header), 1, vec([]byte{0x60, 0, 0}, []byte{0x60, 1, tI64, 1, tI64}))
	b = section(b, 3, vec([]byte{0}))
	b = section(b, 5, vec([]byte{0, 1}))
	b = section(b, 6, vec([]byte{tI32, 1, 0x41, 0, 0x0b}))
	b = section(b, 7, vec([]byte("\x03run\x00\x00")))
	if locals == nil {
		locals = []byte{0}
	}
	code := append(append(locals, body...), 0x0b)
	return section(b, 10, vec(append(uleb(nil, len(code)), code...)))
}

func repeat(n int, b ...byte) []byte { return []byte(strings.Repeat(string(b), n)) }

// labels are 0, 1, 2, … of a br_table.
func labels(n int) (b []byte) {
	for i := range n {
		b = uleb(b, i)
	}
	return b
}

// TestHostileModulesAreRefused lists what a module might try against the counter, the
// compiler or the host, and how it is refused.
func TestHostileModulesAreRefused(t *testing.T) {
	importing := func(mod, name string, desc ...byte) []byte {
		b := section([]byte(header), 1, vec([]byte{0x60, 1, tI64, 1, tI64}))
		return section(b, 2, vec(append(append(append(uleb(nil, len(mod)), mod...), append(uleb(nil, len(name)), name...)...), desc...)))
	}
	exporting := func(name string) []byte {
		b := section([]byte(header), 6, vec([]byte{tI64, 1, 0x42, 0, 0x0b}))
		return section(b, 7, vec(append(append(uleb(nil, len(name)), name...), 3, 0)))
	}
	nested := func(op byte, n int) []byte { return append(repeat(n, op, 0x40), repeat(n, 0x0b)...) }
	for name, c := range map[string]struct {
		bin  []byte
		want string
	}{
		"reads the hidden fuel global":      {one(nil, 0x23, 1, 0x1a), "unknown global"},
		"writes the hidden fuel global":     {one(nil, 0x42, 0, 0x24, 1), "unknown global"},
		"writes the hidden depth global":    {one(nil, 0x42, 0, 0x24, 2), "unknown global"},
		"calls the refuel import":           {one(nil, 0x42, 0, 0x10, 1, 0x1a), "unknown function"},
		"calls a helper":                    {one(nil, 0x42, 0, 0x10, 2, 0x1a), "unknown function"},
		"reads the hidden local":            {one(nil, 0x20, 0, 0x1a), "unknown local"},
		"names the helper's type":           {one(nil, 0x42, 0, 0x41, 0, 0x11, 2, 0), "unknown type"},
		"branches out of the function":      {one(nil, 0x0c, 1), "unknown label"},
		"refers to the refuel import":       {one(nil, 0xd2, 1, 0x1a), "unknown function"},
		"wild global after unreachable":     {one(nil, 0x00, 0x23, 9, 0x1a), "unknown global"},
		"imports refuel":                    {importing("p3", "refuel", 0, 0), "reserved import p3.refuel"},
		"exports the fuel name":             {exporting("p3_fuel"), "reserved export p3_fuel"},
		"exports the depth name":            {exporting("p3_depth"), "reserved export p3_depth"},
		"imports a memory":                  {importing("env", "memory", 2, 0, 1), "imported memory"},
		"imports a global":                  {importing("env", "g", 3, tI32, 1), "imported memory, table or global"},
		"shared memory":                     {section([]byte(header), 5, vec([]byte{3, 1, 1})), "shared memory"},
		"64-bit memory":                     {section([]byte(header), 5, vec([]byte{4, 1})), "64-bit memory"},
		"two memories":                      {section([]byte(header), 5, vec([]byte{0, 1}, []byte{0, 1})), "several memories"},
		"memory of the second index":        {one(nil, 0x41, 0, 0x28, 0x42, 1, 0, 0x1a), "several memories"},
		"threads":                           {one(nil, 0xfe, 3, 0), "threads"},
		"relaxed SIMD":                      {one(nil, 0xfd, 0x80, 2), "relaxed SIMD"},
		"tail call":                         {one(nil, 0x12, 0), "tail calls"},
		"exceptions":                        {one(nil, 0x08, 0), "exceptions"},
		"tag section":                       {section([]byte(header), 13, []byte{0}), "exceptions"},
		"struct type":                       {section([]byte(header), 1, vec([]byte{0x5f, 0})), "garbage-collected"},
		"unknown section":                   {section([]byte(header), 14, nil), "unknown section"},
		"unknown operator":                  {one(nil, 0xff), "unknown operator"},
		"component":                         {[]byte("\x00asm\x0d\x00\x01\x00"), "component model"},
		"nested loops":                      {one(nil, nested(0x03, 65)...), "nested loops"},
		"nested blocks":                     {one(nil, nested(0x02, 20_001)...), "nested blocks"},
		"nested blocks that are dead":       {one(nil, append([]byte{0x00}, nested(0x02, 20_001)...)...), "nested blocks"},
		"locals":                            {one([]byte{1, 0xd1, 0x86, 0x03, tI32}), "locals in one function"},
		"locals beyond 32 bits":             {one([]byte{2, 0xff, 0xff, 0xff, 0xff, 0x0f, tI32, 0xff, 0xff, 0xff, 0xff, 0x0f, tI32}), "locals in one function"},
		"locals x loops":                    {one([]byte{1, 0xd0, 0x86, 0x03, tI64}, repeat(100, 0x03, 0x40, 0x0b)...), "locals x loops"},
		"br_table":                          {one(nil, append([]byte{0x41, 0, 0x0e}, append(uleb(nil, 65_521), repeat(65_522, 0)...)...)...), "branches of a br_table"},
		"br_table longer than the function": {one(nil, 0x41, 0, 0x0e, 0x10, 0), "unknown label"},
		"operand stack":                     {one(nil, repeat(10_001, 0x41, 0)...), "operands on the stack"},
		"table elements":                    {section([]byte(header), 4, vec([]byte{0x70, 0, 0xff, 0xff, 0xff, 0x7f})), "table elements"},
		"vector longer than the module":     {section([]byte(header), 1, []byte{0xff, 0xff, 0xff, 0xff, 0x0f}), "length out of bounds"},
		"section longer than the module":    {append([]byte(header), 1, 0xff, 0x7f), "unexpected end"},
		"over-long integer":                 {section([]byte(header), 1, []byte{0x80, 0x80, 0x80, 0x80, 0x10}), "longer than 32 bits"},
		"sections out of order":             {section(section([]byte(header), 3, vec()), 1, vec()), "out of order"},
		"code without functions":            {section([]byte(header), 10, vec([]byte{2, 0, 0x0b})), "inconsistent lengths"},
		"empty":                             {nil, "magic number"},
	} {
		t.Run(name, func(t *testing.T) {
			out, _, err := meter.Instrument(c.bin, meter.Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			var a meter.ErrMalformed
			var b meter.ErrUnsupported
			var d meter.ErrTooComplex
			if !errors.As(err, &a) && !errors.As(err, &b) && !errors.As(err, &d) || out != nil {
				t.Errorf("%T with %d bytes", err, len(out))
			}
		})
	}
}

// TestCodeThatCannotBeReached is validated, then left out.
func TestCodeThatCannotBeReached(t *testing.T) {
	for name, body := range map[string][]byte{
		"after br":                   {0x02, 0x40, 0x0c, 0, 0x6a, 0x1a, 0x0b},
		"after return":               {0x0f, 0x41, 0, 0x6d, 0x1a},
		"blocks in it":               {0x0f, 0x02, 0x40, 0x03, 0x40, 0x0c, 1, 0x0b, 0x0b, 0x04, 0x40, 0x05, 0x0b},
		"after br_table":             {0x02, 0x40, 0x41, 0, 0x0e, 1, 0, 0, 0x1b, 0x1a, 0x0b},
		"both arms of if":            {0x41, 1, 0x04, tI32, 0x0f, 0x05, 0x0f, 0x0b, 0x1a},
		"loop that is left":          {0x03, 0x40, 0x0f, 0x0b},
		"values of a block never":    {0x02, tI32, 0x0f, 0x0b, 0x1a},
		"float made and dropped":     {0x0f, 0x92, 0x1a},
		"memory.grow and fill":       {0x0f, 0x40, 0, 0xfc, 11, 0},
		"call":                       {0x0f, 0x10, 0},
		"br_if with nothing to test": {0x02, tI32, 0x0f, 0x0d, 0, 0x0b, 0x1a},
	} {
		t.Run(name, func(t *testing.T) {
			out := mustInstrument(t, one(nil, body...), meter.Options{})
			h := newHost(t, wazero.NewRuntimeConfigCompiler())
			m, err := h.instantiate(t, out)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.ExportedFunction("run").Call(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWhatIsAllowedCompilesSoon takes modules at the bounds through the compiler.
func TestWhatIsAllowedCompilesSoon(t *testing.T) {
	loops := append(repeat(64, 0x03, 0x40), append([]byte{0x41, 0, 0x0d, 0}, repeat(64, 0x0b)...)...)
	for name, bin := range map[string][]byte{
		"loops":         one(nil, loops...),
		"loops in turn": one(nil, repeat(10, loops...)...),
		"locals":        one([]byte{1, 0xd0, 0x86, 0x03, tI64}, loops...),
		"blocks":        one(nil, append(repeat(19_999, 0x02, 0x40), repeat(19_999, 0x0b)...)...),
		"br_table":      one(nil, append([]byte{0x41, 0, 0x0e}, append(uleb(nil, 65_520), repeat(65_521, 0)...)...)...),
		// a switch as Go's compiler writes it: a block for each case around one br_table
		"switch":   one(nil, append(append(append(repeat(19_990, 0x02, 0x40), 0x41, 0, 0x0e), append(uleb(nil, 19_990), labels(19_991)...)...), repeat(19_990, 0x0b)...)...),
		"operands": one(nil, append(repeat(9_999, 0x41, 0), repeat(9_999, 0x1a)...)...),
	} {
		t.Run(name, func(t *testing.T) {
			out := mustInstrument(t, bin, meter.Options{})
			h := newHost(t, wazero.NewRuntimeConfigCompiler())
			start := cpuTime()
			if _, err := h.rt.CompileModule(context.Background(), out); err != nil {
				t.Fatal(err)
			}
			if d := cpuTime() - start; d > 10*time.Second {
				t.Errorf("took %v to compile %d bytes", d, len(bin))
			}
		})
	}
}

func TestNamesSurviveOnlyWhenKept(t *testing.T) {
	b := one(nil, 0x00)
	b = section(b, 0, append([]byte("\x04name"), section(nil, 1, vec([]byte("\x00\x06render")))...))
	b = section(b, 0, []byte("\x07producer"))
	for _, keep := range []bool{false, true} {
		h := newHost(t, wazero.NewRuntimeConfigCompiler())
		m, err := h.instantiate(t, mustInstrument(t, b, meter.Options{KeepNames: keep}))
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.ExportedFunction("run").Call(context.Background())
		if strings.Contains(err.Error(), "render") != keep {
			t.Errorf("keep %v: %v", keep, err)
		}
	}
	// Four billion names are said to follow, for which wazero would make room.
	broken := section(one(nil), 0, []byte("\x04name\x01\x06\xff\xff\xff\xff\x0f\x63"))
	if out := mustInstrument(t, broken, meter.Options{KeepNames: true}); bytes.Contains(out, []byte("name")) {
		t.Error("a broken name section is passed on")
	}
}
