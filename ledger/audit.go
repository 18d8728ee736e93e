package ledger

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// An Audit merges the ledgers of several accounts and checks that no credit was made out of
// nothing: Σ(granted + earned − spent) + in transit + outside = Σ claimed grants, which is 0 in a
// mutual network. In transit is what was settled and not yet earned between two accounts of the
// audit; it is negative while an earn made from a voucher waits for its settle. Outside is what
// went to accounts that are not part of it, less what came from them.
//
// Since every chain states its own totals, that sum alone proves little. What makes it a proof is
// checked with it: each chain is whole, signed and follows the rules; no place in it was signed
// twice, not even towards somebody else; each earn is the only one of its lock and answers a
// settle or a voucher that the payer signed; and each grant was signed by a mint, claimed once and by
// whom it names, and all grants of a mint fit into one chain within its cap.
//
// Everything may be added more than once and in any order. It keeps every entry, about half a
// kilobyte each. Not safe for concurrent use.
type Audit struct {
	genesis  Genesis
	network  Network
	source   string
	entries  map[place]known
	chains   map[Account]map[place]bool // the accounts whose own entries were given
	vouchers map[Digest]voucher         // by digest
	grants   map[Digest]grant
	problems []*AuditProblem
}

// A place is where exactly one entry may stand.
type place struct {
	account Account
	epoch   uint32
	seq     uint64
}

func (p place) compare(q place) int {
	return cmp.Or(bytes.Compare(p.account[:], q.account[:]), cmp.Compare(p.epoch, q.epoch), cmp.Compare(p.seq, q.seq))
}

type known struct {
	Entry
	digest Digest
	raw    []byte
	source string
}

// A voucher is a verified one with its lock's two sides.
type voucher struct {
	lock         Digest
	payer, payee Account
	amount       Credits
}

// Totals are the sums of an audit.
type Totals struct {
	Accounts, Entries              int // whose chains, and the entries in them
	Granted, Earned, Spent, Locked Credits
	InTransit                      Credits // between accounts of the audit
	Outside                        Credits // to other accounts, less from them
	Outsiders                      int     // how many others
}

// Net is granted + earned − spent.
func (t Totals) Net() Credits { return t.Granted + t.Earned - t.Spent }

// An AuditAccount is one account's part.
type AuditAccount struct {
	Head   Head   // after its last entry in order
	Behind uint64 // entries of it that others hold and its own ledger, as given, does not
}

// An AuditReport is what an audit found. Credit is conserved if and only if it has no problems.
type AuditReport struct {
	Totals
	Accounts []AuditAccount  // sorted by account
	Problems []*AuditProblem // as they were found
}

// NewAudit begins an audit of the network that genesis founds.
func NewAudit(genesis Genesis) (*Audit, error) {
	network, err := genesis.ID()
	return &Audit{genesis: genesis, network: network, entries: make(map[place]known), chains: make(map[Account]map[place]bool),
		vouchers: make(map[Digest]voucher), grants: make(map[Digest]grant)}, err
}

// From names where what is added next comes from, for the problems found in it.
func (a *Audit) From(source string) { a.source = source }

// Entry adds an entry of an account's own ledger. Its error is an *AuditProblem, which the
// report will hold too: it is malformed, not signed by its account, of another network, or
// another one is known in its place.
func (a *Audit) Entry(raw []byte) error {
	e, d, err := VerifyEntry(raw)
	if err == nil && e.Network != a.network {
		err = &NetworkError{Want: a.network, Have: e.Network}
	}
	if err != nil {
		return a.note(AuditProblem{Kind: ProblemInvalid, Account: e.Account, Epoch: e.Epoch, Seq: e.Seq, A: bytes.Clone(raw), Err: err})
	}
	if err := a.meet(e, d, raw); err != nil {
		return err
	}
	own := a.chains[e.Account]
	if own == nil {
		own = make(map[place]bool)
		a.chains[e.Account] = own
	}
	own[place{e.Account, e.Epoch, e.Seq}] = true
	return nil
}

// meet takes a verified entry into the places known.
func (a *Audit) meet(e Entry, d Digest, raw []byte) error {
	at := place{e.Account, e.Epoch, e.Seq}
	k, taken := a.entries[at]
	switch {
	case !taken:
		a.entries[at] = known{e, d, bytes.Clone(raw), a.source}
		return nil
	case k.digest == d:
		return nil
	}
	fork := &ForkError{A: k.raw, B: bytes.Clone(raw)}
	return a.note(AuditProblem{Kind: ProblemFork, Account: e.Account, Epoch: e.Epoch, Seq: e.Seq, A: fork.A, B: fork.B, SourceA: k.source, SourceB: a.source, Err: fork})
}

