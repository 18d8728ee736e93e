// Package canon encodes and decodes the CBOR of every manifest, offer and frame:
// core deterministic encoding (RFC 8949 section 4.2.1), so that equal values have
// equal bytes, and a decoder with bounds, so that a stranger's bytes cannot exhaust memory.
//
// It is not for ledger records: these have a fixed layout of their own.
// All functions are safe for concurrent use.
package canon

import "github.com/fxamacker/cbor/v2"

var (
	enc = must(cbor.CoreDetEncOptions().EncMode())
	dec = must(cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  16,
		MaxArrayElements: 1 << 16,
		MaxMapPairs:      1 << 12,
		UTF8:             cbor.UTF8RejectInvalid,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // our own options are wrong
	}
	return v
}

// Marshal returns the one encoding of v.
func Marshal(v any) ([]byte, error) { return enc.Marshal(v) }

// Unmarshal decodes exactly one item that fills b. Unknown map keys are ignored, so that
// an older peer can read a newer peer's frame. The caller bounds len(b).
func Unmarshal(b []byte, v any) error { return dec.Unmarshal(b, v) }
