// Package idle looks at the machine for node.Decide: whether somebody uses it, what others
// compute, whether it is on mains, and how much memory is left.
//
// No single source tells the truth everywhere: X11's idle time knows nothing of Wayland programs, some
// desktops leave logind's hint at "no" for ever, a system service sees no session bus. So there are
// layers, asked side by side, each in a goroutine of its own that a dead bus cannot hold up, and
// each says what it knows or why it knows nothing. Watcher is the main type; it is safe for
// concurrent use.
package idle
