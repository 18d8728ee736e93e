package wasm

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/personal-power-plant/p3/exec/wasm/meter"
)

var update = flag.Bool("update", false, "rewrite docs/costs.md from the cost table")

// TestCostsAreDocumented keeps docs/costs.md true: with -update it writes it.
func TestCostsAreDocumented(t *testing.T) {
	const path = "../../docs/costs.md"
	want := costsDoc()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s differs from the cost table: run go test ./exec/wasm -run Documented -update", path)
	}
}

func costsDoc() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# What fuel costs

Generated from the code (`+"`go test ./exec/wasm -run Documented -update`"+`), version %d. The table's hash is part of a job's manifest, so of its identity (`+"`costs`"+`), and a host
that counts by another table declines the job:

    %s

Each executed operator costs its price, charged before it runs; sizes come on top. When an operator traps, the rest of its straight line of code is charged too.
A host call costs %d, and 1 for each %d bytes moved or looked at in a path, and %d for each directory entry, subscription or argument.
To start a run costs %d.

| fuel | operators |
|---|---|
`, meter.PassVersion, CostTable(), costHostCall, costHostBytes, costHostEntry, costStart)
	type price struct {
		fuel uint64
		note string
	}
	rows := map[price][]string{}
	for _, c := range meter.Costs() {
		p := price{c.Fuel, c.Note}
		rows[p] = append(rows[p], c.Operator)
	}
	var prices []price
	for p := range rows {
		prices = append(prices, p)
	}
	slices.SortFunc(prices, func(a, b price) int {
		return cmp.Or(cmp.Compare(a.fuel, b.fuel), cmp.Compare(a.note, b.note))
	})
	for _, p := range prices {
		fuel := fmt.Sprint(p.fuel)
		if p.note != "" {
			fuel += " and " + p.note
		}
		fmt.Fprintf(&b, "| %s | %s |\n", fuel, strings.Join(families(rows[p]), ", "))
	}
	return b.String()
}

// families writes operators of one type, which follow one another, as one entry:
// i32.add, i32.sub becomes i32.{add sub}.
func families(ops []string) []string {
	var list []string
	for i := 0; i < len(ops); {
		typ, _, dotted := strings.Cut(ops[i], ".")
		k := i + 1
		for dotted && k < len(ops) && strings.HasPrefix(ops[k], typ+".") {
			k++
		}
		if k == i+1 {
			list = append(list, "`"+ops[i]+"`")
		} else {
			var names []string
			for _, o := range ops[i:k] {
				names = append(names, strings.TrimPrefix(o, typ+"."))
			}
			list = append(list, "`"+typ+".{"+strings.Join(names, " ")+"}`")
		}
		i = k
	}
	return list
}
