package node

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestReadEvents(t *testing.T) {
	for _, c := range []struct{ stream, want string }{
		{"data: a\n\ndata:b\n\n", "a|b|"},
		{":\n\n:\ndata: a\n\n:\n", "a|"},
		{"data: a\ndata: b\n\n", "ab|"}, // JSON may be split between any two tokens
		{"event: x\nid: 1\ndata: a\r\n\r\n", "a|"},
		{"data: cut short\n", ""},
		{"\n\n\n", ""},
	} {
		var got strings.Builder
		if err := readEvents(strings.NewReader(c.stream), func() {}, func(b []byte) error {
			got.Write(b)
			got.WriteByte('|')
			return nil
		}); err != nil {
			t.Errorf("%q: %v", c.stream, err)
		}
		if got.String() != c.want {
			t.Errorf("%q: got %q, want %q", c.stream, got.String(), c.want)
		}
	}
}

func TestCallsFillTheirPaths(t *testing.T) {
	if got := CallUnit.path("j-1/../2", "7"); got != "/v1/jobs/j-1%2F..%2F2/units/7" {
		t.Errorf("path %s", got)
	}
	if got := CallStatus.path(); got != "/v1/status" || CallPutBlob.Method() != "PUT" {
		t.Errorf("path %s, method %s", got, CallPutBlob.Method())
	}
}

// FuzzReadEvents: no stream makes the reader fail other than by an error, or yield more
// than it was given.
func FuzzReadEvents(f *testing.F) {
	f.Add([]byte("data: {\"status\":{}}\n\n:\n\ndata: x\ndata: y\n\n"))
	f.Add([]byte("data:\r\n\r\n\x00data:\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		total, stop := 0, errors.New("stop")
		err := readEvents(bytes.NewReader(b), func() {}, func(data []byte) error {
			total += len(data)
			var u Update
			if decodeReply(data, &u) != nil {
				return stop
			}
			return nil
		})
		if total > len(b) {
			t.Fatalf("%d bytes out of %d", total, len(b))
		}
		if err != nil && !errors.Is(err, stop) {
			t.Fatalf("%v", err)
		}
	})
}
