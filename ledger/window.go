package ledger

// A Window is how many unpaid units a provider risks on one payer: TCP's slow start
// (RFC 5681 section 3.1) applied to trust. It is a plain value; the zero Window is that of a
// payer never seen.
//
// It starts at StartWindow and doubles whenever as many units as it holds have been paid,
// up to MaxWindow; a default sets it back. A payer has thus always paid at least as many
// units, less one, as it can run away with: reaching 16 costs 1+2+4+8 = 15 paid units.
// Doubling once per settled lease, the obvious alternative, would cost four leases of one
// cheap unit each.
type Window struct {
	size     uint32 // 0 stands for StartWindow
	progress uint32 // units paid since the size changed, < size
	defaults uint32
}

// Allowed is the number of units that may be unpaid at a time.
func (w Window) Allowed() uint32 { return max(w.size, StartWindow) }

// Defaults counts the leases this payer left unpaid.
func (w Window) Defaults() uint32 { return w.defaults }

// Paid returns the window after n more units were paid.
func (w Window) Paid(n uint32) Window {
	left := uint64(w.progress) + uint64(n)
	w.size = w.Allowed()
	for w.size < MaxWindow && left >= uint64(w.size) {
		left -= uint64(w.size)
		w.size = min(2*w.size, MaxWindow)
	}
	if w.size == MaxWindow {
		left = 0
	}
	w.progress = uint32(left)
	return w
}

// Default returns the window after a lease ended with units unpaid.
func (w Window) Default() Window {
	return Window{size: StartWindow, defaults: w.defaults + min(1, ^w.defaults)}
}
