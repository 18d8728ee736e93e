// Package tui shows a node in a terminal: Run with screens and keys, Plain with appended
// lines for screen readers and pipes.
//
// It knows a node only through Node, the calls of node.Client that it uses. One feed
// watches; the model takes what the feed has gathered four times a second and fetches what
// the screen in front needs. Update does no I/O and asks no clock: the time comes with a
// tick. Views draw snapshots. Whatever a stranger may have named passes through clean before
// it is drawn, so that it can neither move the cursor nor bend a column.
package tui
