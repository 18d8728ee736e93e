package exec

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Verify says how the results of a job are checked: how many accounts must come to the same, 1 (no voting) to
// MaxReplica, or VerifyAuto. JSON has a number, or "auto".
type Verify int

// VerifyAuto computes a unit once, and again on another account with a probability that falls with the number of
// results of its host that stood such checks. A peer that does not know it declines the manifest.
const VerifyAuto Verify = -1

// Votes reports whether hosts commit to results before they show them.
func (v Verify) Votes() bool { return v != 1 }

// Most is how many replicas a unit has when all agree, at the most.
func (v Verify) Most() int {
	if v == VerifyAuto {
		return 2
	}
	return int(v)
}

// String is the number, or "auto".
func (v Verify) String() string {
	if v == VerifyAuto {
		return "auto"
	}
	return strconv.Itoa(int(v))
}

// Set reads what String writes, and "off" for 1.
func (v *Verify) Set(s string) error {
	switch s {
	case "auto":
		*v = VerifyAuto
		return nil
	case "off":
		*v = 1
		return nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > MaxReplica {
		return fmt.Errorf("verify %s: give 1 (no voting) to %d, or auto", s, MaxReplica)
	}
	*v = Verify(n)
	return nil
}

func (v Verify) valid() bool { return v == VerifyAuto || v >= 1 && v <= MaxReplica }

// MarshalJSON writes a number, or "auto".
func (v Verify) MarshalJSON() ([]byte, error) {
	if v == VerifyAuto {
		return []byte(`"auto"`), nil
	}
	return strconv.AppendInt(nil, int64(v), 10), nil
}

// UnmarshalJSON reads what MarshalJSON writes. The number is not checked: that is for Validate.
func (v *Verify) UnmarshalJSON(b []byte) error {
	if string(b) == `"auto"` {
		*v = VerifyAuto
		return nil
	}
	return json.Unmarshal(b, (*int)(v))
}
