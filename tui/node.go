package tui

import (
	"context"

	"github.com/personal-power-plant/p3/node"
)

// A Node is what the screens ask of a node; *node.Client is one.
type Node interface {
	Watch(ctx context.Context, yield func(node.Update) error) error
	Offers(ctx context.Context) ([]node.Offer, error)
	Peers(ctx context.Context) ([]node.Peer, error)
	Jobs(ctx context.Context) ([]node.Job, error)
	Job(ctx context.Context, id string) (node.Job, error)
	UnitStates(ctx context.Context, id string, from uint64, n int) (string, error)
	Unit(ctx context.Context, id string, n uint64) (node.UnitResult, error)
	CancelJob(ctx context.Context, id string) (node.Job, error)
	Receipts(ctx context.Context, yield func(node.Receipt) error) error
	ReceiptBytes(ctx context.Context, id string) ([]byte, error)
	History(ctx context.Context, days int) (node.History, error)
	Org(ctx context.Context) (node.Org, error)
	Grants(ctx context.Context) ([]node.GrantTaken, error)
	Witness(ctx context.Context) (node.WitnessStatus, error)
	Convicted(ctx context.Context) (node.Convictions, error)
	Peer(ctx context.Context, id string) (node.PeerView, error)
	JobWhy(ctx context.Context, id string) (node.JobWhy, error)
	Send(ctx context.Context, t node.Transfer) (node.Sent, error)
	Recover(ctx context.Context, sure bool) (node.Recovery, error)
	Invite(ctx context.Context) (string, error)
	HostWhy(ctx context.Context) (node.HostWhy, error)
	SetPolicy(ctx context.Context, c node.PolicyChange) (node.HostWhy, error)
	SetHost(ctx context.Context, h node.HostChange) (node.HostStatus, error)
}

var _ Node = (*node.Client)(nil)
