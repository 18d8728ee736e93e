package job

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/ledger"
)

// GrantProtocol brings grants from a mint's node to its members. A question holds one grant; the answer is the
// GRANT entry by which the member took it up, or why not.
const GrantProtocol = "/p3/grant/1.0.0"

type grantFrame struct {
	Grant  []byte   `cbor:"1,keyasint,omitempty"`
	Entry  []byte   `cbor:"2,keyasint,omitempty"`
	Refuse *refusal `cbor:"3,keyasint,omitempty"`
}

const (
	grantFrameMax = 4 << 10

	grantTick = time.Minute // between looks at allowances and at what was not acknowledged
	grantPage = 64          // grants to one member at a time
	grantTurn = 2 * openTimeout
)

// A Granter takes up grants to this node's account and, where the mint's key is, brings the mint's grants to
// members until they have taken them up, and grants allowances when they are due.
type Granter struct {
	env     Env
	issuer  *ledger.Issuer // nil: no mint here
	peersOf func(ledger.Account) []peer.ID
	claimed func(grant []byte) // told of what was taken up
	meter   *meter
	wake    chan struct{}

	mu    sync.Mutex // guards what follows
	asked bool       // a peer said what it knows of the mint
	short string     // the last reason why the mint grants nothing, or not all allowances; said once
}

// NewGranter serves GrantProtocol on env.Net. peersOf lists connected peers that have proven to act for an account.
func NewGranter(env Env, issuer *ledger.Issuer, peersOf func(ledger.Account) []peer.ID, claimed func(grant []byte)) *Granter {
	g := &Granter{env: env, issuer: issuer, peersOf: peersOf, claimed: claimed, meter: newMeter(), wake: make(chan struct{}, 1)}
	env.Net.Handle(GrantProtocol, grantFrameMax, g.serve)
	return g
}

// Met takes note that a peer has said what it knows. It is what Run waits for, but at most a minute, before it grants
// allowances: a disk that was rolled back as a whole does not know what its mint signed, and others may.
func (g *Granter) Met() {
	g.hear()
	g.Kick()
}

func (g *Granter) hear() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = true
}

func (g *Granter) met() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked
}

// Kick looks for members again now, as after one connected or was granted something.
func (g *Granter) Kick() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// Run grants and delivers until ctx ends. Without a mint it only waits.
func (g *Granter) Run(ctx context.Context) error {
	if g.issuer == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	tick := time.NewTicker(grantTick)
	defer tick.Stop()
	for {
		if g.met() {
			g.allowances(ctx, time.Now())
		}
		if err := g.deliverAll(ctx); err != nil && ctx.Err() == nil {
			g.env.Log.Warn("grants", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-g.wake:
		case <-tick.C:
			g.hear() // there may be nobody
		}
	}
}

// allowances grants what is due.
func (g *Granter) allowances(ctx context.Context, now time.Time) {
	err := g.issuer.ReadOnly()
	var given []ledger.Grant
	if err == nil {
		given, err = g.issuer.GrantAllowances(ctx, now)
	}
	for _, x := range given {
		g.env.Emit("ok", "credit", fmt.Sprintf("allowance of %s granted to %s", x.Amount, g.env.who(x.To)))
	}
	why := ""
	if err != nil && ctx.Err() == nil {
		why = err.Error()
	}
	g.mu.Lock()
	news := why != "" && why != g.short
	g.short = why
	g.mu.Unlock()
	if news {
		g.env.Emit("error", "credit", why)
	}
	if len(given) > 0 {
		g.env.Tell()
	}
}

// deliverAll brings every connected member what it has not taken up, side by side.
func (g *Granter) deliverAll(ctx context.Context) error {
	here := map[ledger.Account][]peer.ID{}
	pending, err := g.issuer.Pending(grantPage, func(a ledger.Account) bool {
		if _, asked := here[a]; !asked {
			here[a] = g.peersOf(g.env.Book.Heir(a))
		}
		return len(here[a]) > 0 || g.env.Book.Heir(a) == g.env.Book.Account()
	})
	if err != nil {
		return err
	}
	by := map[ledger.Account][]ledger.Delivery{}
	for _, d := range pending {
		by[d.To] = append(by[d.To], d)
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, maxDialling)
	for to, list := range by {
		if g.env.Book.Heir(to) == g.env.Book.Account() {
			wg.Go(func() { g.note(to, g.takeOwn(ctx, list)) })
			continue
		}
		for _, p := range here[to] {
			wg.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				g.note(to, g.deliver(ctx, p, list))
			})
		}
	}
	wg.Wait()
	return nil
}

func (g *Granter) note(to ledger.Account, err error) {
	if err != nil {
		g.env.Log.Debug("grant not delivered", "account", to, "err", err)
	}
	g.env.Tell()
}

// takeOwn takes up what the mint of this node granted to its own account.
func (g *Granter) takeOwn(ctx context.Context, list []ledger.Delivery) error {
	for _, d := range list {
		entry, err := g.take(ctx, d.Raw)
		if err == nil {
			err = g.issuer.Acknowledge(ctx, d.Seq, entry)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// take takes up a grant to us, and tells when that is news.
func (g *Granter) take(ctx context.Context, raw []byte) ([]byte, error) {
	before := g.env.Book.Head().Granted
	entry, err := g.env.Book.ClaimGrant(ctx, raw)
	if err != nil {
		return nil, err
	}
	if after := g.env.Book.Head().Granted; after > before {
		x, _ := ledger.ParseGrant(raw) // the book has read it
		g.env.Emit("ok", "credit", fmt.Sprintf("%s granted by mint %s", x.Amount, x.Mint.Short()))
		g.env.Tell()
		g.claimed(raw)
	}
	return entry, nil
}

// deliver brings a member its grants over one stream each, until one fails or its time is over: the others wait.
func (g *Granter) deliver(ctx context.Context, p peer.ID, list []ledger.Delivery) error {
	turn, cancel := context.WithTimeout(ctx, grantTurn)
	defer cancel()
	for _, d := range list {
		if err := turn.Err(); err != nil {
			return err
		}
		reply, err := Ask[grantFrame](ctx, g.env.Net, p, GrantProtocol, grantFrameMax, openTimeout, grantFrame{Grant: d.Raw})
		switch {
		case err != nil:
			return err
		case reply.Refuse != nil:
			return &Refusal{Code: reply.Refuse.Code, Text: clip(reply.Refuse.Text)}
		}
		// First what the member can have back when its disk loses it, and what shows a fork.
		if err := g.env.Book.MeetClaim(ctx, d.Raw, reply.Entry); err != nil {
			return err
		}
		if err := g.issuer.Acknowledge(ctx, d.Seq, reply.Entry); err != nil {
			return err
		}
	}
	return nil
}

// serve takes up one grant. Everything a stranger can send here is checked by the book.
func (g *Granter) serve(ctx context.Context, st Stream) {
	st.SetIdle(openTimeout)
	b, err := st.ReadFrame()
	var req, reply grantFrame
	if err != nil || canon.Unmarshal(b, &req) != nil {
		return
	}
	if !g.meter.take(st.Peer(), 1, time.Now()) {
		err = errors.New("too many records to check: send it again in a moment")
	} else {
		reply.Entry, err = g.take(ctx, req.Grant)
	}
	if err != nil {
		reply = grantFrame{Refuse: refuse(CodeRecord, "%v", err).wire()}
	}
	if b, err = canon.Marshal(reply); err == nil && st.WriteFrame(b) == nil {
		st.Close()
	}
}
