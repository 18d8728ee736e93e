package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

const dialTimeout = 2 * time.Second

// A Client speaks to the node behind one unix socket. Every error that it returns is a
// *Problem, unless ctx was cancelled (then errors.Is(err, context.Canceled)) or a
// callback of the caller failed (then that error). It is safe for concurrent use; each
// call has a connection of its own, so that a restarted node needs no new Client.
type Client struct {
	socket string
	http   http.Client
}

// NewClient returns a client of the node listening at socket. It does not connect yet.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		d := net.Dialer{Timeout: dialTimeout}
		return d.DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, http: http.Client{Transport: &http.Transport{
		DialContext:            dial,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
	}}}
}

// Status returns the node's state now.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return fetch[Status](c, ctx, CallStatus, nil, nil)
}

// Offers returns the offers the node knows.
func (c *Client) Offers(ctx context.Context) ([]Offer, error) {
	return fetch[[]Offer](c, ctx, CallOffers, nil, nil)
}

// Peers returns the peers the node is connected to.
func (c *Client) Peers(ctx context.Context) ([]Peer, error) {
	return fetch[[]Peer](c, ctx, CallPeers, nil, nil)
}

// Peer returns an account as the node knows it, with its credit here. id is a name, a peer ID, an account or a
// unique prefix of one; CodeNotFound if nobody is known by it.
func (c *Client) Peer(ctx context.Context, id string) (PeerView, error) {
	return fetch[PeerView](c, ctx, CallPeer, []string{id}, nil)
}

// PeerWhy says how an account's offers match our jobs, and so why it works for us or does not; id is as for Peer.
func (c *Client) PeerWhy(ctx context.Context, id string) (PeerWhy, error) {
	return fetch[PeerWhy](c, ctx, CallPeerWhy, []string{id}, nil)
}

// PutBlob stores what r gives and returns its hash and size; the file has no name.
func (c *Client) PutBlob(ctx context.Context, r io.Reader) (exec.File, error) {
	return fetch[exec.File](c, ctx, CallPutBlob, nil, io.NopCloser(r))
}

// GetBlob opens a blob and tells its size in bytes. The caller closes it. The bytes are
// not hashed again here: the node verified them.
func (c *Client) GetBlob(ctx context.Context, hash ledger.Digest) (io.ReadCloser, int64, error) {
	resp, err := c.open(ctx, CallGetBlob, []string{hash.String()}, nil, nil)
	if err != nil {
		return nil, 0, err
	}
	return resp.Body, resp.ContentLength, nil
}

// SubmitJob starts a job. The node sets account, nonce and creation time.
func (c *Client) SubmitJob(ctx context.Context, m exec.Manifest) (Job, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return Job{}, &Problem{Code: CodeUsage, Message: fmt.Sprintf("encode manifest: %v", err)}
	}
	return fetch[Job](c, ctx, CallSubmit, nil, bytes.NewReader(b))
}

// Jobs returns this node's own jobs, newest first.
func (c *Client) Jobs(ctx context.Context) ([]Job, error) {
	return fetch[[]Job](c, ctx, CallJobs, nil, nil)
}

// Job returns one job; id is its full hex or any unique prefix, with or without "j-".
func (c *Client) Job(ctx context.Context, id string) (Job, error) {
	return fetch[Job](c, ctx, CallJob, []string{id}, nil)
}

// JobWhy says how the offers match a job that runs or waits, and what holds it up.
func (c *Client) JobWhy(ctx context.Context, id string) (JobWhy, error) {
	return fetch[JobWhy](c, ctx, CallJobWhy, []string{id}, nil)
}

// CloseInputs says that the job has no further input after units.
func (c *Client) CloseInputs(ctx context.Context, id string, units uint64) (Job, error) {
	return fetchQuery[Job](c, ctx, CallCloseInputs, []string{id}, num("units", units), nil)
}

// UnitStates returns one letter a unit, of at most n units from unit from on.
func (c *Client) UnitStates(ctx context.Context, id string, from uint64, n int) (string, error) {
	q := num("from", from)
	q.Set("n", strconv.Itoa(n))
	r, err := fetchQuery[States](c, ctx, CallUnitStates, []string{id}, q, nil)
	return r.States, err
}

// Unit returns the result of one finished unit.
func (c *Client) Unit(ctx context.Context, id string, n uint64) (UnitResult, error) {
	return fetch[UnitResult](c, ctx, CallUnit, []string{id, strconv.FormatUint(n, 10)}, nil)
}

// CancelJob ends a job; what is done stays done and paid.
func (c *Client) CancelJob(ctx context.Context, id string) (Job, error) {
	return fetch[Job](c, ctx, CallCancel, []string{id}, nil)
}

// RemoveJob forgets a job that has ended, with its inputs and results. What it cost stays in the ledger.
func (c *Client) RemoveJob(ctx context.Context, id string) (Job, error) {
	return fetch[Job](c, ctx, CallRemove, []string{id}, nil)
}

