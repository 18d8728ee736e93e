package main

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/node"
)

func TestTemplates(t *testing.T) {
	tests := []struct{ arg, colsep, text, want string }{
		{"{}", "", "a b", "a b"},
		{"in={}.out", "", "x", "in=x.out"},
		{"{.}", "", "d.x/file.tar.gz", "d.x/file.tar"},
		{"{.}", "", "d.x/file", "d.x/file"},
		{"{.}", "", "d/.hidden", "d/.hidden"},
		{"{/}", "", "d/e/file.txt", "file.txt"},
		{"{//}", "", "d/e/file.txt", "d/e"},
		{"{/.}", "", "d/e/file.txt", "file"},
		{"{#}-{}", "", "x", "7-x"},
		{"{1}", "", "x y", "x y"},
		{"{2}+{1}", " ", "x y", "y+x"},
		{"{-1}", ",", "a,b,c", "c"},
		{"{3}", ",", "a,b", ""},
		{"{2/.}", "\t", "a\td/e.f", "e"},
		{"{3} {}", ` *, *`, "a ,b, c", "c a ,b, c"},
		{"{x} {} {..} {1a}", "", "t", "{x} t {..} {1a}"}, // what is no replacement stays
		{"{}", "", "{#} {1}", "{#} {1}"},                 // and is not made one by an input
	}
	for _, c := range tests {
		tpl, err := newTemplate([]string{c.arg}, c.colsep)
		if err != nil {
			t.Errorf("%q: %v", c.arg, err)
			continue
		}
		if got := tpl.expand(7, c.text)[0]; got != c.want {
			t.Errorf("%q of %q is %q, want %q", c.arg, c.text, got, c.want)
		}
	}
	for _, c := range []struct{ arg, colsep string }{{"{2}", ""}, {"{0}", ","}, {"x", "("}} {
		if _, err := newTemplate([]string{c.arg}, c.colsep); !isUsage(err) {
			t.Errorf("%q with --colsep %q: %v, want a usage problem", c.arg, c.colsep, err)
		}
	}
}

func isUsage(err error) bool {
	var p *node.Problem
	return errors.As(err, &p) && p.Code == node.CodeUsage
}

func drain(t *testing.T, src source) (out []exec.Input) {
	t.Helper()
	for {
		in, err := src()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, in)
	}
}

// Providers expand {} themselves: only other templates travel with each unit.
func TestOnlyWhatProvidersDoNotKnowTravels(t *testing.T) {
	for arg, want := range map[string]string{"{}": "", "{#}": "1"} {
		tpl, err := newTemplate([]string{arg}, "")
		if err != nil {
			t.Fatal(err)
		}
		if in := drain(t, tpl.on(numbers(5, 1, 1))); strings.Join(in[0].Args, " ") != want {
			t.Errorf("%q: arguments %q, want %q", arg, in[0].Args, want)
		}
	}
}

func TestSweep(t *testing.T) {
	tests := []struct {
		params string
		want   string
	}{
		{"x=0:1:0.25", "0 0.25 0.5 0.75 1"},
		{"x=0:0.3:0.1", "0 0.1 0.2 0.3"}, // no 0.30000000000000004
		{"x=1:-1:-0.5", "1 0.5 0 -0.5 -1"},
		{"x=-0.05:0.05:0.05", "-0.05 0 0.05"},
		{"x=3:5", "3 4 5"},
		{"x=0:1:0.4", "0 0.4 0.8"},
		{"x=7:7:2", "7"},
		{"x=b,a", "b a"},
	}
	for _, c := range tests {
		p, err := parseParams([]string{c.params})
		if err != nil {
			t.Errorf("%s: %v", c.params, err)
			continue
		}
		var got []string
		for _, in := range drain(t, grid(p, []string{"{x}"})) {
			got = append(got, in.Args[0])
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.params, got, c.want)
		}
	}
	p, err := parseParams([]string{"a=1:2", "b=x,y"})
	if err != nil {
		t.Fatal(err)
	}
	units := drain(t, grid(p, nil))
	last := units[len(units)-1]
	if len(units) != 4 || strings.Join(units[1].Args, " ") != "--a=1 --b=y" || string(last.Stdin) != "2\ty\n" || last.Text != "a=2 b=y" {
		t.Errorf("%d units, second %q, last %+v", len(units), units[1].Args, last)
	}
	for _, bad := range []string{"x", "=1", "x=", "1x=1:2", "x=1:2:0", "x=1:2:-1", "x=1:2:3:4", "x=1:b", "x=1e9:2e9", "x=0:999999999999:0.000001"} {
		if _, err := parseParams([]string{bad}); !isUsage(err) {
			t.Errorf("%s: %v, want a usage problem", bad, err)
		}
	}
	if _, err := parseParams([]string{"x=1:2", "x=3:4"}); !isUsage(err) {
		t.Errorf("the same name twice: %v", err)
	}
}
