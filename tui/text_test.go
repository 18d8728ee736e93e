package tui

import (
	"testing"
	"time"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"maple":            "maple",
		"a\tb\nc":          "a b c",
		"\x1b[31mred":      "?[31mred",
		"\x1b]0;title\x07": "?]0;title?",
		"\u202egnp.exe":    "?gnp.exe",
		"zero\u200bwidth":  "zero?width",
		"\xff\xfe":         "??",
		"naïve 漢字":         "naïve 漢字",
		"e\u0301":          "e\u0301",
		"\u009b2J":         "?2J",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzClean: nothing that clean lets through can move a cursor, and all terminals agree on
// its width.
func FuzzClean(f *testing.F) {
	for _, s := range []string{"maple", "\x1b[2J", "👩‍👩‍👧‍👦 e\u0301\u0301\u0301", "\u202e\u2066x", "🇩🇪🇩", "\xf0\x9f", "ก็็็็", "가\u1100\u1161", "☺️☺", "\x1d\u302e0", "\u0d4e\x01a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := clean(s)
		if !utf8.ValidString(c) || ansi.Strip(c) != c {
			t.Fatalf("%q becomes %q", s, c)
		}
		for _, r := range c {
			if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
				t.Fatalf("%q keeps %q", s, r)
			}
		}
		if a, b := ansi.StringWidth(c), ansi.StringWidthWc(c); a != b {
			t.Fatalf("%q is %d or %d cells wide", c, a, b)
		}
		if again := clean(c); again != c {
			t.Fatalf("%q cleaned again is %q", c, again)
		}
		for _, w := range []int{0, 1, 5, 30} {
			if got := cells(fit(c, w)); got != w {
				t.Fatalf("fit(%q, %d) has %d cells", c, w, got)
			}
			if a := ascii(fit(c, w)); len(a) != w || !isPlain(a) {
				t.Fatalf("ascii gives %q for %d cells", a, w)
			}
		}
	})
}

// FuzzFrame: whatever strangers are called, every frame fills its screen exactly.
func FuzzFrame(f *testing.F) {
	f.Add("maple", uint8(80), uint8(24))
	f.Add("\x1b[2J\u202e漢字", uint8(200), uint8(60))
	f.Fuzz(func(t *testing.T, text string, w, h uint8) {
		if len(text) > 1000 {
			return
		}
		visit(newRig(t, hostile(text), int(max(w, 1)), int(max(h, 1)), Options{}))
	})
}

// FuzzFilter: any text is a filter or an error.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"slots>=4 price<0.05", "arch!=amd64", "=", "a=", "<>", "price<nan", "price<1e999"} {
		f.Add(s)
	}
	table := offerTable()
	row := newOfferRow(node.Offer{Name: "maple"})
	f.Fuzz(func(t *testing.T, s string) {
		if filter, err := parseFilter(s, table.cols, table.hay); err == nil {
			filter.accepts(&row)
		}
	})
}

func TestFormats(t *testing.T) {
	for got, want := range map[string]string{
		credits(12_400_000): "12.40", credits(131): "0.000131", credits(-2_500_000): "-2.50", signed(20_000): "+0.02",
		price(ledger.Price{Num: 20_000, Den: ledger.PriceFuel}): "0.020", price(ledger.Price{}): "-",
		si(1_420_000_000): "1.42G", si(999): "999", si(0): "0", si(12_345): "12.3k", fuel(7_400_000_000_000): "7.40 Tfuel", fuel(5): "5 fuel",
		count(1204): "1,204", count(uint64(1_000_000)): "1,000,000", count(-1204): "-1,204", count(-999): "-999", gibs(4 << 30): "4", gibs(1288490188): "1.2",
		span(59 * time.Second): "59s", span(61 * time.Minute): "1h01m", span(-time.Hour): "0s", span(50 * time.Hour): "2d02h",
		rtt(0): "-", rtt(4.25): "4.2ms", rtt(140): "140ms", rtt(61_000): "1m01s",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
