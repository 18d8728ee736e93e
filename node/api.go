package node

import (
	"fmt"
	"time"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

// Status is a node at one moment.
type Status struct {
	Schema   string         `json:"schema"` // "p3.status/v1"
	Version  string         `json:"version"`
	PID      int            `json:"pid"`
	Peer     string         `json:"peer"` // libp2p peer ID
	Account  ledger.Account `json:"account"`
	Network  ledger.Network `json:"network"`
	NetName  string         `json:"network_name"`
	Addrs    []string       `json:"addrs"` // multiaddrs we listen on
	Started  time.Time      `json:"started"`
	Peers    int            `json:"peers"`
	Offers   int            `json:"offers"` // offers known
	Balance  Balance        `json:"balance"`
	Host     HostStatus     `json:"host"`
	Jobs     []Job          `json:"jobs"`                // newest first, at most 50
	Guests   []Guest        `json:"guests"`              // units running here for others
	Office   *OfficeStatus  `json:"office,omitempty"`    // nil where the account's key is
	ReadOnly string         `json:"read_only,omitempty"` // why the ledger signs nothing; "" = it signs
}

// OfficeStatus is of a node that earns for an account whose key is elsewhere.
type OfficeStatus struct {
	Account ledger.Account `json:"account"`
	Expires time.Time      `json:"expires"`           // of the binding
	Home    bool           `json:"home"`              // a node with the key is connected
	Waiting int            `json:"waiting"`           // leases that the account has not taken up
	Amount  ledger.Credits `json:"amount_ucr"`        // of them
	Open    int            `json:"open"`              // leases that still run
	Vouched ledger.Credits `json:"vouched_ucr"`       // for them; with Amount, what would be lost with this machine
	Refused int            `json:"refused,omitempty"` // of Waiting, those that the account did not take up
	Why     string         `json:"why,omitempty"`     // one of them
}

// HostStatus is the provider side.
type HostStatus struct {
	Donating    bool          `json:"donating"`
	Accepts     bool          `json:"accepts"` // would take a unit now
	Why         string        `json:"why"`     // one sentence, always set
	By          string        `json:"by"`      // the layer or key of the policy that decided
	Frozen      bool          `json:"frozen"`  // guests stand still
	Finishing   bool          `json:"finishing"`
	Policy      string        `json:"policy"` // in a few words
	PausedUntil time.Time     `json:"paused_until,omitzero"`
	Capacity    exec.Capacity `json:"capacity"`
	Price       ledger.Price  `json:"price"`
	Busy        int           `json:"busy"` // slots in use
	UnitsDone   uint64        `json:"units_done"`
	FuelDone    ledger.Fuel   `json:"fuel_done"`
	Native      string        `json:"native"`      // whether programs run as machine code of this host's compiler, in a few words
	CPUPercent  float64       `json:"cpu_percent"` // of the whole machine
	MemUsed     int64         `json:"mem_used"`    // bytes, machine
	MemTotal    int64         `json:"mem_total"`
}

// A Guest is a stranger's unit running on this machine.
type Guest struct {
	Job     exec.JobID     `json:"job"`
	Name    string         `json:"name"`
	Unit    uint64         `json:"unit"`
	For     ledger.Account `json:"for"`
	Started time.Time      `json:"started"`
}

// Balance is an account's position in µcr.
type Balance struct {
	Granted ledger.Credits `json:"granted_ucr"`
	Earned  ledger.Credits `json:"earned_ucr"`
	Spent   ledger.Credits `json:"spent_ucr"`
	Locked  ledger.Credits `json:"locked_ucr"`
	Net     ledger.Credits `json:"net_ucr"`  // granted + earned - spent
	Free    ledger.Credits `json:"free_ucr"` // what may still be locked: net - locked + floor
	Floor   ledger.Credits `json:"floor_ucr"`
}

// JobState is where a job stands.
type JobState string

// States of a job.
const (
	JobRunning   JobState = "running"
	JobWaiting   JobState = "waiting" // no provider at the moment; Why says the reason
	JobDone      JobState = "done"
	JobFailed    JobState = "failed" // ended, but some units failed
	JobCancelled JobState = "cancelled"
)

// A Job as its owner sees it.
type Job struct {
	ID       exec.JobID     `json:"id"`
	Name     string         `json:"name"`
	State    JobState       `json:"state"`
	Why      string         `json:"why,omitempty"`
	Halted   string         `json:"halted,omitempty"` // why it ended, or ends, before all its units have: its manifest's Halt
	Created  time.Time      `json:"created"`
	Ended    time.Time      `json:"ended,omitzero"`
	Units    uint64         `json:"units"`  // known so far
	Closed   bool           `json:"closed"` // no further input will come
	Done     uint64         `json:"done"`   // with an accepted result, failed ones included
	Failed   uint64         `json:"failed"` // program failed or no host could run it
	Running  uint64         `json:"running"`
	Spent    ledger.Credits `json:"spent_ucr"`
	Budget   ledger.Credits `json:"budget_ucr"`
	Short    ledger.Credits `json:"short_ucr,omitempty"` // what one unit may cost where it is cheapest, if the job waits because its budget does not cover that
	Verify   exec.Verify    `json:"verify"`
	Deadline time.Time      `json:"deadline,omitzero"`  // by which it is to be done
	Optimise exec.Optimise  `json:"optimise,omitempty"` // what it is planned for
	Estimate *JobEstimate   `json:"estimate,omitempty"` // of a planned job, once its pilot units have ended
	Disputes uint64         `json:"disputes"`           // replicas that were outvoted
	Doubtful uint64         `json:"doubtful"`           // results accepted unchecked (verify auto) of hosts that later gave a wrong one
	Peers    []JobPeer      `json:"peers,omitempty"`
}

// A JobEstimate is what a job comes to, by the units that have ended and the providers that are there.
type JobEstimate struct {
	From  uint64         `json:"from"`     // units that it was made of
	Units uint64         `json:"units"`    // known of the job
	Cost  ledger.Credits `json:"cost_ucr"` // of these, with what was spent
	Ends  time.Time      `json:"ends"`
	Over  bool           `json:"over,omitempty"` // its budget does not cover that: nothing more is begun
	Late  bool           `json:"late,omitempty"` // it ends after its deadline
}

// String is for people.
func (e JobEstimate) String() string {
	s := fmt.Sprintf("%d units come to about %s, by %d that have ended", e.Units, e.Cost, e.From)
	switch {
	case e.Over:
		return s + ": more than the budget"
	case e.Late:
		return s + fmt.Sprintf("; they take until about %s, past the deadline", e.Ends.Format(time.TimeOnly))
	}
	return s + fmt.Sprintf(", and take until about %s", e.Ends.Format(time.TimeOnly))
}

// A JobPeer is one provider's part in a job.
type JobPeer struct {
	Peer    string         `json:"peer"`
	Account ledger.Account `json:"account"`
	Name    string         `json:"name"`
	State   string         `json:"state"` // "leased", "lost", "refused", "done", "bad"
	Why     string         `json:"why,omitempty"`
	Done    uint64         `json:"done"`   // units of its that were accepted
	Failed  uint64         `json:"failed"` // that it could not bring, or that were outvoted
	Running int            `json:"running"`
	Paid    ledger.Credits `json:"paid_ucr"`
	RTTMs   float64        `json:"rtt_ms"`

	Unchecked uint64 `json:"unchecked"` // of Done, those that verify auto did not check
}

// UnitState is one cell of the unit grid.
type UnitState byte

// States of a unit, as the letters the grid shows.
const (
	UnitWaiting UnitState = '.'
	UnitRunning UnitState = '>'
	UnitRetry   UnitState = 'r'
	UnitDone    UnitState = '#'
	UnitFailed  UnitState = 'x'
)

// A UnitResult is one finished unit. Stdout and Stderr are base64 in JSON.
type UnitResult struct {
	Unit   uint64         `json:"unit"`
	Result exec.Result    `json:"result"`
	Error  string         `json:"error,omitempty"` // why there is no result, when no host could give one
	Hosts  []string       `json:"hosts"`           // names of the peers that agreed
	Cost   ledger.Credits `json:"cost_ucr"`
	Tries  int            `json:"tries"`
	Ended  time.Time      `json:"ended"` // when it was known here
}

// An Order says how the results of a job follow each other.
type Order string

// Orders of results.
const (
	InOrder Order = "units" // of the units
	AsEnded Order = "ended" // as they are known
)

// A JobWhy says how the offers known now match a job, and what holds it up.
type JobWhy struct {
	Schema  string     `json:"schema"` // p3.job-why/v1
	Job     exec.JobID `json:"job"`
	Name    string     `json:"name"`
	State   JobState   `json:"state"`
	Why     string     `json:"why"`            // what it waits for, in a line; "" = it goes on
	Offers  int        `json:"offers"`         // of these:
	Hired   int        `json:"hired"`          // work for it
	Asking  int        `json:"asking"`         // are being asked
	Fit     int        `json:"fit"`            // would do, and are not needed or not affordable now
	Plan    string     `json:"plan,omitempty"` // what a planned job is up to
	Kept    []WhyStep  `json:"kept,omitempty"` // of Fit: why the plan gives them nothing, grouped
	Refused []WhyStep  `json:"refused"`        // do not match, grouped, most frequent first
}

// A WhyStep is one reason against some offers.
type WhyStep struct {
	Count  int    `json:"count"`
	Why    string `json:"why"`
	Detail string `json:"detail,omitempty"`
	Such   string `json:"such"`          // name of one of them; in a PeerWhy, of a job
	Fix    string `json:"fix,omitempty"` // what the user can do about that one
}

// A PeerWhy says how the offers of one account match each of our jobs that runs, and so why it works for us or does not.
type PeerWhy struct {
	Schema  string         `json:"schema"` // "p3.peer-why/v1"
	Account ledger.Account `json:"account"`
	Name    string         `json:"name"`          // what its node calls itself, unverified; "" = nobody said
	Why     string         `json:"why"`           // in a line
	Fix     string         `json:"fix,omitempty"` // what to do about it
	Nodes   int            `json:"nodes"`         // of its that we are connected to
	Offers  int            `json:"offers"`        // of its that are known here
	Jobs    int            `json:"jobs"`          // of ours that run; 0 = a plain one was matched
	Hired   int            `json:"hired"`         // offers, counted for each job: those that work for it,
	Asking  int            `json:"asking"`        // that are being asked,
	Fit     int            `json:"fit"`           // that would do, and are not needed or not affordable now,
	Refused []WhyStep      `json:"refused"`       // that do not match, grouped, most frequent first
}

// Conclude says in a line what the counts come to; own and frozen are what is known of the account besides.
func (w *PeerWhy) Conclude(own, frozen bool) {
	switch {
	case own:
		w.Why, w.Fix = "this is your own account, and a node never hires its own", ""
	case frozen:
		w.Why, w.Fix = "it was caught cheating, and the proof is kept: nobody works with it", "hire others: p3 offer ls"
	case w.Offers == 0 && w.Nodes == 0:
		w.Why, w.Fix = "it is not connected, and no offer of its is known here", "have its owner start it with `p3 up --donate`, or join by an invite of its"
	case w.Offers == 0:
		w.Why, w.Fix = "it is connected and offers nothing", "its owner lends it with `p3 up --donate`; `p3 host why` there says what holds it back"
	case w.Hired > 0:
		w.Why = fmt.Sprintf("it works for %d of %d jobs", w.Hired, w.Jobs)
	case w.Asking > 0:
		w.Why = "it is being asked"
	case w.Fit > 0 && w.Jobs > 0:
		w.Why = "it fits, and is not needed now"
	case w.Fit > 0:
		w.Why = "it would do"
	case len(w.Refused) > 0:
		w.Why, w.Fix = w.Refused[0].Why, w.Refused[0].Fix
	}
}

// An Offer as browsers see it.
type Offer struct {
	Peer     string         `json:"peer"`
	Name     string         `json:"name"` // what the provider calls itself, unverified
	Account  ledger.Account `json:"account"`
	Capacity exec.Capacity  `json:"capacity"`
	Price    ledger.Price   `json:"price"`
	Free     int            `json:"free"`   // slots free when it was signed
	RTTMs    float64        `json:"rtt_ms"` // 0 = unknown
	Signed   time.Time      `json:"signed"`
	Expires  time.Time      `json:"expires"`
	Done     uint64         `json:"done"` // units it did for us that were accepted
	Failed   uint64         `json:"failed"`
	Score    float64        `json:"score"` // 0..1, higher is better, as market.Match ranks it for a default job
	Self     bool           `json:"self,omitempty"`
}

// A Peer is somebody we are connected to.
type Peer struct {
	ID      string         `json:"id"`
	Name    string         `json:"name"`
	Account ledger.Account `json:"account,omitzero"` // zero until its binding is known
	Addrs   []string       `json:"addrs"`
	Relayed bool           `json:"relayed"`
	RTTMs   float64        `json:"rtt_ms"`
	Agent   string         `json:"agent"`
	Since   time.Time      `json:"since"`
	SkewMs  float64        `json:"skew_ms"`          // its clock minus ours, within a round trip
	Office  bool           `json:"office,omitempty"` // it earns for Account and does not hold its key
}

// A PeerView is another account as this node knows it, and the credit it has here.
type PeerView struct {
	Schema   string         `json:"schema"` // "p3.peer-view/v1"
	Account  ledger.Account `json:"account"`
	Name     string         `json:"name"`    // what its node calls itself, unverified; "" = nobody said
	Peers    []Peer         `json:"peers"`   // nodes of its that we are connected to
	Did      ledger.Credits `json:"did_ucr"` // by it for us, settled
	Got      ledger.Credits `json:"got_ucr"` // by us for it
	Leases   int            `json:"leases"`  // open, with us as provider
	Unpaid   uint32         `json:"unpaid"`  // units claimed and not paid for
	Window   uint32         `json:"window"`  // units that may be unpaid
	Defaults uint32         `json:"defaults"`
	Trust    float64        `json:"trust"`  // see Trust
	Frozen   bool           `json:"frozen"` // it was caught cheating; the proof is kept

	Valid uint64  `json:"valid"` // results of its that stood a check here, ever
	Row   uint64  `json:"row"`   // of these, since the last wrong one
	Wrong uint64  `json:"wrong"`
	Check float64 `json:"check"` // the chance that a result of its is checked, with verify auto: 0 to 1

	Limited bool           `json:"limited"`
	Limit   ledger.Credits `json:"limit_ucr"` // what it may claim here now
	Flow    ledger.Credits `json:"flow_ucr"`
	Starter ledger.Credits `json:"starter_ucr"` // left for it
	Owes    ledger.Credits `json:"owes_ucr"`    // of its starter, until it works for us
	Today   ledger.Credits `json:"today_ucr"`   // left for all strangers today
	Why     string         `json:"why"`         // the limit's reason in words
}

// A Receipt as people see it: one lease, with both signatures.
type Receipt struct {
	ID       ledger.Digest  `json:"id"` // digest of the LOCK
	Job      ledger.Digest  `json:"job"`
	Payer    ledger.Account `json:"payer"`
	Payee    ledger.Account `json:"payee"`
	Locked   ledger.Credits `json:"locked_ucr"`
	Paid     ledger.Credits `json:"paid_ucr"`
	Fuel     ledger.Fuel    `json:"fuel"`
	Units    uint32         `json:"units"`
	Transfer bool           `json:"transfer,omitempty"` // given, not worked for
	State    string         `json:"state"`              // "open", "settled" (payer signed), "complete" (both signed), "claimed" (payee took the voucher), "expired"
	Time     time.Time      `json:"time"`
	Verified bool           `json:"verified"`
	Problem  string         `json:"problem,omitempty"`
}

// A History is what an account earned and spent by day. A day runs from midnight to midnight in
// the node's time zone, so one of 23 or 25 hours is a day too.
type History struct {
	Schema string `json:"schema"` // "p3.history/v1"
	Zone   string `json:"zone"`   // "Europe/Berlin", "Local", "UTC"
	Days   []Day  `json:"days"`   // oldest first; the last is today so far
}

// A Day is one day of a History, in µcr.
type Day struct {
	Date    string         `json:"date"`  // "2026-03-01"
	Start   time.Time      `json:"start"` // its midnight
	Granted ledger.Credits `json:"granted_ucr"`
	Earned  ledger.Credits `json:"earned_ucr"`
	Spent   ledger.Credits `json:"spent_ucr"`
	Net     ledger.Credits `json:"net_ucr"` // balance at its end
}

// NewHistory sums up the last n days (at least 1) of a ledger, in now's time zone.
func NewHistory(v *ledger.View, n int, now time.Time) (History, error) {
	h := History{Schema: "p3.history/v1", Zone: now.Location().String()}
	starts := make([]time.Time, n)
	y, m, d := now.Date()
	for i := range starts {
		starts[i] = time.Date(y, m, d-(n-1-i), 0, 0, 0, 0, now.Location())
	}
	spans, err := v.History(starts)
	for i, s := range spans {
		h.Days = append(h.Days, Day{starts[i].Format(time.DateOnly), starts[i], s.Granted, s.Earned, s.Spent, s.Net})
	}
	return h, err
}

// An Event is one line of the node's diary.
type Event struct {
	Seq   uint64    `json:"seq"`
	Time  time.Time `json:"time"`
	Level string    `json:"level"` // "ok", "info", "warn", "error"
	Kind  string    `json:"kind"`  // "peer", "job", "unit", "credit", "host", "node"
	Job   string    `json:"job,omitempty"`
	Peer  string    `json:"peer,omitempty"`
	Text  string    `json:"text"`
}

// An Update is one message of the watch stream: the state first, then changes. Fields that did
// not change are absent.
type Update struct {
	Status *Status `json:"status,omitempty"`
	Events []Event `json:"events,omitempty"`
}

// A Problem is an error as it crosses the local API. Code is stable.
type Problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to do next
}

func (p *Problem) Error() string { return p.Message }

// TooDear is the Problem of a job whose budget does not cover one unit, which may cost least.
func TooDear(budget, least ledger.Credits) *Problem {
	return &Problem{Code: CodeNoCredit, Message: fmt.Sprintf("the budget of %s does not cover one unit: it may cost %s at the cheapest host that fits (fuel limit times price, for each replica)", budget, least),
		Hint: fmt.Sprintf("give --max-cost %s or more, or lower --fuel to what a unit needs", least.Decimal())}
}

// Codes of a Problem.
const (
	CodeUsage    = "usage"       // exit 2
	CodeDenied   = "not_allowed" // exit 4
	CodeNoNode   = "node_down"   // exit 5
	CodeNoCredit = "no_credit"   // exit 6
	CodeNoOffers = "no_offers"   // exit 7
	CodeTimeout  = "timed_out"   // exit 8
	CodeNotFound = "not_found"   // exit 1
	CodeInternal = "internal"    // exit 1
)
