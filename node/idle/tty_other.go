//go:build !linux

package idle

import (
	"errors"
	"time"
)

func accessed(string) (time.Time, error) { return time.Time{}, errors.ErrUnsupported }
