package node

import (
	"net/url"
	"strings"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// A Call is one row of the local API, as net/http.ServeMux reads it: a method and a path.
// Client and node/localapi share this table, so that neither can speak what the other
// does not know. docs/local-api.md tells the bodies.
type Call string

// The calls.
const (
	CallStatus      Call = "GET /v1/status"
	CallWatch       Call = "GET /v1/watch"
	CallOffers      Call = "GET /v1/offers"
	CallPeers       Call = "GET /v1/peers"
	CallPeer        Call = "GET /v1/peers/{id}"
	CallPeerWhy     Call = "GET /v1/peers/{id}/why"
	CallPutBlob     Call = "PUT /v1/blobs"
	CallGetBlob     Call = "GET /v1/blobs/{hash}"
	CallSubmit      Call = "POST /v1/jobs"
	CallJobs        Call = "GET /v1/jobs"
	CallJob         Call = "GET /v1/jobs/{id}"
	CallInputs      Call = "POST /v1/jobs/{id}/inputs"
	CallCloseInputs Call = "POST /v1/jobs/{id}/close"
	CallResults     Call = "GET /v1/jobs/{id}/results"
	CallUnitStates  Call = "GET /v1/jobs/{id}/units"
	CallUnit        Call = "GET /v1/jobs/{id}/units/{n}"
	CallCancel      Call = "POST /v1/jobs/{id}/cancel"
	CallRemove      Call = "DELETE /v1/jobs/{id}"
	CallRaise       Call = "POST /v1/jobs/{id}/raise"
	CallJobWhy      Call = "GET /v1/jobs/{id}/why"
	CallBalance     Call = "GET /v1/credit/balance"
	CallReceipts    Call = "GET /v1/credit/receipts"
	CallReceipt     Call = "GET /v1/credit/receipts/{id}"
	CallGrants      Call = "GET /v1/credit/grants"
	CallExport      Call = "GET /v1/credit/export"
	CallHistory     Call = "GET /v1/credit/history"
	CallProof       Call = "GET /v1/credit/proof"
	CallPublish     Call = "POST /v1/programs/{hash}/publish"
	CallConvicted   Call = "GET /v1/credit/convicted"
	CallRecover     Call = "POST /v1/credit/recover"
	CallSend        Call = "POST /v1/credit/send"
	CallClose       Call = "POST /v1/credit/close"
	CallPrune       Call = "POST /v1/credit/prune"
	CallBound       Call = "GET /v1/credit/bound"
	CallBind        Call = "POST /v1/credit/bound"
	CallUnbind      Call = "POST /v1/credit/bound/{peer}/end"
	CallBackup      Call = "POST /v1/credit/backup"
	CallInvite      Call = "POST /v1/invite"
	CallJoin        Call = "POST /v1/join"
	CallOrg         Call = "GET /v1/org"
	CallOrgGrant    Call = "POST /v1/org/grant"
	CallOrgAllow    Call = "POST /v1/org/allow"
	CallOrgRecover  Call = "POST /v1/org/recover"
	CallHost        Call = "POST /v1/host"
	CallHostWhy     Call = "GET /v1/host/why"
	CallPolicy      Call = "POST /v1/host/policy"
	CallWitness     Call = "GET /v1/witness"
	CallBeWitness   Call = "POST /v1/witness"
	CallShutdown    Call = "POST /v1/shutdown"
)

// Bounds of what crosses the local API, in bytes.
const (
	MaxRequest = 1 << 20   // a JSON body that is not a stream
	MaxInput   = 4 << 20   // one line of inputs
	MaxReply   = 64 << 20  // a JSON reply that is not a stream, and one Update
	MaxResult  = 256 << 20 // one line of results: a unit's stdout and stderr in base64
)

// MaxDays is the most days one CallHistory returns.
const MaxDays = 3660

// MaxStates is the most unit states one CallUnitStates returns.
const MaxStates = 1 << 20

// ProblemTrailer is the HTTP trailer that carries a Problem, as JSON, when a stream of
// JSON lines had to end early. A stream without it is complete.
const ProblemTrailer = "P3-Problem"

// A HostChange changes the provider side. A nil field stays as it is.
type HostChange struct {
	Donate  *bool  `json:"donate,omitempty"`
	PauseMs *int64 `json:"pause_ms,omitempty"` // from now; 0 ends a pause, and finishing
	Finish  *bool  `json:"finish,omitempty"`   // let running units end and take nothing new
}

// A Transfer gives credit to another account.
type Transfer struct {
	To     string         `json:"to"` // an account, or what its node calls itself
	Amount ledger.Credits `json:"amount_ucr"`
	LifeMs int64          `json:"life_ms,omitempty"` // after so long it comes back if nobody took it; 0 = DefaultTransferLife
}

// DefaultTransferLife is how long a transfer waits for its receiver.
const DefaultTransferLife = 24 * time.Hour

// A Sent is a transfer on its way. Its receipt says when the account has taken it up, or that it came back.
type Sent struct {
	Schema  string         `json:"schema"` // "p3.send/v1"
	ID      ledger.Digest  `json:"id"`     // of its receipt
	To      ledger.Account `json:"to"`
	Name    string         `json:"name"` // of the account, "" = nobody knows it
	Amount  ledger.Credits `json:"amount_ucr"`
	Expires time.Time      `json:"expires"` // when it comes back
	Peer    string         `json:"peer"`    // a connected peer of the account; "" = none, it waits for one
}

// A BindRequest lets a node earn for this account, without its key.
type BindRequest struct {
	Peer   string         `json:"peer"`              // peer ID
	LifeMs int64          `json:"life_ms,omitempty"` // of the binding, which is renewed when they meet; 0 = DefaultBindingLife
	Day    ledger.Credits `json:"day_ucr,omitempty"` // that are taken up of it a day; 0 = DefaultBindingDay
}

// Limits of what a stolen node can do in the account's name: how long others take its offers when its owner cannot tell them, and what
// it can have the account take up of payers that it made up.
const (
	DefaultBindingLife = 7 * 24 * time.Hour // (p) a week's holiday of the PC with the key
	MaxBindingLife     = 366 * 24 * time.Hour
	DefaultBindingDay  = 1000 * ledger.Credit // (p) more than 32 cores earn at 0.30 cr a Tfuel
)

// A Bound is a node that earns for this account.
type Bound struct {
	Schema  string         `json:"schema"` // "p3.bound/v1"
	Peer    string         `json:"peer"`
	Name    string         `json:"name"`
	Since   time.Time      `json:"since"`
	Expires time.Time      `json:"expires"`           // of the newest binding
	Ended   bool           `json:"ended,omitempty"`   // it was unbound: nothing is taken from it, nor is its binding renewed
	Binding string         `json:"binding,omitempty"` // for p3 up --earn-for, when it was just made
	Day     ledger.Credits `json:"day_ucr"`           // that are taken up of it a day
	Leases  uint64         `json:"leases"`            // taken up so far
	Earned  ledger.Credits `json:"earned_ucr"`        // by them
	Last    time.Time      `json:"last,omitzero"`     // when
}

// A Pruned says what pruning came to.
type Pruned struct {
	Schema  string `json:"schema"`  // "p3.pruned/v1"
	Entries int    `json:"entries"` // removed
}

// A BackupRequest asks for an encrypted backup of the account.
type BackupRequest struct {
	Passphrase string `json:"passphrase"`      // that will open it
	Light      bool   `json:"light,omitempty"` // cheaper to open, and to guess
}

// A PolicyChange changes the host policy: first to a preset, then key by key. It applies at once and
// as a whole or not at all.
type PolicyChange struct {
	Preset string            `json:"preset,omitempty"`
	Set    map[string]string `json:"set,omitempty"` // values as HostPolicy.Set reads them
}

// HostWhy is the policy, what the machine says, and what follows.
type HostWhy struct {
	Schema   string     `json:"schema"` // "p3.host-why/v1"
	Decision Decision   `json:"decision"`
	Donating bool       `json:"donating"`
	Signals  Signals    `json:"signals"`
	Policy   HostPolicy `json:"policy"`
	File     string     `json:"file"`              // where the policy is kept
	Chosen   string     `json:"chosen,omitempty"`  // why this preset, when the owner has chosen none
	Problem  string     `json:"problem,omitempty"` // what is wrong with the file; the last good policy holds
	Network  int64      `json:"network_today"`     // bytes moved for guests today
	Native   string     `json:"native,omitempty"`  // as in HostStatus
	Walls    []Wall     `json:"walls,omitempty"`   // around the worker started last, outermost first; none before the first
}

// A Wall is one protection of this machine from guests, or of its owner's work.
type Wall struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"` // why it does not stand, or what exactly
}

