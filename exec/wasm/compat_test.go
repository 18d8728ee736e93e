//go:build compat

package wasm

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"go/format"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

// A program is one that nobody here wrote: how to make it, and a run that does its real work.
type foreignProgram struct {
	name string
	make func(t *testing.T) (module, version string)
	args []string
	in   map[string]string // files below /in
	std  string            // stdin
	env  []string
	// check looks at what a run left behind.
	check func(t *testing.T, stdout []byte, out string)
}

// TestCompat builds C programs of Debian's source packages and Go's own tools, runs each with
// `p3 run`, and prints the rows of docs/compatibility.md. `make compat` runs it: it needs root's
// apt-get, clang, wasi-libc, tclsh and the network's package archive.
func TestCompat(t *testing.T) {
	for _, tool := range []string{"clang", "tclsh", "apt-get", "dpkg-source"} {
		if _, err := osexec.LookPath(tool); err != nil {
			const hint = "%s is missing: apt-get install clang lld wasi-libc libclang-rt-14-dev-wasm32 tcl dpkg-dev"
			if os.Getenv("CI") != "" {
				t.Fatalf(hint, tool)
			}
			t.Skipf(hint, tool)
		}
	}
	p3, err := filepath.Abs("../../p3")
	if err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	rows := []string{"| program | version | module | fuel | cold | warm |", "|---|---|---|---|---|---|"}
	for _, f := range foreign() {
		t.Run(f.name, func(t *testing.T) {
			module, version := f.make(t)
			size, err := os.Stat(module)
			if err != nil {
				t.Fatal(err)
			}
			in := t.TempDir()
			args := []string{"--data-dir", data, "run", "--memory", "1GiB"}
			for name, text := range f.in {
				path := filepath.Join(in, name)
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				args = append(args, "--in", path)
			}
			for _, e := range f.env {
				args = append(args, "--env", e)
			}
			start := func(first ...string) (stdout []byte, out string, took time.Duration) {
				out = t.TempDir()
				all := append(append(first, args...), "--out", out, module)
				cmd := osexec.Command(p3, append(all, f.args...)...)
				var stderr bytes.Buffer
				cmd.Stdin, cmd.Stderr = strings.NewReader(f.std), &stderr
				begin := time.Now()
				stdout, err := cmd.Output()
				if err != nil {
					t.Fatalf("%v: %v\n%s%s", cmd.Args, err, stdout, &stderr)
				}
				return stdout, out, time.Since(begin)
			}
			stdout, out, cold := start()
			f.check(t, stdout, out)
			_, _, warm := start()
			b, _, _ := start("--json")
			var res struct {
				Status exec.Status
				Fuel   ledger.Fuel
				Digest ledger.Digest
			}
			if err := json.Unmarshal(b, &res); err != nil || res.Status != exec.Exited {
				t.Fatalf("%v %s", err, b)
			}
			rows = append(rows, fmt.Sprintf("| %s | %s | %.2f MB | %d | %.1f s | %.2f s |",
				f.name, version, float64(size.Size())/1e6, res.Fuel, cold.Seconds(), warm.Seconds()))
		})
	}
	t.Log("\n" + strings.Join(rows, "\n"))
}

