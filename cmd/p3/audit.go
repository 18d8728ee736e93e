package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/daemon"
)

func (a *app) auditCmd() *cobra.Command {
	return &cobra.Command{
		Use: "audit [DIR|FILE]...", Short: "Merge the ledgers of several nodes and prove that no credit came out of nothing",
		Long: `Merge the ledgers of several nodes and prove that no credit came out of nothing, or show the exact records
that say otherwise. Name data folders, whether their nodes run or not, a folder that holds several of them, or
files that p3 credit export wrote. Without arguments it is this node's own ledger.

It checks each signature, each chain from its first entry, that nobody signed two entries for one place, not even
one for its own book and another for somebody else, and that each earn answers what its payer signed. Then it adds up:
net of all accounts + in transit between them + gone outside = granted by mints.
Two entries for one place are proof against who signed them, for anyone, for ever.

` + exitHelp,
		RunE: func(c *cobra.Command, args []string) error { return a.audit(c.Context(), args) },
	}
}

// An auditSource is one ledger to be read.
type auditSource struct {
	name    string
	genesis ledger.Genesis
	add     func(*ledger.Audit) error // only what cannot be read is an error
	close   func() error
}

func (a *app) audit(ctx context.Context, args []string) error {
	ctx, cancel := a.bounded(ctx)
	defer cancel()
	if len(args) == 0 {
		args = []string{a.dataDir}
	}
	var names []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		found := []string{arg}
		if err == nil && info.IsDir() {
			found, err = daemon.LedgerDirs(arg)
		}
		if err != nil {
			return &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "name data folders of nodes, or files that p3 credit export wrote"}
		}
		names = append(names, found...)
	}
	var audit *ledger.Audit
	var genesis ledger.Genesis
	for i, name := range names { // one at a time: a ledger may be large
		s, err := openAuditSource(ctx, name)
		if err != nil {
			return err
		}
		if i == 0 {
			if audit, err = ledger.NewAudit(s.genesis); err != nil {
				return errors.Join(err, s.close())
			}
			genesis = s.genesis
		}
		if want, have := networkOf(genesis), networkOf(s.genesis); want != have {
			s.close()
			return usage("%s is of network %s (%s), %s of %s (%s): audit each network by itself", names[0], printable(genesis.Name), want, name, printable(s.genesis.Name), have)
		}
		audit.From(name)
		if err := errors.Join(s.add(audit), s.close()); err != nil {
			return err
		}
	}
	r := audit.Report()
	if len(r.Accounts) == 0 && len(r.Problems) == 0 {
		return &node.Problem{Code: node.CodeUsage, Message: strings.Join(names, ", ") + ": there is no entry in it", Hint: "export the whole ledger: without --since"}
	}
	if len(r.Problems) > 0 {
		a.exit = exitUnbalanced
	}
	if a.json {
		return a.print(auditJSON(genesis, names, r))
	}
	return a.printAudit(genesis, r)
}

func networkOf(g ledger.Genesis) string {
	id, err := g.ID()
	if err != nil {
		return err.Error()
	}
	return id.String()[:8]
}

func openAuditSource(ctx context.Context, name string) (*auditSource, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		l, err := daemon.ReadLedger(name)
		if err != nil {
			return nil, err
		}
		return &auditSource{name, l.Genesis, func(x *ledger.Audit) error {
			var p *ledger.AuditProblem
			if err := x.View(l.View); !errors.As(err, &p) {
				return err
			}
			return ctx.Err()
		}, l.Close}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	s := &auditSource{name: name, close: f.Close}
	read := func(yield func(line int, kind string, signed []byte) error) error {
		if _, err := f.Seek(0, 0); err != nil {
			return err
		}
		err := ledger.ReadRows(bufio.NewReader(f), yield)
		if errors.Is(err, ledger.ErrMalformed) {
			return &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("%s: %v", name, err), Hint: "name data folders of nodes, or files that p3 credit export wrote"}
		}
		return err
	}
	enough := errors.New("enough")
	err = read(func(line int, kind string, signed []byte) (err error) {
		if kind != ledger.RowNetwork {
			return fmt.Errorf("line %d: a %.20q before the network: %w", line, kind, ledger.ErrMalformed)
		}
		if s.genesis, err = ledger.ParseGenesis(signed); err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		return enough
	})
	if err == nil {
		err = &node.Problem{Code: node.CodeUsage, Message: name + ": there is nothing in it", Hint: "export it again with p3 credit export"}
	}
	if !errors.Is(err, enough) {
		f.Close()
		return nil, err
	}
	s.add = func(x *ledger.Audit) error {
		return read(func(line int, kind string, signed []byte) error {
			x.From(fmt.Sprintf("%s:%d", name, line))
			_ = x.Row(kind, signed) // the report has it
			return ctx.Err()
		})
	}
	return s, nil
}