// RaiseBudget lets a job that runs spend more than it was submitted with.
func (c *Client) RaiseBudget(ctx context.Context, id string, by ledger.Credits) (Job, error) {
	b, _ := json.Marshal(Raise{by}) // a number cannot fail
	return fetch[Job](c, ctx, CallRaise, []string{id}, bytes.NewReader(b))
}

// Balance returns the account's position.
func (c *Client) Balance(ctx context.Context) (Balance, error) {
	return fetch[Balance](c, ctx, CallBalance, nil, nil)
}

// ReceiptBytes returns the signed bytes of a receipt, as anyone can verify them.
func (c *Client) ReceiptBytes(ctx context.Context, id string) ([]byte, error) {
	return c.bytes(ctx, CallReceipt, id)
}

// Publish returns a ledger.Publication of a program by this account, signed.
func (c *Client) Publish(ctx context.Context, program ledger.Digest) ([]byte, error) {
	return c.bytes(ctx, CallPublish, program.String())
}

// BalanceProof returns a ledger.BalanceProof of where the account stands, encoded.
func (c *Client) BalanceProof(ctx context.Context) ([]byte, error) { return c.bytes(ctx, CallProof) }

func (c *Client) bytes(ctx context.Context, call Call, args ...string) ([]byte, error) {
	resp, err := c.open(ctx, call, args, nil, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return c.readAll(ctx, resp.Body)
}

// History returns what was earned and spent on each of the last days, at most MaxDays.
func (c *Client) History(ctx context.Context, days int) (History, error) {
	return fetchQuery[History](c, ctx, CallHistory, nil, num("days", uint64(max(days, 0))), nil)
}

// Send gives credit to another account. CodeNoCredit beyond what is free.
func (c *Client) Send(ctx context.Context, t Transfer) (Sent, error) {
	b, _ := json.Marshal(t) // a string and numbers cannot fail
	return fetch[Sent](c, ctx, CallSend, nil, bytes.NewReader(b))
}

// CloseAccount ends the account's chain for good. CodeDenied while leases are open.
func (c *Client) CloseAccount(ctx context.Context) (Balance, error) {
	return fetch[Balance](c, ctx, CallClose, nil, nil)
}

// Bind lets a node earn for this account, without its key.
func (c *Client) Bind(ctx context.Context, r BindRequest) (Bound, error) {
	b, _ := json.Marshal(r) // a string and a number cannot fail
	return fetch[Bound](c, ctx, CallBind, nil, bytes.NewReader(b))
}

// Bound lists the nodes that earn for this account.
func (c *Client) Bound(ctx context.Context) ([]Bound, error) {
	return fetch[[]Bound](c, ctx, CallBound, nil, nil)
}

// Unbind takes nothing more from a node, nor renews its binding. peer is its peer ID or its name.
func (c *Client) Unbind(ctx context.Context, peer string) (Bound, error) {
	return fetch[Bound](c, ctx, CallUnbind, []string{peer}, nil)
}

// Prune removes old entries that no proof needs.
func (c *Client) Prune(ctx context.Context) (Pruned, error) {
	return fetch[Pruned](c, ctx, CallPrune, nil, nil)
}

// Backup opens an encrypted backup of the account, as it is at this moment. The caller closes it. A backup that was
// cut off ends with an error.
func (c *Client) Backup(ctx context.Context, r BackupRequest) (io.ReadCloser, error) {
	b, _ := json.Marshal(r) // a string and a bool cannot fail
	resp, err := c.open(ctx, CallBackup, nil, nil, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Invite returns a one-line invitation to this network.
func (c *Client) Invite(ctx context.Context) (string, error) {
	r, err := fetch[Invitation](c, ctx, CallInvite, nil, nil)
	return r.Invite, err
}

// Join gives the node an invite to the network it is on: it dials who is named there, now and
// from now on. CodeDenied for an invite to another network.
func (c *Client) Join(ctx context.Context, invite string) error {
	b, _ := json.Marshal(Invitation{Invite: invite}) // a string cannot fail
	_, err := fetch[struct{}](c, ctx, CallJoin, nil, bytes.NewReader(b))
	return err
}

// Org is the granted network that the node is on. CodeDenied in a mutual one.
func (c *Client) Org(ctx context.Context) (Org, error) {
	return fetch[Org](c, ctx, CallOrg, nil, nil)
}

// Grants lists the grants that the account took up, newest first.
func (c *Client) Grants(ctx context.Context) ([]GrantTaken, error) {
	return fetch[[]GrantTaken](c, ctx, CallGrants, nil, nil)
}

// OrgGrant has the node's mint sign a grant. CodeDenied if it has none, CodeNoCredit beyond the cap.
func (c *Client) OrgGrant(ctx context.Context, g OrgGrant) (Granted, error) {
	b, _ := json.Marshal(g) // a string and a number cannot fail
	return fetch[Granted](c, ctx, CallOrgGrant, nil, bytes.NewReader(b))
}

// OrgAllow sets a member's allowance.
func (c *Client) OrgAllow(ctx context.Context, a OrgAllow) (OrgMember, error) {
	b, _ := json.Marshal(a) // strings and a number cannot fail
	return fetch[OrgMember](c, ctx, CallOrgAllow, nil, bytes.NewReader(b))
}

// OrgRecover asks the connected peers for the newest grant of the node's mint and lets it grant on from there.
func (c *Client) OrgRecover(ctx context.Context) (Org, error) {
	return fetch[Org](c, ctx, CallOrgRecover, nil, nil)
}

// SetHost changes the provider side and returns how it stands then.
func (c *Client) SetHost(ctx context.Context, h HostChange) (HostStatus, error) {
	b, _ := json.Marshal(h) // a bool and a number cannot fail
	return fetch[HostStatus](c, ctx, CallHost, nil, bytes.NewReader(b))
}

// HostWhy returns the host policy, every signal, and what the policy comes to now.
func (c *Client) HostWhy(ctx context.Context) (HostWhy, error) {
	return fetch[HostWhy](c, ctx, CallHostWhy, nil, nil)
}

// SetPolicy changes the host policy of the running node, and its file, and returns how it stands then.
// CodeUsage with a hint for a key or value that is not one.
func (c *Client) SetPolicy(ctx context.Context, p PolicyChange) (HostWhy, error) {
	b, _ := json.Marshal(p) // strings cannot fail
	return fetch[HostWhy](c, ctx, CallPolicy, nil, bytes.NewReader(b))
}

// Recover asks the peers for what the ledger has lost. sure says that no other copy of this account is at work,
// and that whoever could know of more is connected.
func (c *Client) Recover(ctx context.Context, sure bool) (Recovery, error) {
	var q url.Values
	if sure {
		q = num("sure", 1)
	}
	return fetchQuery[Recovery](c, ctx, CallRecover, nil, q, nil)
}

// Shutdown asks the node to stop in order. It has not stopped yet when Shutdown returns.
func (c *Client) Shutdown(ctx context.Context) error {
	_, err := fetch[struct{}](c, ctx, CallShutdown, nil, nil)
	return err
}

func num(name string, v uint64) url.Values {
	return url.Values{name: {strconv.FormatUint(v, 10)}}
}

func fetch[T any](c *Client, ctx context.Context, call Call, args []string, body io.Reader) (T, error) {
	return fetchQuery[T](c, ctx, call, args, nil, body)
}

// fetchQuery makes a call whose reply is one JSON value.
func fetchQuery[T any](c *Client, ctx context.Context, call Call, args []string, q url.Values, body io.Reader) (v T, err error) {
	resp, err := c.open(ctx, call, args, q, body)
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	b, err := c.readAll(ctx, resp.Body)
	if err != nil {
		return v, err
	}
	err = decodeReply(b, &v)
	return v, err
}

// open makes a call and returns its answer, whose body the caller closes, once the node
// has agreed to answer.
func (c *Client) open(ctx context.Context, call Call, args []string, q url.Values, body io.Reader) (*http.Response, error) {
	u := "http://p3" + call.path(args...)
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, call.Method(), u, body)
	if err != nil {
		return nil, &Problem{Code: CodeUsage, Message: err.Error()}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.problem(ctx, err)
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // a reply cut short fails to decode below
		var r ErrorReply
		if json.Unmarshal(b, &r) != nil || r.Error == nil {
			return nil, &Problem{Code: CodeInternal, Message: "the node answered " + resp.Status, Hint: "is this the socket of a p3 node of the same version? " + c.socket}
		}
		return nil, r.Error
	}
	return resp, nil
}

func (c *Client) readAll(ctx context.Context, r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxReply+1))
	if err != nil {
		return nil, c.problem(ctx, err)
	}
	if len(b) > MaxReply {
		return nil, &Problem{Code: CodeInternal, Message: fmt.Sprintf("the node's reply is longer than %d MiB", MaxReply>>20)}
	}
	return b, nil
}

