package meter

// Bounds against modules that are small to send and slow or large to compile. The figures
// in brackets are what the JavaScript API allows (its Implementation Limits) where ours is
// lower; no compiler's output that we know comes near ours.
const (
	MaxModule     = 64 << 20  // bytes
	MaxTypes      = 100_000   // [1,000,000]
	MaxFunctions  = 1_000_000 // [1,000,000]
	MaxImports    = 10_000    // [1,000,000]
	MaxExports    = 100_000   // [1,000,000]
	MaxGlobals    = 100_000   // [1,000,000]
	MaxSegments   = 100_000   // data, and element [10,000,000]
	MaxTables     = 64        // [100,000]
	MaxElements   = 1 << 20   // of all tables together, at 8 bytes each [10,000,000 a table]
	MaxParams     = 1_000     //
	MaxResults    = 100       // [1,000]: a call pushes as many
	MaxNameLength = 4096      // [100,000]
	MaxBody       = 4 << 20   // bytes of one function [7,654,321]
	MaxLocals     = 50_000    //
	MaxOperands   = 10_000    // height of the operand stack
	MaxBlockDepth = 20_000    // Go's own compiler, built for wasip1, has a switch of 12,048 cases, a block each
	MaxLoopDepth  = 64        // 500 nested loops in 3 KB took wazero over 40 s
	MaxLocalLoops = 4_000_000 // locals x loops of one function: a phi for each
	MaxBranches   = 65_520    // targets of a br_table [65,520]
	MaxDepth      = 16_384    // frame weights; see function.weight
	maxPages      = 65_536    // 4 GiB, all that 32 bits address
	maxTypeWork   = 64        // operands popped and pushed, per byte of a body
)
