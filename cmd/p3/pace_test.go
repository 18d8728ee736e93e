package main

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	var p pace
	now := time.Unix(0, 0)
	run := func(seconds, perSecond int) {
		for range seconds {
			now = now.Add(time.Second)
			p.look(p.done+uint64(perSecond), now)
		}
	}
	left := func(want time.Duration) {
		t.Helper()
		if d, ok := p.left(600); !ok || d < want*9/10 || d > want*11/10 {
			t.Errorf("600 units are left for %v, %v, want about %v", d, ok, want)
		}
	}
	p.look(1000, now) // done by whoever fed the job before
	if d, ok := p.left(600); ok {
		t.Errorf("%v left, with nothing seen", d)
	}
	run(60, 10)
	left(time.Minute)
	run(120, 2) // most providers left: what was before hardly counts
	left(250 * time.Second)
	run(600, 2)
	left(5 * time.Minute)
	run(600, 0)
	if d, ok := p.left(600); ok {
		t.Errorf("%v left, though nothing ends", d)
	}
}
