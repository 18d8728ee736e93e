package wasm

// A Protection is one wall around workers and whether it holds on this machine.
type Protection struct {
	Name   string `cbor:"1,keyasint" json:"name"`
	OK     bool   `cbor:"2,keyasint" json:"ok"`
	Detail string `cbor:"3,keyasint,omitempty" json:"detail,omitempty"` // why not, or what exactly
}

// held reports a wall from the error of putting it up.
func held(name string, err error) Protection {
	if err != nil {
		return Protection{name, false, err.Error()}
	}
	return Protection{Name: name, OK: true}
}
