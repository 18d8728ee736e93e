package job

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/ledger"
)

// TillProtocol brings what an office PC earned to the PC that has the account's key. A question holds one receipt without its
// EARN; the answer is the EARN, or nothing while it is not due there, or why not; and a newer binding when there is one.
const TillProtocol = "/p3/till/1.0.0"

type tillFrame struct {
	Receipt []byte   `cbor:"1,keyasint,omitempty"` // empty: is there a newer binding?
	Earn    []byte   `cbor:"2,keyasint,omitempty"`
	Binding []byte   `cbor:"3,keyasint,omitempty"`
	Refuse  *refusal `cbor:"4,keyasint,omitempty"`

	Job exec.JobID `cbor:"5,keyasint,omitzero"` // that Receipt's lock is for
}

const (
	tillFrameMax = 8 << 10

	tillTick  = 5 * time.Second // between looks at what waits
	tillPage  = 64              // leases at a time
	renewTick = time.Hour       // between looks for a newer binding
	tillAgain = time.Hour       // until a lease that was refused is shown again
)

// lockEvidence is what a LOCK for a job names when the node that is hired has this binding.
func lockEvidence(binding []byte, job exec.JobID, node peer.ID) ledger.Digest {
	if b, err := ledger.ParseBinding(binding); err == nil && b.Flags&ledger.EarnsOnly != 0 {
		return ledger.LockEvidence(ledger.Digest(job), []byte(node))
	}
	return ledger.Digest(job)
}

// A Keeper says which office PCs an account has bound, on the PC with its key.
type Keeper interface {
	// Renew returns how much may be taken up of a node, and a binding for it that is newer than the one it shows, or nil; an error if the
	// node is not bound (any more).
	Renew(node peer.ID, shown []byte, now time.Time) (ledger.Quota, []byte, error)
}

// A Till is either side of TillProtocol: on an office PC it hands on what was earned until that is taken up, on the PC with the key
// it takes up what those that it has bound bring.
type Till struct {
	env    Env
	keeper Keeper
	homes  func() []peer.ID     // connected peers with the account's key
	rebind func(binding []byte) // of an office PC, when there is a newer one
	meter  *meter
	wake   chan struct{}

	next ledger.Digest // where handing on goes on; owned by Run

	mu      sync.Mutex // guards what follows
	why     string     // why the last try failed, told once
	refused map[ledger.Digest]refusedLease
}

// A refusedLease is one that the account's key did not take up.
type refusedLease struct {
	again time.Time
	why   string
}

// NewTill serves TillProtocol where the account's key is; homes and rebind are used where it is not.
func NewTill(env Env, keeper Keeper, homes func() []peer.ID, rebind func(binding []byte)) *Till {
	t := &Till{env: env, keeper: keeper, homes: homes, rebind: rebind, meter: newMeter(), wake: make(chan struct{}, 1), refused: map[ledger.Digest]refusedLease{}}
	if _, office := env.Book.Till(); !office {
		env.Net.Handle(TillProtocol, tillFrameMax, t.serve)
	}
	return t
}

