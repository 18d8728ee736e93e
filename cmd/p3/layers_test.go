package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/personal-power-plant/p3/"

// layers are the folders of the repository, lowest first: each imports only itself and those before it.
var layers = []string{"ledger", "exec", "market", "node", "tui", "cmd"}

// adapters each bind one outside technology; only assemblers know which.
var adapters = []string{"ledger/backup", "ledger/badgerstore", "ledger/fence", "ledger/keyfile", "exec/wasm", "exec/wasm/meter", "exec/blob", "market/dht", "node/fraud", "node/p2p", "node/localapi", "node/idle"}

var assemblers = []string{"exec/emu", "exec/examples/examplestest", "node/daemon", "node/sim", "cmd/p3"}

// roots may import these of their own subpackages: pure functions of bytes, which know nothing of ours.
var leaves = []string{"exec/canon"}

type listed struct {
	ImportPath, Name, Doc string
	Imports               []string
}

func packages(t *testing.T) (list []listed) {
	t.Helper()
	cmd := osexec.Command("go", "list", "-json=ImportPath,Name,Doc,Imports", module+"...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module)
		var ours []string
		for _, i := range p.Imports {
			if i, ok := strings.CutPrefix(i, module); ok {
				ours = append(ours, i)
			}
		}
		p.Imports = ours
		list = append(list, p)
	}
}

func layer(path string) int {
	folder, _, _ := strings.Cut(path, "/")
	return slices.Index(layers, folder)
}

// within reports whether a package is p or a part of it.
func within(path, p string) bool { return path == p || strings.HasPrefix(path, p+"/") }

func TestImportsRunOneWay(t *testing.T) {
	list := packages(t)
	if len(list) < 20 {
		t.Fatalf("go list found %d packages only", len(list))
	}
	for _, p := range list {
		if layer(p.ImportPath) < 0 {
			t.Errorf("%s lies outside %v", p.ImportPath, layers)
		}
		for _, i := range p.Imports {
			for _, why := range forbidden(p.ImportPath, i) {
				t.Errorf("%s imports %s: %s", p.ImportPath, i, why)
			}
		}
	}
}

// forbidden says which rules an import breaks.
func forbidden(from, to string) (why []string) {
	if layer(to) > layer(from) {
		why = append(why, "imports run cmd -> tui -> node -> market -> exec -> ledger")
	}
	if strings.HasPrefix(to, from+"/") && slices.Contains(layers, from) && !slices.Contains(leaves, to) {
		why = append(why, "a folder's root package knows none of its subpackages")
	}
	if slices.Contains(leaves, from) {
		why = append(why, "it is a leaf")
	}
	if slices.Contains(adapters, to) && !slices.Contains(assemblers, from) && !(slices.Contains(adapters, from) && within(to, from)) {
		why = append(why, "only assemblers import adapters")
	}
	if within(from, "exec/guest") {
		why = append(why, "it is compiled into users' programs and imports nothing of ours")
	}
	return why
}

// TestTheRulesRefuse keeps the test above able to fail.
func TestTheRulesRefuse(t *testing.T) {
	for _, x := range []struct {
		from, to string
		broken   int
	}{
		{"ledger", "exec", 1},
		{"node", "node/job", 1},
		{"node/job", "node/p2p", 1},
		{"exec", "exec/wasm", 2},
		{"exec/guest", "ledger", 1},
		{"exec/canon", "ledger", 1},
		{"exec", "exec/canon", 0},
		{"exec/wasm", "exec/wasm/meter", 0},
		{"node/daemon", "node/p2p", 0},
		{"tui", "node", 0},
	} {
		if got := forbidden(x.from, x.to); len(got) != x.broken {
			t.Errorf("%s imports %s: %q, want %d broken rules", x.from, x.to, got, x.broken)
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			command := filepath.Base(p.ImportPath)
			want = strings.ToUpper(command[:1]) + command[1:] + " "
			if p.ImportPath == "cmd/p3" {
				want = "Command p3 "
			}
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: its package comment is %q, want it to begin with %q", p.ImportPath, p.Doc, want)
		}
	}
}

func TestTopLevelNames(t *testing.T) {
	root := filepath.Join("..", "..")
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	ignore, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		built := strings.Contains("\n"+string(ignore), "\n/"+e.Name()+"\n") // what the build leaves
		if !strings.HasPrefix(e.Name(), ".") && !built {
			names = append(names, e.Name())
		}
	}
	want := []string{"LICENSE", "Makefile", "README.md", "cmd", "docs", "exec", "go.mod", "go.sum", "ledger", "market", "node", "tui"}
	if !slices.Equal(names, want) {
		t.Errorf("top level holds %v, want exactly %v", names, want)
	}
}
