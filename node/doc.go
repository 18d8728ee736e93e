// Package node is a node seen from outside: Status, Job, Offer, Receipt, Event, and Client,
// which speaks to a running node's local API over its unix socket.
//
// It does nothing a node does; node/daemon assembles that. Values are snapshots.
package node
