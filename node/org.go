package node

import (
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// An Org is a granted network as this node sees it, and the mint whose key lies here, if any. All amounts
// are in µcr.
type Org struct {
	Schema  string         `json:"schema"` // "p3.org/v1"
	Name    string         `json:"name"`
	Network ledger.Network `json:"network"`
	Mints   []OrgMint      `json:"mints"` // as the genesis names them

	Witnesses int `json:"witnesses"` // as the genesis names them; p3 witness ls lists them
	Quorum    int `json:"quorum"`    // of them must sign each lock
	Faulty    int `json:"faulty"`    // of them may fail

	Mint    ledger.Account `json:"mint,omitzero"` // whose key is here; zero = none, and what follows is empty
	Issued  ledger.Credits `json:"issued_ucr"`
	Left    ledger.Credits `json:"left_ucr"` // of its cap
	Grants  uint64         `json:"grants"`   // signed so far
	Members []OrgMember    `json:"members"`  // by account
	Problem string         `json:"problem,omitempty"`
}

// An OrgMint is one that may create credit.
type OrgMint struct {
	Account ledger.Account `json:"account"`
	Cap     ledger.Credits `json:"cap_ucr"`
	Frozen  bool           `json:"frozen"` // it was convicted; nobody takes up its further grants
}

// An OrgMember is an account that the mint has granted something, or will.
type OrgMember struct {
	Account   ledger.Account `json:"account"`
	Name      string         `json:"name"` // what its node calls itself, unverified; "" = nobody said
	Granted   ledger.Credits `json:"granted_ucr"`
	Grants    uint64         `json:"grants"`
	Waiting   ledger.Credits `json:"waiting_ucr"`   // granted, and not taken up by its node yet
	Allowance ledger.Credits `json:"allowance_ucr"` // each Every; 0 = none
	Every     string         `json:"every,omitempty"`
	Next      time.Time      `json:"next,omitzero"` // when the allowance is due again
}

// An OrgGrant asks the mint of this node for a grant. To is an account, or what `p3 peer show` takes for one.
type OrgGrant struct {
	To     string         `json:"to"`
	Amount ledger.Credits `json:"amount_ucr"`
}

// A Granted is a grant that was signed. It reaches its member when that connects.
type Granted struct {
	Schema string         `json:"schema"` // "p3.grant/v1"
	To     ledger.Account `json:"to"`
	Name   string         `json:"name"`
	Amount ledger.Credits `json:"amount_ucr"`
	Seq    uint64         `json:"seq"`
	Issued ledger.Credits `json:"issued_ucr"` // by the mint, with this one
	Left   ledger.Credits `json:"left_ucr"`
}

// A GrantTaken is a grant that this node's account took up.
type GrantTaken struct {
	ID     ledger.Digest  `json:"id"` // digest of the grant
	Mint   ledger.Account `json:"mint"`
	Amount ledger.Credits `json:"amount_ucr"`
	Time   time.Time      `json:"time"` // when it was taken up
}

// An OrgAllow sets a member's allowance; an amount of zero ends it.
type OrgAllow struct {
	To     string         `json:"to"`
	Amount ledger.Credits `json:"amount_ucr"`
	Every  string         `json:"every"` // "day", "week", "month"
}
