// Package dht publishes signed offers and job adverts and finds those of others, over a
// libp2p host, its Kademlia table and its gossip, which the caller brings.
//
// Four ways complement each other. Gossip carries changes, so that browsing is live. Peers
// that connect ask each other for what they offer and have heard (OfferProtocol), so that a
// newcomer sees the market at once. A value record per provider, /p3offer/<peer ID>, lets
// anybody fetch the offer of a peer it knows of. Provider records under class keys let
// anybody find peers it does not know of; the keys are sharded, so that none gets hot.
//
// All of them feed a market.Directory and a market.JobBoard, which bound what is kept.
// Market is safe for concurrent use; Run does all work in the background and waits for its
// goroutines.
package dht
