package meter_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/personal-power-plant/p3/exec/wasm/meter"
)

// specDir is where wazero's module carries the WebAssembly 2.0 specification tests.
func specDir(t testing.TB) string {
	t.Helper()
	out, err := osexec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "internal/integration_test/spectest/v2/testdata")
}

type specValue struct {
	Type     string          `json:"type"`
	LaneType string          `json:"lane_type"`
	Value    json.RawMessage `json:"value"`
}

type specCommand struct {
	Type       string `json:"type"`
	Line       int    `json:"line"`
	Filename   string `json:"filename"`
	Text       string `json:"text"`
	ModuleType string `json:"module_type"`
	Name       string `json:"name"`
	Action     struct {
		Type   string      `json:"type"`
		Module string      `json:"module"`
		Field  string      `json:"field"`
		Args   []specValue `json:"args"`
	} `json:"action"`
	Expected []specValue `json:"expected"`
}

type specFile struct {
	Commands []specCommand `json:"commands"`
}

func readSpec(t testing.TB, path string) specFile {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var f specFile
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// words decodes a value to what wazero passes; want also says where a NaN of any kind will do:
// one entry for each lane (or value), its width in bits and whether only a NaN is asked for.
func (v specValue) words(t *testing.T) (words []uint64, lanes []specLane) {
	var many []string
	if v.Type != "v128" {
		var s string
		if err := json.Unmarshal(v.Value, &s); err != nil {
			t.Fatal(err)
		}
		many = []string{s}
	} else if err := json.Unmarshal(v.Value, &many); err != nil {
		t.Fatal(err)
	}
	kind := v.Type
	if kind == "v128" {
		kind = v.LaneType
	}
	width, _ := strconv.Atoi(kind[1:])
	if strings.HasSuffix(kind, "ref") {
		width = 64
	}
	words = make([]uint64, (len(many)*width+63)/64)
	for i, s := range many {
		l := specLane{width: width}
		switch {
		case strings.HasPrefix(s, "nan:"):
			l.nan = true
		case s == "null":
		default:
			n, err := strconv.ParseUint(s, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(v.Type, "externref") {
				n++ // 0 is null
			}
			l.bits = n & (1<<width - 1)
			if width == 64 {
				l.bits = n
			}
		}
		words[i*width/64] |= l.bits << (i * width % 64)
		lanes = append(lanes, l)
	}
	return words, lanes
}

type specLane struct {
	width int
	bits  uint64
	nan   bool
}

func (l specLane) matches(got uint64) bool {
	if !l.nan {
		return got == l.bits
	}
	if l.width == 32 {
		return got == 0x7fc00000 // canonical: the pass promises more than the specification
	}
	return got == 0x7ff8000000000000
}

// TestSpecification runs the specification's own tests on rewritten modules: what is invalid
// is refused, what is valid runs as it should, traps where it should, and every NaN that
// comes out is the canonical one.
func TestSpecification(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(specDir(t), "*.json"))
	if len(files) < 100 {
		t.Fatalf("found %d specification files in wazero's module", len(files))
	}
	var asserts, refused, skipped int
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		t.Run(name, func(t *testing.T) {
			s := specRun{t: t, dir: filepath.Dir(path)}
			for _, c := range readSpec(t, path).Commands {
				s.command(c)
			}
			asserts, refused, skipped = asserts+s.asserts, refused+s.refused, skipped+s.skipped
		})
	}
	t.Logf("%d assertions held, %d modules refused as they should be, %d commands need linking we do not do", asserts, refused, skipped)
	if !testing.Short() && (asserts < 40_000 || refused < 1_000) {
		t.Errorf("too few assertions ran")
	}
}

type specRun struct {
	t       *testing.T
	dir     string
	host    *host
	mod     api.Module
	named   map[string]api.Module
	asserts int
	refused int
	skipped int
}

