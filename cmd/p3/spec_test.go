package main

import (
	"testing"
	"time"
)

func TestDeadline(t *testing.T) {
	now := time.Date(2026, 3, 1, 18, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"90m":                  now.Add(90 * time.Minute),
		"18:30":                now.Add(30 * time.Minute),
		"17:30":                now.Add(23*time.Hour + 30*time.Minute), // tomorrow
		"2026-03-02T10:00:00Z": now.Add(16 * time.Hour),
	} {
		if ms, err := parseDeadline(text, now); err != nil || !time.UnixMilli(ms).Equal(want) {
			t.Errorf("%s: %s, %v, want %s", text, time.UnixMilli(ms), err, want)
		}
	}
	if ms, err := parseDeadline("", now); ms != 0 || err != nil {
		t.Error("none:", ms, err)
	}
	for _, bad := range []string{"soon", "-5m", "0s", "25:00", "2026-02-01T10:00:00Z"} {
		if ms, err := parseDeadline(bad, now); !isUsage(err) {
			t.Errorf("%s: %d, %v, want a usage problem", bad, ms, err)
		}
	}
}
