package witness

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// maxOwn is how many entries one answer to an asker about its own chain holds.
const maxOwn = 64

// Ready fails while a lock would get no certificate: fewer than a quorum answer, as a *ledger.QuorumError; or one of
// them signed an entry of this account that is not in the book, which signs nothing from then on. For that each
// process asks a quorum once before its first lock, and again after a lock that found none: any certificate
// for this account is by a quorum too, so an honest witness knows of both.
func (c *Client) Ready(ctx context.Context) error {
	select {
	case <-c.checking:
		defer func() { c.checking <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	c.mu.Lock()
	ready := c.ready
	c.mu.Unlock()
	if ready {
		return nil
	}
	head := c.book.Head()
	err := c.all(ctx, func(ctx context.Context, s *seat) error {
		list, err := c.own(ctx, s, head.Len)
		if err != nil || len(list) == 0 {
			return err
		}
		return c.surprise(ctx, s, list[len(list)-1])
	})
	c.mu.Lock()
	c.ready = err == nil
	c.mu.Unlock()
	return err
}

// CheckOwn is Ready that asks again in any case.
func (c *Client) CheckOwn(ctx context.Context) error {
	c.mu.Lock()
	c.ready = false
	c.mu.Unlock()
	return c.Ready(ctx)
}

// ShowAll shows our chain to every witness that was not convicted, and fails with a *ledger.QuorumError as long as one has
// not seen it up to the entry that it returns. What they have seen is not asked for again, so it may be pruned.
func (c *Client) ShowAll(ctx context.Context) (seen uint64, err error) {
	seen = c.book.Head().Seq
	var t target
	if err := c.book.Show(seen, seen, func(x ledger.Shown) bool { t.raw = x.Entry; return false }); err != nil {
		return 0, err
	}
	if t.e, err = ledger.ParseEntry(t.raw); err != nil {
		return 0, err
	}
	t.d = t.e.Digest()
	failed := &ledger.QuorumError{}
	type result struct {
		s   *seat
		err error
	}
	results := make(chan result, len(c.seats))
	for _, s := range c.seats {
		if c.book.Convicted(s.account) {
			continue
		}
		failed.Of++
		c.wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			_, err := c.turn(ctx, s, t)
			c.note(s, err)
			results <- result{s, err}
		})
	}
	failed.Need = failed.Of
	for range failed.Of {
		if r := <-results; r.err != nil {
			failed.Why = append(failed.Why, c.name(r.s)+": "+r.err.Error())
			continue
		}
		failed.Signed++
	}
	if failed.Signed < failed.Need {
		return 0, failed
	}
	return seen, nil
}

// surprise takes an entry of ours that a witness signed and that is beyond our chain. An error is one of the book, which
// has lost it.
func (c *Client) surprise(ctx context.Context, s *seat, entry []byte) error {
	err := c.book.CheckOwn(ctx, entry)
	if err != nil {
		c.log.Warn("a witness holds an entry of this account that is not here", "witness", s.account, "err", err)
	}
	if errors.Is(err, ledger.ErrConflict) {
		return nil // under an earlier key of ours
	}
	return err
}

// own asks a witness for what it keeps of our chain from a place on, at most maxOwn entries.
func (c *Client) own(ctx context.Context, s *seat, from uint64) ([][]byte, error) {
	ask, done, err := c.dial(ctx, s)
	if err != nil {
		return nil, err
	}
	defer done()
	for {
		a, err := ask(question{Own: &own{Account: c.book.Account(), From: from}})
		switch {
		case err != nil:
			return nil, err
		case a.Refuse != nil && a.Refuse.Code == CodeBusy:
			if err := pause(ctx); err != nil {
				return nil, err
			}
			continue
		case a.Refuse != nil:
			return nil, &Refusal{a.Refuse.Code, clip(a.Refuse.Text), nil}
		case len(a.Entries) > maxOwn:
			return nil, fmt.Errorf("%d entries at a time: %w", len(a.Entries), ledger.ErrMalformed)
		}
		return a.Entries, nil
	}
}

// pause waits before a busy witness is asked again.
func pause(ctx context.Context) error {
	select {
	case <-time.After(busyWait):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", codeText[CodeBusy], ctx.Err())
	}
}

// Held is what witnesses keep of our chain from a place on, for ledger.Book.Recover: locks, and the settles that
// followed them. Witnesses that do not answer bring nothing.
func (c *Client) Held(ctx context.Context, from uint64) []ledger.Receipt {
	heard := make(chan [][]byte, len(c.seats))
	for _, s := range c.seats {
		c.wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			var all [][]byte
			for next := from; ; {
				list, err := c.own(ctx, s, next)
				if err != nil || len(list) == 0 || len(all) >= ledger.KeptEntries {
					if err != nil {
						c.log.Info("recover from a witness", "witness", s.account, "err", err)
					}
					break
				}
				all = append(all, list...)
				e, err := ledger.ParseEntry(list[len(list)-1])
				if err != nil || e.Seq < next {
					break
				}
				next = e.Seq + 1
			}
			heard <- all
		})
	}
	locks, settles := map[ledger.Digest][]byte{}, map[ledger.Digest][]byte{}
	for range c.seats {
		for _, raw := range <-heard {
			switch e, d, err := ledger.VerifyEntry(raw); {
			case err != nil || e.Account != c.book.Account():
			case e.Type == ledger.TypeLock:
				locks[d] = raw
			case e.Type == ledger.TypeSettle:
				settles[e.Ref] = raw
			}
		}
	}
	for lock := range settles {
		if locks[lock] == nil {
			if r, err := c.book.Receipt(lock); err == nil {
				locks[lock] = r.Lock
			}
		}
	}
	var out []ledger.Receipt
	for lock, raw := range locks {
		out = append(out, ledger.Receipt{Lock: raw, Settle: settles[lock]})
	}
	return out
}
