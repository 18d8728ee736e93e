package master

import "testing"

// FuzzLine reads what any master may write.
func FuzzLine(f *testing.F) {
	for _, s := range []string{`{"stdin":"a"}`, `{"id":1e999,"stdin_base64":"/w=="}`, `{"output":"x"}`, `{"args":[]}`, `{`, `[]`, `{"id":"\ud800","args":["a"]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseLine(b)
		if err != nil {
			return
		}
		if unit := l.Stdin != nil || l.Bytes != nil || l.Args != nil; unit == (l.Output != nil) {
			t.Errorf("%q is neither a unit nor output, or both: %+v", b, l)
		}
	})
}
