package tui

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// hold is how long after a move of the cursor the order of rows stays as it is.
const hold = 2 * time.Second

// A column of a table. num, when set, is what sorting and filters compare; otherwise str is.
// One of width 0 is a field for filters only.
type column[T any] struct {
	field string // in filters; the heading is it in capitals, unless head is set
	head  string
	width int
	right bool
	need  int // least width of the table for the column to be shown
	num   func(*T) float64
	str   func(*T) string
	text  func(*T, time.Time) string // what is drawn; nil: str
	tint  func(*T) style
}

// A list is a table of any row type.
type list interface {
	move(d int, now time.Time)
	page(d int, now time.Time)
	setFilter(text string)
	sortBy(d, width int)
	turn()
	state() (shown, all int, filter string, err error)
	sorted(g glyphs) string
	lines(g glyphs, w, h int, now time.Time) []string
}

// A table shows some of many rows: it filters and sorts an index, not the rows, and draws
// only those in sight. The cursor stays with its row whatever happens around it. The row
// type holds text already clean.
type table[T any] struct {
	cols []column[T]
	id   func(*T) string
	hay  func(*T) string // lower-case text for filters

	rows    []T
	view    []int  // rows that the filter accepts, in order
	keys    []key  // kept only to be used again
	text    string // of the filter
	filter  filter[T]
	err     error // of the filter's text
	sort    int   // column
	reverse bool
	held    bool // rows have changed while the order was held

	at     int    // cursor, in view
	atID   string // its row
	top    int    // first row in sight
	height int    // rows in sight when last drawn
	moved  time.Time
	marks  map[string]bool
}

// A key is what one row sorts by: a number, which no column lets be NaN, or a text.
type key struct {
	num float64
	str string
	row int
}

// set replaces the rows. The table keeps rows.
func (t *table[T]) set(rows []T, now time.Time) {
	if now.Sub(t.moved) < hold && len(t.view) > 0 {
		old := make(map[string]int, len(t.view))
		for i, r := range t.view {
			old[t.id(&t.rows[r])] = i + 1
		}
		t.rows = rows
		t.choose()
		place := make([]int, len(rows))
		for _, r := range t.view {
			if place[r] = old[t.id(&rows[r])]; place[r] == 0 {
				place[r] = len(rows) + 1 + r // new ones last
			}
		}
		slices.SortFunc(t.view, func(a, b int) int { return cmp.Compare(place[a], place[b]) })
		t.held = true
		t.pin()
		return
	}
	t.rows = rows
	t.refresh()
}

// settle sorts again once the cursor has rested.
func (t *table[T]) settle(now time.Time) {
	if t.held && now.Sub(t.moved) >= hold {
		t.refresh()
	}
}

// refresh filters and sorts anew.
func (t *table[T]) refresh() {
	t.held = false
	t.choose()
	c := t.cols[t.sort]
	// Keys beside their rows sort faster than keys looked up.
	t.keys = t.keys[:0]
	for _, r := range t.view {
		k := key{row: r}
		if c.num != nil {
			k.num = c.num(&t.rows[r])
		} else {
			k.str = c.str(&t.rows[r])
		}
		t.keys = append(t.keys, k)
	}
	sign := 1
	if t.reverse {
		sign = -1
	}
	slices.SortFunc(t.keys, func(a, b key) int {
		switch {
		case a.num < b.num:
			return -sign
		case a.num > b.num:
			return sign
		}
		if o := strings.Compare(a.str, b.str); o != 0 {
			return sign * o
		}
		return a.row - b.row
	})
	for i, k := range t.keys {
		t.view[i] = k.row
	}
	t.pin()
}

func (t *table[T]) choose() {
	t.view = t.view[:0]
	for i := range t.rows {
		if t.filter.accepts(&t.rows[i]) {
			t.view = append(t.view, i)
		}
	}
}

// pin moves the cursor to where its row is now, or keeps its place when the row has gone.
func (t *table[T]) pin() {
	if t.atID != "" {
		if i := slices.IndexFunc(t.view, func(r int) bool { return t.id(&t.rows[r]) == t.atID }); i >= 0 {
			t.at = i
			return
		}
	}
	t.at = max(min(t.at, len(t.view)-1), 0)
	t.remember()
}

func (t *table[T]) remember() {
	if row := t.selected(); row != nil {
		t.atID = t.id(row)
	}
}

// selected is the row under the cursor, nil when there is none.
func (t *table[T]) selected() *T {
	if t.at < 0 || t.at >= len(t.view) {
		return nil
	}
	return &t.rows[t.view[t.at]]
}

