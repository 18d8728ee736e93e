package fence

import (
	"os"
	"syscall"
)

func inodeOf(f *os.File) (uint64, error) {
	var info syscall.ByHandleFileInformation
	if err := syscall.GetFileInformationByHandle(syscall.Handle(f.Fd()), &info); err != nil {
		return 0, err
	}
	return uint64(info.FileIndexHigh)<<32 | uint64(info.FileIndexLow), nil
}

// syncDir has nothing to do: NTFS journals names.
func syncDir(string) error { return nil }