// Kick hands on now, as after a peer connected.
func (t *Till) Kick() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Run hands on until ctx ends. Where the key is it only waits.
func (t *Till) Run(ctx context.Context) error {
	if _, office := t.env.Book.Till(); !office {
		<-ctx.Done()
		return ctx.Err()
	}
	tick := time.NewTicker(tillTick)
	defer tick.Stop()
	asked := time.Time{}
	for {
		for _, p := range t.homes() {
			var err error
			if time.Since(asked) > renewTick { // first: it must not wait for what is handed on
				if _, err = t.ask(ctx, p, nil, exec.JobID{}); err == nil {
					asked = time.Now()
				}
			}
			if err == nil {
				err = t.handOn(ctx, p)
			}
			t.note(ctx, p, err)
			if err == nil {
				break
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.wake:
		case <-tick.C:
		}
	}
}

// note tells people when handing on begins to fail, or works again.
func (t *Till) note(ctx context.Context, p peer.ID, err error) {
	if ctx.Err() != nil {
		return
	}
	why := ""
	if err != nil {
		why = err.Error()
	}
	t.mu.Lock()
	news := why != t.why
	t.why = why
	t.mu.Unlock()
	if news && why != "" {
		t.env.Emit("warn", "credit", "what was earned here is not taken up: "+why, "peer", t.env.Net.Name(p))
	}
}

// Refused is how many leases the account's key would not take up, and why one of them.
func (t *Till) Refused() (n int, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.refused {
		n, why = n+1, r.why
	}
	return n, why
}

// handOn brings a peer all that waits, once round. One lease that it will not have, such as one of a payer that forked, keeps no
// other waiting.
func (t *Till) handOn(ctx context.Context, p peer.ID) error {
	for from, round := t.next, false; ; {
		list, err := t.env.Book.Untaken(t.next, tillPage)
		if err != nil {
			return err
		}
		for _, r := range list {
			lock, err := ledger.ParseEntry(r.Lock)
			if err != nil {
				return err
			}
			id := lock.Digest()
			if round && bytes.Compare(id[:], from[:]) > 0 {
				return nil
			}
			t.next = id // also when it fails: the next look begins with another
			if err := t.hand(ctx, p, id, r); err != nil {
				return err
			}
		}
		if len(list) < tillPage {
			t.next = ledger.Digest{}
			if round || from == (ledger.Digest{}) {
				return nil
			}
			round = true
		}
	}
}

// hand brings a peer one lease. Its error says that others are not to be tried now.
func (t *Till) hand(ctx context.Context, p peer.ID, id ledger.Digest, r ledger.Receipt) error {
	t.mu.Lock()
	wait := time.Now().Before(t.refused[id].again)
	t.mu.Unlock()
	if wait {
		return nil
	}
	var h holder
	if err := (journal{t.env.Store}).get(lockKey(id), &h); err != nil {
		return fmt.Errorf("lock %s: whom it is shared with: %w", id.Short(), err)
	}
	earn, err := t.ask(ctx, p, r.Encode(), h.Job)
	if err == nil && len(earn) > 0 {
		err = t.env.Book.Taken(ctx, earn)
	}
	refusal := (*Refusal)(nil)
	refused := errors.As(err, &refusal) && refusal.Code == CodeRecord
	t.mu.Lock()
	_, known := t.refused[id]
	if refused {
		t.refused[id] = refusedLease{time.Now().Add(tillAgain), refusal.Text}
	} else if err == nil {
		delete(t.refused, id)
	}
	t.mu.Unlock()
	switch {
	case refused && !known:
		t.env.Emit("warn", "credit", "a lease that was earned here is not taken up: "+refusal.Text, "peer", t.env.Net.Name(p))
		fallthrough
	case refused:
		err = nil
	case err == nil:
		t.env.Tell()
	}
	return err
}

func (t *Till) ask(ctx context.Context, p peer.ID, receipt []byte, job exec.JobID) (earn []byte, err error) {
	shown, _ := t.env.Book.Till()
	reply, err := Ask[tillFrame](ctx, t.env.Net, p, TillProtocol, tillFrameMax, openTimeout, tillFrame{Receipt: receipt, Binding: shown, Job: job})
	if err != nil {
		return nil, err
	}
	if reply.Refuse != nil {
		return nil, &Refusal{Code: reply.Refuse.Code, Text: clip(reply.Refuse.Text)}
	}
	if len(reply.Binding) > 0 {
		if err := t.env.Book.Rebind(reply.Binding); err != nil {
			return nil, err
		}
		t.rebind(reply.Binding)
	}
	return reply.Earn, nil
}

// serve takes up one lease of a node that is bound.
func (t *Till) serve(ctx context.Context, st Stream) {
	st.SetIdle(openTimeout)
	b, err := st.ReadFrame()
	var req, reply tillFrame
	if err != nil || canon.Unmarshal(b, &req) != nil {
		return
	}
	now := time.Now()
	quota, binding, err := t.keeper.Renew(st.Peer(), req.Binding, now)
	if err != nil {
		reply.Refuse = refuse(CodePolicy, "%v", err).wire()
	} else if reply.Binding = binding; len(req.Receipt) > 0 {
		if reply.Earn, err = t.take(ctx, st.Peer(), req, quota, now); err != nil {
			reply = tillFrame{Refuse: refuse(tillCode(err), "%v", err).wire()}
		}
	}
	if b, err = canon.Marshal(reply); err == nil && st.WriteFrame(b) == nil {
		st.Close()
	}
}

// tillCode tells a lease that is never taken up, CodeRecord, from what may be tried again.
func tillCode(err error) Code {
	switch {
	case errors.Is(err, ledger.ErrBusy):
		return CodeBusy
	case errors.Is(err, ledger.ErrReadOnly), errors.Is(err, ledger.ErrBookClosed), errors.Is(err, context.Canceled):
		return CodeHost
	}
	return CodeRecord
}

func (t *Till) take(ctx context.Context, from peer.ID, req tillFrame, quota ledger.Quota, now time.Time) ([]byte, error) {
	if !t.meter.take(from, 6, now) { // lock, claim, its binding, voucher, settle, and the answer
		return nil, fmt.Errorf("too many records to check: %w", ledger.ErrBusy)
	}
	r, err := ledger.ParseReceipt(req.Receipt)
	if err != nil {
		return nil, err
	}
	before := t.env.Book.Head().Earned
	earn, err := t.env.Book.Adopt(ctx, r, ledger.Digest(req.Job), []byte(from), quota, now)
	if err != nil || earn == nil {
		return nil, err
	}
	if after := t.env.Book.Head().Earned; after > before {
		if e, err := ledger.ParseEntry(earn); err == nil {
			t.env.Emit("ok", "credit", fmt.Sprintf("%s earned by %s for this account", e.Amount, t.env.Net.Name(from)), "peer", t.env.Net.Name(from))
		}
		t.env.Tell()
	}
	return earn, nil
}
