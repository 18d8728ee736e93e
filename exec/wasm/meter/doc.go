// Package meter rewrites a WebAssembly module so that it counts its own fuel, exactly, and
// cannot be told apart by its results from one host to the next.
//
// It is a pure function of bytes: no engine, no disk. It validates the whole module first
// (WebAssembly 2.0, W3C 2022-04-19, chapter 3), so that no index of the guest can reach what
// the pass adds, refuses what P3 does not run, and bounds what would make a compiler
// explode. Instrument is safe for concurrent use.
//
// # Fuel
//
// Every executed operator costs its price in [Costs]. A region is a straight line of
// operators that is entered only at its start: it ends after a branch, a call, a return or
// unreachable, and before a label that something branches to. A region is charged whole
// when it is entered, so the total equals charging each operator before executing it,
// however the program ends, with one exception: when an operator traps in the middle of a
// region, the rest of that region is charged too. That is a property of the module, the
// same on every engine. Bulk memory and table operators and memory.grow charge by size in
// addition, just before they run; a memory.grow or table.grow that is going to fail charges
// nothing for the pages it does not get.
//
// While a function runs, what is left lives in an i64 parameter that the pass adds, and a
// function returns it after its results (see wrap.go). It is written to the hidden global
// [FuelGlobal] at the start of each region that can trap or call the host, and when an export
// returns: the host finds the exact figure there whenever it looks. Host calls may charge by
// lowering that global; it is read again after each.
//
// Loop headers and the entry of every function that is not provably small compare with zero
// and then call the import [ImportModule].[ImportRefuel] with what is left (negative). The
// host returns the new amount, at least zero, or panics to stop the guest. Granted - left is
// what was used, whatever the slices were: the first call is made with a global of 0, so the
// host need not set anything beforehand.
//
// # Depth
//
// [DepthGlobal] holds what an export that the host calls may nest. A function is passed its
// remainder in another added parameter and passes on that less its frame's weight; when it
// is negative the function executes unreachable and leaves the negative number in the global
// for the host to see: call stack exhausted. A frame weighs one, more when it is large, so
// that the limit also bounds bytes of native stack. Small functions (few operators, calling
// only small functions) are not counted. After such a trap the host must set the global to
// Info.DepthLimit before it calls another export.
//
// # Speed
//
// What the pass adds is shaped by what wazero's compiler makes of it: a call in a loop or at
// an entry costs even when it never runs, for what lives across it is stored where it is
// defined; a join makes it reload the memory's base and forget bounds that it has checked; a
// block without a way back is laid out in line. Hence the loops around loops (control.go),
// the functions that pass values through or begin again (wrap.go), and the second copies
// (stretch.go). BenchmarkMeterOverhead measures; docs/benchmarks.md has the figures, and what
// was tried and left.
//
// # NaN
//
// See nan.go for which operators give different bits on different machines, and where they
// are made canonical.
package meter
