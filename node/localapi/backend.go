package localapi

import (
	"context"
	"io"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// A Backend is a node. It is safe for concurrent use. An id of a job is its full hex or any
// unique prefix, with or without "j-". An error that is a *node.Problem reaches the caller
// as it is; ledger.ErrNotFound and context.DeadlineExceeded are understood; any other
// becomes node.CodeInternal with its text.
type Backend interface {
	Status(ctx context.Context) (node.Status, error)
	// Watch calls yield with the full Status and up to 200 latest events, then with each
	// change as it comes (the Handler coalesces), until ctx ends or yield fails. It returns
	// only when it will not call yield again.
	Watch(ctx context.Context, yield func(node.Update) error) error
	Offers(ctx context.Context) ([]node.Offer, error)
	Peers(ctx context.Context) ([]node.Peer, error)
	// Peer is an account, named as people name it, with its credit here.
	Peer(ctx context.Context, id string) (node.PeerView, error)
	PeerWhy(ctx context.Context, id string) (node.PeerWhy, error)

	// PutBlob reads r to its end. The file it returns has no name.
	PutBlob(ctx context.Context, r io.Reader) (exec.File, error)
	// GetBlob's second result is the size in bytes. The caller closes the reader.
	GetBlob(ctx context.Context, hash ledger.Digest) (io.ReadCloser, int64, error)

	// SubmitJob sets the manifest's account, nonce and creation time itself.
	SubmitJob(ctx context.Context, m exec.Manifest) (node.Job, error)
	Jobs(ctx context.Context) ([]node.Job, error) // newest first
	Job(ctx context.Context, id string) (node.Job, error)
	// AddInputs takes units at, at+1, … from next until it returns io.EOF, no faster than
	// results are fetched, and returns the number of units known then. An error of next
	// ends it and is returned; the units before it stay.
	AddInputs(ctx context.Context, id string, at uint64, next func() (exec.Input, error)) (uint64, error)
	CloseInputs(ctx context.Context, id string, units uint64) (node.Job, error)
	// Results yields the results of units from unit from on, waiting for those to come,
	// until the job has ended or yield fails. It acknowledges every unit before from.
	Results(ctx context.Context, id string, from uint64, order node.Order, yield func(node.UnitResult) error) error
	// UnitStates returns one node.UnitState letter a unit, at most n (≤ node.MaxStates).
	UnitStates(ctx context.Context, id string, from uint64, n int) (string, error)
	Unit(ctx context.Context, id string, n uint64) (node.UnitResult, error)
	CancelJob(ctx context.Context, id string) (node.Job, error)
	RemoveJob(ctx context.Context, id string) (node.Job, error)
	RaiseBudget(ctx context.Context, id string, by ledger.Credits) (node.Job, error)
	JobWhy(ctx context.Context, id string) (node.JobWhy, error)

	Balance(ctx context.Context) (node.Balance, error)
	Receipts(ctx context.Context, yield func(node.Receipt) error) error // newest first
	Grants(ctx context.Context) ([]node.GrantTaken, error)              // taken up, newest first
	// Convicted lists the accounts that a proof is kept against.
	Convicted(ctx context.Context) (node.Convictions, error)
	ReceiptBytes(ctx context.Context, id string) ([]byte, error)
	// Export yields the ledger's rows not older than since; zero means all.
	Export(ctx context.Context, since time.Time, yield func(ledger.Row) error) error
	// History is of the last days, from 1 to node.MaxDays.
	History(ctx context.Context, days int) (node.History, error)
	Publish(ctx context.Context, program ledger.Digest) ([]byte, error) // a ledger.Publication, signed
	BalanceProof(ctx context.Context) ([]byte, error)                   // a ledger.BalanceProof, encoded

	// Send gives credit to another account; it comes back if nobody takes it in time.
	Send(ctx context.Context, t node.Transfer) (node.Sent, error)
	// Bind lets a node earn for this account without its key; Unbind takes nothing more from it.
	Bind(ctx context.Context, r node.BindRequest) (node.Bound, error)
	Bound(ctx context.Context) ([]node.Bound, error)
	Unbind(ctx context.Context, peer string) (node.Bound, error)
	// CloseAccount ends the account's chain for good; Prune removes old entries that no proof needs.
	CloseAccount(ctx context.Context) (node.Balance, error)
	Prune(ctx context.Context) (node.Pruned, error)
	// Backup returns the bytes of an encrypted backup; an error while it is read means that it is not whole.
	Backup(ctx context.Context, r node.BackupRequest) (io.ReadCloser, error)

	Invite(ctx context.Context) (string, error)
	// Join dials the peers of an invite to the network the node is on, now and from now on.
	Join(ctx context.Context, invite string) error
	// Org is the granted network that the node is on; a Problem in a mutual one.
	Org(ctx context.Context) (node.Org, error)
	// OrgGrant signs a grant; OrgAllow sets an allowance. Only where the mint's key is.
	OrgGrant(ctx context.Context, r node.OrgGrant) (node.Granted, error)
	OrgAllow(ctx context.Context, r node.OrgAllow) (node.OrgMember, error)
	// OrgRecover lets a mint grant on that was found behind.
	OrgRecover(ctx context.Context) (node.Org, error)
	SetHost(ctx context.Context, h node.HostChange) (node.HostStatus, error)
	HostWhy(ctx context.Context) (node.HostWhy, error)
	// SetPolicy changes the host policy as a whole or not at all.
	SetPolicy(ctx context.Context, c node.PolicyChange) (node.HostWhy, error)
	// Recover asks peers for what the ledger has lost and puts it back.
	Recover(ctx context.Context, sure bool) (node.Recovery, error)
	// Witness tells what the node has to do with witnesses.
	Witness(ctx context.Context) (node.WitnessStatus, error)
	// BeWitness makes a witness key if there is none, and serves if the network names it; Why says if not.
	BeWitness(ctx context.Context) (node.WitnessStatus, error)
	// Shutdown begins to stop the node and returns at once, so that the reply still gets out.
	Shutdown(ctx context.Context) error
}

var _ Backend = (*node.Client)(nil)
