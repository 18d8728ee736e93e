//go:build !linux

package wasm

import "errors"

// guestGroup is Linux's: see cgroup_linux.go.
type guestGroup struct{}

func openGuestGroup() (*guestGroup, error) { return nil, errors.ErrUnsupported }

func (*guestGroup) room(int, int64) error { return nil }

func (*guestGroup) add(int) error { return nil }

func (*guestGroup) name() string { return "" }

func (*guestGroup) close() {}