// Receipt adds the records of a lease: they back earns, and they show what an account signed
// towards others. Receipts of both sides may be added. Its error is an *AuditProblem, which the
// report will hold too; a settle below a voucher is such a problem, but no error.
func (a *Audit) Receipt(r Receipt) error {
	s, err := r.Verify()
	if under := (*UnderSettleError)(nil); errors.As(err, &under) {
		e, _ := ParseEntry(r.Settle) // which Verify has read
		a.note(AuditProblem{Kind: ProblemUnderSettled, Account: s.Payer, Epoch: e.Epoch, Seq: e.Seq, Lock: s.ID, A: under.Settle, B: under.Voucher, Err: under})
		err = nil
	}
	if err == nil && s.Network != a.network {
		err = &NetworkError{Want: a.network, Have: s.Network}
	}
	if err != nil {
		return a.note(AuditProblem{Kind: ProblemInvalid, Account: s.Payer, Lock: s.ID, A: r.Encode(), Err: err})
	}
	if r.Voucher != nil {
		v, err := ParseVoucher(r.Voucher)
		if err != nil {
			return err // Verify has read it
		}
		a.vouchers[v.Digest()] = voucher{s.ID, s.Payer, s.Payee, v.Amount}
	}
	var errs []error
	for _, raw := range [][]byte{r.Lock, r.Settle, r.Earn} {
		if raw == nil {
			continue
		}
		e, err := ParseEntry(raw)
		if err == nil {
			err = a.meet(e, e.Digest(), raw)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Book adds all of one book.
func (a *Audit) Book(b *Book) error { return a.View(b.View()) }

// View adds all of one book. It stops only when the book cannot be read; what is wrong in it is
// in the report, and the first such problem is returned.
func (a *Audit) View(v *View) error {
	var first error
	keep := func(err error) bool {
		first = cmp.Or(first, err)
		return true
	}
	if err := v.Entries(0, 0, func(raw []byte) bool { return keep(a.Entry(raw)) }); err != nil {
		return err
	}
	if err := v.Grants(func(raw []byte) bool { return keep(a.Grant(raw)) }); err != nil {
		return err
	}
	if err := v.Receipts(0, 0, func(_ uint64, r Receipt) bool { return keep(a.Receipt(r)) }); err != nil {
		return err
	}
	return first
}

// note keeps a problem, once, and returns it.
func (a *Audit) note(p AuditProblem) error {
	p.SourceA = cmp.Or(p.SourceA, a.source)
	for _, old := range a.problems {
		if old.same(&p) {
			return old
		}
	}
	a.problems = append(a.problems, &p)
	return &p
}

// Check returns the sums and the first problem. The audit may go on after it.
func (a *Audit) Check() (Totals, error) {
	r := a.Report()
	if len(r.Problems) > 0 {
		return r.Totals, r.Problems[0]
	}
	return r.Totals, nil
}

// Report holds everything that was added against everything else. The audit may go on after it.
func (a *Audit) Report() AuditReport {
	found := a.problems
	defer func() { a.problems = found }() // what Report finds may be mended by what is added later
	a.problems = slices.Clone(found)
	var r AuditReport
	a.judgeMints()
	m := merged{audit: a, locks: make(map[Digest]*movement), claims: make(map[Digest]known), digests: make(map[Digest]known, len(a.entries)), heirs: make(map[Account]Account), seen: make(map[Account]bool)}
	for _, k := range a.entries {
		m.digests[k.digest] = k
	}
	follows := m.succession()
	accounts := slices.SortedFunc(maps.Keys(a.chains), func(x, y Account) int { return bytes.Compare(x[:], y[:]) })
	slices.SortStableFunc(accounts, func(x, y Account) int { return cmp.Compare(follows[x], follows[y]) })
	for _, account := range accounts { // first those that begin a chain, then what none of them has led to
		if m.seen[account] {
			continue
		}
		head, n := m.chain(account)
		r.Entries += n
		r.Granted += head.Granted
		r.Earned += head.Earned
		r.Spent += head.Spent
		r.Locked += head.Locked
		r.Accounts = append(r.Accounts, AuditAccount{Head: head, Behind: a.behind(account)})
	}
	r.Totals.Accounts = len(r.Accounts)
	m.sums(&r.Totals)
	if sum := r.Net() + r.InTransit + r.Outside; sum != r.Granted {
		a.note(AuditProblem{Kind: ProblemSum, Err: fmt.Errorf("net %s, in transit %s and outside %s do not add up to %s granted: %w", r.Net(), r.InTransit, r.Outside, r.Granted, ErrChain)})
	}
	r.Problems = a.problems
	return r
}

// behind counts the entries of an account that only others gave.
func (a *Audit) behind(account Account) (n uint64) {
	for at := range a.entries {
		if at.account == account && !a.chains[account][at] {
			n++
		}
	}
	return n
}

// Row adds a line of an export, by its kind and signed bytes. Its error is an *AuditProblem.
func (a *Audit) Row(kind string, signed []byte) error {
	var err error
	switch kind {
	case RowEntry:
		return a.Entry(signed)
	case RowGrant:
		return a.Grant(signed)
	case RowReceipt:
		var r Receipt
		if r, err = ParseReceipt(signed); err == nil {
			return a.Receipt(r)
		}
	case RowNetwork:
		var g Genesis
		if g, err = ParseGenesis(signed); err == nil {
			if id, e := g.ID(); e != nil || id != a.network {
				err = &NetworkError{Want: a.network, Have: id}
			}
		}
	default:
		err = fmt.Errorf("row of unknown kind %.20q: %w", kind, ErrMalformed)
	}
	if err == nil {
		return nil
	}
	return a.note(AuditProblem{Kind: ProblemInvalid, A: bytes.Clone(signed), Err: err})
}
