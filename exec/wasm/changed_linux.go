package wasm

import (
	"fmt"
	"io/fs"
	"syscall"
)

// changed is a file's inode and the time of its last change of any kind, which nobody can set.
func changed(info fs.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprint(st.Ino, st.Ctim.Sec, st.Ctim.Nsec)
}
