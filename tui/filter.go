package tui

import (
	"fmt"
	"strconv"
	"strings"
)

// A filter accepts a row when all its terms do. A term is a piece of text that the row
// contains, or field, operator and value: "slots>=4", "arch=amd64", "price<0.05". Numbers
// are in the unit the column shows.
type filter[T any] []func(*T) bool

var operators = []string{"<=", ">=", "!=", "=", "<", ">"}

// parseFilter reads the terms between spaces. hay gives a row's text in lower case.
func parseFilter[T any](text string, cols []column[T], hay func(*T) string) (filter[T], error) {
	var f filter[T]
	for _, term := range strings.Fields(strings.ToLower(text)) {
		name, op, value := splitTerm(term)
		if op == "" {
			f = append(f, func(row *T) bool { return strings.Contains(hay(row), term) })
			continue
		}
		test, err := compare(cols, name, op, value)
		if err != nil {
			return nil, err
		}
		f = append(f, test)
	}
	return f, nil
}

// splitTerm cuts a term at its first operator.
func splitTerm(term string) (name, op, value string) {
	at := strings.IndexAny(term, "<>=!")
	if at <= 0 {
		return term, "", ""
	}
	for _, o := range operators {
		if strings.HasPrefix(term[at:], o) {
			return term[:at], o, term[at+len(o):]
		}
	}
	return term, "", ""
}

func compare[T any](cols []column[T], name, op, value string) (func(*T) bool, error) {
	var names []string
	for _, c := range cols {
		if c.field != name {
			if c.field != "" {
				names = append(names, c.field)
			}
			continue
		}
		if value == "" {
			return nil, fmt.Errorf("%s%s needs a value", name, op)
		}
		if c.num == nil {
			str := c.str
			switch op {
			case "=":
				return func(row *T) bool { return strings.Contains(strings.ToLower(str(row)), value) }, nil
			case "!=":
				return func(row *T) bool { return !strings.Contains(strings.ToLower(str(row)), value) }, nil
			}
			return nil, fmt.Errorf("%s is text: use = or !=", name)
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("%s%s needs a number, not %q", name, op, value)
		}
		num := c.num
		switch op {
		case "=":
			return func(row *T) bool { return num(row) == v }, nil
		case "!=":
			return func(row *T) bool { return num(row) != v }, nil
		case "<":
			return func(row *T) bool { return num(row) < v }, nil
		case "<=":
			return func(row *T) bool { return num(row) <= v }, nil
		case ">":
			return func(row *T) bool { return num(row) > v }, nil
		default:
			return func(row *T) bool { return num(row) >= v }, nil
		}
	}
	return nil, fmt.Errorf("no field %q; there are %s", name, strings.Join(names, " "))
}

func (f filter[T]) accepts(row *T) bool {
	for _, test := range f {
		if !test(row) {
			return false
		}
	}
	return true
}
