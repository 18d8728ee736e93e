package wasm

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"github.com/personal-power-plant/p3/exec/wasm/meter"
	"github.com/personal-power-plant/p3/ledger"
)

// CostTable identifies what fuel means here: SHA-256 over "p3 costs 1", the meter's table and
// the costs of host calls and of a start (each 8 bytes, big-endian: call, bytes a unit, entry, start). It is
// exec.Manifest.Costs; hosts with another table count differently and cannot vote together.
func CostTable() ledger.Digest { return costTable() }

var costTable = sync.OnceValue(func() ledger.Digest {
	table := meter.CostTableHash()
	b := append([]byte("p3 costs 1"), table[:]...)
	for _, v := range []uint64{costHostCall, costHostBytes, costHostEntry, costStart} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return sha256.Sum256(b)
})
