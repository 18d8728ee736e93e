package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/personal-power-plant/p3/node"
)

// parseSize reads "256MiB", "1G" or a plain number of bytes.
func parseSize(s string) (int64, error) {
	n, err := node.ParseSize(s)
	if err != nil {
		return 0, usage("%v", err)
	}
	return n, nil
}

// parseFuel reads "2G" or a plain number of fuel.
func parseFuel(s string) (int64, error) { return parseUnits(s, 1000) }

func parseUnits(s string, base int64) (int64, error) {
	t := strings.TrimSpace(s)
	t = strings.TrimSuffix(strings.TrimSuffix(t, "B"), "i")
	factor := int64(1)
	if n := len(t); n > 0 {
		if i := strings.IndexByte("kMGT", t[n-1]); i >= 0 || t[n-1] == 'K' {
			t = t[:n-1]
			for range max(i, 0) + 1 {
				factor *= base
			}
		}
	}
	v, err := strconv.ParseFloat(t, 64)
	if err != nil || v < 0 || v*float64(factor) >= 1<<62 {
		return 0, usage("%q is not a size: write a number with k, M, G or T", s)
	}
	return int64(v * float64(factor)), nil
}

// showSize writes bytes as people read them.
func showSize(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// showFuel writes fuel as people read it.
func showFuel(n uint64) string {
	for _, u := range []struct {
		v float64
		s string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if float64(n) >= u.v {
			return fmt.Sprintf("%.2f %sfuel", float64(n)/u.v, u.s)
		}
	}
	return fmt.Sprintf("%d fuel", n)
}

// showAge writes a duration roughly: "41s", "12m", "3h05m", "2d".
func showAge(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