// move moves the cursor by d rows.
func (t *table[T]) move(d int, now time.Time) {
	t.at = max(min(t.at+d, len(t.view)-1), 0)
	t.moved = now
	t.remember()
}

// page moves the cursor by d screens; the ends are far away screens.
func (t *table[T]) page(d int, now time.Time) { t.move(d*max(t.height-1, 1), now) }

// setFilter takes a new filter text and goes to the first row that it accepts. One that
// cannot be read changes nothing but err.
func (t *table[T]) setFilter(text string) {
	t.text = text
	f, err := parseFilter(text, t.cols, t.hay)
	if t.err = err; err != nil {
		return
	}
	t.filter = f
	t.at, t.atID = 0, ""
	t.refresh()
}

// sortBy goes d columns on among those that can be seen.
func (t *table[T]) sortBy(d, width int) {
	for range t.cols {
		t.sort = (t.sort + d + len(t.cols)) % len(t.cols)
		if c := t.cols[t.sort]; c.width > 0 && c.need <= width {
			break
		}
	}
	t.refresh()
}

func (t *table[T]) turn() { t.reverse = !t.reverse; t.refresh() }

func (t *table[T]) mark() {
	if t.marks == nil {
		t.marks = map[string]bool{}
	}
	if t.marks[t.atID] {
		delete(t.marks, t.atID)
	} else if t.atID != "" {
		t.marks[t.atID] = true
	}
}

// marked returns the marked rows that are still there, in order.
func (t *table[T]) marked() (rows []*T) {
	if len(t.marks) == 0 {
		return nil
	}
	for _, r := range t.view {
		if t.marks[t.id(&t.rows[r])] {
			rows = append(rows, &t.rows[r])
		}
	}
	return rows
}

// sorted says how the rows are ordered.
func (t *table[T]) sorted(g glyphs) string {
	arrow := g.up
	if t.reverse {
		arrow = g.down
	}
	s := "sort: " + t.cols[t.sort].field + " " + arrow
	if t.held {
		s += "  held while you move"
	}
	return s
}

// lines draws heading and rows in w by h cells.
func (t *table[T]) lines(g glyphs, w, h int, now time.Time) []string {
	t.height = max(h-1, 1)
	t.top = max(min(t.top, t.at, len(t.view)-t.height), t.at-t.height+1, 0)
	cols := t.shown(w)
	out := make([]string, 0, h)
	var b strings.Builder
	b.WriteString("  ")
	for _, c := range cols {
		b.WriteByte(' ')
		b.WriteString(c.fit(c.heading()))
	}
	out = append(out, faint.of(fit(b.String(), w)))
	for i := t.top; i < min(t.top+t.height, len(t.view)); i++ {
		row := &t.rows[t.view[i]]
		b.Reset()
		switch {
		case i == t.at:
			b.WriteString(g.cursor)
		default:
			b.WriteByte(' ')
		}
		if t.marks[t.id(row)] {
			b.WriteByte('*')
		} else {
			b.WriteByte(' ')
		}
		for _, c := range cols {
			b.WriteByte(' ')
			cell := c.fit(c.cell(row, now))
			if c.tint != nil && i != t.at {
				cell = c.tint(row).of(cell)
			}
			b.WriteString(cell)
		}
		line := fit(b.String(), w)
		if i == t.at {
			line = pick.of(line)
		}
		out = append(out, line)
	}
	return out
}

func (c *column[T]) heading() string {
	if c.head != "" {
		return c.head
	}
	return strings.ToUpper(c.field)
}

func (c *column[T]) cell(row *T, now time.Time) string {
	if c.text != nil {
		return c.text(row, now)
	}
	return c.str(row)
}

func (c *column[T]) fit(s string) string {
	if c.right {
		return fitRight(s, c.width)
	}
	return fit(s, c.width)
}

// shown is the columns for a width; the first takes up to 16 cells of what remains.
func (t *table[T]) shown(w int) []column[T] {
	var cols []column[T]
	left := w - 2
	for _, c := range t.cols {
		if c.width > 0 && c.need <= w {
			cols = append(cols, c)
			left -= c.width + 1
		}
	}
	cols[0].width += max(min(left, 16), 0)
	return cols
}

// state is how many rows are shown of how many, and the filter.
func (t *table[T]) state() (shown, all int, filter string, err error) {
	return len(t.view), len(t.rows), t.text, t.err
}
