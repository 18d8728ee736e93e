// Package daemon assembles a node: keys, ledger, blobs, network, market, both sides of the
// job protocol and the local API, and stops them in the reverse order.
//
// It holds no logic of its own beyond wiring and the owner's settings. Start returns when the
// node serves; Close returns when everything is on disk. Simulations give it a ready libp2p
// host, an in-memory store and an engine in the same process.
package daemon
