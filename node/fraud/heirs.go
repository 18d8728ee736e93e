package fraud

import (
	"context"
	"errors"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/ledger"
)

// heirs is what to tell of key changes: how this node's account came to its key, and some that it heard of.
func (s *Spreader) heirs() (out []heir) {
	own, err := s.book.Lineage()
	if err != nil {
		s.log.Warn("own key changes", "err", err)
	}
	add := func(x ledger.Succession) bool {
		out = append(out, heir(x))
		return len(out) < maxHeirs
	}
	for _, x := range own {
		if !add(x) {
			return out
		}
	}
	if err := s.book.Successions(anywhere(), func(_ ledger.Account, x ledger.Succession) bool { return add(x) }); err != nil {
		s.log.Warn("key changes in the ledger", "err", err)
	}
	if len(out) < maxHeirs { // all the way round; what is told twice changes nothing
		if err := s.book.Successions(ledger.Account{}, func(_ ledger.Account, x ledger.Succession) bool { return add(x) }); err != nil {
			s.log.Warn("key changes in the ledger", "err", err)
		}
	}
	return out
}

// inherit learns what a peer tells of key changes. Whoever tells of one that was never signed is shunned.
func (s *Spreader) inherit(ctx context.Context, p peer.ID, list []heir) error {
	if len(list) > maxHeirs {
		return fmt.Errorf("%d key changes at once: %w", len(list), ledger.ErrMalformed)
	}
	shower, _ := s.cfg.Account(p)
	for _, x := range list {
		switch err := s.succeed(ctx, p, ledger.Succession(x), shower); {
		case forged(err):
			s.cfg.Shun(p, fmt.Sprintf("it sent a forged key change: %v", err))
			return err
		case errors.Is(err, ledger.ErrReadOnly), errors.Is(err, ledger.ErrBookClosed):
			return err
		}
	}
	return nil
}
