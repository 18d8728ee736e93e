package daemon

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/market"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/localapi"
	"github.com/personal-power-plant/p3/node/p2p"
)

var _ localapi.Backend = (*Daemon)(nil)

// inviteLife is how long an invite can be joined with.
const inviteLife = 30 * 24 * time.Hour

// Status implements localapi.Backend.
func (d *Daemon) Status(ctx context.Context) (node.Status, error) {
	jobs, err := d.Jobs(ctx)
	if err != nil {
		return node.Status{}, err
	}
	b, err := d.Balance(ctx)
	if err != nil {
		return node.Status{}, err
	}
	s := node.Status{
		Schema: "p3.status/v1", Version: d.cfg.Version, PID: pid, Peer: d.p2p.ID().String(), Account: d.book.Account(),
		Network: d.book.Network(), NetName: d.genesis.Name, Started: d.started, Peers: len(d.p2p.Peers()),
		Offers: len(d.market.Directory().Snapshot(time.Now())), Balance: b, Host: d.host.status(),
		Jobs: jobs[:min(len(jobs), 50)], Guests: d.provider.Guests(),
	}
	for _, a := range d.p2p.AddrInfo().Addrs {
		s.Addrs = append(s.Addrs, a.String())
	}
	if s.Office, err = d.office(); err != nil {
		return node.Status{}, err
	}
	if err := d.book.ReadOnly(); err != nil {
		s.ReadOnly = err.Error()
	}
	return s, nil
}

// Watch implements localapi.Backend.
func (d *Daemon) Watch(ctx context.Context, yield func(node.Update) error) error {
	w := d.diary.subscribe()
	defer d.diary.unsubscribe(w)
	slow := time.NewTicker(loadEvery) // load and clocks change without an event
	defer slow.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.stopping:
			return nil
		case <-w.wake:
		case <-slow.C:
		}
		events, _ := d.diary.take(w)
		s, err := d.Status(ctx)
		if err != nil {
			return err
		}
		if err := yield(node.Update{Status: &s, Events: events}); err != nil {
			return err
		}
	}
}

// Offers implements localapi.Backend.
func (d *Daemon) Offers(context.Context) ([]node.Offer, error) {
	now := time.Now()
	var cands []market.Candidate
	for _, o := range d.market.Directory().Snapshot(now) {
		cands = append(cands, market.Candidate{Offer: o, RTT: d.net.RTT(o.Peer), Trust: d.requester.Trust(o.Peer)})
	}
	ranking := market.Match(market.Demand{Engine: exec.EngineWASM, Memory: exec.DefaultLimits.Memory}, cands, now)
	out := make([]node.Offer, 0, len(cands))
	for _, r := range ranking.Ranked {
		out = append(out, d.offer(r.Offer, r.Score.Total))
	}
	for _, r := range ranking.Refused {
		out = append(out, d.offer(r.Offer, 0))
	}
	return out, nil
}

func (d *Daemon) offer(o market.Offer, score float64) node.Offer {
	good, bad := d.requester.Record(o.Peer)
	return node.Offer{
		Peer: o.Peer.String(), Name: o.Name, Account: o.Account, Capacity: o.Capacity, Price: o.Price, Free: o.FreeSlots,
		RTTMs: millis(d.net.RTT(o.Peer)), Signed: time.UnixMilli(o.Signed), Expires: o.ExpiresAt(), Done: good, Failed: bad,
		Score: score, Self: o.Peer == d.p2p.ID(),
	}
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// Peers implements localapi.Backend.
func (d *Daemon) Peers(context.Context) ([]node.Peer, error) {
	peers := d.p2p.Peers()
	out := make([]node.Peer, len(peers))
	for i, p := range peers {
		out[i] = node.Peer{ID: p.ID.String(), Name: p.Name, Account: p.Account, Addrs: p.Addrs, Relayed: p.Relayed, RTTMs: millis(p.RTT), Agent: p.Agent, Since: p.Since, SkewMs: millis(p.Skew), Office: p.Office}
	}
	return out, nil
}

// PutBlob implements localapi.Backend. The blob stays until its room is needed, or as
// long as a job names it.
func (d *Daemon) PutBlob(_ context.Context, r io.Reader) (exec.File, error) {
	return d.blobs.Put(r, "")
}

// GetBlob implements localapi.Backend.
func (d *Daemon) GetBlob(_ context.Context, hash ledger.Digest) (io.ReadCloser, int64, error) {
	if !d.blobs.Has(hash) {
		return nil, 0, &node.Problem{Code: node.CodeNotFound, Message: fmt.Sprintf("no blob %s here", hash.Short())}
	}
	return blobs{d.blobs, ""}.Open(hash)
}

// SubmitJob implements localapi.Backend.
func (d *Daemon) SubmitJob(ctx context.Context, m exec.Manifest) (node.Job, error) {
	return d.requester.Submit(ctx, m)
}

// Jobs implements localapi.Backend.
func (d *Daemon) Jobs(context.Context) ([]node.Job, error) {
	jobs := d.requester.Jobs()
	slices.SortFunc(jobs, func(a, b node.Job) int {
		return cmp.Or(b.Created.Compare(a.Created), strings.Compare(a.ID.String(), b.ID.String()))
	})
	return jobs, nil
}

// find resolves a job's ID: full hex or a unique prefix, with or without "j-".
func (d *Daemon) find(id string) (exec.JobID, error) {
	prefix := strings.ToLower(strings.TrimPrefix(strings.TrimSpace(id), "j-"))
	var found []exec.JobID
	for _, j := range d.requester.Jobs() {
		if prefix != "" && strings.HasPrefix(j.ID.String(), prefix) {
			found = append(found, j.ID)
		}
	}
	switch len(found) {
	case 0:
		return exec.JobID{}, &node.Problem{Code: node.CodeNotFound, Message: fmt.Sprintf("no job %q here", id), Hint: "`p3 job ls` lists them"}
	case 1:
		return found[0], nil
	}
	return exec.JobID{}, &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("%d jobs begin with %q", len(found), id), Hint: "write more of the ID"}
}

