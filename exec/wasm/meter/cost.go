package meter

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/personal-power-plant/p3/ledger"
)

// PassVersion changes whenever the same module would be charged differently, or compute
// differently, for a reason that Costs does not show.
const PassVersion = 1

// A Cost is the price of one operator.
type Cost struct {
	Operator string // name in the text format
	Fuel     uint64 // charged before it runs
	Note     string // what is charged in addition
}

// Costs returns the price of every operator P3 runs, in the order of their codes.
//
// One unit is roughly an instruction of the compiled program. Prices are coarse on purpose:
// fuel is the same on every machine and is not time, for which hosts publish their speed.
func Costs() []Cost {
	var cs []Cost
	for i := range ops {
		o := &ops[i]
		if !o.used {
			continue
		}
		c := Cost{o.name, uint64(o.cost), ""}
		switch o.name {
		case "memory.grow":
			c.Note = fmt.Sprintf("%d a page granted", costPage)
		case "memory.init", "memory.copy", "memory.fill":
			c.Note = "1 for each 8 bytes, rounded down"
		case "table.init", "table.copy", "table.fill", "table.grow":
			c.Note = "1 an element"
		}
		cs = append(cs, c)
	}
	return cs
}

// CostTableHash identifies prices and pass: SHA-256 over a line for the version and a line
// for each of Costs. It is part of a job's identity.
func CostTableHash() ledger.Digest {
	var b strings.Builder
	fmt.Fprintf(&b, "p3 fuel %d\n", PassVersion)
	for _, c := range Costs() {
		fmt.Fprintf(&b, "%s %d %s\n", c.Operator, c.Fuel, c.Note)
	}
	return sha256.Sum256([]byte(b.String()))
}
