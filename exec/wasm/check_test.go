package wasm

import (
	"os"
	"strings"
	"testing"
)

func TestCheckSaysWhyAModuleCannotRun(t *testing.T) {
	good, err := os.ReadFile("testdata/tasks.wasm")
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(good); err != nil {
		t.Errorf("a good module: %v", err)
	}
	empty := []byte("\x00asm\x01\x00\x00\x00")
	imports := append([]byte(nil), empty...)
	imports = append(imports, 1, 4, 1, 0x60, 0, 0)                     // type 0: func()
	imports = append(imports, 2, 9, 1, 3, 'e', 'n', 'v', 1, 'f', 0, 0) // import env.f
	for _, c := range []struct {
		module []byte
		want   string
	}{
		{[]byte("#!/bin/sh\n"), ""},
		{good[:len(good)/2], ""},
		{empty, "_start"},
		{imports, "imports env.f"},
	} {
		if err := Check(c.module); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.12q: %v, want %q", c.module, err, c.want)
		}
	}
}
