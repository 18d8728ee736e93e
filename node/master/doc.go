// Package master is for programs that make the units of a job themselves and use the results as they end, such as a
// search that goes on where something was found: the master of master-worker.
//
// A Farm is one open job of a program: Submit gives it units, Next takes results in the order in which they end. Where
// the units run, what happens when a host fails, how results are voted on and paid is the node's affair; how much is
// checked is a word of the manifest (exec.Manifest.Verify). Serve lets a program in any language be the master, by
// lines of JSON.
//
// Both sides are bounded: at most Options.Window units are out, that is submitted and not yet taken. Submit waits
// beyond that, so a master of one goroutine stays below it (Out), or leaves the loop to Run. A node that is restarted
// meanwhile is met again. A master that ends early cancels the job, since nobody is left to use its results: defer
// Cancel. One that is killed leaves that to the node, which closes a job whose inputs broke off (docs/master-worker.md).
//
// All of a Farm is safe for concurrent use.
package master
