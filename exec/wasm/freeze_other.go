//go:build !unix

package wasm

import (
	"errors"
	"os"
)

func halt(*os.Process) error { return errors.ErrUnsupported }

func unhalt(*os.Process) error { return nil }