func decodeReply(b []byte, into any) error {
	if err := json.Unmarshal(b, into); err != nil {
		return &Problem{Code: CodeInternal, Message: fmt.Sprintf("the node's reply cannot be read: %v", err), Hint: "use the p3 that started the node, or restart it: p3 down; p3 up"}
	}
	return nil
}

// problem says what a failed connection means to a person.
func (c *Client) problem(ctx context.Context, err error) error {
	var ne net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return &Problem{Code: CodeTimeout, Message: "the node did not answer in time", Hint: "try again with a longer --timeout; if it stays so: p3 down; p3 up"}
	case errors.Is(err, fs.ErrPermission):
		return &Problem{Code: CodeDenied, Message: "no permission to use " + c.socket, Hint: "the node belongs to another user: run p3 as that user, or start one of your own with: p3 up"}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return &Problem{Code: CodeNoNode, Message: "no node is running at " + c.socket, Hint: "start it with: p3 up"}
	case errors.Is(err, syscall.EINVAL):
		return &Problem{Code: CodeUsage, Message: fmt.Sprintf("socket path %s is too long (%d bytes)", c.socket, len(c.socket)), Hint: "choose a shorter one with --socket or P3_SOCKET"}
	}
	return &Problem{Code: CodeNoNode, Message: fmt.Sprintf("the node stopped answering: %v", err), Hint: "start it with: p3 up"}
}
