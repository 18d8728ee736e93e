package job

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/ledger"
)

// A creditFrame is a request or a reply of the credit protocol: a signed entry, or why not.
type creditFrame struct {
	Settle []byte        `cbor:"1,keyasint,omitempty"` // payer to payee; the answer is the EARN
	Earn   []byte        `cbor:"2,keyasint,omitempty"` // payee to payer after taking up a voucher; the answer is the SETTLE
	Lock   []byte        `cbor:"3,keyasint,omitempty"` // of a transfer: alone it asks whether the payee is there, the answer is Ready; then with Settle
	Refuse *refusal      `cbor:"4,keyasint,omitempty"`
	Ready  ledger.Digest `cbor:"5,keyasint,omitzero"` // the lock of a transfer that would be taken up now

	Certificate []byte `cbor:"6,keyasint,omitempty"` // of the witnesses for Lock, in a network that has them
}

const creditFrameMax = 4<<10 + ledger.MaxCertificate

// Resending an unacknowledged record starts at retryMin and doubles to retryMax: a
// provider that is gone for a day costs a dial a minute.
const (
	retryMin = time.Second
	retryMax = time.Minute

	maxDialling = 16 // peers at a time
)

// A Settler brings signed records to their counterparties until they are acknowledged, and
// answers theirs. It is the only thing that outlives streams and restarts.
type Settler struct {
	env  Env
	j    journal
	wake chan struct{}
	wg   sync.WaitGroup

	meter *meter        // of signatures that others have us check
	gifts *rate.Limiter // of transfers that we take up

	mu       sync.Mutex             // guards what follows
	live     map[ledger.Digest]bool // locks of ours whose lease still runs
	locking  int                    // locks on their way into live
	unused   []ledger.Message       // settles of nothing, to be told
	retry    map[peer.ID]*retryState
	dialling map[peer.ID]time.Time // by the sweep of that time

	earned map[ledger.Digest]time.Time // by a voucher: when to show it to witnesses again, zero = they have seen it
}

type retryState struct {
	wait time.Duration
	next time.Time
}

// NewSettler serves the credit protocol on env.Net.
func NewSettler(env Env) *Settler {
	s := &Settler{env: env, j: journal{env.Store}, wake: make(chan struct{}, 1), meter: newMeter(), gifts: newGifts(), live: map[ledger.Digest]bool{}, retry: map[peer.ID]*retryState{}, dialling: map[peer.ID]time.Time{}}
	env.Net.Handle(CreditProtocol, creditFrameMax, s.serve)
	return s
}

