package exec

// Capacity is what one machine lends.
type Capacity struct {
	Slots   int      `cbor:"1,keyasint" json:"slots"`   // units at a time
	Memory  int64    `cbor:"2,keyasint" json:"memory"`  // bytes, over all slots
	Disk    int64    `cbor:"3,keyasint" json:"disk"`    // bytes of blobs
	Engines []string `cbor:"4,keyasint" json:"engines"` // sorted
	Arch    string   `cbor:"5,keyasint" json:"arch"`    // GOARCH
	OS      string   `cbor:"6,keyasint" json:"os"`      // GOOS
	Speed   uint64   `cbor:"7,keyasint" json:"speed"`   // fuel per second of one slot, measured here
}
