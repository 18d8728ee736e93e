//go:build !linux

package fence

import "os"

func datasync(f *os.File) error { return f.Sync() }
