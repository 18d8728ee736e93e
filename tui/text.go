package tui

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// clean makes a stranger's text safe to draw on one line: no control characters, escape
// sequences, invisible or direction-changing characters, and nothing whose width terminals
// disagree about. What it takes out leaves a "?", white space a space.
func clean(s string) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	for s != "" {
		cluster, width := ansi.FirstGraphemeCluster(s, ansi.GraphemeWidth)
		s = s[len(cluster):]
		switch {
		case strings.TrimSpace(cluster) == "":
			b.WriteByte(' ')
		case drawable(cluster, width):
			b.WriteString(cluster)
		default:
			b.WriteByte('?')
		}
	}
	return b.String()
}

// isPlain reports whether s is printable ASCII.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// drawable reports whether every terminal draws the cluster in width cells.
func drawable(cluster string, width int) bool {
	if width < 1 || width > 2 || len(cluster) > 16 || !utf8.ValidString(cluster) {
		return false
	}
	for _, r := range cluster {
		if !unicode.IsPrint(r) || unicode.Is(unicode.Variation_Selector, r) {
			return false
		}
	}
	// A terminal counts either clusters or code points; both must come to the same.
	return ansi.StringWidthWc(cluster) == width && standsAlone(cluster)
}

// standsAlone reports whether a cluster stays one between other characters: a mark at its
// start, parted from its base by what was taken out, would join the "?" put there.
func standsAlone(cluster string) bool {
	before, _ := ansi.FirstGraphemeCluster("?"+cluster, ansi.GraphemeWidth)
	itself, _ := ansi.FirstGraphemeCluster(cluster+"?", ansi.GraphemeWidth)
	return before == "?" && itself == cluster
}

// cleanLines is clean for text of several lines: at most max of them, tabs as spaces.
func cleanLines(s string, max int) []string {
	const longest = 4 << 10 // bytes of one line: nobody scrolls further to the right
	var lines []string
	for line := range strings.Lines(s) {
		if len(lines) == max {
			return append(lines, "(more is not shown)")
		}
		line = strings.TrimRight(line, "\r\n")
		if len(line) > longest {
			line = strings.ToValidUTF8(line[:longest], "") + " (cut)"
		}
		lines = append(lines, clean(strings.ReplaceAll(line, "\t", "    ")))
	}
	return lines
}

// fit makes s exactly w cells wide. s is clean and may be styled.
func fit(s string, w int) string {
	if w <= 0 {
		return ""
	}
	n := cells(s)
	if n > w {
		s = ansi.Truncate(s, w, "~")
		n = cells(s)
	}
	return s + blanks(w-n)
}

// fitRight is fit with the text at the right edge.
func fitRight(s string, w int) string {
	if n := cells(s); n < w {
		return blanks(w-n) + s
	}
	return fit(s, w)
}

// between puts left and right at the ends of w cells; right gives way.
func between(left, right string, w int) string {
	gap := w - cells(left) - cells(right)
	if gap < 1 {
		return fit(left, w)
	}
	return left + blanks(gap) + right
}

func cells(s string) int {
	if isPlain(s) {
		return len(s)
	}
	return ansi.StringWidth(s)
}

const spaces = "                                                                                "

func blanks(n int) string {
	if n <= 0 {
		return ""
	}
	if n <= len(spaces) {
		return spaces[:n]
	}
	return strings.Repeat(" ", n)
}

// ascii replaces what is not ASCII, cell by cell. A letter keeps its place without its marks.
func ascii(s string) string {
	var b strings.Builder
	for s != "" {
		if s[0] < utf8.RuneSelf && (len(s) == 1 || s[1] < utf8.RuneSelf) {
			b.WriteByte(s[0])
			s = s[1:]
			continue
		}
		cluster, width := ansi.FirstGraphemeCluster(s, ansi.GraphemeWidth)
		switch {
		case cluster[0] < utf8.RuneSelf:
			b.WriteByte(cluster[0])
		case cluster == "…":
			b.WriteByte('.')
		case cluster == "–":
			b.WriteByte('-')
		default:
			b.WriteString(strings.Repeat("?", width))
		}
		s = s[len(cluster):]
	}
	return b.String()
}
