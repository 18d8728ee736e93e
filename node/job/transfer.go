package job

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/personal-power-plant/p3/ledger"
)

// Transfers taken up, all senders together: each stays on the disk for good, and a stranger in a mutual network can
// send some that cost it nothing. Nobody moves credit between PCs of one owner as often.
const (
	giftEvery = 10 * time.Second
	giftBurst = 32
)

func newGifts() *rate.Limiter { return rate.NewLimiter(rate.Every(giftEvery), giftBurst) }

// Give reserves credit for another account until expiry, and pays it as soon as one of its nodes is connected
// and says that it takes it. If none does by then the credit comes back. It returns the ID of the receipt.
func (s *Settler) Give(ctx context.Context, to ledger.Account, amount ledger.Credits, expiry time.Time) (ledger.Digest, error) {
	if err := s.env.ready(ctx); err != nil {
		return ledger.Digest{}, &unwitnessed{err}
	}
	lock, err := s.env.Book.Give(ctx, to, amount, expiry)
	if err != nil {
		return ledger.Digest{}, err
	}
	s.poke()
	s.env.Tell()
	return lock.Digest, nil
}

// offered is what to do about a transfer of ours that is not paid yet: show its lock, or after its expiry take it back.
func (s *Settler) offered(ctx context.Context, l ledger.OpenLock, now time.Time) (*ledger.Message, error) {
	if now.Before(l.Expiry) {
		return &ledger.Message{Lock: l.ID, To: l.Payee, Type: ledger.TypeLock}, nil
	}
	if _, err := s.env.Book.Settle(ctx, l.ID); err != nil {
		return nil, fmt.Errorf("take back %s: %w", l.ID.Short(), err)
	}
	s.env.Emit("warn", "credit", fmt.Sprintf("%s for %s came back: nobody took it in time", l.Amount, s.env.who(l.Payee)))
	s.env.Tell()
	return nil, nil
}

// find is a connected peer that acts for an account, or for the one that its chain goes on under.
func (s *Settler) find(a ledger.Account) (peer.ID, error) {
	if a = s.env.Book.Heir(a); s.env.Find != nil {
		if p, ok := s.env.Find(a); ok {
			return p, nil
		}
	}
	return "", fmt.Errorf("account %s: no peer of it is connected", a.Short())
}

// offer asks the receiver of a transfer whether it takes it, and pays it then.
func (s *Settler) offer(ctx context.Context, reply creditFrame, row ledger.Message) error {
	if reply.Ready != row.Lock {
		return errNoAnswer
	}
	if _, err := s.env.Book.Pay(ctx, row.Lock); err != nil && !errors.Is(err, ledger.ErrClosed) {
		return err
	}
	s.poke() // the settle goes out next
	return nil
}

// request is the frame that brings a record to its counterparty.
func (s *Settler) request(ctx context.Context, row ledger.Message) (creditFrame, error) {
	var f creditFrame
	switch e, err := ledger.ParseEntry(row.Entry); {
	case row.Type == ledger.TypeEarn:
		return creditFrame{Earn: row.Entry}, nil
	case row.Type == ledger.TypeSettle:
		if f.Settle = row.Entry; err != nil || !e.IsTransfer() {
			return f, err
		}
	}
	r, err := s.env.Book.Receipt(row.Lock)
	if f.Lock, f.Certificate = r.Lock, r.Certificate; err != nil || f.Certificate != nil {
		return f, err
	}
	if f.Certificate, err = s.env.certify(ctx, r.Lock); err == nil && f.Certificate != nil {
		err = s.env.Book.KeepCertificate(ctx, row.Lock, f.Certificate)
	}
	return f, err
}

// receive answers a transfer to us: its lock alone, which asks whether we would take it, or with the settle.
func (s *Settler) receive(ctx context.Context, from peer.ID, req creditFrame) (reply creditFrame, err error) {
	e, err := ledger.ParseEntry(req.Lock)
	if err != nil {
		return reply, err
	}
	id := e.Digest()
	_, unknown := s.env.Book.Info(id)
	switch {
	case unknown == nil: // it comes again
	case len(req.Settle) == 0 && s.gifts.Tokens() < 1, len(req.Settle) > 0 && !s.gifts.Allow():
		return reply, errors.New("too many transfers at once: send it again in a moment")
	}
	if len(req.Settle) == 0 {
		if err := s.env.Book.MayReceive(req.Lock, req.Certificate); err != nil {
			return reply, err
		}
		reply.Ready = id
		return reply, nil
	}
	if reply.Earn, err = s.env.Book.Receive(ctx, req.Lock, req.Settle, req.Certificate); err == nil && unknown != nil {
		s.env.Emit("ok", "credit", fmt.Sprintf("%s received from %s", e.Amount, s.env.who(e.Account)), "peer", s.env.Net.Name(from))
	}
	return reply, err
}