// Job implements localapi.Backend.
func (d *Daemon) Job(_ context.Context, id string) (node.Job, error) {
	j, err := d.find(id)
	if err != nil {
		return node.Job{}, err
	}
	return d.requester.Job(j)
}

// AddInputs implements localapi.Backend.
func (d *Daemon) AddInputs(ctx context.Context, id string, at uint64, next func() (exec.Input, error)) (uint64, error) {
	j, err := d.find(id)
	if err != nil {
		return 0, err
	}
	return d.requester.AddInputs(ctx, j, at, next)
}

// CloseInputs implements localapi.Backend.
func (d *Daemon) CloseInputs(ctx context.Context, id string, units uint64) (node.Job, error) {
	j, err := d.find(id)
	if err != nil {
		return node.Job{}, err
	}
	return d.requester.CloseInputs(ctx, j, units)
}

// Results implements localapi.Backend.
func (d *Daemon) Results(ctx context.Context, id string, from uint64, order node.Order, yield func(node.UnitResult) error) error {
	j, err := d.find(id)
	if err != nil {
		return err
	}
	return d.requester.Results(ctx, j, from, order, yield)
}

// UnitStates implements localapi.Backend.
func (d *Daemon) UnitStates(ctx context.Context, id string, from uint64, n int) (string, error) {
	j, err := d.find(id)
	if err != nil {
		return "", err
	}
	return d.requester.UnitStates(ctx, j, from, n)
}

// Unit implements localapi.Backend.
func (d *Daemon) Unit(_ context.Context, id string, n uint64) (node.UnitResult, error) {
	j, err := d.find(id)
	if err != nil {
		return node.UnitResult{}, err
	}
	return d.requester.Unit(j, n)
}

// CancelJob implements localapi.Backend.
func (d *Daemon) CancelJob(ctx context.Context, id string) (node.Job, error) {
	j, err := d.find(id)
	if err != nil {
		return node.Job{}, err
	}
	return d.requester.Cancel(ctx, j)
}

// RemoveJob implements localapi.Backend.
func (d *Daemon) RemoveJob(ctx context.Context, id string) (node.Job, error) {
	j, err := d.find(id)
	if err != nil {
		return node.Job{}, err
	}
	return d.requester.Remove(ctx, j)
}

// RaiseBudget implements localapi.Backend.
func (d *Daemon) RaiseBudget(ctx context.Context, id string, by ledger.Credits) (node.Job, error) {
	j, err := d.find(id)
	if err != nil {
		return node.Job{}, err
	}
	return d.requester.Raise(ctx, j, by)
}

// JobWhy implements localapi.Backend.
func (d *Daemon) JobWhy(ctx context.Context, id string) (node.JobWhy, error) {
	j, err := d.find(id)
	if err != nil {
		return node.JobWhy{}, err
	}
	return d.requester.Why(ctx, j)
}

// Balance implements localapi.Backend.
func (d *Daemon) Balance(context.Context) (node.Balance, error) {
	b := d.book.Balance()
	return node.Balance{Granted: b.Granted, Earned: b.Earned, Spent: b.Spent, Locked: b.Locked, Net: b.Net, Free: b.Free, Floor: b.Floor}, nil
}

