package node

import (
	"context"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// A WitnessStatus is what a node has to do with witnesses: of its network, and as one itself.
type WitnessStatus struct {
	Account ledger.Account `json:"account,omitzero"` // of the witness key here; absent = there is none
	Named   bool           `json:"named"`            // the network's genesis names it
	Serving bool           `json:"serving"`          // it answers
	Why     string         `json:"why,omitempty"`    // when there is a key and it does not
	NetName string         `json:"net_name"`
	Need    int            `json:"need"`   // witnesses that must sign a lock, 0 = the network has none
	Of      int            `json:"of"`     // witnesses
	Faulty  int            `json:"faulty"` // of them may fail or lie

	Accounts uint64 `json:"accounts"` // whose chains this witness follows
	Entries  uint64 `json:"entries"`  // it was shown and took
	Signed   uint64 `json:"signed"`   // of these, each at most once
	Refused  uint64 `json:"refused"`  // requests since the node started
	Forks    uint64 `json:"forks"`    // of these, with two entries for one place

	Witnesses []WitnessSeat `json:"witnesses"` // in the order of the genesis

	Certified *WitnessedLock `json:"certified,omitempty"` // of this node's locks the last that a quorum signed since it started
}

// A WitnessedLock is a lock with the signatures of a quorum: no other can come to stand in its place.
type WitnessedLock struct {
	Lock ledger.Digest    `json:"lock"` // the receipt's ID
	Seq  uint64           `json:"seq"`  // its place in the account's chain
	By   []ledger.Account `json:"by"`   // witnesses, no more than it takes
	Time time.Time        `json:"time"`
}

// A WitnessSeat is one of the network's witnesses as this node sees it.
type WitnessSeat struct {
	Account   ledger.Account `json:"account"`
	Peer      string         `json:"peer,omitempty"` // where it is asked; absent = not known yet
	Name      string         `json:"name,omitempty"` // what that peer calls itself
	Here      bool           `json:"here,omitempty"` // it is this node's
	Convicted bool           `json:"convicted,omitempty"`
	Asked     time.Time      `json:"asked,omitzero"` // last, by this node
	Why       string         `json:"why,omitempty"`  // why it did not sign then
}

// Witness tells what the node has to do with witnesses.
func (c *Client) Witness(ctx context.Context) (WitnessStatus, error) {
	return fetch[WitnessStatus](c, ctx, CallWitness, nil, nil)
}

// BeWitness makes a witness key if there is none, and has the node serve as a witness if its network names it.
func (c *Client) BeWitness(ctx context.Context) (WitnessStatus, error) {
	return fetch[WitnessStatus](c, ctx, CallBeWitness, nil, nil)
}
