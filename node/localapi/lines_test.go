package localapi

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
)

// slowReader lets nothing be written until it is closed.
type slowReader struct {
	*httptest.ResponseRecorder
	reads chan struct{}
}

func (s slowReader) Write(b []byte) (int, error) { <-s.reads; return s.ResponseRecorder.Write(b) }

// A reader that does not read holds at most aheadBytes of us, or one line, and then gets all of them.
func TestSlowReaderHoldsBoundedMemory(t *testing.T) {
	for size, most := range map[int]int{10: aheadLines + 1, aheadBytes / 4: 4, 2 * aheadBytes: 1} {
		synctest.Test(t, func(t *testing.T) {
			w := slowReader{httptest.NewRecorder(), make(chan struct{})}
			const lines = 2 * aheadLines
			line, taken, ended := strings.Repeat("x", size-3), 0, make(chan error) // quotes and a newline
			go func() {
				ended <- writeLines(w, t.Context(), func(_ context.Context, yield func(string) error) error {
					for range lines {
						if err := yield(line); err != nil {
							return err
						}
						taken++
					}
					return nil
				})
			}()
			synctest.Wait()
			if taken != most {
				t.Errorf("took %d lines of %d bytes from the source, want %d", taken, size, most)
			}
			close(w.reads)
			if err := <-ended; err != nil || w.Body.Len() != lines*size {
				t.Errorf("%d bytes written, want %d (%v)", w.Body.Len(), lines*size, err)
			}
		})
	}
}
