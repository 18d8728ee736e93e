// Package fraud spreads what convicts an account, so that whoever cheats one node is known to all
// of them within seconds.
//
// Proofs (ledger.Proof) travel three ways: by gossip on a topic of the network's own, as DHT values
// /p3fraud/ACCOUNT, and directly to each peer that says hello, so that none of the three has
// to work. Each of them takes valid proofs only; who passes on a forged one is
// shunned. The LOCK that a payee accepts is put into the DHT under its place in the payer's chain,
// /p3head/ACCOUNT/EPOCH/SEQ: two that were signed for one place meet there, though nobody
// holds both. So do two grants of one mint, under /p3grant/MINT/SEQ.
//
// Its main type is [Spreader], safe for concurrent use. It decides nothing: the book keeps the
// proofs and freezes accounts.
package fraud
