package tui

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// bar fills part of w cells.
func (g glyphs) bar(part float64, w int) string {
	if math.IsNaN(part) || w < 1 {
		part = 0
	}
	n := int(math.Round(min(max(part, 0), 1) * float64(w)))
	return accent.of(strings.Repeat(g.full, n)) + faint.of(strings.Repeat(g.empty, max(w-n, 0)))
}

// ratio is a/b, 0 when b is 0.
func ratio[N int | int64 | uint64](a, b N) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

const day = 24 * time.Hour

// balances works out what the balance was at n moments of the last day, oldest first, by
// taking receipts, newest first, back from what it is now.
func balances(receipts []node.Receipt, me ledger.Account, net ledger.Credits, now time.Time, n int) []float64 {
	points, next := make([]float64, n), 0
	for i := n - 1; i >= 0; i-- {
		at := now.Add(-day * time.Duration(n-1-i) / time.Duration(max(n-1, 1)))
		for next < len(receipts) && receipts[next].Time.After(at) {
			net -= effect(receipts[next], me)
			next++
		}
		points[i] = float64(net) / float64(ledger.Credit)
	}
	return points
}

// effect is what a receipt did to me's balance.
func effect(r node.Receipt, me ledger.Account) ledger.Credits {
	switch {
	case r.Payer == r.Payee:
		return 0
	case r.Payee == me:
		return r.Paid
	case r.Payer == me:
		return -r.Paid
	}
	return 0
}

// flows sums what receipts younger than d brought and took.
func flows(receipts []node.Receipt, me ledger.Account, now time.Time, d time.Duration) (in, out ledger.Credits) {
	for _, r := range receipts {
		if now.Sub(r.Time) > d {
			break // newest first
		}
		if e := effect(r, me); e > 0 {
			in += e
		} else {
			out -= e
		}
	}
	return in, out
}

// dayChart draws points of the last day as columns in w by h cells, hours below.
func (g glyphs) dayChart(points []float64, now time.Time, w, h int) []string {
	const label = 8
	rows, cols := h-1, w-label
	if rows < 1 || cols < 8 || len(points) == 0 {
		return nil
	}
	lo, hi := slices.Min(points), slices.Max(points)
	if hi-lo < 0.01 {
		lo, hi = lo-0.005, hi+0.005
	}
	lo -= (hi - lo) * 0.15 // so that the lowest is still to be seen
	out := make([]string, 0, h)
	for row := range rows {
		top := hi - (hi-lo)*float64(row)/float64(rows)
		var b strings.Builder
		for c := range cols {
			v := points[c*len(points)/cols]
			eighths := (v - lo) / (hi - lo) * float64(rows*len(g.levels))
			level := int(math.Round(eighths)) - (rows-1-row)*len(g.levels)
			switch {
			case level <= 0:
				b.WriteByte(' ')
			default:
				b.WriteString(g.levels[min(level, len(g.levels))-1])
			}
		}
		name := ""
		if row == 0 || row == rows-1 || rows >= 6 && row == rows/2 {
			name = strconv.FormatFloat(top, 'f', decimals(hi-lo), 64)
		}
		out = append(out, faint.of(fitRight(name, label-2)+" "+g.tick)+accent.of(b.String()))
	}
	return append(out, faint.of(blanks(label-1)+g.corner+g.hours(now, cols)))
}

func decimals(width float64) int {
	switch {
	case width < 1:
		return 3
	case width < 20:
		return 2
	}
	return 0
}

// hours is the axis of the last day, a label every six hours or every twelve.
func (g glyphs) hours(now time.Time, w int) string {
	parts := 4
	if w < 40 {
		parts = 2
	}
	axis := strings.Builder{}
	for i := range parts + 1 {
		text := now.Add(-day * time.Duration(parts-i) / time.Duration(parts)).Format("15:04")
		at := min(max(i*w/parts-2, 0), w-len(text))
		axis.WriteString(strings.Repeat(g.h, max(at-cells(axis.String()), 0)))
		axis.WriteString(text)
	}
	return axis.String()
}
