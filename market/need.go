package market

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"
)

// Bounds of a need expression, which a stranger may have written.
const (
	MaxNeed      = 1024 // bytes
	maxNeedNodes = 200
	maxPattern   = 128 // bytes of a regular expression
)

// Attributes are what a Need may ask about. Sizes are in GiB and speeds in 10^9 fuel per
// second, as people write them.
type Attributes struct {
	Arch    string   `expr:"arch"`    // GOARCH
	OS      string   `expr:"os"`      // GOOS
	Slots   int      `expr:"slots"`   // units at a time
	Free    int      `expr:"free"`    // slots free when the offer was signed
	Mem     float64  `expr:"mem"`     // GiB
	Disk    float64  `expr:"disk"`    // GiB
	Engines []string `expr:"engines"` // "wasm" in engines
	Speed   float64  `expr:"speed"`   // Gfuel/s of one slot
	Price   float64  `expr:"price"`   // cr per Tfuel
	RTT     float64  `expr:"rtt"`     // ms; 0 = unknown
	Trust   float64  `expr:"trust"`   // 0..1
	Name    string   `expr:"name"`
	Account string   `expr:"account"` // 0x…
	Peer    string   `expr:"peer"`    // peer ID
}

var attributeNames = func() (names []string) {
	t := reflect.TypeFor[Attributes]()
	for i := range t.NumField() {
		names = append(names, t.Field(i).Tag.Get("expr"))
	}
	return names
}()

// Attributes are the candidate's, as a Need sees them.
func (c Candidate) Attributes() Attributes {
	o := c.Offer
	return Attributes{
		Arch: o.Capacity.Arch, OS: o.Capacity.OS, Slots: o.Capacity.Slots, Free: o.FreeSlots,
		Mem: float64(o.Capacity.Memory) / (1 << 30), Disk: float64(o.Capacity.Disk) / (1 << 30),
		Engines: o.Capacity.Engines, Speed: float64(o.Capacity.Speed) / 1e9, Price: perTera(o.Price),
		RTT: float64(c.RTT.Microseconds()) / 1e3, Trust: c.Trust,
		Name: o.Name, Account: o.Account.String(), Peer: o.Peer.String(),
	}
}

// A Need is a condition on offers, such as `arch == "amd64" && mem >= 4`. The zero Need
// accepts all. It is safe for concurrent use.
type Need struct {
	source  string
	program *vm.Program
}

// String is the expression as it was written.
func (n Need) String() string { return n.source }

// CompileNeed reads an expression in the language of expr-lang/expr, without its functions,
// variables and ranges: what remains ends after at most maxNeedNodes steps. "" accepts all.
// The error says which attributes there are.
func CompileNeed(source string) (Need, error) {
	if strings.TrimSpace(source) == "" {
		return Need{}, nil
	}
	if len(source) > MaxNeed {
		return Need{}, fmt.Errorf("need of %d bytes: at most %d", len(source), MaxNeed)
	}
	tree, err := parser.Parse(source)
	if err != nil {
		return Need{}, fmt.Errorf("need %q: %w", source, err)
	}
	var allow allowed
	ast.Walk(&tree.Node, &allow)
	if allow.nodes > maxNeedNodes {
		allow.err = fmt.Errorf("more than %d terms", maxNeedNodes)
	}
	if allow.err != nil {
		return Need{}, fmt.Errorf("need %q: %w", source, allow.err)
	}
	p, err := expr.Compile(source, expr.Env(Attributes{}), expr.AsBool(), expr.DisableAllBuiltins(), expr.MaxNodes(maxNeedNodes))
	if err != nil {
		return Need{}, fmt.Errorf("need %q: %w", source, err)
	}
	return Need{source, p}, nil
}

// Match reports whether a satisfies the need. It fails where the expression does, as on a
// division by zero.
func (n Need) Match(a Attributes) (bool, error) {
	if n.program == nil {
		return true, nil
	}
	v, err := expr.Run(n.program, a)
	if err != nil {
		return false, fmt.Errorf("need %q: %w", n.source, err)
	}
	ok, _ := v.(bool)
	return ok, nil
}

var operators = strings.Fields("== != < <= > >= and or && || not ! + - * / % in contains startsWith endsWith matches")

// allowed visits a parsed expression and keeps the first thing that has no place in a need.
type allowed struct {
	nodes int
	err   error
}

func (a *allowed) Visit(node *ast.Node) {
	a.nodes++
	if a.err != nil {
		return
	}
	switch n := (*node).(type) {
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.StringNode, *ast.ArrayNode, *ast.ConditionalNode:
	case *ast.IdentifierNode:
		a.err = unknownAttribute(n.Value)
	case *ast.UnaryNode:
		a.operator(n.Operator)
	case *ast.BinaryNode:
		a.operator(n.Operator)
		if p, ok := n.Right.(*ast.StringNode); n.Operator == "matches" && (!ok || len(p.Value) > maxPattern) {
			a.err = fmt.Errorf("matches wants a pattern in quotes, at most %d bytes", maxPattern)
		}
	default:
		a.err = errors.New("only attributes, numbers, texts, [lists] and operators are allowed, no functions")
	}
}

func (a *allowed) operator(op string) {
	if !slices.Contains(operators, op) {
		a.err = fmt.Errorf("operator %q is not allowed; use one of %s", op, strings.Join(operators, " "))
	}
}

// unknownAttribute is nil for an attribute, else an error that helps.
func unknownAttribute(name string) error {
	if slices.Contains(attributeNames, name) {
		return nil
	}
	hint := ""
	if best := slices.MinFunc(attributeNames, func(a, b string) int { return distance(name, a) - distance(name, b) }); distance(name, best) <= max(1, len(name)/2) {
		hint = fmt.Sprintf(" (did you mean %q?)", best)
	}
	return fmt.Errorf("no attribute %q%s; there are: %s", name, hint, strings.Join(attributeNames, ", "))
}

// distance is the Levenshtein distance between two short names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost++
			}
			last = row[j+1]
			row[j+1] = min(cost, last+1, row[j]+1)
		}
	}
	return row[len(b)]
}
