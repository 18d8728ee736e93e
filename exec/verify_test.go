package exec

import (
	"encoding/json"
	"testing"

	"github.com/personal-power-plant/p3/exec/canon"
)

func TestVerifyIsANumberOrAuto(t *testing.T) {
	for word, want := range map[string]Verify{"1": 1, "2": 2, "7": 7, "auto": VerifyAuto} {
		var v, j, c Verify
		if err := v.Set(word); err != nil || v != want || v.String() != word {
			t.Errorf("%s: %d, %v", word, v, err)
		}
		b, err := json.Marshal(v)
		if err == nil {
			err = json.Unmarshal(b, &j)
		}
		if err != nil || j != v {
			t.Errorf("%s: %s is read as %d, %v", word, b, j, err)
		}
		if b, err = canon.Marshal(v); err == nil {
			err = canon.Unmarshal(b, &c)
		}
		if err != nil || c != v {
			t.Errorf("%s: %x is read as %d, %v", word, b, c, err)
		}
		if v.Votes() != (word != "1") {
			t.Errorf("%s: hosts commit: %v", word, v.Votes())
		}
	}
	if v := Verify(5); v.Set("off") != nil || v != 1 {
		t.Errorf("off is %d", v)
	}
	for _, word := range []string{"0", "-1", "-2", "8", "", "Auto", "two"} {
		if v := Verify(1); v.Set(word) == nil {
			t.Errorf("%q was taken for %d", word, v)
		}
	}
	for _, v := range []Verify{0, -2, 8} {
		if v.valid() {
			t.Errorf("%d is valid", v)
		}
	}
}
