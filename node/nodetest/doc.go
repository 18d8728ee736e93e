// Package nodetest is a node in memory, for tests of whatever talks to a node: its State is
// set by the test, and its jobs echo, so that every unit's stdout is its stdin. Sample fills
// a State with a plausible network.
//
// It keeps the local API's rules (windows, acknowledgement, state before changes) and runs
// nothing. All methods are safe for concurrent use.
package nodetest