func (s *specRun) command(c specCommand) {
	t, ctx := s.t, context.Background()
	switch c.Type {
	case "module":
		s.mod = nil
		bin, err := os.ReadFile(filepath.Join(s.dir, c.Filename))
		if err != nil {
			t.Fatal(err)
		}
		out, _, err := meter.Instrument(bin, meter.Options{KeepNames: true})
		var no meter.ErrUnsupported
		var big meter.ErrTooComplex
		if errors.As(err, &no) && strings.Contains(no.Feature, "imported") || errors.As(err, &big) {
			s.skipped++
			s.named = nil // it may have changed the others
			return
		}
		if err != nil {
			t.Errorf("line %d: %s: valid module refused: %v", c.Line, c.Filename, err)
			return
		}
		s.host = newHost(t, wazero.NewRuntimeConfigCompiler())
		specHost(t, s.host.rt)
		s.mod, err = s.host.instantiate(t, out)
		if err != nil {
			if strings.Contains(err.Error(), "not instantiated") || strings.Contains(err.Error(), "not exported") {
				s.skipped++ // imports from another module of the file
				s.named = nil
				return
			}
			t.Errorf("line %d: %s: %v", c.Line, c.Filename, err)
			return
		}
		if s.named == nil {
			s.named = map[string]api.Module{}
		}
		s.named[c.Name] = s.mod
	case "assert_invalid", "assert_malformed", "assert_unlinkable", "assert_uninstantiable":
		if c.ModuleType == "text" {
			return
		}
		bin, err := os.ReadFile(filepath.Join(s.dir, c.Filename))
		if err != nil {
			t.Fatal(err)
		}
		if c.Type != "assert_invalid" && c.Type != "assert_malformed" {
			s.named = nil // what it would have linked to may have changed
			return
		}
		if _, _, err := meter.Instrument(bin, meter.Options{}); err == nil {
			t.Errorf("line %d: %s: accepted, want %q", c.Line, c.Filename, c.Text)
		}
		s.refused++
	case "action", "assert_return", "assert_trap", "assert_exhaustion":
		mod := s.mod
		if c.Action.Module != "" {
			mod = s.named[c.Action.Module]
		}
		if mod == nil {
			s.skipped++
			return
		}
		if c.Action.Type == "get" {
			return
		}
		s.asserts++
		mod.ExportedGlobal(meter.DepthGlobal).(api.MutableGlobal).Set(meter.DefaultDepth)
		var args []uint64
		for _, a := range c.Action.Args {
			w, _ := a.words(t)
			args = append(args, w...)
		}
		got, err := mod.ExportedFunction(c.Action.Field).Call(ctx, args...)
		where := c.Filename + " line " + strconv.Itoa(c.Line) + " " + c.Action.Field
		switch c.Type {
		case "assert_trap", "assert_exhaustion":
			if err == nil {
				t.Errorf("%s: no trap, want %q", where, c.Text)
			} else if c.Type == "assert_exhaustion" && (!strings.Contains(err.Error(), "unreachable") || s.host.depth(mod) >= 0) {
				t.Errorf("%s: %v with depth %d: want the depth limit", where, err, s.host.depth(mod))
			} else if c.Type == "assert_trap" && !strings.Contains(err.Error(), specTrap(c.Text)) {
				t.Errorf("%s: trap %v, want %q", where, err, c.Text)
			}
		default:
			if err != nil {
				t.Errorf("%s: %v", where, err)
				return
			}
			s.compare(where, got, c.Expected)
		}
	}
}

// specTrap gives wazero's words for the specification's.
func specTrap(text string) string {
	for spec, ours := range map[string]string{
		"integer divide by zero": "integer divide by zero", "integer overflow": "integer overflow",
		"invalid conversion": "invalid conversion to integer", "out of bounds memory": "out of bounds memory access",
		"out of bounds table": "invalid table access", "undefined element": "invalid table access", "undefined": "invalid table access",
		"uninitialized": "invalid table access", "indirect call type mismatch": "indirect call type mismatch", "unreachable": "unreachable",
	} {
		if strings.HasPrefix(text, spec) {
			return ours
		}
	}
	return text
}

func (s *specRun) compare(where string, got []uint64, want []specValue) {
	i := 0
	for _, v := range want {
		words, lanes := v.words(s.t)
		for k, l := range lanes {
			bit := k * l.width
			g := got[i+bit/64] >> (bit % 64)
			if l.width < 64 {
				g &= 1<<l.width - 1
			}
			if v.Type == "funcref" {
				continue
			}
			if l.nan && strings.Contains(where, "neg") {
				g &^= 1 << (l.width - 1) // exact, so that a canonical NaN becomes negative
			}
			if !l.matches(g) {
				s.t.Errorf("%s: got %#x, want %s %s", where, got, v.Type, v.Value)
			}
		}
		i += len(words)
	}
}

// specHost has the functions of the specification's "spectest" module.
func specHost(t *testing.T, rt wazero.Runtime) {
	b := rt.NewHostModuleBuilder("spectest")
	for name, params := range map[string][]api.ValueType{
		"print": nil, "print_i32": {api.ValueTypeI32}, "print_i64": {api.ValueTypeI64}, "print_f32": {api.ValueTypeF32},
		"print_f64": {api.ValueTypeF64}, "print_i32_f32": {api.ValueTypeI32, api.ValueTypeF32}, "print_f64_f64": {api.ValueTypeF64, api.ValueTypeF64},
	} {
		b = b.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(context.Context, []uint64) {}), params, nil).Export(name)
	}
	if _, err := b.Instantiate(context.Background()); err != nil {
		t.Fatal(err)
	}
}
