package node

import "github.com/personal-power-plant/p3/ledger"

// A Raise asks for a job to be let spend more.
type Raise struct {
	By ledger.Credits `json:"by_ucr"`
}
