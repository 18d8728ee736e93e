// Package market says who sells, who buys and on what terms: signed Offers and job Adverts,
// the Need a buyer states about hosts, Match which ranks offers for a Demand and keeps the
// reason of every refusal, Lease, and Directory, the bounded list of what is on offer.
//
// It opens no socket and no file and starts no goroutine; market/dht carries what is signed
// here to others. Functions that depend on time take now as an argument. Offers and adverts
// are immutable once parsed and safe to share; Board is safe for concurrent use; the other
// types belong to one goroutine.
package market
