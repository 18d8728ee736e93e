package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var (
	fence  = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")
	target = regexp.MustCompile(`^make ([a-z-]+)$`)
)

// TestReadme runs the commands of README.md, each as it stands there, one after the other: as a
// newcomer with a home of its own beside a small network that an invite leads to.
func TestReadme(t *testing.T) {
	root := filepath.Join("..", "..")
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	var script, files strings.Builder
	script.WriteString("down-at-end\ngrid -aside you maple oak\ncd $REPO\n")
	n := 0
	for _, block := range fence.FindAllStringSubmatch(string(readme), -1) {
		for line := range strings.Lines(block[1]) {
			line = strings.TrimSpace(line)
			if m := target.FindStringSubmatch(line); m != nil { // .ci/run makes these
				if !strings.Contains("\n"+string(makefile), "\n"+m[1]+":") {
					t.Errorf("README.md says %q: there is no such target", line)
				}
				continue
			}
			if strings.Contains(line, "free > 0") { // the job before has just ended: its slots are offered again soon
				script.WriteString("exec sh -c 'until p3 offer ls --need \"free > 0\"; do sleep 0.1; done'\n")
			}
			n++
			command := strings.ReplaceAll(line, "INVITE", "$INVITE")
			if line == "p3 tui" { // on a terminal, where somebody presses q
				script.WriteString("ttyin -stdin $WORK/keys\n")
				command += " >/dev/tty"
			}
			fmt.Fprintf(&script, "# %s\nexec sh -eu $WORK/c%02d\n", line, n)
			fmt.Fprintf(&files, "-- c%02d --\n%s\n", n, command)
			if strings.HasPrefix(line, "printf ") {
				script.WriteString("stdout '^POWER\\nTO THE\\nPEOPLE\\n$'\n")
			}
			if line == "p3 up" { // what follows needs somebody to ask
				script.WriteString("exec sh -c 'until p3 offer ls | grep -q oak; do sleep 0.1; done'\n")
			}
		}
	}
	if n < 15 {
		t.Fatalf("only %d commands found in README.md", n)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "readme.txtar"), []byte(script.String()+files.String()+"-- keys --\nq\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, scripts(dir))
}

// TestReadmeShowsTheExample holds the program in README.md to the one that is built.
func TestReadmeShowsTheExample(t *testing.T) {
	root := filepath.Join("..", "..")
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(filepath.Join(root, "exec", "examples", "hello", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```go\n"+string(program)+"```\n") {
		t.Error("the program in README.md differs from exec/examples/hello/main.go")
	}
}

var (
	testName = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z0-9]\\w+)`")
	link     = regexp.MustCompile(`\]\(([^)#:]+)\)`)
	declared = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
)

// TestDocsNameWhatIsThere follows the links of the documents and looks for each test that they name.
func TestDocsNameWhatIsThere(t *testing.T) {
	root := filepath.Join("..", "..")
	have := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(b, -1) {
			have[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	docs, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(docs) < 6 {
		t.Fatal(docs, err)
	}
	for _, path := range append(docs, filepath.Join(root, "README.md")) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testName.FindAllSubmatch(b, -1) {
			if !have[string(m[1])] {
				t.Errorf("%s names %s, which is not there", path, m[1])
			}
		}
		for _, m := range link.FindAllSubmatch(b, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), string(m[1]))); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}
