// Package localapi is the server side of the local API: Handler turns the calls of
// node.Call into those of a Backend, Listen opens the unix socket and Serve answers on it
// until its context ends.
//
// It knows HTTP, JSON and bounds, and nothing of what a node does; node/daemon is the
// Backend of a real node and node/nodetest one in memory. node.Client is the other end and
// is itself a Backend, which is how the two are kept alike. A Handler is safe for
// concurrent use, as its Backend has to be.
package localapi