// Run delivers until ctx ends. It first settles what a crash left open.
func (s *Settler) Run(ctx context.Context) error {
	defer s.wg.Wait()
	tick := time.NewTicker(retryMin)
	defer tick.Stop()
	for {
		if err := s.sweep(ctx, time.Now()); err != nil && ctx.Err() == nil {
			s.env.Log.Warn("settling", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake:
		case <-tick.C:
		}
	}
}

// Kick tries peer p again now, as after it connected; the zero peer means all.
func (s *Settler) Kick(p peer.ID) {
	s.mu.Lock()
	if p == "" {
		clear(s.retry)
	} else {
		delete(s.retry, p)
	}
	s.mu.Unlock()
	s.poke()
}

// poke makes Run look now.
func (s *Settler) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// lock makes a LOCK for a lease that is about to run; the returned function settles it. The
// sweep does not take it for one that a crash left, not even before its digest is known here.
func (s *Settler) lock(ctx context.Context, r ledger.LockRequest) (ledger.SignedEntry, func(), error) {
	s.mu.Lock()
	s.locking++
	s.mu.Unlock()
	lock, err := s.env.Book.Lock(ctx, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locking--
	if err != nil {
		return lock, nil, err
	}
	s.live[lock.Digest] = true
	return lock, sync.OnceFunc(func() {
		s.mu.Lock()
		delete(s.live, lock.Digest)
		s.mu.Unlock()
		// At once, so that a job never has more locked than its budget; what fails, the sweep tries again.
		for _, l := range s.env.Book.OpenLocks() {
			if l.ID == lock.Digest {
				s.settle(context.WithoutCancel(ctx), l)
			}
		}
		p, _ := s.peerOf(ledger.Message{Lock: lock.Digest, To: r.Payee}) // it was there just now, whatever became of older records
		s.Kick(p)
	}), nil
}

// orphaned reports whether no lease uses an open lock of ours, as far as can be told now.
func (s *Settler) orphaned(lock ledger.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.locking == 0 && !s.live[lock]
}

// sweep settles locks of ours that no lease uses, closes what is past expiry and grace,
// and sends what is unacknowledged.
func (s *Settler) sweep(ctx context.Context, now time.Time) error {
	if s.env.Book.ReadOnly() != nil {
		return nil // said where it began
	}
	var errs []error
	var rows []ledger.Message
	for _, l := range s.env.Book.OpenLocks() {
		switch {
		case l.Ours && l.Transfer():
			row, err := s.offered(ctx, l, now)
			if row != nil {
				rows = append(rows, *row)
			}
			errs = append(errs, err)
		case l.Ours && s.orphaned(l.ID):
			errs = append(errs, s.settle(ctx, l))
		}
	}
	if _, err := s.env.Book.Sweep(ctx, now); err != nil {
		errs = append(errs, err)
	}
	s.mu.Lock()
	unused := s.unused
	s.unused = nil
	s.mu.Unlock()
	for _, m := range unused {
		s.tellUnused(ctx, m)
	}
	pending, err := s.env.Book.Pending()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, row := range pending {
		if row.Type == ledger.TypeEarn {
			s.showEarn(ctx, row.Entry, now)
		}
	}
	rows = append(pending, rows...)
	byPeer := map[peer.ID][]ledger.Message{}
	for _, row := range rows {
		if p, err := s.peerOf(row); err == nil && s.claim(p, now) {
			byPeer[p] = append(byPeer[p], row)
		}
	}
	for p, rows := range byPeer { // a peer that hangs delays nobody else
		s.wg.Go(func() { s.deliverAll(ctx, p, rows) })
	}
	return errors.Join(errs...)
}

func (s *Settler) settle(ctx context.Context, l ledger.OpenLock) error {
	raw, err := s.env.Book.Settle(ctx, l.ID)
	if err != nil {
		return fmt.Errorf("settle %s: %w", l.ID.Short(), err)
	}
	if l.Vouched == 0 {
		s.mu.Lock()
		s.unused = append(s.unused, ledger.Message{Lock: l.ID, To: l.Payee, Type: ledger.TypeSettle, Entry: raw})
		s.mu.Unlock()
	}
	return nil
}

// tellUnused lets the payee of a lock that paid nothing close it too. Nothing is owed, so it is
// said once: who does not hear it closes the lock when it expires.
func (s *Settler) tellUnused(ctx context.Context, m ledger.Message) {
	p, err := s.peerOf(m)
	if err != nil {
		return // the lock was never sent
	}
	s.wg.Go(func() {
		if err := s.deliver(ctx, p, m); err != nil && !errors.Is(err, errNoAnswer) {
			s.env.Log.Debug("unused lock", "peer", p, "err", err)
		}
	})
}

func (s *Settler) peerOf(row ledger.Message) (peer.ID, error) {
	var h holder
	if err := s.j.get(lockKey(row.Lock), &h); errors.Is(err, ledger.ErrNotFound) { // a transfer: any node of the account may take it
		return s.find(row.To)
	} else if err != nil {
		return "", err
	}
	return peer.ID(h.Peer), nil
}

// remember notes who a lock is shared with, before anything about it is sent.
func (s *Settler) remember(ctx context.Context, lock ledger.Digest, h holder, more ...ledger.Op) error {
	op, err := put(lockKey(lock), h)
	if err != nil {
		return err
	}
	return s.env.Store.Commit(ctx, append(more, op)...)
}

// claim reports whether p is to be dialled now, and keeps others from doing it as well. Rows of
// one sweep go together.
func (s *Settler) claim(p peer.ID, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, busy := s.dialling[p]; busy {
		return at.Equal(now)
	}
	if r := s.retry[p]; r != nil && now.Before(r.next) || len(s.dialling) >= maxDialling {
		return false
	}
	s.dialling[p] = now
	return true
}

// deliverAll brings a peer its records, as long as it is there. One that it refuses, or has no answer to yet, such as an office PC
// whose account's key is away, keeps no other waiting.
func (s *Settler) deliverAll(ctx context.Context, p peer.ID, rows []ledger.Message) {
	again := false
	for _, row := range rows {
		err := s.deliver(ctx, p, row)
		if err == nil {
			s.env.Tell()
			continue
		}
		again = true
		if ctx.Err() == nil {
			s.env.Log.Debug("settling", "peer", p, "err", err)
		}
		if !errors.Is(err, errNoAnswer) && !errors.As(err, new(*Refusal)) {
			break
		}
	}
	if again {
		s.backoff(p, time.Now())
	}
	s.mu.Lock()
	delete(s.dialling, p)
	s.mu.Unlock()
	s.poke() // what came meanwhile
}

func (s *Settler) backoff(p peer.ID, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.retry[p]
	if r == nil {
		r = &retryState{wait: retryMin / 2}
		s.retry[p] = r
	}
	r.wait = min(2*r.wait, retryMax)
	r.next = now.Add(r.wait)
}

// errNoAnswer is an empty reply, as a SETTLE of nothing gets.
var errNoAnswer = errors.New("empty answer")

func (s *Settler) deliver(ctx context.Context, p peer.ID, row ledger.Message) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	req, err := s.request(ctx, row)
	if err != nil {
		return err
	}
	reply, err := Ask[creditFrame](ctx, s.env.Net, p, CreditProtocol, creditFrameMax, openTimeout, req)
	switch {
	case err != nil:
		return err
	case reply.Refuse != nil:
		return &Refusal{Code: reply.Refuse.Code, Text: clip(reply.Refuse.Text)}
	case row.Type == ledger.TypeLock:
		return s.offer(ctx, reply, row)
	case len(reply.Settle) > 0:
		_, err := s.env.Book.Earn(ctx, reply.Settle)
		return err
	case len(reply.Earn) > 0:
		return s.env.Book.AcknowledgeEarn(ctx, reply.Earn)
	}
	return errNoAnswer
}

// settleFor is our SETTLE of the lock that an EARN took a voucher of.
func (s *Settler) settleFor(ctx context.Context, earn []byte) ([]byte, error) {
	e, err := ledger.ParseEntry(earn)
	if err != nil {
		return nil, err
	}
	return s.env.Book.Settle(ctx, e.Ref)
}

// serve answers one record. Everything a stranger can send here is checked by the book.
func (s *Settler) serve(ctx context.Context, st Stream) {
	st.SetIdle(openTimeout)
	b, err := st.ReadFrame()
	var req, reply creditFrame
	if err != nil || canon.Unmarshal(b, &req) != nil {
		return
	}
	switch {
	case !s.meter.take(st.Peer(), 1+len(req.Certificate)/ledger.SignatureSize, time.Now()):
		err = errors.New("too many records to check: send it again in a moment")
	case len(req.Lock) > 0:
		reply, err = s.receive(ctx, st.Peer(), req)
	case len(req.Settle) > 0:
		reply.Earn, err = s.env.Book.Earn(ctx, req.Settle)
		if cheat := (*ledger.UnderSettleError)(nil); errors.As(err, &cheat) {
			s.env.Emit("error", "credit", "a payer settled below a voucher it had signed; the proof is kept", "peer", s.env.Net.Name(st.Peer()))
			s.showEarn(ctx, reply.Earn, time.Now())
			err = nil // it still learns that we took up the voucher
		}
	case len(req.Earn) > 0:
		if err = s.env.Book.AcknowledgeEarn(ctx, req.Earn); err == nil {
			reply.Settle, err = s.settleFor(ctx, req.Earn)
		}
	default:
		err = errors.New("empty request")
	}
	if err != nil {
		reply = creditFrame{Refuse: refuse(CodeRecord, "%v", err).wire()}
	}
	if b, err = canon.Marshal(reply); err == nil && st.WriteFrame(b) == nil {
		st.Close()
	}
	s.env.Tell()
}
