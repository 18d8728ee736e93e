package job

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/ledger"
)

var update = flag.Bool("update", false, "rewrite the golden frames: only for a new protocol version")

// samples is one of each part that a frame may hold.
func samples() []struct {
	name string
	v    any
} {
	d := func(b byte) ledger.Digest { return ledger.Digest(bytes.Repeat([]byte{b}, 32)) }
	file := exec.File{Name: "a/b", Hash: d(7), Size: 9}
	done := exec.Result{Status: exec.Exited, ExitCode: 1, Message: "m", Stdout: []byte("out"), Stderr: []byte("err"), Files: []exec.File{file}, Fuel: 5, WallMs: 3}
	return []struct {
		name string
		v    any
	}{
		{"heartbeat", frame{}},
		{"open", frame{Open: &open{Manifest: []byte("m"), Lock: []byte("l"), Binding: []byte("b"), Slots: 2, Price: ledger.Price{Num: 3, Den: 4}, Membership: []byte("g")}}},
		{"open-work", frame{Open: &open{Manifest: []byte("m"), Lock: []byte("l"), Binding: []byte("b"), Slots: 2, Price: ledger.Price{Num: 3, Den: 4}, Work: [][]byte{[]byte("w"), []byte("x")}}}},
		{"grant", frame{Grant: &grant{Slots: 2, Queue: 6}}},
		{"grant-limit", frame{Grant: &grant{Slots: 2, Queue: 6, Limit: 1500}}},
		{"refuse", frame{Refuse: &refusal{Code: CodePrice, Text: "t"}}},
		{"tasks", frame{Tasks: []task{{Unit: 1, Input: exec.Input{Text: "x", Stdin: []byte("in"), Files: []exec.File{file}}}, {Unit: 2, Input: exec.Input{StdinFile: &file}}}}},
		{"commits", frame{Commits: []commit{{Unit: 1, Hash: d(1)}}}},
		{"reveal", frame{Reveal: []uint64{1, 300}}},
		{"results", frame{Results: []result{{Unit: 1, Result: done, Stdout: &file, Stderr: &file, Digest: d(2), Nonce: bytes.Repeat([]byte{3}, 32)}}, Claim: []byte("c")}},
		{"voucher", frame{Voucher: []byte("v"), Paid: []uint64{1, 2}}},
		{"drop", frame{Drop: []drop{{Unit: 1, Code: CodeLate}}}},
		{"cancel", frame{Cancel: []uint64{4}}},
		{"faults", frame{Faults: []fault{{Unit: 1, Code: CodeHost, Text: "t"}}}},
		{"hide", frame{Hide: []uint64{1, 300}}},
		{"blob-request", blobRequest{Hash: d(5)}},
		{"blob-header", blobHeader{Found: true, Size: 9}},
		{"credit-settle", creditFrame{Settle: []byte("s")}},
		{"credit-earn", creditFrame{Earn: []byte("e")}},
		{"credit-refuse", creditFrame{Refuse: &refusal{Code: CodeRecord, Text: "t"}}},
	}
}

// The bytes of protocol version 1.0.0. A change here breaks every peer out there.
func TestFramesKeepTheirBytes(t *testing.T) {
	var have strings.Builder
	for _, s := range samples() {
		b, err := canon.Marshal(s.v)
		if err != nil {
			t.Fatal(s.name, err)
		}
		fmt.Fprintf(&have, "%s %s\n", s.name, hex.EncodeToString(b))
	}
	const path = "testdata/frames.txt"
	if *update {
		if err := os.WriteFile(path, []byte(have.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if have.String() != string(want) {
		t.Errorf("frames changed:\n%swant:\n%s", have.String(), want)
	}
}

// FuzzFrame decodes what a stranger may send: it never panics, and what is taken encodes to bytes
// that decode to the same frame.
func FuzzFrame(f *testing.F) {
	for _, s := range samples() {
		b, err := canon.Marshal(s.v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var x, y frame
		if x.decode(b) != nil {
			return
		}
		x.empty()
		one, err := canon.Marshal(x)
		if err != nil {
			t.Fatalf("taken, but cannot be encoded: %v", err)
		}
		if err := y.decode(one); err != nil {
			t.Fatalf("own encoding refused: %v", err)
		}
		two, err := canon.Marshal(y)
		if err != nil || !bytes.Equal(one, two) {
			t.Fatalf("%x became %x, %v", one, two, err)
		}
	})
}

// FuzzBlobAndCreditFrames does the same for the two smaller protocols.
func FuzzBlobAndCreditFrames(f *testing.F) {
	for _, s := range samples() {
		b, err := canon.Marshal(s.v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range []any{&blobRequest{}, &blobHeader{}, &creditFrame{}} {
			if canon.Unmarshal(b, v) != nil {
				continue
			}
			if _, err := canon.Marshal(v); err != nil {
				t.Fatalf("%T taken, but cannot be encoded: %v", v, err)
			}
		}
	})
}
