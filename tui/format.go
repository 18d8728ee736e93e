package tui

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// credits shows two decimals from one credit on and all six below, where they matter.
func credits(c ledger.Credits) string {
	if c >= ledger.Credit || c <= -ledger.Credit {
		return strconv.FormatFloat(float64(c)/float64(ledger.Credit), 'f', 2, 64)
	}
	return c.Decimal()
}

// signed is credits with its sign.
func signed(c ledger.Credits) string {
	if c <= 0 {
		return credits(c)
	}
	return "+" + credits(c)
}

// priceOf is credits for 10^12 fuel, infinite without a price.
func priceOf(p ledger.Price) float64 {
	if p.Den == 0 {
		return math.Inf(1)
	}
	return float64(p.Num) / float64(p.Den) * 1e12 / float64(ledger.Credit)
}

func price(p ledger.Price) string {
	switch v := priceOf(p); {
	case math.IsInf(v, 1):
		return "-"
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 3, 64)
	}
}

// si shows three digits and a decimal prefix: 1.42G.
func si(v float64) string {
	i := 0
	for v >= 999.5 && i < len(" kMGTPE")-1 {
		v /= 1000
		i++
	}
	digits := 2
	if v >= 100 || i == 0 {
		digits = 0
	} else if v >= 10 {
		digits = 1
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if i == 0 {
		return text
	}
	return text + string(" kMGTPE"[i])
}

func fuel(f ledger.Fuel) string {
	s := si(float64(f))
	if last := s[len(s)-1]; last > '9' {
		return s[:len(s)-1] + " " + string(last) + "fuel"
	}
	return s + " fuel"
}

const gib = 1 << 30

func gibs(bytes int64) string {
	v := float64(bytes) / gib
	if v >= 10 || v == math.Trunc(v) {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', 1, 64)
}

// count writes thousands apart: 1,204.
func count[N int | int64 | uint64 | uint32](n N) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// span shows a duration by its two largest units.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// since is the age of t, "-" when there is none.
func since(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return span(now.Sub(t))
}

func rtt(ms float64) string {
	switch {
	case ms <= 0:
		return "-"
	case ms < 10:
		return strconv.FormatFloat(ms, 'f', 1, 64) + "ms"
	case ms < 10_000:
		return strconv.FormatFloat(ms, 'f', 0, 64) + "ms"
	}
	return span(time.Duration(min(ms, 1e9)) * time.Millisecond)
}

func plural(n uint64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many(one)
}

// many is the plural of a regular noun.
func many(one string) string {
	if one[len(one)-1] == 's' {
		return one + "es"
	}
	return one + "s"
}
