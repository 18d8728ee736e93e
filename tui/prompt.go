package tui

import (
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
)

// A prompt is a line being typed.
type prompt struct {
	label string
	hint  string // after the text, as far as there is room
	text  []rune
	at    int // where the next character goes
	typed func(m *model, text string)
	enter func(m *model, text string) tea.Cmd
	leave func(m *model) // with Esc
}

const maxPrompt = 200 // characters

// key edits the line; it reports false for a key that is not for editing.
func (p *prompt) key(key, text string) bool {
	switch key {
	case "left":
		p.at = max(p.at-1, 0)
	case "right":
		p.at = min(p.at+1, len(p.text))
	case "home", "ctrl+a":
		p.at = 0
	case "end", "ctrl+e":
		p.at = len(p.text)
	case "backspace", "ctrl+h":
		p.cut(p.at-1, p.at)
	case "delete":
		p.cut(p.at, p.at+1)
	case "ctrl+u":
		p.cut(0, p.at)
	case "ctrl+w":
		from := p.at
		for from > 0 && p.text[from-1] == ' ' {
			from--
		}
		for from > 0 && p.text[from-1] != ' ' {
			from--
		}
		p.cut(from, p.at)
	default:
		if text == "" {
			return false
		}
		p.insert(text)
	}
	return true
}

func (p *prompt) cut(from, to int) {
	from, to = max(from, 0), min(to, len(p.text))
	if from < to {
		p.text = append(p.text[:from:from], p.text[to:]...)
		p.at = from
	}
}

func (p *prompt) insert(s string) {
	add := []rune(clean(s))
	if len(p.text)+len(add) > maxPrompt || !utf8.ValidString(s) {
		return
	}
	p.text = append(p.text[:p.at:p.at], append(add, p.text[p.at:]...)...)
	p.at += len(add)
}

// line shows the prompt with its cursor, in w columns: of a long text what is before the cursor.
func (p *prompt) line(w int) string {
	under, rest := " ", ""
	if p.at < len(p.text) {
		under, rest = string(p.text[p.at]), string(p.text[p.at+1:])
	}
	before := p.text[max(0, p.at-max(0, w-len(p.label)-2)):p.at]
	return active.of(p.label) + string(before) + pick.of(under) + rest + faint.of(p.hint)
}
