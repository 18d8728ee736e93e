// Package sim runs whole nodes, the daemon that `p3 up` starts, on simulated links in fake
// time: many in one process, minutes of network trouble in seconds.
//
// Its main type is [Net]. A Net lives inside a testing/synctest bubble: clocks stand still while
// anything computes and jump when everybody waits. Replaced are the links ([Link], on
// github.com/marcopolo/simnet), the disk of the ledger (in memory, and it can die with its node)
// and the pace of the engine, which runs real programs in this process. All else is what runs on
// real machines, including the blobs on disk.
//
// Keys, latencies and losses follow from one seed. The order in which goroutines of one instant run
// does not, nor do the nonces of TLS and QUIC: a seed narrows a failure down, it does not replay it
// bit by bit.
//
// [Net.Run] runs a scenario written as a script, one step a line; see testdata. A Net is for
// one goroutine.
package sim
