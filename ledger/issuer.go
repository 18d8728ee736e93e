package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Rows of a mint, in the store of whoever holds its key:
//
//	ledger/mint/MINT/h             commits u64 · grants so far u64
//	ledger/mint/MINT/g SEQ u64     its grants, signed
//	ledger/mint/MINT/o SEQ u64     those not acknowledged yet → to 20 · amount u64
//	ledger/mint/MINT/m ACCOUNT     a Member, see member.go
const mintPrefix = "ledger/mint/"

// An Issuer signs a mint's grants over a Store: its chain, what it has not delivered yet, and the
// allowances of its members. It alone signs for the mint.
//
// What a method returns is durable before it returns. Safe for concurrent use; grants are rare, so each
// is a commit of its own.
type Issuer struct {
	store   Store
	fence   Fence // may be nil
	key     Key
	network Network
	cap     Credits
	heir    func(Account) Account

	mu      sync.Mutex // guards what follows, and is held while a commit lasts
	head    MintHead
	commits uint64
	broken  error
	lost    bool // broken says that the store is behind, and Recover may help
}

// BeginMint puts up the fence of a mint that has signed nothing, which OpenIssuer asks for. Call it once, when the key is
// made: whoever finds the key later without its fence cannot know what it signed.
func BeginMint(fence Fence, mint Account, genesis Genesis) error {
	network, err := genesis.ID()
	if err != nil {
		return err
	}
	return errors.Join(fence.Save(Mark{Network: network, Account: mint}), fence.Sync())
}

// OpenIssuer opens the chain of key's mint in the network that genesis founds. A store that is behind its fence, not the
// one it was put around, or without one opens read-only: to sign on would put a second grant into a place, and
// convict the mint. Recover is the way out. The store, which is also that of a Book, and the fence stay the
// caller's; fence may be nil, for tests.
func OpenIssuer(store Store, fence Fence, key Key, genesis Genesis) (*Issuer, error) {
	network, err := genesis.ID()
	if err != nil {
		return nil, err
	}
	cap, ok := genesis.Cap(key.account)
	if !ok {
		return nil, fmt.Errorf("account %s is no mint of network %s: use the key file that `p3 org init` made for it", key.account, genesis.Name)
	}
	i := &Issuer{store: store, fence: fence, key: key, network: network, cap: cap, heir: func(a Account) Account { return a }, head: MintHead{Network: network, Mint: key.account}}
	if err := i.load(); err != nil {
		return nil, fmt.Errorf("open mint %s: %w", key.account, err)
	}
	return i, nil
}

func (i *Issuer) row(kind byte) []byte {
	return append(accountKey(mintPrefix, i.key.account), '/', kind)
}

func (i *Issuer) at(kind byte, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(i.row(kind), seq)
}

func (i *Issuer) load() error {
	v, err := i.store.Get(i.row('h'))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err == nil {
		if len(v) != 16 {
			return fmt.Errorf("the ledger is damaged, restore it from a backup: %w", ErrMalformed)
		}
		r := reader{b: v}
		i.commits = r.u64()
		if n := r.u64(); n > 0 {
			raw, err := i.store.Get(i.at('g', n-1))
			if err != nil {
				return fmt.Errorf("the ledger is damaged, restore it from a backup: grant %d: %w", n-1, err)
			}
			g, err := ParseGrant(raw)
			if err == nil {
				err = verify(i.key.account, g.Digest(), raw)
			}
			if err != nil || g.Network != i.network || g.Seq != n-1 {
				return fmt.Errorf("the ledger is damaged, restore it from a backup: grant %d: %w", n-1, errors.Join(err, ErrChain))
			}
			i.head = MintHeadAt(g, g.Digest())
		}
	}
	if i.fence == nil {
		return nil
	}
	m, err := i.fence.Load()
	switch {
	case errors.Is(err, ErrNotFound):
		i.behind("the mint's high-water file is missing, as when only its key was copied, or a backup restored")
	case err != nil:
		i.behind("the mint's high-water file: %w", err)
	case m.Network != i.network || m.Account != i.key.account:
		i.behind("the mint's high-water file is that of account %s", m.Account.Short())
	case m.Commits > i.commits, m.Commits == i.commits && m.Head != i.head.Digest:
		i.behind("the mint signed up to grant %d and the ledger ends before that: it was rolled back, or is a copy", m.Seq)
	case !m.Head.IsZero():
		raw, err := i.store.Get(i.at('g', m.Seq))
		if g, e := ParseGrant(raw); err != nil || e != nil || g.Digest() != m.Head {
			i.behind("grant %d is not the one that the mint signed: this ledger is a copy that went its own way", m.Seq)
		}
	}
	return nil
}

