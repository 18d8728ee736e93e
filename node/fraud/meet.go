package fraud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node/job"
)

// Protocol is the exchange between two peers that met: one question, one answer, in frames.
const Protocol = "/p3/fraud/1.0.0"

const (
	maxFrame  = 512 << 10 // a page of receipts and all open leases fit
	maxHave   = 2048      // accounts named in a question
	maxProofs = 64        // in an answer
	maxRounds = 16        // questions to one peer
	maxServed = 32        // peers answered at a time
	maxHeld   = 32        // receipts in an answer, besides those of open leases
	maxPages  = 1024      // of receipts from one peer
	maxTaken  = 256       // grants in an answer
	maxHeirs  = 32        // key changes in an answer, the answerer's own first

	meetTimeout = 10 * time.Second
	busyWait    = 20 * time.Millisecond // before a second try
)

// A question names the accounts against which the asker holds a proof, 20 bytes each: at most
// maxHave, at random if there are more.
type question struct {
	Have []byte `cbor:"1,keyasint,omitempty"`
	Lost *place `cbor:"2,keyasint,omitempty"` // the asker has lost its entries from here on: receipts, please
}

type place struct {
	Epoch uint32 `cbor:"1,keyasint"`
	Seq   uint64 `cbor:"2,keyasint"`
}

// An answer brings proofs that the asker lacks, at most maxProofs, and the newest entry of the
// asker's own account that the answerer knows: an asker whose disk has lost it learns so.
type answer struct {
	Proofs [][]byte `cbor:"1,keyasint,omitempty"`
	Yours  []byte   `cbor:"2,keyasint,omitempty"`

	Receipts [][]byte `cbor:"3,keyasint,omitempty"` // of leases with the asker's account
	Next     uint64   `cbor:"4,keyasint,omitempty"` // where to go on; 0 = that was all
	Grants   []taken  `cbor:"5,keyasint,omitempty"` // that the asker's account took up
	Minted   [][]byte `cbor:"6,keyasint,omitempty"` // the newest grant known of each mint

	Heirs []heir `cbor:"7,keyasint,omitempty"` // accounts that go on under another key: the answerer's own, newest first, then some of others
}

// heir is a ledger.Succession.
type heir struct {
	First  []byte `cbor:"1,keyasint"`
	Second []byte `cbor:"2,keyasint"`
}

// taken is a ledger.TakenGrant.
type taken struct {
	Grant []byte `cbor:"1,keyasint"`
	Entry []byte `cbor:"2,keyasint"`
}

// Met asks a peer that has said hello what it knows. It takes as long as the peer does, within bounds. An error
// says that not all could be learnt; the peer may be asked again.
func (s *Spreader) Met(ctx context.Context, p peer.ID) error {
	for range maxRounds {
		n, err := s.question(ctx, p)
		if err != nil {
			if ctx.Err() == nil {
				s.log.Debug("proofs not exchanged", "peer", p, "err", err)
			}
			return err
		}
		if n < maxProofs {
			return nil
		}
	}
	return nil
}

