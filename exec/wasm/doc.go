// Package wasm runs WebAssembly commands (WASI preview 1) for strangers: exactly metered,
// deterministic and shut in.
//
// Two engines implement exec.Engine. Local runs guests in this process; simulations, the
// emulator and the worker process use it. Pool is what a node uses: it keeps one worker
// process a slot, speaks a framed protocol with it, hands it open files instead of a file
// system, and kills it when it overruns. Worker processes shut themselves in as far as the
// operating system allows; Probe says how far that is.
//
// The guest sees one tree: /in and /data, read-only, from the files that the Spec lists;
// /out, whose files become the result; and /tmp, which is dropped. All of it is virtual: no
// folder of the host is ever opened on the guest's behalf, so there is no path to escape by.
// Clock, random numbers, inodes, times and order of directories follow from the Spec and the
// fuel used so far, so that two honest hosts give the same bytes and the same fuel.
//
// The package does not decide what may run or who pays: that is package exec and above.
// Engines are safe for concurrent use.
package wasm
