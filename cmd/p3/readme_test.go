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
