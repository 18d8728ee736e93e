package main

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// A param is one axis of a sweep: a list of words, or decimal numbers from, from+step, …
type param struct {
	name       string
	n          uint64 // how many values
	words      []string
	from, step int64 // in units of the last decimal
	decimals   int
}

// maxSweep bounds the units of a sweep.
const maxSweep = 1 << 40

// Compiled where needed: every process of p3 would wait for it.
var (
	paramName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`) })
	decimal   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^-?[0-9]{1,12}(\.[0-9]{1,6})?$`) })
)

// parseParams reads NAME=FROM:TO:STEP (TO included when a step meets it), NAME=FROM:TO with a step of 1,
// or NAME=WORD,WORD,…
func parseParams(list []string) ([]param, error) {
	var out []param
	total := uint64(1)
	for _, s := range list {
		p, err := parseParam(s)
		if err != nil {
			return nil, err
		}
		for _, o := range out {
			if o.name == p.name {
				return nil, usage("parameter %s is given twice", p.name)
			}
		}
		if p.n > maxSweep/total {
			return nil, usage("the parameters have more than %d combinations", uint64(maxSweep))
		}
		total *= p.n
		out = append(out, p)
	}
	return out, nil
}

func parseParam(s string) (p param, err error) {
	bad := usage("--param %q: write NAME=FROM:TO:STEP, such as x=0:1:0.1, or NAME=WORD,WORD", s)
	name, values, ok := strings.Cut(s, "=")
	if p.name = name; !ok || values == "" || !paramName().MatchString(name) {
		return p, bad
	}
	parts := strings.Split(values, ":")
	if len(parts) == 1 {
		p.words = strings.Split(values, ",")
		p.n = uint64(len(p.words))
		return p, nil
	}
	if len(parts) > 3 {
		return p, bad
	}
	if len(parts) == 2 {
		parts = append(parts, "1")
	}
	for _, x := range parts {
		if !decimal().MatchString(x) {
			return p, bad
		}
		_, frac, _ := strings.Cut(x, ".")
		p.decimals = max(p.decimals, len(frac))
	}
	from, to, step := p.scaled(parts[0]), p.scaled(parts[1]), p.scaled(parts[2])
	if step == 0 || to != from && step > 0 != (to > from) {
		return p, usage("--param %q: a step of %s never gets from %s to %s", s, parts[2], parts[0], parts[1])
	}
	p.from, p.step, p.n = from, step, uint64((to-from)/step)+1
	return p, nil
}

// scaled reads a decimal as a whole number of the last digit: at most 18 digits, so it fits.
func (p *param) scaled(x string) int64 {
	whole, frac, _ := strings.Cut(x, ".")
	n, _ := strconv.ParseInt(whole+frac+strings.Repeat("0", p.decimals-len(frac)), 10, 64) // matched decimal
	return n
}

// value is the i-th, exactly as a person would write it.
func (p *param) value(i uint64) string {
	if p.words != nil {
		return p.words[i]
	}
	n := p.from + int64(i)*p.step
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	s := strconv.FormatInt(n, 10)
	if p.decimals == 0 {
		return sign + s
	}
	if len(s) <= p.decimals {
		s = strings.Repeat("0", p.decimals-len(s)+1) + s
	}
	s = s[:len(s)-p.decimals] + "." + s[len(s)-p.decimals:]
	return sign + strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}
