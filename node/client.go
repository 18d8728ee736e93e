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
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.fetch(ctx, CallStatus, nil, nil, &s)
}

// Offers returns the offers the node knows.
func (c *Client) Offers(ctx context.Context) (o []Offer, err error) {
	return o, c.fetch(ctx, CallOffers, nil, nil, &o)
}

// Peers returns the peers the node is connected to.
func (c *Client) Peers(ctx context.Context) (p []Peer, err error) {
	return p, c.fetch(ctx, CallPeers, nil, nil, &p)
}

// PutBlob stores what r gives and returns its hash and size; the file has no name.
func (c *Client) PutBlob(ctx context.Context, r io.Reader) (f exec.File, err error) {
	return f, c.fetch(ctx, CallPutBlob, nil, io.NopCloser(r), &f)
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
func (c *Client) SubmitJob(ctx context.Context, m exec.Manifest) (j Job, err error) {
	b, err := json.Marshal(m)
	if err != nil {
		return j, &Problem{Code: CodeUsage, Message: fmt.Sprintf("encode manifest: %v", err)}
	}
	return j, c.fetch(ctx, CallSubmit, nil, bytes.NewReader(b), &j)
}

// Jobs returns this node's own jobs, newest first.
func (c *Client) Jobs(ctx context.Context) (j []Job, err error) {
	return j, c.fetch(ctx, CallJobs, nil, nil, &j)
}

// Job returns one job; id is its full hex or any unique prefix, with or without "j-".
func (c *Client) Job(ctx context.Context, id string) (j Job, err error) {
	return j, c.fetch(ctx, CallJob, []string{id}, nil, &j)
}

// CloseInputs says that the job has no further input after units.
func (c *Client) CloseInputs(ctx context.Context, id string, units uint64) (j Job, err error) {
	return j, c.fetchQuery(ctx, CallCloseInputs, []string{id}, num("units", units), nil, &j)
}

// UnitStates returns one letter a unit, of at most n units from unit from on.
func (c *Client) UnitStates(ctx context.Context, id string, from uint64, n int) (string, error) {
	q := num("from", from)
	q.Set("n", strconv.Itoa(n))
	var r States
	err := c.fetchQuery(ctx, CallUnitStates, []string{id}, q, nil, &r)
	return r.States, err
}

// Unit returns the result of one finished unit.
func (c *Client) Unit(ctx context.Context, id string, n uint64) (u UnitResult, err error) {
	return u, c.fetch(ctx, CallUnit, []string{id, strconv.FormatUint(n, 10)}, nil, &u)
}

// CancelJob ends a job; what is done stays done and paid.
func (c *Client) CancelJob(ctx context.Context, id string) (j Job, err error) {
	return j, c.fetch(ctx, CallCancel, []string{id}, nil, &j)
}

// Balance returns the account's position.
func (c *Client) Balance(ctx context.Context) (b Balance, err error) {
	return b, c.fetch(ctx, CallBalance, nil, nil, &b)
}

// ReceiptBytes returns the signed bytes of a receipt, as anyone can verify them.
func (c *Client) ReceiptBytes(ctx context.Context, id string) ([]byte, error) {
	resp, err := c.open(ctx, CallReceipt, []string{id}, nil, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return c.readAll(ctx, resp.Body)
}

// Invite returns a one-line invitation to this network.
func (c *Client) Invite(ctx context.Context) (string, error) {
	var r Invitation
	err := c.fetch(ctx, CallInvite, nil, nil, &r)
	return r.Invite, err
}

// SetHost changes the provider side and returns how it stands then.
func (c *Client) SetHost(ctx context.Context, h HostChange) (s HostStatus, err error) {
	b, _ := json.Marshal(h) // a bool and a number cannot fail
	return s, c.fetch(ctx, CallHost, nil, bytes.NewReader(b), &s)
}

// Shutdown asks the node to stop in order. It has not stopped yet when Shutdown returns.
func (c *Client) Shutdown(ctx context.Context) error {
	return c.fetch(ctx, CallShutdown, nil, nil, &struct{}{})
}

func num(name string, v uint64) url.Values {
	return url.Values{name: {strconv.FormatUint(v, 10)}}
}

func (c *Client) fetch(ctx context.Context, call Call, args []string, body io.Reader, into any) error {
	return c.fetchQuery(ctx, call, args, nil, body, into)
}

// fetchQuery makes a call whose reply is one JSON value.
func (c *Client) fetchQuery(ctx context.Context, call Call, args []string, q url.Values, body io.Reader, into any) error {
	resp, err := c.open(ctx, call, args, q, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := c.readAll(ctx, resp.Body)
	if err != nil {
		return err
	}
	return decodeReply(b, into)
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
