package exec

import "testing"

func TestHalt(t *testing.T) {
	tests := []struct {
		halt         string
		done, failed uint64
		want         bool
	}{
		{"never", 100, 100, false},
		{"", 100, 100, false},
		{"now,fail=2", 5, 1, false},
		{"now,fail=2", 5, 2, true},
		{"soon,fail=1", 1, 1, true},
		{"now,success=3", 3, 1, false},
		{"now,success=3", 4, 1, true},
		{"now,done=4", 4, 4, true},
		{"soon,fail=30%", 2, 2, false}, // too few to say
		{"now,fail=30%", 10, 3, true},
		{"now,fail=30%", 11, 3, false},
	}
	for _, c := range tests {
		h, err := ParseHalt(c.halt)
		if err != nil {
			t.Errorf("%s: %v", c.halt, err)
		} else if got := h.Met(c.done, c.failed); got != c.want {
			t.Errorf("%s with %d done, %d failed: %v, want %v", c.halt, c.done, c.failed, got, c.want)
		}
	}
	if h, err := ParseHalt("soon,fail=1"); err != nil || !h.Soon {
		t.Errorf("soon: %+v, %v", h, err)
	}
	for _, bad := range []string{"now", "now,fail", "now,fail=0", "now,fail=-1", "now,fail=101%", "now,fail=0%", "now,fail=NaN%", "later,fail=1", "now,why=1", "never,fail=1"} {
		if h, err := ParseHalt(bad); err == nil {
			t.Errorf("%s is read as %+v", bad, h)
		}
	}
}
