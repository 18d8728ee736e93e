package textstat

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/personal-power-plant/p3/exec/examples/examplestest"
)

func TestModuleIsWhatItsSourceGives(t *testing.T) { examplestest.SameBytes(t, Wasm) }

func TestCounts(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "bytes=0 lines=0 words=0 longest=0 letters=",
		"The cat\nsat  on the mat": "bytes=23 lines=1 words=6 longest=15 letters=t:29.4%,a:17.6%,e:11.8%,h:11.8%,c:5.9%",
		"a\x00b\xff\n":             "bytes=5 lines=1 words=1 longest=4 letters=a:50.0%,b:50.0%",
	} {
		want += fmt.Sprintf(" sha256=%x\n", sha256.Sum256([]byte(in)))
		if got := examplestest.Text(t, Wasm, in); got != want {
			t.Errorf("%q:\n%swant\n%s", in, got, want)
		}
	}
}

// The padding of SHA-256 has its corners at 55, 56, 63 and 64 bytes; buffers grow at 4096.
func TestDigestAtEveryLength(t *testing.T) {
	for _, n := range []int{1, 55, 56, 57, 63, 64, 65, 119, 120, 128, 4095, 4096, 4097, 300_000} {
		in := strings.Repeat("power\n", n/6+1)[:n]
		if got, want := examplestest.Text(t, Wasm, in), fmt.Sprintf(" sha256=%x\n", sha256.Sum256([]byte(in))); !strings.HasSuffix(got, want) {
			t.Errorf("%d bytes: %s", n, got)
		}
	}
}
