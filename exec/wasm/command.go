package wasm

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/personal-power-plant/p3/exec/wasm/meter"
)

var errNotModule = errors.New("not a module")

// bareCommand leaves, of an instrumented module's exports, those that run it: a translator
// writes the names of exports into its output, and a stranger chose them. Custom sections go too.
func bareCommand(module []byte) ([]byte, error) {
	const header, custom, exports = 8, 0, 7
	if len(module) < header {
		return nil, errNotModule
	}
	out := slices.Clone(module[:header])
	for rest := module[header:]; len(rest) > 0; {
		id := rest[0]
		size, n := binary.Uvarint(rest[1:])
		if n <= 0 || size > uint64(len(rest)-1-n) {
			return nil, errNotModule
		}
		section := rest[: 1+n+int(size) : 1+n+int(size)]
		rest = rest[len(section):]
		switch id {
		case custom:
		case exports:
			body, err := bareExports(section[1+n:])
			if err != nil {
				return nil, err
			}
			out = append(binary.AppendUvarint(append(out, exports), uint64(len(body))), body...)
		default:
			out = append(out, section...)
		}
	}
	return out, nil
}

func bareExports(b []byte) ([]byte, error) {
	count, n := binary.Uvarint(b)
	if n <= 0 {
		return nil, errNotModule
	}
	b = b[n:]
	var kept []byte
	var keeps uint64
	for range count {
		length, n := binary.Uvarint(b)
		if n <= 0 || length > uint64(len(b)-n) {
			return nil, errNotModule
		}
		name := n + int(length)
		if name >= len(b) {
			return nil, errNotModule
		}
		_, n = binary.Uvarint(b[name+1:])
		if n <= 0 {
			return nil, errNotModule
		}
		entry := b[:name+1+n]
		switch string(b[name-int(length) : name]) {
		case "_start", meter.FuelGlobal, meter.DepthGlobal:
			kept = append(kept, entry...)
			keeps++
		}
		b = b[len(entry):]
	}
	return append(binary.AppendUvarint(nil, keeps), kept...), nil
}
