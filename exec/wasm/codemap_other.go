//go:build !linux

package wasm

import (
	"errors"
	"os"
)

func mapCode([]byte, *os.File, int64) error { return errors.ErrUnsupported }
