package nodetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// Window is how many units may be in a job without their results having been fetched.
const Window = 4

// A State is all that a Node says of itself. Status carries no jobs; they are added.
type State struct {
	Status   node.Status
	Offers   []node.Offer
	Peers    []node.Peer
	Jobs     []node.Job // newest first
	Units    map[exec.JobID][]node.UnitState
	Results  map[exec.JobID]map[uint64]node.UnitResult
	Receipts []node.Receipt
	Files    map[ledger.Digest][]byte // of receipts, by ID; one without is its ID alone
	Rows     []ledger.Row             // of the exported ledger
	History  node.History
	Proof    []byte // of the balance
	Events   []node.Event
	Blobs    map[ledger.Digest][]byte
	Why      node.HostWhy
	Views    map[ledger.Account]node.PeerView // by Peer, completed
	Org      *node.Org                        // nil: the network is mutual
	Grants   []node.GrantTaken
	Witness  node.WitnessStatus
	Caught   node.Convictions
	Recovery node.Recovery
	JobWhys  map[exec.JobID]node.JobWhy
	Now      time.Time // at which policies are decided
	Stopped  bool      // Shutdown was called
}

// A Node is a node in memory.
type Node struct {
	mu      sync.Mutex // guards all below
	s       State
	acked   map[exec.JobID]uint64 // units whose results have been fetched
	changed chan struct{}         // closed and replaced at every change
}

// New returns a node with the given state.
func New(s State) *Node {
	if s.Units == nil {
		s.Units = map[exec.JobID][]node.UnitState{}
	}
	if s.Results == nil {
		s.Results = map[exec.JobID]map[uint64]node.UnitResult{}
	}
	if s.Blobs == nil {
		s.Blobs = map[ledger.Digest][]byte{}
	}
	return &Node{s: s, acked: map[exec.JobID]uint64{}, changed: make(chan struct{})}
}

// Change lets f change the state and tells the watchers. f must replace slices, not write
// into them: watchers may hold the old ones.
func (n *Node) Change(f func(*State)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(&n.s)
	close(n.changed)
	n.changed = make(chan struct{})
}

// look reads the state and returns a channel that closes at the next change.
func (n *Node) look(f func(*State)) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(&n.s)
	return n.changed
}

func (s *State) status() node.Status {
	st := s.Status
	st.Jobs = append([]node.Job(nil), s.Jobs[:min(len(s.Jobs), 50)]...)
	return st
}

// Status returns the state's Status with its jobs.
func (n *Node) Status(context.Context) (st node.Status, err error) {
	n.look(func(s *State) { st = s.status() })
	return st, nil
}

