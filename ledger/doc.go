// Package ledger says what was done and owed, signed: accounts, credits, fuel, the entries
// of an account's hash chain, the claims and vouchers of a lease, and the book that keeps
// them. It opens no file and no socket; ledger/badgerstore keeps a book on disk.
package ledger
