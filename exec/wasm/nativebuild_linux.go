package wasm

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/wasm/meter"
)

// nativeFile is the program in its cache entry.
const nativeFile = "native"

const (
	// maxNativeModule is the largest instrumented module that is worth trying, in bytes: a compiler
	// takes 1 GB for 1 MB.
	maxNativeModule = 4 << 20
	// maxNative is the largest result, in bytes.
	maxNative = 64 << 20
)

//go:embed native/runner.c
var runnerSource []byte

//go:embed native/wasm-rt.h
var runtimeHeader []byte

// nativeFlags compile C that came from wasm2c. Floating point as written; no assumption that
// WebAssembly does not make; the rest is the host's own taste.
var nativeFlags = []string{
	"-std=gnu11", "-O2", "-w", "-fno-strict-aliasing", "-fwrapv", "-ffp-contract=off", "-fno-optimize-sibling-calls",
	"-static-pie", "-fPIE", "-s",
}

// nativeStubs is the C of the functions that a module may import.
func nativeStubs() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "struct Z_%s_instance_t;\n", wasiModule)
	write := func(result, name, params string, number int, end string) {
		fmt.Fprintf(&b, "%s Z_%sZ_%s(struct Z_%s_instance_t *h", result, wasiModule, name, wasiModule)
		for i, p := range params {
			fmt.Fprintf(&b, ", %s a%d", map[rune]string{'i': "u32", 'I': "u64"}[p], i)
		}
		fmt.Fprintf(&b, ") { (void)h; %s host(%d, %d", end, number, len(params))
		for i := range params {
			fmt.Fprintf(&b, ", (uint64_t)a%d", i)
		}
		b.WriteString("); }\n")
	}
	for i, f := range hostFuncs {
		write("u32", f.name, f.params, i, "return")
	}
	write("void", "proc_exit", "i", askExit, "")
	return b.Bytes()
}

// compile makes a native program of file 0 and sends it. It runs in the sandbox, as its tools do.
func (c *worker) compile(ctx context.Context, t *task) *doneBuild {
	if err := c.compileIn(ctx, workFolder, t); err != nil {
		return &doneBuild{Fault: clip(err.Error())}
	}
	b, err := os.ReadFile(filepath.Join(workFolder, nativeFile))
	if err == nil && len(b) > maxNative {
		err = fmt.Errorf("a program of %d bytes", len(b))
	}
	if err == nil {
		err = c.stream(3, nativeFile, b)
	}
	if err != nil {
		return &doneBuild{Fault: clip(err.Error())}
	}
	return &doneBuild{}
}

func (c *worker) compileIn(ctx context.Context, dir string, t *task) error {
	if err := complete(c.walls); err != nil {
		return err
	}
	f, err := c.open(0)
	if err != nil {
		return err
	}
	defer f.Close()
	module, err := readModule(io.NewSectionReader(f, 0, exec.MaxProgram+1), t.Hash)
	if err != nil {
		return err
	}
	module, info, err := meter.Instrument(module, meter.Options{MemoryLimitPages: t.Pages})
	if err != nil {
		return err
	}
	if module, err = bareCommand(module); err != nil {
		return err
	}
	if len(module) > maxNativeModule {
		return fmt.Errorf("a module of %d bytes with its meter, at most %d", len(module), maxNativeModule)
	}
	if err := writeFiles(dir, map[string][]byte{"m.wasm": module}); err != nil {
		return err
	}
	if err := tool(ctx, dir, wasm2cPath, "--no-debug-names", "-n", "m", "m.wasm", "-o", "m.c"); err != nil {
		if strings.Contains(err.Error(), "aborted") {
			err = fmt.Errorf("%w: it knows no SIMD", err)
		}
		return err
	}
	code, err := os.ReadFile(filepath.Join(dir, "m.c"))
	if err != nil {
		return err
	}
	header, err := os.ReadFile(filepath.Join(dir, "m.h"))
	if err != nil {
		return err
	}
	if code, header, err = adjust(code, header); err != nil {
		return err
	}
	if err := writeFiles(dir, map[string][]byte{
		"m.c": code, "m.h": header, "wasm-rt.h": runtimeHeader, "runner.c": runnerSource, "stubs.h": nativeStubs(),
	}); err != nil {
		return err
	}
	hosts := "0"
	for _, i := range info.Imports {
		if i.Module == wasiModule {
			hosts = "0, 0"
		}
	}
	args := append(nativeFlags[:len(nativeFlags):len(nativeFlags)], "-I.", fmt.Sprintf("-DP3_DEPTH=%d", meter.DefaultDepth),
		"-DP3_INSTANTIATE=Z_m_instantiate(&instance, "+hosts+")", "-o", nativeFile, "m.c", "runner.c", "-lm")
	return tool(ctx, dir, compilerPath, args...)
}

func writeFiles(dir string, files map[string][]byte) error {
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// tool runs one program of the tool chain.
func tool(ctx context.Context, dir, path string, args ...string) error {
	cmd := osexec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TMPDIR=" + dir}
	empty, err := os.Open(filepath.Join(dir, "m.wasm")) // any file: there is no /dev/null
	if err != nil {
		return err
	}
	defer empty.Close()
	out := &said{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = empty, out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w%s", filepath.Base(path), err, out)
	}
	return nil
}

// adjust changes what wasm2c 1.0.32 wrote, so that
//
//   - what is left of fuel is exact in memory whenever a load or store traps: every store to it
//     is made, and in order with the guest's own accesses, which may alias it;
//   - linear memory lies at an address known when compiling;
//   - what a load gives need not go through an integer register for its sake.
//
// A version that writes something else is refused.
func adjust(code, header []byte) (_, _ []byte, err error) {
	for _, change := range []struct {
		in       *[]byte
		old, new string
		times    int
	}{
		{&header, "\n  u64 w2c_p3_fuel;\n", "\n  volatile u64 w2c_p3_fuel;\n", 1},
		{&code, "&mem->data[addr]", "&P3_MEMORY[addr]", 2},
		{&code, `wasm_asm("" ::"r"(result))`, `wasm_asm("" ::"rx"(result))`, 2},
	} {
		if n := bytes.Count(*change.in, []byte(change.old)); n != change.times {
			return nil, nil, fmt.Errorf("this wasm2c writes other C: %q %d times", strings.TrimSpace(change.old), n)
		}
		*change.in = bytes.Replace(*change.in, []byte(change.old), []byte(change.new), -1)
	}
	return code, header, nil
}
