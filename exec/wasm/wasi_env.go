package wasm

import "encoding/binary"

// Clocks of WASI: two of time, two of CPU time.
const (
	clockRealtime  = 0
	clockMonotonic = 1
	clockProcess   = 2
	clockThread    = 3
)

// clock is the time a guest sees, in ns: one ns a unit of fuel, and what it slept.
func (g *guest) clock(id uint32) (uint64, errno) {
	fuel := g.spent()
	switch id {
	case clockRealtime:
		return Epoch + fuel + g.slept, success
	case clockMonotonic:
		return fuel + g.slept, success
	case clockProcess, clockThread:
		return fuel, success
	}
	return 0, eInval
}

func clockRes(_ *guest, m memory, a args) errno {
	if a.u32(0) > clockThread {
		return eInval
	}
	return m.put64(a.u32(1), 1)
}

func clockTime(g *guest, m memory, a args) errno {
	now, e := g.clock(a.u32(0))
	if e != success {
		return e
	}
	return m.put64(a.u32(2), now)
}

func randomGet(g *guest, m memory, a args) errno {
	b := m.at(a.u32(0), a.u32(1))
	if b == nil {
		return eFault
	}
	g.chargeBytes(uint64(len(b)))
	g.rng.Read(b)
	return success
}

// pollOneoff never waits. Descriptors are always ready; when only clocks are asked for, the
// guest's clock moves on to the earliest.
func pollOneoff(g *guest, m memory, a args) errno {
	const subSize, eventSize = 48, 32
	n := a.u32(2)
	if n == 0 || n > maxVectors {
		return eInval
	}
	g.charge(uint64(n) * costHostEntry)
	in, out := m.at(a.u32(0), n*subSize), m.at(a.u32(1), n*eventSize)
	if in == nil || out == nil {
		return eFault
	}
	in = append([]byte(nil), in...) // the two may overlap
	le := binary.LittleEndian
	type clockSub struct{ userdata, wait uint64 }
	var clocks []clockSub
	count := uint32(0)
	event := func(userdata uint64, e errno, kind byte, nbytes uint64) {
		ev := out[count*eventSize:][:eventSize]
		clear(ev)
		le.PutUint64(ev, userdata)
		le.PutUint16(ev[8:], uint16(e))
		ev[10] = kind
		le.PutUint64(ev[16:], nbytes)
		count++
	}
	for i := range n {
		sub := in[i*subSize:][:subSize]
		userdata, kind := le.Uint64(sub), sub[8]
		switch kind {
		case 0: // clock
			now, e := g.clock(le.Uint32(sub[16:]))
			if e != success {
				event(userdata, e, kind, 0)
				continue
			}
			wait := le.Uint64(sub[24:])
			if le.Uint16(sub[40:])&1 != 0 { // absolute
				wait -= min(wait, now)
			}
			clocks = append(clocks, clockSub{userdata, wait})
		case 1, 2: // read, write
			if g.fd(le.Uint32(sub[16:])) == nil {
				event(userdata, eBadf, kind, 0)
			} else {
				event(userdata, success, kind, 1)
			}
		default:
			return eInval
		}
	}
	if count == 0 {
		wait := clocks[0].wait
		for _, c := range clocks {
			wait = min(wait, c.wait)
		}
		g.slept += min(wait, 1<<62-min(g.slept, 1<<62))
		for _, c := range clocks {
			if c.wait == wait {
				event(c.userdata, success, 0, 0)
			}
		}
	}
	return m.put32(a.u32(3), count)
}