// Held asks a peer for the receipts of its leases with us that have an entry of ours from (epoch, seq) on, and for the grants
// that we took up from there on. Each is valid and has a signature of ours, so there are no more of them than we once made.
func (s *Spreader) Held(ctx context.Context, p peer.ID, epoch uint32, seq uint64) (out []ledger.Receipt, grants []ledger.TakenGrant, err error) {
	seen := map[ledger.Digest]bool{}
	for range maxPages {
		a, err := s.sayAgain(ctx, p, question{Lost: &place{epoch, seq}})
		if err != nil {
			return nil, nil, err
		}
		if len(a.Receipts) > maxHeld+ledger.MaxOpenLocks || len(a.Grants) > maxTaken {
			return nil, nil, fmt.Errorf("%d receipts and %d grants at once: %w", len(a.Receipts), len(a.Grants), ledger.ErrMalformed)
		}
		for _, x := range a.Grants {
			taken := ledger.TakenGrant(x)
			g, _, err := taken.Verify(s.book.Genesis(), s.book.Account())
			if err != nil {
				return nil, nil, err
			}
			if id := g.Digest(); !seen[id] {
				seen[id], grants = true, append(grants, taken)
			}
		}
		for _, raw := range a.Receipts {
			r, err := ledger.ParseReceipt(raw)
			if err != nil {
				return nil, nil, err
			}
			sum, err := r.Verify()
			if err != nil {
				return nil, nil, err
			}
			us := s.book.Account()
			if mine := sum.Payer == us || sum.Payee == us && (r.Claim != nil || r.Earn != nil); mine && !seen[sum.ID] {
				seen[sum.ID], out = true, append(out, r)
			}
		}
		if a.Next <= seq || len(a.Receipts) == 0 && len(a.Grants) == 0 {
			return out, grants, nil
		}
		seq = a.Next
	}
	return out, grants, nil
}

// say asks one question.
func (s *Spreader) say(ctx context.Context, p peer.ID, q question) (a answer, err error) {
	return job.Ask[answer](ctx, s.cfg.Net, p, Protocol, maxFrame, meetTimeout, q)
}

// sayAgain is say to a peer that may still be at our last question: it answers one of ours at a time, and resets others.
func (s *Spreader) sayAgain(ctx context.Context, p peer.ID, q question) (a answer, err error) {
	for wait := busyWait; ; wait *= 2 {
		if a, err = s.say(ctx, p, q); !errors.Is(err, network.ErrReset) || wait > meetTimeout/2 {
			return a, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return a, ctx.Err()
		}
	}
}

// question asks for proofs once and returns how many were news.
func (s *Spreader) question(ctx context.Context, p peer.ID) (news int, err error) {
	var q question
	for _, a := range s.accounts(maxHave) {
		q.Have = append(q.Have, a[:]...)
	}
	a, err := s.say(ctx, p, q)
	if err != nil {
		return 0, err
	}
	if len(a.Proofs) > maxProofs {
		return 0, fmt.Errorf("%d proofs at once: %w", len(a.Proofs), ledger.ErrMalformed)
	}
	for _, raw := range a.Proofs {
		if len(raw) > 0 && !ledger.ProofKind(raw[0]).Known() {
			continue
		}
		switch new, err := s.hear(ctx, raw); {
		case forged(err):
			s.cfg.Shun(p, fmt.Sprintf("it sent a forged proof: %v", err))
			return news, err
		case err != nil:
			return news, err
		case new:
			news++
		}
	}
	if err := s.inherit(ctx, p, a.Heirs); err != nil {
		return news, err
	}
	if len(a.Yours) > 0 {
		if err := s.book.CheckOwn(ctx, a.Yours); err != nil {
			return news, err
		}
	}
	return news, s.minted(ctx, p, a.Minted)
}

// minted holds the newest grants that a peer knows against those known here. So two that cannot stand in one mint's
// chain meet, though their members do not; and a mint whose disk was rolled back learns what it signed.
func (s *Spreader) minted(ctx context.Context, p peer.ID, grants [][]byte) error {
	if most := len(s.book.Genesis().Mints); len(grants) > most {
		return fmt.Errorf("grants of %d mints, there are %d: %w", len(grants), most, ledger.ErrMalformed)
	}
	for _, raw := range grants {
		_, err := s.book.LearnGrant(ctx, raw)
		switch {
		case forged(err):
			s.cfg.Shun(p, fmt.Sprintf("it sent a forged grant: %v", err))
			return err
		case errors.Is(err, ledger.ErrFrozen), errors.As(err, new(*ledger.MintError)):
		case err != nil:
			return err
		}
	}
	return nil
}

