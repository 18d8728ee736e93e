package wasm

import (
	"errors"
	"fmt"
)

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

// complete says which wall does not stand: the second tier is behind all of them or not at all.
func complete(walls []Protection) error {
	for _, w := range walls {
		if !w.OK {
			return fmt.Errorf("no second tier without %s: %s", w.Name, w.Detail)
		}
	}
	if len(walls) == 0 {
		return errors.New("no second tier outside of a sandbox")
	}
	return nil
}