func foreign() []foreignProgram {
	text := strings.Repeat("A unit's result is exit status, stdout and stderr, output files and fuel.\n", 20_000)
	unpacks := func(open func(io.Reader) (io.Reader, error)) func(*testing.T, []byte, string) {
		return func(t *testing.T, stdout []byte, _ string) {
			r, err := open(bytes.NewReader(stdout))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || string(got) != text {
				t.Errorf("%d bytes came back of %d: %v", len(got), len(text), err)
			}
		}
	}
	says := func(want string) func(*testing.T, []byte, string) {
		return func(t *testing.T, stdout []byte, _ string) {
			if string(stdout) != want {
				t.Errorf("%q, want %q", stdout, want)
			}
		}
	}
	begins := func(name, magic string) func(*testing.T, []byte, string) {
		return func(t *testing.T, _ []byte, out string) {
			if b, err := os.ReadFile(filepath.Join(out, name)); err != nil || !bytes.HasPrefix(b, []byte(magic)) {
				t.Errorf("%s begins with %.20q: %v", name, b, err)
			}
		}
	}
	untidy := "package x\nimport (\n\"os\"\n\"fmt\")\nfunc  f( a int ,b string){if a>0{fmt.Println(os.Args,b)}}\n"
	tidy, err := format.Source([]byte(untidy))
	if err != nil {
		panic(err)
	}
	return []foreignProgram{
		{name: "Lua", make: debian("lua5.4", "src", `printf "#define DEB_HOST_MULTIARCH \"wasm\"\n" > lua5.4-deb-multiarch.h && $WASMCC -o $OUT $(ls *.c | grep -v luac.c)`),
			args: []string{"-"}, std: luaPrimes, check: says("5736396\t1229\n")},
		{name: "SQLite shell", make: debian("sqlite3", ".", `./configure >/dev/null && make -s sqlite3.c shell.c >/dev/null &&
			$WASMCC -o $OUT sqlite3.c shell.c -DSQLITE_THREADSAFE=0 -DSQLITE_OMIT_LOAD_EXTENSION -DSQLITE_OMIT_WAL -DSQLITE_OMIT_POPEN \
			-DSQLITE_NOHAVE_SYSTEM -Wl,-z,stack-size=1048576`),
			args: []string{"-batch", "file:/out/x.db?vfs=unix-none"}, std: sqlScript,
			check: func(t *testing.T, stdout []byte, out string) {
				says("10000|50005000\nok\n")(t, stdout, out)
				begins("x.db", "SQLite format 3\x00")(t, stdout, out)
			}},
		{name: "zlib's minigzip", make: debian("zlib", ".", `$WASMCC -I. -DHAVE_UNISTD_H -o $OUT test/minigzip.c adler32.c crc32.c deflate.c inf*.c trees.c zutil.c gz*.c`),
			std: text, check: unpacks(func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) })},
		{name: "bzip2", make: debian("bzip2", ".", `$WASMCC -o $OUT bzip2.c blocksort.c huffman.c crctable.c randtable.c compress.c decompress.c bzlib.c`),
			args: []string{"-c"}, std: text, check: unpacks(func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil })},
		{name: "gofmt", make: goTool("gofmt"), std: untidy, check: says(string(tidy))},
		{name: "Go's assembler", make: goTool("asm"), args: []string{"-p", "x", "-o", "/out/x.o", "/in/x.s"}, env: []string{"GOOS=linux", "GOARCH=amd64"},
			in: map[string]string{"x.s": "TEXT ·Add(SB),4,$0-24\n\tMOVQ a+0(FP), AX\n\tADDQ b+8(FP), AX\n\tMOVQ AX, ret+16(FP)\n\tRET\n"}, check: begins("x.o", "go object linux amd64")},
		{name: "Go's compiler", make: goTool("compile"), args: []string{"-p", "x", "-complete", "-c=1", "-o", "/out/x.a", "/in/x.go"}, env: []string{"GOOS=linux", "GOARCH=amd64"},
			in: map[string]string{"x.go": "package x\n\nfunc Fib(n int) int {\n\tif n < 2 {\n\t\treturn n\n\t}\n\treturn Fib(n-1) + Fib(n-2)\n}\n"}, check: begins("x.a", "!<arch>\n")},
	}
}

const (
	luaPrimes = `local sum, n, composite = 0, 0, {}
for i = 2, 10000 do
  if not composite[i] then
    sum, n = sum + i, n + 1
    for k = i * i, 10000, i do composite[k] = true end
  end
end
print(sum, n)
`
	sqlScript = `create table t(id integer primary key, name text);
insert into t with recursive c(x) as (select 1 union all select x+1 from c where x < 10000) select x, 'name ' || x from c;
create index by_name on t(name);
select count(*), sum(id) from t;
pragma integrity_check;
`
)

// debian builds a module of a Debian source package: script runs in a folder of it, with $WASMCC and $OUT.
func debian(name, folder, script string) func(t *testing.T) (module, version string) {
	return func(t *testing.T) (string, string) {
		dir := t.TempDir()
		shims, err := filepath.Abs("testdata/compat")
		if err != nil {
			t.Fatal(err)
		}
		// The machine's own archives, asked for sources; nothing of its configuration is changed.
		get := `set -e
mkdir -p lists/partial cache/archives/partial src
sed 's/^Types: deb$/Types: deb-src/; s/^deb /deb-src /' /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources > debian.sources 2>/dev/null || true
apt="apt-get -qq -o Dir::Etc::sourcelist=$PWD/debian.sources -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists=$PWD/lists -o Dir::Cache=$PWD/cache -o APT::Sandbox::User=root"
$apt update
cd src && $apt source --download-only "$1" && dpkg-source --no-check -x *.dsc tree >/dev/null && ls *.dsc`
		run := func(dir, script string, env []string, args ...string) string {
			cmd := osexec.Command("sh", append([]string{"-c", script, "sh"}, args...)...)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, out)
			}
			return strings.TrimSpace(string(out))
		}
		dsc := run(dir, get, nil, name)
		_, version, _ := strings.Cut(strings.TrimSuffix(filepath.Base(dsc), ".dsc"), "_")
		module := filepath.Join(dir, "out.wasm")
		cc := "clang --target=wasm32-wasi --sysroot=/usr -O2 -mbulk-memory -ftls-model=local-exec -w -Wl,--strip-debug" +
			" -I" + shims + " -include " + shims + "/posix.h -D_WASI_EMULATED_SIGNAL -D_WASI_EMULATED_PROCESS_CLOCKS -D_WASI_EMULATED_GETPID" +
			" -lwasi-emulated-signal -lwasi-emulated-process-clocks -lwasi-emulated-getpid"
		run(filepath.Join(dir, "src/tree", folder), "set -e\n"+script, []string{"WASMCC=" + cc, "OUT=" + module})
		return module, version
	}
}

// goTool builds a command of the Go distribution for wasip1.
func goTool(name string) func(t *testing.T) (module, version string) {
	return func(t *testing.T) (string, string) {
		module := filepath.Join(t.TempDir(), name+".wasm")
		cmd := osexec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", module, "cmd/"+name)
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		out, err := osexec.Command("go", "env", "GOVERSION").Output()
		if err != nil {
			t.Fatal(err)
		}
		return module, strings.TrimPrefix(strings.TrimSpace(string(out)), "go")
	}
}
