package daemon

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/fence"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/job"
	"github.com/personal-power-plant/p3/node/p2p"
)

// mintPath is where a node has its mint's key, a secp256k1 secret in hex.
func mintPath(dir string) string { return filepath.Join(dir, "keys", "mint") }

// openMark opens the high-water file of the mint of a network.
func openMark(dir string, g ledger.Genesis) (*fence.File, error) {
	at, err := ledgerDir(dir, g)
	if err != nil {
		return nil, err
	}
	return fence.Open(filepath.Join(filepath.Dir(at), "minted"))
}

// Found makes a mint key in dir, and a granted network with it, whose cap is in µcr and where these witnesses sign each
// lock, if any are named. The node of dir belongs to the network from its next start on. It replaces no mint.
func Found(dir, name string, cap ledger.Credits, witnesses ...ledger.Account) (g ledger.Genesis, mint ledger.Account, err error) {
	key, err := ledger.NewKey()
	if err != nil {
		return g, mint, err
	}
	mint = key.Account()
	g = ledger.GrantedGenesis(name, ledger.Mint{Account: mint, Cap: cap}).Witnessed(witnesses...)
	doc, err := g.Encode()
	if err != nil {
		return g, mint, &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "for example: p3 org init acme --cap 10000"}
	}
	path := mintPath(dir)
	if _, err := os.Lstat(path); err == nil {
		return g, mint, &node.Problem{Code: node.CodeDenied, Message: path + " is there already: a mint's key is not replaced, since its credit could never be granted again",
			Hint: "see its network with `p3 org show`, or found another one in a folder of its own: p3 --data-dir FOLDER org init NAME"}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return g, mint, err
	}
	mark, err := openMark(dir, g)
	if err != nil {
		return g, mint, err
	}
	if err := errors.Join(ledger.BeginMint(mark, mint, g), mark.Close()); err != nil {
		return g, mint, fmt.Errorf("mint: %w", err)
	}
	if err := SaveMembership(dir, p2p.Invite{Genesis: doc}); err != nil {
		return g, mint, err
	}
	if err := writeFile(path, []byte(hex.EncodeToString(key.Bytes())+"\n")); err != nil { // last: it is what refuses another try
		return g, mint, fmt.Errorf("mint key: %w", err)
	}
	return g, mint, nil
}

// openMint opens the mint of this node, if its key lies here and belongs to this network.
func (d *Daemon) openMint() error {
	path := mintPath(d.cfg.Dir)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mint key: %w", err)
	}
	secret, err := hex.DecodeString(strings.TrimSpace(string(b)))
	var key ledger.Key
	if err == nil {
		key, err = ledger.ParseKey(secret)
	}
	if err != nil {
		return fmt.Errorf("%s is damaged: restore it from your backup: %w", path, err)
	}
	if _, ok := d.genesis.Cap(key.Account()); !ok {
		d.log.Info("the mint key here belongs to another network", "mint", key.Account())
		return nil
	}
	mark, err := openMark(d.cfg.Dir, d.genesis)
	if err != nil {
		return err
	}
	d.closing(mark.Close)
	d.issuer, err = ledger.OpenIssuer(d.store, mark, key, d.genesis)
	return err
}

// startGrants begins to take up and to hand out grants.
func (d *Daemon) startGrants(env job.Env) {
	if d.genesis.Mutual() {
		return
	}
	if d.issuer != nil {
		d.issuer.SetHeir(d.book.Heir)
	}
	d.granter = job.NewGranter(env, d.issuer, d.peersOf, d.fraud.Claimed)
}

// peersOf lists connected peers that act for an account.
func (d *Daemon) peersOf(a ledger.Account) (out []peer.ID) {
	for _, p := range d.p2p.Peers() {
		if p.Account == a {
			out = append(out, p.ID)
		}
	}
	return out
}

// wakeGrants has what waits for a member looked at now.
func (d *Daemon) wakeGrants() {
	if d.granter != nil {
		d.granter.Kick()
	}
}

func (d *Daemon) granted() error {
	if d.genesis.Mutual() {
		return &node.Problem{Code: node.CodeDenied, Message: fmt.Sprintf("network %s has no mint: credit there comes from work alone", d.genesis.Name),
			Hint: "found a network of your own: p3 org init NAME; or join one: p3 join INVITE"}
	}
	return nil
}

// mint is the mint of this node, or a Problem that says where it is.
func (d *Daemon) mint() (*ledger.Issuer, error) {
	if err := d.granted(); err != nil {
		return nil, err
	}
	if d.issuer == nil {
		return nil, &node.Problem{Code: node.CodeDenied, Message: fmt.Sprintf("the mint key of network %s is not here, so this node cannot grant", d.genesis.Name),
			Hint: "run this where the network was founded with `p3 org init`: that data folder has keys/mint"}
	}
	return d.issuer, nil
}

