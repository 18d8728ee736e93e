package exec

import (
	"strings"
	"testing"
)

// A few bytes of manifest and input may stand for gigabytes of arguments: CheckArgs must agree with
// what ExpandArgs would make of them.
func TestCheckArgsMeasuresWhatExpandArgsMakes(t *testing.T) {
	const most = MaxArgBytes
	braces := func(n int) string { return strings.Repeat("{}", n) }
	tests := []struct {
		name string
		args []string
		text int // bytes
		ok   bool
	}{
		{"nothing", nil, 0, true},
		{"no braces, long text", []string{"a"}, most * 2, true},
		{"text once", []string{"-x", "{}"}, MaxInline, true},
		{"just enough, counting the braces", []string{"{}"}, most - 2, true},
		{"one byte more", []string{"{}"}, most - 1, false},
		{"plain arguments up to the bound", []string{strings.Repeat("a", most/2), strings.Repeat("b", most/2)}, 0, true},
		{"plain arguments above it", []string{strings.Repeat("a", most/2), strings.Repeat("b", most/2+1)}, 0, false},
		{"sum over several arguments", []string{braces(8), braces(8)}, MaxInline, false},
		{"2 GiB of an inline text", []string{braces(30 << 10)}, MaxInline, false},
		{"4 GiB, which is 0 in 32 bits", []string{braces(1<<16 - 1)}, MaxInline, false},
		{"32 GiB", []string{braces(1 << 19)}, MaxInline, false},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Repeat("t", c.text)
			err := CheckArgs(c.args, Input{Text: text})
			if (err == nil) != c.ok {
				t.Fatalf("%v, want ok = %v", err, c.ok)
			}
			if err != nil {
				return
			}
			n := 0
			for _, a := range ExpandArgs(c.args, Input{Text: text}) {
				n += len(a)
			}
			if n > most {
				t.Errorf("expanded to %d bytes, the most is %d", n, most)
			}
		})
	}
}

// A unit's own arguments stand for themselves: braces in them mean nothing.
func TestUnitsOwnArgumentsReplaceTheJobs(t *testing.T) {
	in := Input{Text: "t", Args: []string{"a{}", "b"}}
	if err := CheckArgs([]string{strings.Repeat("{}", MaxArgBytes)}, in); err != nil {
		t.Error(err)
	}
	if got := ExpandArgs([]string{"{}"}, in); strings.Join(got, " ") != "a{} b" {
		t.Errorf("got %q", got)
	}
	for name, args := range map[string][]string{"too long": {strings.Repeat("a", MaxInline), "b"}, "a zero byte": {"a\x00"}} {
		if err := CheckArgs(nil, Input{Args: args}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
