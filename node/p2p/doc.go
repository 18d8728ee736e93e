// Package p2p is a node's place in the network: one libp2p host with a secp256k1 identity,
// reached over TCP and QUIC, directly, through hole punching or by relay; the network's own
// Kademlia table and gossip; and framed streams between peers that have greeted each other.
//
// Every peer first says hello: which network it belongs to, its name, which account its
// machine works for. Only then do protocols registered with Node.Handle run. A peer of
// another network is told why and disconnected.
//
// The package decides nothing about offers, jobs or credit. Node is safe for concurrent use;
// Start begins its goroutines, Close ends and waits for all of them.
package p2p
