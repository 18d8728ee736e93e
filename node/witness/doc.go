// Package witness brings locks before the witnesses of a network, and answers for a node that is one.
//
// It speaks /p3/witness/1.0.0, on which a payer shows a witness the part of its chain that this does not know yet,
// and gets its signed statement on the newest lock; with those of a quorum the lock counts. Where a witness
// is to be asked, its NodeBinding says: each peer that says hello is asked for its own, and the DHT holds it
// under /p3witness/ACCOUNT.
//
// Its main types are [Client], of every node in a network with witnesses, and [Server], of those that are one;
// both are safe for concurrent use. They decide nothing: ledger.Witness signs, ledger.Certificate counts. A
// network without witnesses has neither, and pays nothing for this.
package witness