// behind makes the mint read-only until Recover.
func (i *Issuer) behind(format string, args ...any) {
	i.broken = fmt.Errorf("%w: "+format+": run p3 org recover", append([]any{ErrReadOnly}, args...)...)
	i.lost = true
}

func (i *Issuer) mark() Mark {
	return Mark{Network: i.network, Account: i.key.account, Commits: i.commits, Seq: max(i.head.Len, 1) - 1, Head: i.head.Digest}
}

// Mint is the account that signs.
func (i *Issuer) Mint() Account { return i.key.account }

// Head is where the mint's chain stands, and Cap what it may issue in all.
func (i *Issuer) Head() (MintHead, Credits) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.head, i.cap
}

// ReadOnly says why the mint signs nothing any more, or nil.
func (i *Issuer) ReadOnly() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.signs()
}

// signs is ReadOnly; mu is held.
func (i *Issuer) signs() error {
	if i.broken != nil {
		return i.broken
	}
	if err := i.frozen(); err != nil {
		return err
	}
	g, _, err := i.known()
	if err == nil && g.Amount > 0 && g.Seq >= i.head.Len {
		i.behind("others hold grant %d of this mint, and the ledger ends before that: it was rolled back, or is a copy", g.Seq)
		err = i.broken
	}
	return err
}

// frozen reports, as an error, that the mint was convicted.
func (i *Issuer) frozen() error {
	proof, err := i.store.Get(accountKey(proofPrefix, i.key.account))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil {
		err = frozenError(i.key.account, proof)
	}
	return fmt.Errorf("%w: mint %w", ErrReadOnly, err)
}

// known is the newest grant of this mint that the book in this store has met; its zero value if there is none.
func (i *Issuer) known() (g Grant, raw []byte, err error) {
	if raw, err = newestGrant(i.store, i.key.account); err == nil && raw != nil {
		g, err = ParseGrant(raw)
	}
	return g, raw, err
}

// Recover lets a mint sign again whose ledger is behind, a copy or without its high-water file: its chain goes on from
// the newest grant that is known here, its own or one that others showed to the book. It is for whoever is sure that nothing
// else uses the key, and that those who could know a newer grant were asked: a second one in its place
// convicts the mint. Allowances count as given in the period at now. ErrNotFound if no grant is known, so that the chain would begin again; ErrReadOnly if a write failed, then a
// restart is the way out, or if the mint was convicted.
func (i *Issuer) Recover(ctx context.Context, now time.Time) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.signs(); !i.lost {
		return err
	}
	if err := i.frozen(); err != nil {
		return err
	}
	list, err := i.Members()
	if err != nil {
		return err
	}
	members := map[Account]Member{}
	for _, m := range list {
		if m.Allowance.Amount > 0 {
			m.Allowance.LastMs = max(m.Allowance.LastMs, uint64(max(now.UnixMilli(), 0)))
		}
		members[m.Account] = m
	}
	var newest []byte
	var bad error
	head := i.head
	err = i.store.Scan(accountKey(grantPrefix, i.key.account), grantKey(i.key.account, head.Len), func(_, raw []byte) bool {
		var g Grant
		if g, bad = ParseGrant(raw); bad != nil {
			return false
		}
		m := members[g.To]
		m.Account, m.Grants, m.Granted = g.To, m.Grants+1, saturating(m.Granted, g.Amount)
		members[g.To] = m
		head = MintHeadAt(g, g.Digest())
		newest = bytes.Clone(raw)
		return true
	})
	if err = errors.Join(err, bad); err != nil {
		return err
	}
	if head.Len == 0 {
		return fmt.Errorf("no grant of mint %s is known here: %w: be connected to members who were granted credit", i.key.account.Short(), ErrNotFound)
	}
	var ops []Op
	for _, m := range members {
		ops = append(ops, i.putMember(m))
	}
	if newest != nil {
		ops = append(ops, Op{Key: i.at('g', head.Len-1), Value: newest})
	}
	i.head = head
	if i.fence != nil {
		m, _ := i.fence.Load() // whatever is wrong with it
		i.commits = max(i.commits, m.Commits)
	}
	for range 2 { // twice: nothing is left of a mark that was another's
		if err := i.commit(ctx, ops...); err != nil {
			return err
		}
		ops = nil
	}
	i.broken, i.lost = nil, false
	return nil
}

