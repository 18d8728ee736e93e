package blob

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
)

// What callers branch on.
var (
	ErrNotFound = errors.New("blob not found")
	ErrCorrupt  = errors.New("blob is corrupt") // and was removed: fetch it again
	ErrExists   = errors.New("blob exists already")
	ErrBusy     = errors.New("blob is being fetched already")
	ErrShort    = errors.New("blob is not complete") // resume with Create
	ErrTooLong  = errors.New("blob is longer than announced")
	ErrFull     = errors.New("blob store is full") // what FullError is
)

// A FullError says why there was no room. errors.Is(err, ErrFull) holds.
type FullError struct {
	Need   int64 // bytes that did not fit
	Used   int64 // bytes stored
	Pinned int64 // of these, bytes in use by jobs
	Quota  int64
	Disk   error // set when the disk itself is full
}

func (e *FullError) Error() string {
	if e.Disk != nil {
		return fmt.Sprintf("no room for %d bytes: %v: free some space on the disk or lower the store's quota", e.Need, e.Disk)
	}
	return fmt.Sprintf("no room for %d bytes: %d of %d are in use, %d of them by jobs: raise the quota or wait for jobs to end",
		e.Need, e.Used, e.Quota, e.Pinned)
}

// Is makes it an ErrFull.
func (e *FullError) Is(target error) bool { return target == ErrFull }

// Unwrap returns the disk's error, if it was that.
func (e *FullError) Unwrap() error { return e.Disk }

const windowsDiskFull = syscall.Errno(112) // ERROR_DISK_FULL

// diskFull turns the system's word for a full disk into a FullError.
func diskFull(err error, need int) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		runtime.GOOS == "windows" && errors.Is(err, windowsDiskFull) {
		return &FullError{Need: int64(need), Disk: err}
	}
	return err
}
