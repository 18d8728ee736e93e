package sim

import (
	"context"
	"errors"
	"sync"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

var errDead = errors.New("the machine is dead")

// A disk is a node's store. After die it takes nothing more, so that whatever the process still
// does, its next life finds what was there at that moment.
type disk struct {
	*ledgertest.Memory

	mu   sync.RWMutex // guards dead, and a commit against die
	dead bool
}

func (d *disk) die() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
}

// Commit implements ledger.Store.
func (d *disk) Commit(ctx context.Context, ops ...ledger.Op) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.dead {
		return errDead
	}
	return d.Memory.Commit(ctx, ops...)
}