// Grant gives amount to an account. It refuses, before anything is signed, what no chain could hold
// (ErrMalformed, ErrOverflow), what exceeds the cap (*CapError), and what nobody could spend, since its account was
// convicted (ErrFrozen).
func (i *Issuer) Grant(ctx context.Context, to Account, amount Credits) (Grant, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.move(ctx, to); err != nil {
		return Grant{}, err
	}
	m, err := i.member(i.heir(to))
	if err != nil {
		return Grant{}, err
	}
	return i.grant(ctx, m, amount)
}

// grant signs and commits a grant, with what it changes of its member; mu is held.
func (i *Issuer) grant(ctx context.Context, m Member, amount Credits) (Grant, error) {
	if err := i.signs(); err != nil {
		return Grant{}, err
	}
	if proof, err := i.store.Get(accountKey(proofPrefix, m.Account)); err == nil {
		return Grant{}, fmt.Errorf("grant to %w", frozenError(m.Account, proof))
	} else if !errors.Is(err, ErrNotFound) {
		return Grant{}, err
	}
	g, err := i.head.Grant(m.Account, amount, i.cap)
	if err != nil {
		return Grant{}, err
	}
	raw, err := i.key.SignGrant(g)
	if err != nil {
		return Grant{}, err
	}
	m.Grants, m.Granted = m.Grants+1, m.Granted+amount
	before := i.head
	i.head = MintHeadAt(g, g.Digest())
	if err := i.commit(ctx, i.putMember(m), Op{Key: i.at('g', g.Seq), Value: raw}, Op{Key: i.at('o', g.Seq), Value: binary.BigEndian.AppendUint64(bytes.Clone(g.To[:]), uint64(amount))}); err != nil {
		i.head = before
		return Grant{}, err
	}
	return g, nil
}

// commit writes first; what it wrote may be sent once it returns. mu is held. After a failure nobody knows
// what the disk holds, so the mint signs no more until it is opened again.
func (i *Issuer) commit(ctx context.Context, ops ...Op) error {
	be := binary.BigEndian
	ops = append(ops, Op{Key: i.row('h'), Value: be.AppendUint64(be.AppendUint64(nil, i.commits+1), i.head.Len)})
	err := i.store.Commit(context.WithoutCancel(ctx), ops...)
	if err == nil {
		i.commits++
		if i.fence != nil {
			err = errors.Join(i.fence.Save(i.mark()), i.fence.Sync())
		}
	}
	if err != nil {
		i.lost = false
		i.broken = fmt.Errorf("%w: the mint: %w: free disk space or repair the disk, then restart p3", ErrReadOnly, err)
		return i.broken
	}
	return nil
}

// A Delivery is a grant that has not been acknowledged.
type Delivery struct {
	To  Account
	Seq uint64
	Raw []byte // the signed grant
}

// Pending lists what members have not taken up yet, at most n of each, in order. wanted says whose; nil = all.
func (i *Issuer) Pending(n int, wanted func(Account) bool) (out []Delivery, err error) {
	var seqs []uint64
	count := map[Account]int{}
	err = i.outbox(func(seq uint64, to Account, _ Credits) {
		if count[to] < n && (count[to] > 0 || wanted == nil || wanted(to)) {
			count[to]++
			seqs = append(seqs, seq)
		}
	})
	for _, seq := range seqs {
		raw, e := i.store.Get(i.at('g', seq))
		var g Grant
		if e == nil {
			g, e = ParseGrant(raw)
		}
		if e != nil {
			return out, fmt.Errorf("grant %d of mint %s: the ledger is damaged, restore it from a backup: %w", seq, i.key.account.Short(), e)
		}
		out = append(out, Delivery{g.To, seq, raw})
	}
	return out, err
}

