package tui

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// A block is a rectangle of text: each line has the same width, in cells.
type block []string

// box draws body in a frame of w by h cells with a title at its upper left and a remark at
// its upper right. Body lines that do not fit are left out.
func (g glyphs) box(title, remark string, body []string, w, h int) block {
	if w < 6 || h < 2 {
		return sized(body, w, h)
	}
	out := make(block, 0, h)
	head := " " + fit(title, min(cells(title), w-5)) + " "
	if room := w - cells(head) - 6; remark != "" && room >= 8 {
		remark = " " + fit(remark, min(cells(remark), room)) + " "
	} else {
		remark = ""
	}
	rule := strings.Repeat(g.h, max(w-3-cells(head)-cells(remark), 0))
	out = append(out, faint.of(g.tl)+bold.of(head)+faint.of(rule)+remark+faint.of(g.h+g.tr))
	side := faint.of(g.v)
	for i := range h - 2 {
		line := ""
		if i < len(body) {
			line = body[i]
		}
		out = append(out, side+" "+fit(line, w-4)+" "+side)
	}
	return append(out, faint.of(g.bl+strings.Repeat(g.h, w-2)+g.br))
}

// boxRoom is how many cells of a remark a box w cells wide shows beside its title.
func boxRoom(title string, w int) int { return w - cells(title) - 10 }

// longest is the first of texts, longest first, that fits into w cells, else the last.
func longest(w int, texts ...string) string {
	for _, t := range texts {
		if cells(t) <= w {
			return t
		}
	}
	return texts[len(texts)-1]
}

// sized makes a block of w by h cells out of lines.
func sized(lines []string, w, h int) block {
	out := make(block, max(h, 0))
	for i := range out {
		if i < len(lines) {
			out[i] = fit(lines[i], w)
		} else {
			out[i] = blanks(w)
		}
	}
	return out
}

// beside puts two blocks of the same height next to each other.
func beside(a, b block) block {
	out := make(block, len(a))
	for i := range a {
		out[i] = a[i] + b[i]
	}
	return out
}

// over draws top over the middle of base.
func over(base, top block) block {
	if len(base) == 0 || len(top) == 0 {
		return base
	}
	w, tw := cells(base[0]), cells(top[0])
	x, y := max((w-tw)/2, 0), max((len(base)-len(top))/2, 0)
	out := append(block(nil), base...)
	for i, line := range top {
		if y+i < len(out) {
			old := out[y+i]
			out[y+i] = fit(ansi.Truncate(old, x, "")+"\x1b[m"+line+"\x1b[m"+ansi.TruncateLeft(old, x+tw, ""), w)
		}
	}
	return out
}

// dimmed draws a block in one faint style: it is not what is true now.
func dimmed(b block) block {
	out := make(block, len(b))
	for i, line := range b {
		out[i] = faint.of(ansi.Strip(line))
	}
	return out
}

// wrap breaks clean text at spaces into lines of at most w cells.
func wrap(s string, w int) []string {
	if w < 1 {
		return nil
	}
	return strings.Split(ansi.Wrap(s, w, ""), "\n")
}