// serve answers one question.
func (s *Spreader) serve(_ context.Context, st job.Stream) {
	p := st.Peer()
	if !s.admit(p) {
		st.Reset()
		return
	}
	defer s.dismiss(p)
	st.SetIdle(meetTimeout)
	b, err := st.ReadFrame()
	var q question
	if err != nil || canon.Unmarshal(b, &q) != nil || len(q.Have) > maxHave*len(ledger.Account{}) || len(q.Have)%len(ledger.Account{}) != 0 {
		st.Reset()
		return
	}
	have := map[ledger.Account]bool{}
	for rest := q.Have; len(rest) > 0; rest = rest[len(ledger.Account{}):] {
		have[ledger.Account(rest)] = true
	}
	var a answer
	if q.Lost == nil {
		a.Proofs = s.some(maxProofs, have)
		for _, m := range s.book.Genesis().Mints {
			raw, err := s.book.NewestGrant(m.Account)
			if err != nil {
				s.log.Warn("newest grant", "mint", m.Account, "err", err)
			}
			if raw != nil {
				a.Minted = append(a.Minted, raw)
			}
		}
		a.Heirs = s.heirs()
	}
	_, till := s.book.Till() // which holds entries of its own account as others do
	if theirs, ok := s.cfg.Account(p); ok && (theirs != s.book.Account() || till) {
		if a.Yours, err = s.book.Newest(theirs); err != nil {
			s.log.Warn("newest entry", "account", theirs, "err", err)
		}
		if q.Lost != nil {
			grants, err := s.book.HeldGrants(theirs, q.Lost.Epoch, q.Lost.Seq, maxTaken)
			if err != nil {
				s.log.Warn("grants", "account", theirs, "err", err)
			}
			for _, x := range grants {
				a.Grants = append(a.Grants, taken(x))
			}
			held, next, err := s.book.Held(theirs, q.Lost.Epoch, q.Lost.Seq, maxHeld)
			if err != nil {
				s.log.Warn("receipts", "account", theirs, "err", err)
			}
			for _, r := range held {
				r.Certificate = nil // the witnesses give it again
				a.Receipts = append(a.Receipts, r.Encode())
			}
			if len(grants) == maxTaken {
				if e, err := ledger.ParseEntry(grants[maxTaken-1].Entry); err == nil && (next == 0 || e.Seq < next) {
					next = e.Seq + 1
				}
			}
			a.Next = next
		}
	}
	if b, err = canon.Marshal(a); err != nil || st.WriteFrame(b) != nil {
		st.Reset()
		return
	}
	st.Close()
}

func (s *Spreader) admit(p peer.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asking[p] || len(s.asking) >= maxServed {
		return false
	}
	s.asking[p] = true
	return true
}

func (s *Spreader) dismiss(p peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asking, p)
}

// anywhere is a random place in the order of accounts, to start from.
func anywhere() (a ledger.Account) {
	for i := range a {
		a[i] = byte(rand.Uint32())
	}
	return a
}

// each calls yield for proofs from a random one on, all the way round, until it returns false.
func (s *Spreader) each(yield func(a ledger.Account, raw []byte) bool) {
	start, more := anywhere(), true
	err := s.book.Proofs(start, func(a ledger.Account, raw []byte) bool {
		more = yield(a, raw)
		return more
	})
	if more && err == nil {
		err = s.book.Proofs(ledger.Account{}, func(a ledger.Account, raw []byte) bool {
			return bytes.Compare(a[:], start[:]) < 0 && yield(a, raw)
		})
	}
	if err != nil {
		s.log.Warn("proofs in the ledger", "err", err)
	}
}

// some returns at most n proofs against accounts that are not in without.
func (s *Spreader) some(n int, without map[ledger.Account]bool) (out [][]byte) {
	s.each(func(a ledger.Account, raw []byte) bool {
		if !without[a] {
			out = append(out, bytes.Clone(raw))
		}
		return len(out) < n
	})
	return out
}

// accounts returns at most n accounts that proofs are held against.
func (s *Spreader) accounts(n int) (out []ledger.Account) {
	s.each(func(a ledger.Account, _ []byte) bool {
		out = append(out, a)
		return len(out) < n
	})
	return out
}