func (a *app) printAudit(g ledger.Genesis, r ledger.AuditReport) error {
	fmt.Fprintf(a.out, "network   %s (%s), %s in %s\n", printable(g.Name), networkOf(g), plural(r.Entries, "entry", "entries"), plural(r.Totals.Accounts, "ledger", "ledgers"))
	var rows [][]string
	columns, each := "ACCOUNT ENTRIES EARNED SPENT LOCKED NET REMARK", "each earn answers what its payer signed"
	if !g.Mutual() {
		columns, each = "ACCOUNT ENTRIES GRANTED EARNED SPENT LOCKED NET REMARK", each+", each grant was signed by a mint"
	}
	for _, x := range r.Accounts {
		remark := ""
		if x.Behind > 0 {
			remark = fmt.Sprintf("behind: others hold %d more", x.Behind)
		}
		row := []string{x.Head.Account.String(), fmt.Sprint(x.Head.Len), x.Head.Earned.Decimal(), x.Head.Spent.Decimal(), x.Head.Locked.Decimal(), x.Head.Net().Decimal(), remark}
		if !g.Mutual() {
			row = slices.Insert(row, 2, x.Head.Granted.Decimal())
		}
		rows = append(rows, row)
	}
	if err := table(a.out, columns, rows); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "sum       net %s + in transit %s + outside %s = granted %s\n", r.Net(), r.InTransit, r.Outside, r.Granted)
	if r.Outsiders > 0 {
		fmt.Fprintf(a.out, "outside   %s whose ledgers were not given\n", plural(r.Outsiders, "account", "accounts"))
	}
	if len(r.Problems) == 0 {
		fmt.Fprintf(a.out, "conserved: all is signed and in its place, and %s\n", each)
		return nil
	}
	fmt.Fprintf(a.out, "NOT CONSERVED: %s\n", plural(len(r.Problems), "problem", "problems"))
	for i, p := range r.Problems {
		fmt.Fprintf(a.out, "\n%d  %s", i+1, p.Kind)
		if !p.Account.IsZero() {
			fmt.Fprintf(a.out, " by %s", p.Account)
		}
		fmt.Fprintf(a.out, ": %s\n", printable(p.Err.Error()))
		a.printRecord(p.A, p.SourceA)
		a.printRecord(p.B, p.SourceB)
	}
	return nil
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// printRecord shows one signed record as words and as the bytes that prove it.
func (a *app) printRecord(raw []byte, source string) {
	if len(raw) == 0 {
		return
	}
	if e, err := ledger.ParseEntry(raw); err == nil {
		fmt.Fprintf(a.out, "   entry %d (epoch %d) %s, %s", e.Seq, e.Epoch, e.Type, e.Amount)
		if !e.Peer.IsZero() {
			fmt.Fprintf(a.out, " with %s", e.Peer)
		}
		fmt.Fprintf(a.out, ", %s", e.Time().UTC().Format(time.RFC3339))
	} else {
		fmt.Fprintf(a.out, "   record of %d bytes", len(raw))
	}
	if source != "" {
		fmt.Fprintf(a.out, ", from %s", printable(source))
	}
	fmt.Fprintf(a.out, "\n   %x\n", raw)
}

// What p3 credit audit --json writes; fields are added, never changed.
type auditReport struct {
	Schema    string           `json:"schema"` // "p3.audit/v1"
	Network   ledger.Network   `json:"network"`
	Name      string           `json:"network_name"`
	Sources   []string         `json:"sources"`
	Conserved bool             `json:"conserved"`
	Entries   int              `json:"entries"`
	Granted   ledger.Credits   `json:"granted_ucr"`
	Earned    ledger.Credits   `json:"earned_ucr"`
	Spent     ledger.Credits   `json:"spent_ucr"`
	Locked    ledger.Credits   `json:"locked_ucr"`
	Net       ledger.Credits   `json:"net_ucr"`
	InTransit ledger.Credits   `json:"in_transit_ucr"`
	Outside   ledger.Credits   `json:"outside_ucr"`
	Outsiders int              `json:"outsiders"` // accounts whose ledgers were not given
	Accounts  []auditedAccount `json:"accounts"`
	Problems  []auditProblem   `json:"problems"`
}

type auditedAccount struct {
	Account ledger.Account `json:"account"`
	Entries uint64         `json:"entries"`
	Head    ledger.Digest  `json:"head"`
	Granted ledger.Credits `json:"granted_ucr"`
	Earned  ledger.Credits `json:"earned_ucr"`
	Spent   ledger.Credits `json:"spent_ucr"`
	Locked  ledger.Credits `json:"locked_ucr"`
	Net     ledger.Credits `json:"net_ucr"`
	Behind  uint64         `json:"behind"` // entries that only others hold
}

type auditProblem struct {
	Kind    string          `json:"kind"`
	Account ledger.Account  `json:"account,omitzero"`
	Epoch   uint32          `json:"epoch"`
	Seq     uint64          `json:"seq"`
	Lock    ledger.Digest   `json:"lock,omitzero"`
	Text    string          `json:"text"`
	A       ledger.HexBytes `json:"a_hex,omitempty"`
	B       ledger.HexBytes `json:"b_hex,omitempty"`
	SourceA string          `json:"a_source,omitempty"`
	SourceB string          `json:"b_source,omitempty"`
}

func auditJSON(g ledger.Genesis, sources []string, r ledger.AuditReport) auditReport {
	id, _ := g.ID() // the audit began with it
	out := auditReport{Schema: "p3.audit/v1", Network: id, Name: g.Name, Sources: sources, Conserved: len(r.Problems) == 0, Entries: r.Entries,
		Granted: r.Granted, Earned: r.Earned, Spent: r.Spent, Locked: r.Locked, Net: r.Net(), InTransit: r.InTransit, Outside: r.Outside, Outsiders: r.Outsiders,
		Accounts: []auditedAccount{}, Problems: []auditProblem{}}
	for _, x := range r.Accounts {
		h := x.Head
		out.Accounts = append(out.Accounts, auditedAccount{h.Account, h.Len, h.Digest, h.Granted, h.Earned, h.Spent, h.Locked, h.Net(), x.Behind})
	}
	for _, p := range r.Problems {
		out.Problems = append(out.Problems, auditProblem{p.Kind, p.Account, p.Epoch, p.Seq, p.Lock, p.Err.Error(), p.A, p.B, p.SourceA, p.SourceB})
	}
	return out
}