// Receipts implements localapi.Backend.
func (d *Daemon) Receipts(_ context.Context, yield func(node.Receipt) error) error {
	var failed error
	err := d.book.Receipts(0, 0, func(_ uint64, r ledger.Receipt) bool {
		s, err := r.Verify()
		v := node.Receipt{ID: s.ID, Job: s.Job, Payer: s.Payer, Payee: s.Payee, Locked: s.Locked, Paid: s.Paid, Fuel: s.Fuel, Units: s.Units, Transfer: s.Transfer(),
			State: s.State(time.Now()), Time: s.Time, Verified: err == nil}
		if err != nil {
			v.Problem = err.Error()
		}
		failed = yield(v)
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return err
}

// ReceiptBytes implements localapi.Backend.
func (d *Daemon) ReceiptBytes(_ context.Context, id string) ([]byte, error) {
	prefix := strings.ToLower(strings.TrimSpace(id))
	var found [][]byte
	err := d.book.Receipts(0, 0, func(_ uint64, r ledger.Receipt) bool {
		e, err := ledger.ParseEntry(r.Lock)
		if err == nil && prefix != "" && strings.HasPrefix(e.Digest().String(), prefix) {
			found = append(found, r.Encode())
		}
		return len(found) < 2
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, &node.Problem{Code: node.CodeNotFound, Message: fmt.Sprintf("no receipt %q here", id), Hint: "`p3 credit receipts` lists them"}
	case len(found) > 1:
		return nil, &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("several receipts begin with %q", id), Hint: "write more of the ID"}
	}
	return found[0], nil
}

// Export implements localapi.Backend.
func (d *Daemon) Export(_ context.Context, since time.Time, yield func(ledger.Row) error) error {
	var failed error
	err := d.book.View().Rows(d.genesis, since, func(r ledger.Row) bool {
		failed = yield(r)
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return err
}

// History implements localapi.Backend.
func (d *Daemon) History(_ context.Context, days int) (node.History, error) {
	return node.NewHistory(d.book.View(), days, time.Now())
}

// Publish implements localapi.Backend.
func (d *Daemon) Publish(_ context.Context, program ledger.Digest) ([]byte, error) {
	return d.book.Publish(program)
}

// BalanceProof implements localapi.Backend.
func (d *Daemon) BalanceProof(ctx context.Context) ([]byte, error) {
	p, err := d.book.BalanceProof(ctx)
	if err != nil {
		return nil, err
	}
	return p.Encode()
}

// Invite implements localapi.Backend.
func (d *Daemon) Invite(context.Context) (string, error) {
	g, err := d.genesis.Encode()
	if err != nil {
		return "", err
	}
	return d.p2p.Invite(g, time.Now().Add(inviteLife)).String(), nil
}

// Join implements localapi.Backend. The invite is saved, so that the node dials its peers after a restart too.
func (d *Daemon) Join(ctx context.Context, text string) error {
	inv, err := p2p.ParseInvite(text)
	if err == nil {
		err = inv.Check(time.Now())
	}
	if err != nil {
		return &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "get a fresh one with `p3 invite` on a machine of that network"}
	}
	if network, err := inv.Network(); err != nil || network != d.book.Network() {
		return &node.Problem{Code: node.CodeDenied, Message: "the invite is for another network than this node's", Hint: "stop the node with `p3 down`, then join and start it again"}
	}
	if err := SaveMembership(d.cfg.Dir, inv); err != nil {
		return err
	}
	var why []string
	for _, p := range inv.Bootstrap {
		if p.ID == d.p2p.ID() {
			continue
		}
		err := d.p2p.Connect(ctx, p)
		if err == nil {
			return nil
		}
		d.log.Debug("dial a peer of the invite", "peer", p.ID, "err", err)
		why = append(why, p2p.Unreachable(err))
	}
	if len(why) > 0 {
		return &node.Problem{Code: node.CodeInternal, Message: "the invite is saved, but nobody in it answers: " + strings.Join(why, "; "),
			Hint: "is that machine up and its address right? The node tries again at its next start; a fresh invite comes from `p3 invite`"}
	}
	return nil
}

// SetHost implements localapi.Backend.
func (d *Daemon) SetHost(ctx context.Context, c node.HostChange) (node.HostStatus, error) {
	if err := d.host.set(ctx, c); err != nil {
		return node.HostStatus{}, err
	}
	return d.host.status(), nil
}

// HostWhy implements localapi.Backend.
func (d *Daemon) HostWhy(ctx context.Context) (node.HostWhy, error) { return d.host.why(ctx), nil }

// SetPolicy implements localapi.Backend.
func (d *Daemon) SetPolicy(ctx context.Context, c node.PolicyChange) (node.HostWhy, error) {
	if err := d.host.change(c); err != nil {
		return node.HostWhy{}, err
	}
	return d.host.why(ctx), nil
}

// Shutdown implements localapi.Backend.
func (d *Daemon) Shutdown(context.Context) error {
	d.stopOnce.Do(func() { close(d.stopping) })
	return nil
}
