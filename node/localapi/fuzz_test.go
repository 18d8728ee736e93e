package localapi

import (
	"bytes"
	"io"
	"testing"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/node"
)

// FuzzInputs: whatever is sent as inputs, each one accepted obeys the bounds that later
// parts rely on, and the stream ends.
func FuzzInputs(f *testing.F) {
	f.Add([]byte("{\"text\":\"a\",\"stdin\":\"YQ==\"}\n{\"stdin_file\":{\"name\":\"x\",\"hash\":\"" + string(bytes.Repeat([]byte("0"), 64)) + "\",\"size\":3}}\n"))
	f.Add([]byte("{\"files\":[{\"name\":\"../x\"}]}\n"))
	f.Add([]byte("null\n\n[]\n{}{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		lines := newLines(bytes.NewReader(b))
		for unit := uint64(0); ; unit++ {
			in, err := nextInput(lines, unit)
			if err == io.EOF {
				return
			}
			if err != nil {
				if problemOf(err).Code != node.CodeUsage {
					t.Fatalf("unexpected problem %v", err)
				}
				return
			}
			if len(in.Stdin) > exec.MaxInline || exec.ValidFiles(in.Files) != nil {
				t.Fatalf("accepted %+v", in)
			}
			if unit > uint64(len(b)) {
				t.Fatal("more units than bytes")
			}
		}
	})
}