// Missing is the walls that do not stand, in a sentence; "" if all do.
func (w HostWhy) Missing() string {
	var s []string
	for _, x := range w.Walls {
		if !x.OK {
			s = append(s, x.Name+": "+x.Detail)
		}
	}
	return strings.Join(s, "; ")
}

// Method is the HTTP method.
func (c Call) Method() string { m, _, _ := strings.Cut(string(c), " "); return m }

// path fills the wildcards of the call's path in order. len(args) must match.
func (c Call) path(args ...string) string {
	_, p, _ := strings.Cut(string(c), " ")
	var b strings.Builder
	for {
		head, rest, found := strings.Cut(p, "{")
		b.WriteString(head)
		if !found {
			return b.String()
		}
		_, p, _ = strings.Cut(rest, "}")
		b.WriteString(url.PathEscape(args[0]))
		args = args[1:]
	}
}

// A Recovery is what came of asking peers for what the ledger on this disk has lost.
type Recovery struct {
	Asked   int    `json:"asked"`   // connected peers that show an account
	Answers int    `json:"answers"` // of these
	Entries int    `json:"entries"` // put back
	Leases  int    `json:"leases"`  // of which something was put back
	Missing uint64 `json:"missing"` // entries that were signed and that nobody brought
	From    uint64 `json:"from"`    // the first of these
	Signs   bool   `json:"signs"`   // the account signs again, or never stopped
	Why     string `json:"why"`     // when it does not
}
