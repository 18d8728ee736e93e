// Package flow says how much credit a provider of a mutual network gives a payer, and why.
//
// In such a network a balance proves nothing: identities that one person made can "work" for each
// other. So a provider counts only what reaches it through work that was done for it: the maximum
// flow from itself to the payer over who has worked for whom (Graph), plus a starter that it risks on
// strangers (Limiter). The idea is BarterCast's (Meulpolder et al., "BarterCast: A practical approach
// to prevent lazy freeriding in P2P networks", 2009); that credit given is used up along its path is
// that of credit networks (Dandekar, Goel, Govindan, Post, "Liquidity in credit networks", 2011).
//
// It opens no file and no socket and has no clock: what is kept for good lies in a ledger.Book, and now
// is an argument.
package flow
