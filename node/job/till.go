package job

import (
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
}

const (
	tillFrameMax = 8 << 10

	tillTick = 5 * time.Second // between looks at what waits
	tillPage = 64              // leases at a time
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
	// Renew returns a binding for a node that is newer than the one it shows, or nil; an error if the node is not bound (any more).
	Renew(node peer.ID, shown []byte, now time.Time) ([]byte, error)
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

	mu  sync.Mutex // guards what follows
	why string     // why the last try failed, told once
}

// NewTill serves TillProtocol where the account's key is; homes and rebind are used where it is not.
func NewTill(env Env, keeper Keeper, homes func() []peer.ID, rebind func(binding []byte)) *Till {
	t := &Till{env: env, keeper: keeper, homes: homes, rebind: rebind, meter: newMeter(), wake: make(chan struct{}, 1)}
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
			err := t.handOn(ctx, p)
			if err == nil && time.Since(asked) > time.Hour {
				asked = time.Now()
				_, err = t.ask(ctx, p, nil)
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

// handOn brings a peer all that waits, until one fails.
func (t *Till) handOn(ctx context.Context, p peer.ID) error {
	list, err := t.env.Book.Untaken(tillPage)
	if err != nil {
		return err
	}
	for _, r := range list {
		earn, err := t.ask(ctx, p, r.Encode())
		if err != nil {
			return err
		}
		if len(earn) == 0 {
			continue // not due there
		}
		if err := t.env.Book.Taken(ctx, earn); err != nil {
			return err
		}
		t.env.Tell()
	}
	if len(list) == tillPage {
		t.Kick()
	}
	return nil
}

func (t *Till) ask(ctx context.Context, p peer.ID, receipt []byte) (earn []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	st, err := t.env.Net.Open(ctx, p, TillProtocol, tillFrameMax)
	if err != nil {
		return nil, err
	}
	defer st.Reset()
	shown, _ := t.env.Book.Till()
	b, err := canon.Marshal(tillFrame{Receipt: receipt, Binding: shown})
	if err == nil {
		err = st.WriteFrame(b)
	}
	if err != nil {
		return nil, err
	}
	st.SetIdle(openTimeout)
	if b, err = st.ReadFrame(); err != nil {
		return nil, err
	}
	var reply tillFrame
	if err := canon.Unmarshal(b, &reply); err != nil {
		return nil, err
	}
	st.Close()
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
	if reply.Binding, err = t.keeper.Renew(st.Peer(), req.Binding, now); err == nil && len(req.Receipt) > 0 {
		reply.Earn, err = t.take(ctx, st.Peer(), req.Receipt, now)
	}
	if err != nil {
		reply = tillFrame{Refuse: refuse(CodeRecord, "%v", err).wire()}
	}
	if b, err = canon.Marshal(reply); err == nil && st.WriteFrame(b) == nil {
		st.Close()
	}
}

func (t *Till) take(ctx context.Context, from peer.ID, receipt []byte, now time.Time) ([]byte, error) {
	if !t.meter.take(from, 6, now) { // lock, claim, its binding, voucher, settle, and the answer
		return nil, errors.New("too many records to check: send it again in a moment")
	}
	r, err := ledger.ParseReceipt(receipt)
	if err != nil {
		return nil, err
	}
	before := t.env.Book.Head().Earned
	earn, err := t.env.Book.Adopt(ctx, r, []byte(from), now)
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