// Org implements localapi.Backend.
func (d *Daemon) Org(context.Context) (o node.Org, err error) {
	if err := d.granted(); err != nil {
		return o, err
	}
	o = node.Org{Schema: "p3.org/v1", Name: d.genesis.Name, Network: d.book.Network(), Members: []node.OrgMember{},
		Witnesses: len(d.genesis.Witnesses), Quorum: d.genesis.Quorum(), Faulty: d.genesis.Faulty()}
	for _, m := range d.genesis.Mints {
		proof, err := d.book.Proof(m.Account)
		if err != nil {
			return o, err
		}
		o.Mints = append(o.Mints, node.OrgMint{Account: m.Account, Cap: m.Cap, Frozen: proof != nil})
	}
	if d.issuer == nil {
		return o, nil
	}
	head, cap := d.issuer.Head()
	o.Mint, o.Issued, o.Left, o.Grants = d.issuer.Mint(), head.Total, cap-head.Total, head.Len
	if err := d.issuer.ReadOnly(); err != nil {
		o.Problem = err.Error()
	}
	waiting, err := d.issuer.Waiting()
	if err != nil {
		return o, err
	}
	members, err := d.issuer.Members()
	for _, m := range members {
		v := node.OrgMember{Account: m.Account, Name: d.who(m.Account), Granted: m.Granted, Grants: m.Grants, Waiting: waiting[m.Account], Allowance: m.Allowance.Amount}
		if m.Account == d.book.Account() {
			v.Name = d.cfg.Name
		}
		if m.Allowance.Amount > 0 {
			v.Every, v.Next = m.Allowance.Every.String(), m.Allowance.Next()
		}
		o.Members = append(o.Members, v)
	}
	return o, err
}

// OrgGrant implements localapi.Backend.
func (d *Daemon) OrgGrant(ctx context.Context, r node.OrgGrant) (v node.Granted, err error) {
	issuer, err := d.mint()
	if err != nil {
		return v, err
	}
	to, err := d.grantee(ctx, r.To)
	if err != nil {
		return v, err
	}
	g, err := issuer.Grant(ctx, to, r.Amount)
	if err != nil {
		return v, grantProblem(err)
	}
	d.wakeGrants()
	_, cap := issuer.Head()
	return node.Granted{Schema: "p3.grant/v1", To: to, Name: d.who(to), Amount: g.Amount, Seq: g.Seq, Issued: g.Total, Left: cap - g.Total}, nil
}

// OrgAllow implements localapi.Backend.
func (d *Daemon) OrgAllow(ctx context.Context, r node.OrgAllow) (v node.OrgMember, err error) {
	issuer, err := d.mint()
	if err != nil {
		return v, err
	}
	to, err := d.grantee(ctx, r.To)
	if err != nil {
		return v, err
	}
	every, err := ledger.ParsePeriod(r.Every)
	if err != nil {
		return v, &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "for example: p3 org allow elm 5/week"}
	}
	m, err := issuer.Allow(ctx, to, r.Amount, every)
	if err != nil {
		return v, grantProblem(err)
	}
	d.wakeGrants()
	return node.OrgMember{Account: to, Name: d.who(to), Granted: m.Granted, Grants: m.Grants, Allowance: m.Allowance.Amount, Every: every.String()}, nil
}

// OrgRecover implements localapi.Backend.
func (d *Daemon) OrgRecover(ctx context.Context) (o node.Org, err error) {
	issuer, err := d.mint()
	if err != nil {
		return o, err
	}
	asking, cancel := context.WithTimeout(ctx, recoverTime)
	defer cancel()
	var wg sync.WaitGroup
	peers := d.p2p.Peers()
	if len(peers) == 0 && issuer.ReadOnly() != nil {
		return o, &node.Problem{Code: node.CodeDenied, Message: "nobody is connected who could know what this mint has signed", Hint: "wait until `p3 peer ls` lists members who were granted credit, then run p3 org recover again"}
	}
	for _, p := range peers {
		wg.Go(func() { d.fraud.Met(asking, p.ID) })
	}
	wg.Wait()
	if err := issuer.Recover(ctx, time.Now()); err != nil {
		return o, grantProblem(err)
	}
	d.wakeGrants()
	return d.Org(ctx)
}

// grantee finds who is meant; "self" is this node's own account.
func (d *Daemon) grantee(ctx context.Context, id string) (ledger.Account, error) {
	if id == "self" {
		return d.book.Account(), nil
	}
	peers, err := d.Peers(ctx)
	if err != nil {
		return ledger.Account{}, err
	}
	return d.account(id, peers)
}

// grantProblem says what to do about a grant that was refused.
func grantProblem(err error) error {
	p := &node.Problem{Code: node.CodeUsage, Message: err.Error()}
	switch cap := (*ledger.CapError)(nil); {
	case errors.As(err, &cap):
		p.Code, p.Message = node.CodeNoCredit, fmt.Sprintf("a grant of %s exceeds what is left of the cap: %s of %s are issued", cap.Want, cap.Issued, cap.Cap)
		p.Hint = fmt.Sprintf("grant %s or less, or found a network with a larger cap: p3 org init", (cap.Cap - cap.Issued).Decimal())
	case errors.Is(err, ledger.ErrMalformed), errors.Is(err, ledger.ErrOverflow):
		p.Hint = "give an account (see `p3 peer ls`) and an amount of credits above zero, such as 20"
	case errors.Is(err, ledger.ErrReadOnly):
		p.Code, p.Hint = node.CodeDenied, "see `p3 org show` for what the mint has signed"
	case errors.Is(err, ledger.ErrNotFound):
		p.Code, p.Hint = node.CodeDenied, "wait until `p3 peer ls` lists such members, then run p3 org recover again; a mint that never granted anything is founded anew: p3 org init"
	case errors.Is(err, ledger.ErrFrozen):
		p.Code, p.Hint = node.CodeDenied, "nobody gives that account a lease any more: grant to another of its owner's"
	default:
		return err
	}
	return p
}

// Grants implements localapi.Backend.
func (d *Daemon) Grants(context.Context) (out []node.GrantTaken, err error) {
	list, err := d.book.View().Claimed()
	for _, x := range list {
		out = append(out, node.GrantTaken{ID: x.Grant, Mint: x.Mint, Amount: x.Amount, Time: time.UnixMilli(int64(x.TimeMs))})
	}
	return out, err
}
