package sim

import (
	"context"
	"errors"
	"fmt"

	"github.com/personal-power-plant/p3/ledger"
)

// book opens a copy of what is on the node's disk now, running or not. The caller closes it.
func (x *Node) book() (*ledger.Book, error) {
	return ledger.OpenBook(context.Background(), x.disk.Clone(), x.key, x.n.genesis)
}

// look calls f with a copy of the node's book.
func (x *Node) look(f func(*ledger.Book) error) error {
	b, err := x.book()
	if err != nil {
		return err
	}
	defer b.Close()
	return f(b)
}

// Audit checks every entry and receipt on all disks, those of dead nodes too, and that no
// credit came out of nothing, at this moment.
func (n *Net) Audit() (ledger.Totals, error) {
	a, err := ledger.NewAudit(n.genesis)
	if err != nil {
		return ledger.Totals{}, err
	}
	for _, x := range n.nodes {
		if err := x.look(a.Book); err != nil {
			return ledger.Totals{}, fmt.Errorf("book of %s: %w", x.Name, err)
		}
	}
	return a.Check()
}

// Settled reports, as an error, what still stands open: a lock that nobody closed or an entry whose
// counterparty has not acknowledged it.
func (n *Net) Settled() error {
	var errs []error
	for _, x := range n.nodes {
		errs = append(errs, x.look(func(b *ledger.Book) error {
			pending, err := b.Pending()
			if locks := b.OpenLocks(); err == nil && len(locks)+len(pending) > 0 {
				err = fmt.Errorf("%s: %d locks open, %d entries unacknowledged", x.Name, len(locks), len(pending))
			}
			return err
		}))
	}
	return errors.Join(errs...)
}

// Balance is what the node's book on disk says.
func (x *Node) Balance() (bal ledger.Balance, err error) {
	err = x.look(func(b *ledger.Book) error { bal = b.Balance(); return nil })
	return bal, err
}
