package main

import (
	"errors"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/personal-power-plant/p3/exec"
)

// A template makes a unit's arguments of its input with the replacement strings of GNU parallel
// (https://www.gnu.org/software/parallel/parallel.html, options {} to {n/.}).
type template struct {
	args   []string
	colsep *regexp.Regexp // what separates columns; nil = an input is one column
}

// replacement is one of {} {.} {/} {//} {/.} {#}, or {2} {2.} {-1/}, … for a column, negative ones from the end.
var replacement = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\{(?:(#)|(-?[0-9]{1,6})?(\.|//|/\.|/)?)\}`)
})

func newTemplate(args []string, colsep string) (t template, err error) {
	t.args = args
	if colsep != "" {
		if t.colsep, err = regexp.Compile(colsep); err != nil {
			return t, usage("--colsep: %v", err)
		}
	}
	for _, a := range args {
		for _, m := range replacement().FindAllStringSubmatch(a, -1) {
			if column, _ := strconv.Atoi(m[2]); t.colsep == nil && m[2] != "" && column != 1 && column != -1 {
				return t, usage("%s stands for a column: say with --colsep what separates columns, such as --colsep ','", m[0])
			}
			if m[2] == "0" {
				return t, usage("%s: columns count from 1, or from -1 backwards", m[0])
			}
		}
	}
	return t, nil
}

// plain reports that providers can do it: they know only {}.
func (t template) plain() bool {
	for _, a := range t.args {
		for _, m := range replacement().FindAllString(a, -1) {
			if m != "{}" {
				return false
			}
		}
	}
	return true
}

// expand makes the arguments of the unit with a number, from 1, and an input's text.
func (t template) expand(number uint64, text string) []string {
	columns := []string{text}
	if t.colsep != nil {
		columns = t.colsep.Split(text, -1)
	}
	out := make([]string, len(t.args))
	for i, a := range t.args {
		out[i] = replacement().ReplaceAllStringFunc(a, func(s string) string {
			m := replacement().FindStringSubmatch(s)
			if m[1] != "" {
				return strconv.FormatUint(number, 10)
			}
			v := text
			if m[2] != "" {
				v = column(columns, m[2])
			}
			return part(v, m[3])
		})
	}
	return out
}

// column is empty where there is none.
func column(columns []string, text string) string {
	i, _ := strconv.Atoi(text) // matched as a number
	if i < 0 {
		i += len(columns) + 1
	}
	if i < 1 || i > len(columns) {
		return ""
	}
	return columns[i-1]
}

// part is what a suffix of a replacement string leaves of a path.
func part(v, suffix string) string {
	switch suffix {
	case ".":
		return strings.TrimSuffix(v, extension(v))
	case "/":
		return path.Base(v)
	case "//":
		return path.Dir(v)
	case "/.":
		v = path.Base(v)
		return strings.TrimSuffix(v, extension(v))
	}
	return v
}

// extension is what follows the last dot of the last part of a path, unless that begins with it.
func extension(v string) string {
	base := v[strings.LastIndexByte(v, '/')+1:]
	if i := strings.LastIndexByte(base, '.'); i > 0 {
		return base[i:]
	}
	return ""
}

// on has every unit of a source carry its arguments.
func (t template) on(src source) source {
	if t.plain() {
		return src
	}
	number := uint64(0)
	return func() (exec.Input, error) {
		in, err := src()
		if err != nil {
			return in, err
		}
		number++
		if in.Text == "" && (len(in.Stdin) > 0 || in.StdinFile != nil) && !blank(in.Stdin) {
			return in, errLongLine
		}
		in.Args = t.expand(number, in.Text)
		return in, nil
	}
}

func blank(b []byte) bool { return strings.TrimSpace(string(b)) == "" }

var errLongLine = errors.New("a line of input is too long to stand in arguments: pass it on stdin, without {…} in the arguments")

// grid yields one unit for each combination of the parameters' values, the last changing fastest.
func grid(params []param, args []string) source {
	total, i := uint64(1), uint64(0)
	for _, p := range params {
		total *= p.n // bounded by parseParams
	}
	named := len(args) > 0
	return func() (exec.Input, error) {
		if i == total {
			return exec.Input{}, io.EOF
		}
		values, rest := make([]string, len(params)), i
		for k := len(params) - 1; k >= 0; k-- {
			values[k], rest = params[k].value(rest%params[k].n), rest/params[k].n
		}
		i++
		in := exec.Input{Stdin: []byte(strings.Join(values, "\t") + "\n")}
		var pairs, replace []string
		for k, p := range params {
			pairs = append(pairs, p.name+"="+values[k])
			replace = append(replace, "{"+p.name+"}", values[k])
		}
		in.Text = strings.Join(pairs, " ")
		if named {
			r := strings.NewReplacer(replace...)
			for _, a := range args {
				in.Args = append(in.Args, r.Replace(a))
			}
		} else {
			for _, p := range pairs {
				in.Args = append(in.Args, "--"+p)
			}
		}
		return in, nil
	}
}
