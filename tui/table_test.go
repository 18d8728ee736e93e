package tui

import (
	"slices"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/node/nodetest"
)

// BenchmarkMarket filters, sorts and draws 10,000 offers anew each time.
func BenchmarkMarket(b *testing.B) {
	t := offerTable()
	for _, o := range nodetest.Sample(start, 10_000).Offers {
		t.rows = append(t.rows, newOfferRow(o))
	}
	for _, c := range []struct{ name, filter, sort string }{
		{"all", "", "score"}, {"all by name", "", "peer"}, {"fields", "slots>=4 price<0.05", "score"}, {"text", "arch=amd64 spruce", "score"},
	} {
		b.Run(c.name, func(b *testing.B) {
			filter := c.filter
			t.sort = slices.IndexFunc(t.cols, func(col column[offerRow]) bool { return col.field == c.sort })
			for b.Loop() {
				t.setFilter(filter)
				t.lines(unicodeGlyphs, 196, 55, start)
			}
			if len(t.view) == 0 {
				b.Fatal("nothing left")
			}
		})
	}
}

func TestTableOfNothing(t *testing.T) {
	table := offerTable()
	table.set(nil, start)
	table.move(1, start)
	table.page(-1, start)
	table.mark()
	table.setFilter("x")
	table.sortBy(1, 80)
	if table.selected() != nil || len(table.marked()) != 0 || len(table.lines(asciiGlyphs, 80, 5, start)) != 1 {
		t.Error("rows out of nothing")
	}
	table.setFilter("")
	table.set([]offerRow{{}}, start.Add(time.Minute))
	if table.selected() == nil {
		t.Error("no cursor on the first row")
	}
}

// The cursor keeps its place when its row goes.
func TestCursorWhenItsRowGoes(t *testing.T) {
	table := peerTable()
	rows := func(ids ...string) (list []peerRow) {
		for i, id := range ids {
			r := peerRow{id: id}
			r.ID, r.RTTMs = id, float64(i+1)
			list = append(list, r)
		}
		return list
	}
	table.set(rows("a", "b", "c"), start)
	table.move(1, start)
	table.set(rows("a", "c", "d"), start.Add(time.Second))
	if got := table.selected().ID; got != "c" {
		t.Errorf("cursor on %s, want c, which took b's place", got)
	}
	table.set(rows("x", "c"), start.Add(time.Minute))
	if got := table.selected().ID; got != "c" {
		t.Errorf("cursor on %s, want c", got)
	}
}
