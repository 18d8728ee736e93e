package guest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/examples/examplestest"
)

func TestHelpersInAGuest(t *testing.T) {
	program := examplestest.BuildGo(t, "./testdata/files")
	words := filepath.Join(t.TempDir(), "words")
	if err := os.WriteFile(words, []byte("shared"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := exec.Spec{Data: []exec.Mount{{Name: "words.txt", Path: words}}, OutDir: t.TempDir()}
	r := examplestest.Run(t, program, "one\r\ntwo\nthree", spec)
	if !r.OK() || len(r.Files) != 1 || r.Files[0].Name != "deep/answer.txt" {
		t.Fatalf("%+v", r)
	}
	b, err := os.ReadFile(filepath.Join(spec.OutDir, "deep", "answer.txt"))
	if err != nil || string(b) != "one|two\nthree|shared" {
		t.Errorf("%q, %v", b, err)
	}
	// Without the data file the program says what is missing and ends with 1.
	r = examplestest.Run(t, program, "one\n", exec.Spec{})
	if r.Status != exec.Exited || r.ExitCode != 1 || len(r.Stderr) == 0 {
		t.Errorf("%+v", r)
	}
}
