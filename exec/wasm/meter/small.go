package meter

// Bounds of a small function: called in a loop it delays the loop's next check by no more
// than smallCost, and nests smallHeight uncounted frames of at most smallWeight.
const (
	smallCost   = 2_000
	smallHeight = 8
	smallWeight = 4
	maxCallees  = 64
)

// validateBodies validates every function, which leaves a summary of each.
func (m *module) validateBodies() {
	f := function{m: m}
	for i := range m.code {
		f.scan(i)
	}
}

// findSmall decides which functions need neither count depth nor look at what fuel is left:
// those that call only small functions, directly, and that run a bounded number of
// operators between the checks of their own loops. Recursion never qualifies. Nor do
// functions that a table or the host may call, for their caller cannot know.
func (m *module) findSmall() {
	reached := func(i int) bool {
		fn := uint32(len(m.imports) + i)
		return m.declared[fn] || m.hasStart && m.start == fn
	}
	total := make([]uint64, len(m.code)) // with callees
	for round := range smallHeight {
		var found []int
		for i := range m.code {
			c := &m.code[i]
			if c.small || c.complex || c.weight > smallWeight || reached(i) {
				continue
			}
			total[i] = c.cost
			ok := round == 0 && len(c.callees) == 0 || round > 0
			for _, fn := range c.callees {
				k := int(fn) - len(m.imports)
				ok = ok && m.code[k].small
				total[i] += total[k]
			}
			if ok && total[i] <= smallCost {
				found = append(found, i)
			}
		}
		for _, i := range found {
			m.code[i].small = true
		}
	}
}

// hidden is how many parameters a function of the module gets: the fuel that is left, and
// unless it is small the depth.
func (m *module) hidden(fn uint32) uint32 {
	if m.code[int(fn)-len(m.imports)].small {
		return 1
	}
	return 2
}
