package witness

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node/job"
)

// Bounds of what peers can ask of a witness, judgements. A signature takes some 100 µs to check.
const (
	maxServed     = 64  // questions at a time
	maxPerPeer    = 4   // streams
	checksPerPeer = 512 // signatures a second, of one peer
	burstPerPeer  = 4096
	checksOfAll   = 4096
	burstOfAll    = 16384
	ownCost       = 16   // what asking for one's own entries costs
	newChain      = 256  // what opening a chain costs besides: it stays on the disk for ever
	maxMetered    = 4096 // peers with a bucket of their own

	idleTime  = 10 * time.Second // a question must come by then
	maxRounds = 4096             // questions on one stream
)

// A Server answers for a witness.
type Server struct {
	w       *ledger.Witness
	quorum  int
	account func(peer.ID) (ledger.Account, bool)
	binding func() []byte
	convict func(ctx context.Context, proof []byte)
	log     *slog.Logger

	turns chan struct{} // a token is in it for each question that is being answered

	mu     sync.Mutex // guards what follows
	served map[peer.ID]int
	peers  map[peer.ID]*rate.Limiter
	all    *rate.Limiter // of all whose chain the witness does not follow
}

// A ServerConfig is what a Server works with. All fields are required.
type ServerConfig struct {
	Net     job.Network
	Genesis ledger.Genesis
	Account func(peer.ID) (ledger.Account, bool)    // that a connected peer has proven to act for
	Binding func() []byte                           // where the witness is asked, signed by its key
	Convict func(ctx context.Context, proof []byte) // an account showed the witness a fork
	Log     *slog.Logger
}

// Serve has w answer from now on.
func Serve(w *ledger.Witness, cfg ServerConfig) *Server {
	s := &Server{
		w: w, quorum: cfg.Genesis.Quorum(), account: cfg.Account, binding: cfg.Binding, convict: cfg.Convict, log: cfg.Log,
		turns: make(chan struct{}, maxServed), served: map[peer.ID]int{}, peers: map[peer.ID]*rate.Limiter{}, all: rate.NewLimiter(checksOfAll, burstOfAll),
	}
	cfg.Net.Handle(Protocol, maxFrame, s.serve)
	return s
}

// Witness is who answers.
func (s *Server) Witness() *ledger.Witness { return s.w }

func (s *Server) serve(ctx context.Context, st job.Stream) {
	p := st.Peer()
	if !s.admit(p) {
		_ = write(st, answer{Refuse: &refusal{Code: CodeBusy}})
		return
	}
	defer s.leave(p)
	for range maxRounds {
		st.SetIdle(idleTime)
		b, err := st.ReadFrame()
		if err != nil {
			return
		}
		a := answer{Refuse: &refusal{Code: CodeBusy}}
		select {
		case s.turns <- struct{}{}: // who is silent holds up nobody
			a = s.answer(ctx, p, b)
			<-s.turns
		default:
		}
		if write(st, a) != nil || a.Refuse != nil && a.Refuse.Code == CodeRecord {
			return
		}
	}
}

// answer is one question's.
func (s *Server) answer(ctx context.Context, p peer.ID, b []byte) answer {
	q, checks, err := parseQuestion(b, s.quorum)
	if err != nil {
		return answer{Refuse: &refusal{Code: CodeRecord, Text: clip(err.Error())}}
	}
	switch {
	case q.Who:
		return answer{Binding: s.binding()}
	case q.Own != nil: // its payees are nobody else's business
		if a, ok := s.account(p); !ok || a != q.Own.Account || !s.allow(p, ownCost, time.Now()) {
			return answer{Refuse: &refusal{Code: CodeBusy}} // it may not have said hello yet
		}
	default:
		if opens(q.Shown[0].Entry) {
			checks += newChain
		}
		if !s.allow(p, checks, time.Now()) {
			return answer{Refuse: &refusal{Code: CodeBusy}}
		}
	}
	a, err := reply(ctx, s.w, q)
	if fork := (*ledger.ForkError)(nil); errors.As(err, &fork) {
		if proof, err := ledger.NewProof(ledger.ProofFork, fork.A, fork.B); err == nil {
			s.convict(ctx, proof.Encode())
		}
	}
	return a
}

// reply is the answer of a witness to a question about a chain. The error is the witness' own; the answer tells it too.
func reply(ctx context.Context, w *ledger.Witness, q question) (answer, error) {
	if q.Own != nil {
		entries, err := w.Entries(q.Own.Account, q.Own.From, maxOwn)
		if err != nil {
			return answerOf(nil, err), err
		}
		return answer{Entries: entries}, nil
	}
	list := make([]ledger.Shown, len(q.Shown))
	for i, x := range q.Shown {
		list[i] = ledger.Shown(x)
	}
	statement, err := w.Sign(ctx, list)
	return answerOf(statement, err), err
}

// answerOf puts what ledger.Witness.Sign returned on the wire.
func answerOf(statement []byte, err error) answer {
	if err == nil {
		return answer{Statement: statement}
	}
	var far *ledger.BehindError
	if errors.As(err, &far) {
		return answer{Behind: &behind{far.Next}}
	}
	r := &refusal{Code: CodeRecord, Text: clip(err.Error())}
	var fork *ledger.ForkError
	var other *ledger.WitnessedError
	switch {
	case errors.As(err, &fork):
		r.Code, r.Entry = CodeConflict, fork.A
	case errors.As(err, &other):
		r.Code, r.Entry = CodeConflict, other.Entry
	case errors.Is(err, ledger.ErrFrozen):
		r.Code = CodeFrozen
	case errors.Is(err, ledger.ErrUnbacked):
		r.Code = CodeBacking
	case errors.Is(err, ledger.ErrReadOnly):
		r.Code = CodeReadOnly
	case errors.Is(err, ledger.ErrMalformed), errors.Is(err, ledger.ErrSignature):
	default:
		r.Code = CodeRule
	}
	return answer{Refuse: r}
}

// opens reports whether an encoded entry is the first of a chain.
func opens(entry []byte) bool {
	const seqAt = 1 + 1 + 2 + 32 + 20 + 4
	return len(entry) >= seqAt+8 && binary.BigEndian.Uint64(entry[seqAt:]) == 0
}

// allow takes tokens of the peer's bucket, and of the one of all strangers unless the peer acts for an account whose chain
// the witness follows: so that strangers do not keep customers waiting.
func (s *Server) allow(p peer.ID, checks int, now time.Time) bool {
	a, ok := s.account(p)
	stranger := !ok || !s.w.Follows(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.peers[p]
	if b == nil {
		if len(s.peers) >= maxMetered { // a full bucket remembers nothing
			maps.DeleteFunc(s.peers, func(_ peer.ID, b *rate.Limiter) bool { return b.TokensAt(now) >= burstPerPeer })
		}
		if len(s.peers) >= maxMetered {
			return s.all.AllowN(now, checks)
		}
		b = rate.NewLimiter(checksPerPeer, burstPerPeer)
		s.peers[p] = b
	}
	if !stranger {
		return b.AllowN(now, checks)
	}
	return s.all.TokensAt(now) >= float64(checks) && b.AllowN(now, checks) && s.all.AllowN(now, checks)
}

// admit counts a stream of a peer, if it may have one more.
func (s *Server) admit(p peer.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.served[p] >= maxPerPeer {
		return false
	}
	s.served[p]++
	return true
}

// leave takes a stream of a peer off.
func (s *Server) leave(p peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.served[p]--; s.served[p] == 0 {
		delete(s.served, p)
	}
}
