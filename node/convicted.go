package node

import (
	"context"

	"github.com/personal-power-plant/p3/ledger"
)

// MaxConvictions is the most accounts that one CallConvicted lists.
const MaxConvictions = 1000

// Convictions are the accounts that this node keeps a proof against. A proof is two signed records that contradict
// each other, so it convicts its signer to anyone, for ever: nobody works with such an account.
type Convictions struct {
	Schema string       `json:"schema"` // "p3.convicted/v1"
	Total  int          `json:"total"`
	List   []Conviction `json:"list"` // those that this account dealt with first, then by account; at most MaxConvictions
}

// A Conviction is one account that was caught.
type Conviction struct {
	Account ledger.Account `json:"account"`
	Name    string         `json:"name"`           // what its node calls itself, unverified; "" = it is not connected
	Role    string         `json:"role,omitempty"` // "self", "mint", "witness"
	Why     string         `json:"why"`            // what the proof shows
	Did     ledger.Credits `json:"did_ucr"`        // by it for us, settled
	Got     ledger.Credits `json:"got_ucr"`        // by us for it
}

// Convicted lists the accounts that a proof is kept against.
func (c *Client) Convicted(ctx context.Context) (Convictions, error) {
	return fetch[Convictions](c, ctx, CallConvicted, nil, nil)
}