// Waiting sums up what members have not taken up yet.
func (i *Issuer) Waiting() (map[Account]Credits, error) {
	sums := map[Account]Credits{}
	err := i.outbox(func(_ uint64, to Account, amount Credits) { sums[to] += amount }) // within the cap
	return sums, err
}

func (i *Issuer) outbox(yield func(seq uint64, to Account, amount Credits)) error {
	prefix := i.row('o')
	return i.store.Scan(prefix, nil, func(k, v []byte) bool {
		if len(k) == len(prefix)+8 && len(v) == len(Account{})+8 {
			r := reader{b: v}
			yield(binary.BigEndian.Uint64(k[len(prefix):]), r.account(), r.credits())
		}
		return true
	})
}

// Acknowledge takes the GRANT entry with which a member took up a grant, so that it is sent no more.
// ErrConflict tells that it answers another one.
func (i *Issuer) Acknowledge(ctx context.Context, seq uint64, entry []byte) error {
	e, _, err := VerifyEntry(entry)
	if err != nil {
		return err
	}
	raw, err := i.store.Get(i.at('g', seq))
	if err != nil {
		return fmt.Errorf("acknowledge grant %d: %w", seq, err)
	}
	g, err := ParseGrant(raw)
	if err != nil {
		return err
	}
	if e.Network != g.Network || e.Type != TypeGrant || i.heir(e.Account) != i.heir(g.To) || e.Ref != g.Digest() || e.Amount != g.Amount {
		return fmt.Errorf("acknowledge grant %d: %s by %s of %s: %w", seq, e.Type, e.Account.Short(), e.Amount, ErrConflict)
	}
	return i.store.Commit(ctx, Op{Key: i.at('o', seq), Delete: true})
}

// GrantAllowances gives every member its allowance of the period at now, if it has not had it, and returns the
// grants. Each is a commit with the note that it was given, so that none is given twice, whenever the
// process ends. Those that the cap does not cover, and those to convicted accounts, are the error; the others are given.
func (i *Issuer) GrantAllowances(ctx context.Context, now time.Time) (out []Grant, err error) {
	members, err := i.moved(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, m := range members {
		if !m.Allowance.due(now) && !m.Allowance.ahead(now) {
			continue
		}
		g, err := i.allow(ctx, m.Account, now)
		switch {
		case err == nil && g.Amount > 0:
			out = append(out, g)
		case errors.As(err, new(*CapError)), errors.Is(err, ErrFrozen) && !errors.Is(err, ErrReadOnly):
			errs = append(errs, fmt.Errorf("allowance of %s: %w", m.Account, err))
		case err != nil:
			return out, err
		}
	}
	return out, errors.Join(errs...)
}

// allow gives one member its allowance if it is due still. One that was given when the clock was far ahead counts as
// given now.
func (i *Issuer) allow(ctx context.Context, to Account, now time.Time) (Grant, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	m, err := i.member(to)
	due := m.Allowance.due(now)
	if err != nil || !due && !m.Allowance.ahead(now) {
		return Grant{}, err
	}
	m.Allowance.LastMs = uint64(max(now.UnixMilli(), 0))
	if !due {
		if err := i.signs(); err != nil {
			return Grant{}, err
		}
		return Grant{}, i.commit(ctx, i.putMember(m))
	}
	return i.grant(ctx, m, m.Allowance.Amount)
}

// Allow sets what a member gets each period; zero ends it. What it got in the present period counts.
func (i *Issuer) Allow(ctx context.Context, to Account, amount Credits, every Period) (Member, error) {
	switch {
	case to.IsZero():
		return Member{}, fmt.Errorf("allowance for account %s: nobody can have that one: %w", to, ErrMalformed)
	case amount < 0 || amount > i.cap:
		return Member{}, fmt.Errorf("allowance of %s: give an amount from zero to the cap, %s: %w", amount, i.cap, ErrOverflow)
	case !every.known():
		return Member{}, fmt.Errorf("allowance each %s: give day, week or month: %w", every, ErrMalformed)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.signs(); err != nil {
		return Member{}, err
	}
	if err := i.move(ctx, to); err != nil {
		return Member{}, err
	}
	m, err := i.member(i.heir(to))
	if err != nil {
		return Member{}, err
	}
	m.Allowance.Amount, m.Allowance.Every = amount, every
	return m, i.commit(ctx, i.putMember(m))
}
