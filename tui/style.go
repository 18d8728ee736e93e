package tui

// A style is the parameters of an SGR sequence (ECMA-48, 8.3.117): only the 16 colours that
// every terminal's owner has chosen, never an own one. The program's renderer takes colours
// out where NO_COLOR or the terminal asks for it. A style never says anything that a word
// or a sign beside it does not.
type style string

const (
	plain  style = ""
	bold   style = "1"
	faint  style = "2"
	accent style = "36"
	active style = "1;36"
	good   style = "32"
	warn   style = "33"
	bad    style = "31"
	pick   style = "7"
)

func (s style) of(text string) string {
	if s == plain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[m"
}

// glyphs are the signs that are not ASCII where the terminal can do better.
type glyphs struct {
	h, v, tl, tr, bl, br  string   // box
	full, empty           string   // bars
	levels                []string // columns of a chart, lowest first
	tick, corner          string   // axes of a chart
	cursor, up, down, sep string
}

var unicodeGlyphs = glyphs{
	h: "─", v: "│", tl: "┌", tr: "┐", bl: "└", br: "┘",
	full: "█", empty: "·", levels: []string{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"},
	tick: "┤", corner: "└", cursor: ">", up: "▲", down: "▼", sep: "│",
}

var asciiGlyphs = glyphs{
	h: "-", v: "|", tl: "+", tr: "+", bl: "+", br: "+",
	full: "#", empty: ".", levels: []string{".", ":", "#"},
	tick: "|", corner: "+", cursor: ">", up: "^", down: "v", sep: "|",
}

func levelStyle(level string) style {
	switch level {
	case "ok":
		return good
	case "warn":
		return warn
	case "error":
		return bad
	}
	return plain
}