// Watch yields the state, then every change.
func (n *Node) Watch(ctx context.Context, yield func(node.Update) error) error {
	seen := uint64(0)
	for {
		var u node.Update
		next := n.look(func(s *State) {
			st := s.status()
			u.Status = &st
			for _, e := range s.Events {
				if e.Seq > seen {
					u.Events = append(u.Events, e)
				}
			}
			if len(s.Events) > 0 {
				seen = s.Events[len(s.Events)-1].Seq
			}
		})
		if err := yield(u); err != nil {
			return err
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Offers returns the state's offers.
func (n *Node) Offers(context.Context) (o []node.Offer, err error) {
	n.look(func(s *State) { o = s.Offers })
	return o, nil
}

// Peers returns the state's peers.
func (n *Node) Peers(context.Context) (p []node.Peer, err error) {
	n.look(func(s *State) { p = s.Peers })
	return p, nil
}

// Peer returns the state's peer of that name or account.
func (n *Node) Peer(_ context.Context, id string) (v node.PeerView, err error) {
	err = &node.Problem{Code: node.CodeNotFound, Message: "nobody known as " + id, Hint: "p3 peer ls"}
	n.look(func(s *State) {
		for _, p := range s.Peers {
			if p.Name == id || p.Account.String() == id {
				v, err = node.PeerView{Window: 1, Trust: 0.5}, nil
				if known, ok := s.Views[p.Account]; ok {
					v = known
				}
				v.Schema, v.Account, v.Name, v.Peers = "p3.peer-view/v1", p.Account, p.Name, []node.Peer{p}
			}
		}
	})
	return v, err
}

// PutBlob keeps the bytes.
func (n *Node) PutBlob(_ context.Context, r io.Reader) (exec.File, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return exec.File{}, err
	}
	h := ledger.Digest(sha256.Sum256(b))
	n.Change(func(s *State) { s.Blobs[h] = b })
	return exec.File{Hash: h, Size: int64(len(b))}, nil
}

// GetBlob opens what PutBlob kept.
func (n *Node) GetBlob(_ context.Context, hash ledger.Digest) (io.ReadCloser, int64, error) {
	var b []byte
	var ok bool
	n.look(func(s *State) { b, ok = s.Blobs[hash] })
	if !ok {
		return nil, 0, fmt.Errorf("blob %s: %w", hash.Short(), ledger.ErrNotFound)
	}
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
}

// SubmitJob adds an echoing job.
func (n *Node) SubmitJob(_ context.Context, m exec.Manifest) (j node.Job, err error) {
	n.Change(func(s *State) {
		m.Nonce = binary.BigEndian.AppendUint64(make([]byte, 8), uint64(len(s.Jobs)))
		m.Account = s.Status.Account
		if err = m.Validate(); err != nil {
			err = &node.Problem{Code: node.CodeUsage, Message: err.Error()}
			return
		}
		_, id, _ := m.Encode()
		j = node.Job{ID: id, Name: m.Name, State: node.JobRunning, Budget: m.Budget, Verify: m.Verify, Created: s.Status.Started}
		s.Jobs = append([]node.Job{j}, s.Jobs...)
		s.Results[id] = map[uint64]node.UnitResult{}
	})
	return j, err
}

// Jobs returns the jobs.
func (n *Node) Jobs(context.Context) (jobs []node.Job, err error) {
	n.look(func(s *State) { jobs = append(jobs, s.Jobs...) })
	return jobs, nil
}

// find returns the index of the one job that id names.
func (s *State) find(id string) (int, error) {
	found := -1
	prefix := strings.TrimPrefix(id, "j-")
	for i, j := range s.Jobs {
		if strings.HasPrefix(j.ID.String(), prefix) {
			if found >= 0 {
				return 0, &node.Problem{Code: node.CodeUsage, Message: id + " names more than one job", Hint: "give more digits"}
			}
			found = i
		}
	}
	if found < 0 {
		return 0, &node.Problem{Code: node.CodeNotFound, Message: "no job " + id, Hint: "list them with: p3 job ls"}
	}
	return found, nil
}

// Job returns one job.
func (n *Node) Job(_ context.Context, id string) (j node.Job, err error) {
	n.look(func(s *State) {
		var i int
		if i, err = s.find(id); err == nil {
			j = s.Jobs[i]
		}
	})
	return j, err
}

// change replaces one job by what f makes of it.
func (n *Node) change(id string, f func(*State, *node.Job)) (j node.Job, err error) {
	n.Change(func(s *State) {
		var i int
		if i, err = s.find(id); err != nil {
			return
		}
		s.Jobs = append([]node.Job(nil), s.Jobs...)
		f(s, &s.Jobs[i])
		j = s.Jobs[i]
	})
	return j, err
}

// AddInputs echoes each input at once, but keeps at most Window results unfetched.
func (n *Node) AddInputs(ctx context.Context, id string, at uint64, next func() (exec.Input, error)) (uint64, error) {
	for ; ; at++ {
		j, err := n.room(ctx, id, at)
		if err != nil {
			return 0, err
		}
		in, err := next()
		if err == io.EOF {
			return j.Units, nil
		}
		if err != nil {
			return 0, err
		}
		r := node.UnitResult{Unit: at, Hosts: []string{"memory"}, Tries: 1,
			Result: exec.Result{Status: exec.Exited, Stdout: in.Stdin}}
		if _, err = n.change(id, func(s *State, j *node.Job) {
			s.Results[j.ID][at] = r
			s.Units[j.ID] = append(s.Units[j.ID], node.UnitDone)
			j.Units, j.Done = j.Units+1, j.Done+1
		}); err != nil {
			return 0, err
		}
	}
}

// room waits until unit at may enter the window.
func (n *Node) room(ctx context.Context, id string, at uint64) (j node.Job, err error) {
	for {
		free := false
		next := n.look(func(s *State) {
			var i int
			if i, err = s.find(id); err == nil {
				j = s.Jobs[i]
				free = at < n.acked[j.ID]+Window
			}
		})
		if err != nil || free {
			return j, err
		}
		select {
		case <-next:
		case <-ctx.Done():
			return j, ctx.Err()
		}
	}
}

// CloseInputs ends the job after its units.
func (n *Node) CloseInputs(_ context.Context, id string, units uint64) (node.Job, error) {
	return n.change(id, func(_ *State, j *node.Job) {
		j.Closed, j.Units = true, units
		if j.Done >= units {
			j.State = node.JobDone
		}
	})
}

// Results yields the echoes in order, as they also end, until the job is closed and all are out.
func (n *Node) Results(ctx context.Context, id string, from uint64, _ node.Order, yield func(node.UnitResult) error) error {
	for ; ; from++ {
		r, more, err := n.result(ctx, id, from)
		if err != nil || !more {
			return err
		}
		if err := yield(r); err != nil {
			return err
		}
	}
}

func (n *Node) result(ctx context.Context, id string, unit uint64) (r node.UnitResult, ok bool, err error) {
	for {
		ended, acked := false, false
		next := n.look(func(s *State) {
			var i int
			if i, err = s.find(id); err != nil {
				return
			}
			j := s.Jobs[i]
			r, ok = s.Results[j.ID][unit]
			ended = j.Closed && unit >= j.Units || j.State == node.JobCancelled
			if unit > n.acked[j.ID] {
				n.acked[j.ID], acked = unit, true
			}
		})
		if acked {
			n.Change(func(*State) {}) // room in the window
		}
		if err != nil || ok || ended {
			return r, ok, err
		}
		select {
		case <-next:
		case <-ctx.Done():
			return r, false, ctx.Err()
		}
	}
}

// UnitStates returns the letters from unit from on.
func (n *Node) UnitStates(_ context.Context, id string, from uint64, count int) (out string, err error) {
	n.look(func(s *State) {
		var i int
		if i, err = s.find(id); err != nil {
			return
		}
		states := s.Units[s.Jobs[i].ID]
		from = min(from, uint64(len(states)))
		letters := make([]byte, 0, count)
		for _, st := range states[from:min(int(from)+count, len(states))] {
			letters = append(letters, byte(st))
		}
		out = string(letters)
	})
	return out, err
}

// Unit returns one result.
func (n *Node) Unit(_ context.Context, id string, unit uint64) (r node.UnitResult, err error) {
	n.look(func(s *State) {
		var i int
		if i, err = s.find(id); err != nil {
			return
		}
		var ok bool
		if r, ok = s.Results[s.Jobs[i].ID][unit]; !ok {
			err = fmt.Errorf("unit %d of %s: %w", unit, s.Jobs[i].ID.Short(), ledger.ErrNotFound)
		}
	})
	return r, err
}

// CancelJob cancels.
func (n *Node) CancelJob(_ context.Context, id string) (node.Job, error) {
	return n.change(id, func(_ *State, j *node.Job) { j.State, j.Running = node.JobCancelled, 0 })
}

// RemoveJob forgets a job.
func (n *Node) RemoveJob(_ context.Context, id string) (node.Job, error) {
	j, err := n.change(id, func(*State, *node.Job) {})
	if err == nil {
		n.look(func(s *State) {
			s.Jobs = slices.DeleteFunc(s.Jobs, func(x node.Job) bool { return x.ID == j.ID })
		})
	}
	return j, err
}

// RaiseBudget raises.
func (n *Node) RaiseBudget(_ context.Context, id string, by ledger.Credits) (node.Job, error) {
	return n.change(id, func(_ *State, j *node.Job) { j.Budget += by })
}

// PeerWhy knows nobody.
func (n *Node) PeerWhy(_ context.Context, id string) (node.PeerWhy, error) {
	return node.PeerWhy{}, &node.Problem{Code: node.CodeNotFound, Message: "nobody is known here as " + id}
}

// JobWhy says what the job's state says.
func (n *Node) JobWhy(ctx context.Context, id string) (w node.JobWhy, err error) {
	j, err := n.Job(ctx, id)
	n.look(func(s *State) { w = s.JobWhys[j.ID] })
	w.Schema, w.Job, w.Name, w.State, w.Why = "p3.job-why/v1", j.ID, j.Name, j.State, j.Why
	return w, err
}

// Balance returns the status' balance.
func (n *Node) Balance(context.Context) (b node.Balance, err error) {
	n.look(func(s *State) { b = s.Status.Balance })
	return b, nil
}

// Receipts yields the receipts.
func (n *Node) Receipts(_ context.Context, yield func(node.Receipt) error) error {
	var list []node.Receipt
	n.look(func(s *State) { list = s.Receipts })
	for _, r := range list {
		if err := yield(r); err != nil {
			return err
		}
	}
	return nil
}

// ReceiptBytes returns the receipt's file, or its ID where there is none.
func (n *Node) ReceiptBytes(_ context.Context, id string) (b []byte, err error) {
	err = fmt.Errorf("receipt %s: %w", id, ledger.ErrNotFound)
	n.look(func(s *State) {
		for _, r := range s.Receipts {
			if r.ID.String() == id {
				if b, err = s.Files[r.ID], nil; b == nil {
					b = r.ID[:]
				}
			}
		}
	})
	return b, err
}

// Export yields the rows.
func (n *Node) Export(_ context.Context, since time.Time, yield func(ledger.Row) error) error {
	var rows []ledger.Row
	n.look(func(s *State) { rows = s.Rows })
	for _, r := range rows {
		if r.Kind != ledger.RowNetwork && r.Time.Before(since) {
			continue
		}
		if err := yield(r); err != nil {
			return err
		}
	}
	return nil
}

// History returns the last days of the state's.
func (n *Node) History(_ context.Context, days int) (h node.History, err error) {
	n.look(func(s *State) { h = s.History })
	h.Days = h.Days[max(len(h.Days)-days, 0):]
	return h, nil
}

// Publish returns the hash: nobody signs here.
func (n *Node) Publish(_ context.Context, program ledger.Digest) ([]byte, error) {
	return program[:], nil
}

// BalanceProof returns the proof's file, or the account alone where there is none.
func (n *Node) BalanceProof(context.Context) (b []byte, err error) {
	n.look(func(s *State) {
		if b = s.Proof; b == nil {
			b = s.Status.Account[:]
		}
	})
	return b, nil
}

// Send takes the amount off the status' balance.
func (n *Node) Send(_ context.Context, t node.Transfer) (sent node.Sent, err error) {
	n.Change(func(s *State) {
		b := &s.Status.Balance
		if t.Amount > b.Free {
			err = &node.Problem{Code: node.CodeNoCredit, Message: "not enough credit"}
			return
		}
		b.Spent, b.Net, b.Free = b.Spent+t.Amount, b.Net-t.Amount, b.Free-t.Amount
		sent = node.Sent{Schema: "p3.send/v1", ID: ledger.Digest{1}, Name: t.To, Amount: t.Amount}
	})
	return sent, err
}

// CloseAccount returns the balance, or refuses while something is locked.
func (n *Node) CloseAccount(context.Context) (b node.Balance, err error) {
	n.look(func(s *State) {
		if b = s.Status.Balance; b.Locked > 0 {
			b, err = node.Balance{}, &node.Problem{Code: node.CodeDenied, Message: "leases are open"}
		}
	})
	return b, err
}

// Bind, Bound and Unbind know one node, "elm".
func (n *Node) Bind(_ context.Context, r node.BindRequest) (node.Bound, error) {
	if r.Peer != "elm" {
		return node.Bound{}, &node.Problem{Code: node.CodeUsage, Message: "not a peer ID"}
	}
	return node.Bound{Schema: "p3.bound/v1", Peer: r.Peer, Binding: "p3b:example"}, nil
}

// Bound lists elm.
func (n *Node) Bound(context.Context) ([]node.Bound, error) {
	return []node.Bound{{Schema: "p3.bound/v1", Peer: "elm"}}, nil
}

// Unbind ends elm.
func (n *Node) Unbind(_ context.Context, peer string) (node.Bound, error) {
	if peer != "elm" {
		return node.Bound{}, &node.Problem{Code: node.CodeNotFound, Message: "not bound"}
	}
	return node.Bound{Schema: "p3.bound/v1", Peer: peer, Ended: true}, nil
}

// Prune finds nothing to remove.
func (n *Node) Prune(context.Context) (node.Pruned, error) {
	return node.Pruned{Schema: "p3.pruned/v1"}, nil
}

// Backup returns the status' account, which anyone may read.
func (n *Node) Backup(_ context.Context, r node.BackupRequest) (io.ReadCloser, error) {
	if r.Passphrase == "" {
		return nil, &node.Problem{Code: node.CodeUsage, Message: "a backup needs a passphrase"}
	}
	var me ledger.Account
	n.look(func(s *State) { me = s.Status.Account })
	return io.NopCloser(strings.NewReader(me.String())), nil
}

// Invite returns an invitation to nowhere.
func (n *Node) Invite(context.Context) (string, error) { return "p3:example", nil }

// Join knows one network: that of Invite.
func (n *Node) Join(_ context.Context, invite string) error {
	if invite != "p3:example" {
		return &node.Problem{Code: node.CodeDenied, Message: "the invite is for another network"}
	}
	return nil
}

// SetHost changes donation and pause.
func (n *Node) SetHost(_ context.Context, c node.HostChange) (h node.HostStatus, err error) {
	n.Change(func(s *State) {
		now := time.Now()
		host := &s.Status.Host
		if c.Donate != nil {
			host.Donating = *c.Donate
		}
		if c.PauseMs != nil {
			host.PausedUntil = time.Time{}
			if *c.PauseMs > 0 {
				host.PausedUntil = now.Add(time.Duration(*c.PauseMs) * time.Millisecond)
			}
		}
		if c.Finish != nil {
			host.Finishing = *c.Finish
		}
		host.Accepts, host.Why = true, "idle"
		switch {
		case host.Finishing:
			host.Accepts, host.Why = false, "finishing what runs"
		case !host.Donating:
			host.Accepts, host.Why = false, "donation is off"
		case host.PausedUntil.After(now):
			host.Accepts, host.Why = false, "paused by the owner"
		}
		h = *host
	})
	return h, nil
}

// HostWhy returns the state's Why.
func (n *Node) HostWhy(context.Context) (w node.HostWhy, err error) {
	n.look(func(s *State) { w = s.Why })
	return w, nil
}

// SetPolicy changes the policy of Why, and decides anew.
func (n *Node) SetPolicy(_ context.Context, c node.PolicyChange) (w node.HostWhy, err error) {
	n.Change(func(s *State) {
		var p node.HostPolicy
		if p, err = s.Why.Policy.Apply(c); err != nil {
			return
		}
		s.Why.Policy, s.Why.Chosen = p, ""
		s.Why.Decision = node.Decide(p, s.Why.Signals, node.HostControl{Donate: s.Status.Host.Donating}, s.Now, node.Decision{})
		s.Status.Host.Accepts, s.Status.Host.Why, s.Status.Host.Policy = s.Why.Decision.Accepts, s.Why.Decision.Why, p.Summary()
		w = s.Why
	})
	return w, err
}

// Org returns the state's Org; without one its network is mutual, and it refuses.
func (n *Node) Org(context.Context) (o node.Org, err error) {
	err = &node.Problem{Code: node.CodeDenied, Message: "this network has no mint"}
	n.look(func(s *State) {
		if s.Org != nil {
			o, err = *s.Org, nil
		}
	})
	return o, err
}

// Grants lists the state's.
func (n *Node) Grants(context.Context) (g []node.GrantTaken, err error) {
	n.look(func(s *State) { g = s.Grants })
	return g, nil
}

// Convicted lists the state's Caught.
func (n *Node) Convicted(context.Context) (c node.Convictions, err error) {
	n.look(func(s *State) { c = s.Caught })
	return c, nil
}

// OrgGrant refuses.
func (n *Node) OrgGrant(ctx context.Context, _ node.OrgGrant) (node.Granted, error) {
	_, err := n.Org(ctx)
	return node.Granted{}, err
}

// OrgAllow refuses.
func (n *Node) OrgAllow(ctx context.Context, _ node.OrgAllow) (node.OrgMember, error) {
	_, err := n.Org(ctx)
	return node.OrgMember{}, err
}

// OrgRecover refuses.
func (n *Node) OrgRecover(ctx context.Context) (node.Org, error) { return n.Org(ctx) }

// Recover returns the state's Recovery. Who is sure signs again.
func (n *Node) Recover(_ context.Context, sure bool) (r node.Recovery, err error) {
	n.Change(func(s *State) {
		r = s.Recovery
		if sure {
			r.Signs, r.Why = true, ""
		}
		if r.Signs {
			s.Status.ReadOnly = ""
		}
	})
	return r, nil
}

// Witness returns the state's Witness.
func (n *Node) Witness(context.Context) (w node.WitnessStatus, err error) {
	n.look(func(s *State) { w = s.Witness })
	return w, nil
}

// BeWitness finds that the network has none.
func (n *Node) BeWitness(ctx context.Context) (node.WitnessStatus, error) { return n.Witness(ctx) }

// Shutdown sets Stopped.
func (n *Node) Shutdown(context.Context) error {
	n.Change(func(s *State) { s.Stopped = true })
	return nil
}
