package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/badgerstore"
	"github.com/personal-power-plant/p3/ledger/fence"
	"github.com/personal-power-plant/p3/ledger/keyfile"
	"github.com/personal-power-plant/p3/node"
)

// A data folder has one account key and a ledger for each network that it was in. A change of the key is written to
// keys/account.next first, then into each ledger, and at last takes the place of keys/account. Whatever ends it
// in between, each ledger finds its key: see keyOf. keys/recovery names the account of the recovery key that the
// next key, or the first, commits to; its secret is not in the folder.
func nextFile(dir string) string     { return accountFile(dir) + ".next" }
func recoveryFile(dir string) string { return filepath.Join(dir, "keys", "recovery") }

// NewRecoveryKey makes a recovery key and notes its account in the data folder. It takes effect with the account's next key, or
// its first if it has none yet (fresh). The caller has to keep the key, far from this machine.
func NewRecoveryKey(dir string) (key ledger.Key, fresh bool, err error) {
	if _, err = os.Stat(accountFile(dir)); errors.Is(err, fs.ErrNotExist) {
		fresh, err = true, nil
	}
	if err != nil {
		return key, false, err
	}
	if key, err = ledger.NewKey(); err != nil {
		return key, fresh, err
	}
	return key, fresh, nil
}

// CommitRecovery notes a recovery key's account in the data folder, once its secret is safe.
func CommitRecovery(dir string, a ledger.Account) error {
	return writeFile(recoveryFile(dir), []byte(a.String()+"\n"))
}

// recoveryAccount is the noted one; zero if there is none.
func recoveryAccount(dir string) (a ledger.Account, err error) {
	b, err := os.ReadFile(recoveryFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err == nil {
		err = a.UnmarshalText(bytes.TrimSpace(b))
	}
	if err != nil {
		return a, fmt.Errorf("%s: %w: make another one with p3 credit recovery-key", recoveryFile(dir), err)
	}
	return a, nil
}

func commitment(dir string, not ledger.Account) (d ledger.Digest, err error) {
	a, err := recoveryAccount(dir)
	if err != nil || a.IsZero() || a == not {
		return d, err
	}
	return ledger.RecoveryCommitment(a), nil
}

// A KeyChange is what came of rotating a key or of taking an account over.
type KeyChange struct {
	Old, New ledger.Account
	Ledgers  []string // networks, 8 hex digits each, whose ledger has the new key
	Left     []string // those that keep the old one, and why
	Recovery bool     // the new key commits to a recovery key
}

// RotateKey changes the account key of a data folder whose node does not run, in the ledgers of all its networks. passphrase
// is asked if the key has one; the new key gets the same. A rotation that was cut off is completed. CodeDenied if
// leases are open: nothing is changed then but in the ledgers that come before.
func RotateKey(ctx context.Context, dir string, passphrase func() (string, error), light bool) (c KeyChange, err error) {
	file, err := os.ReadFile(accountFile(dir))
	if errors.Is(err, fs.ErrNotExist) && isOffice(dir) {
		return c, errOffice("rotate")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return c, &node.Problem{Code: node.CodeNotFound, Message: "there is no account key in " + dir + " yet", Hint: "start the node once: p3 up"}
	}
	if err != nil {
		return c, err
	}
	var text string
	ask := func() (string, error) {
		if text != "" {
			return text, nil
		}
		t, err := passphrase()
		if err == nil {
			text = t
		}
		return t, err
	}
	old, err := openAccount(dir, file, ask)
	if err != nil {
		return c, err
	}
	next, err := openNext(dir, ask)
	if errors.Is(err, fs.ErrNotExist) {
		if next, err = ledger.NewKey(); err == nil {
			out := keyfile.Plain(next)
			if text != "" {
				out, err = keyfile.Seal(next, text, light)
			}
			if err == nil {
				err = writeFile(nextFile(dir), out)
			}
		}
	}
	if err != nil {
		return c, err
	}
	recovery, err := commitment(dir, next.Account())
	if err != nil {
		return c, err
	}
	c = KeyChange{Old: old.Account(), New: next.Account(), Recovery: !recovery.IsZero()}
	err = eachLedger(dir, func(l openLedger) error {
		switch l.account {
		case next.Account(): // before the rotation was cut off
		case old.Account():
			if err := refuseBound(l.store, "a rotation"); err != nil {
				return err
			}
			b, err := ledger.RotateBook(ctx, l.store, l.fence, old, next, l.genesis, recovery)
			if err != nil {
				return keyProblem(l.name, err)
			}
			b.Close()
		default:
			return fmt.Errorf("the ledger of network %s is of account %s, whose key is not here", l.name, l.account)
		}
		c.Ledgers = append(c.Ledgers, l.name)
		return nil
	})
	if err != nil {
		return c, err
	}
	return c, os.Rename(nextFile(dir), accountFile(dir))
}

// TakeOver makes a recovery key the account key of a data folder whose node does not run, in all its ledgers that committed
// to it. The key it had is not needed. passphrase is asked if the recovery key has one, which it keeps.
func TakeOver(ctx context.Context, dir string, file []byte, passphrase func() (string, error)) (c KeyChange, err error) {
	key, err := keyfile.Open(file, passphrase)
	switch {
	case errors.Is(err, keyfile.ErrPassphrase):
		return c, &node.Problem{Code: node.CodeDenied, Message: "wrong passphrase for the recovery key"}
	case errors.Is(err, keyfile.ErrDamaged):
		return c, &node.Problem{Code: node.CodeUsage, Message: "that is no recovery key: " + err.Error(), Hint: "name the file that p3 credit recovery-key wrote"}
	case err != nil:
		return c, err
	}
	next, err := commitment(dir, key.Account())
	if err != nil {
		return c, err
	}
	c = KeyChange{New: key.Account(), Recovery: !next.IsZero()}
	// Which ledgers it fits is known before anything is written.
	fits := map[string]bool{}
	err = eachLedger(dir, func(l openLedger) error {
		switch committed, err := l.view.CommittedTo(); {
		case err != nil:
			return fmt.Errorf("network %s: %w", l.name, err)
		case l.account == key.Account() || committed == ledger.RecoveryCommitment(key.Account()):
			fits[l.name] = true
		default:
			c.Left = append(c.Left, l.name+": it has not committed to this recovery key")
		}
		if l.account != key.Account() {
			c.Old = l.account
		}
		return nil
	})
	switch {
	case err != nil:
		return c, err
	case len(fits) == 0:
		return c, &node.Problem{Code: node.CodeDenied, Message: fmt.Sprintf("no ledger in %s has committed to the recovery key of %s", dir, key.Account()), Hint: "a recovery key is good for what was begun, or rotated, after it was made"}
	}
	if err := writeFile(nextFile(dir), file); err != nil {
		return c, err
	}
	err = eachLedger(dir, func(l openLedger) error {
		if !fits[l.name] {
			return nil
		}
		if l.account != key.Account() {
			b, err := ledger.RecoverBook(ctx, l.store, l.fence, key, l.genesis, next)
			if err != nil {
				return keyProblem(l.name, err)
			}
			b.Close()
		}
		c.Ledgers = append(c.Ledgers, l.name)
		return nil
	})
	if err != nil || len(c.Left) > 0 {
		return c, err
	}
	return c, os.Rename(nextFile(dir), accountFile(dir))
}

func openNext(dir string, passphrase func() (string, error)) (ledger.Key, error) {
	file, err := os.ReadFile(nextFile(dir))
	if err != nil {
		return ledger.Key{}, err
	}
	return openAccount(dir, file, passphrase)
}

// keyOf is the key of the account that a ledger belongs to: key, or after a key change that did not reach all ledgers, or
// was cut off, the next one.
func keyOf(dir string, key ledger.Key, store ledger.Store, passphrase func() (string, error)) (ledger.Key, error) {
	v, err := ledger.OpenView(store)
	if errors.Is(err, ledger.ErrNotFound) || err == nil && v.Account() == key.Account() {
		return key, nil
	}
	if err != nil {
		return key, nil // opening the book says what is wrong with it
	}
	next, err := openNext(dir, passphrase)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return key, nil // likewise
	case err != nil:
		return key, fmt.Errorf("a change of the account's key was cut off: complete it with p3 credit rotate: %w", err)
	case next.Account() == v.Account():
		return next, nil
	}
	return key, nil
}

// An openLedger is one of a data folder, open for writing.
type openLedger struct {
	name    string // of its network, 8 hex digits
	account ledger.Account
	genesis ledger.Genesis
	view    *ledger.View
	store   ledger.Store
	fence   ledger.Fence
}

// eachLedger opens the ledgers of a data folder one after another.
func eachLedger(dir string, do func(openLedger) error) error {
	m, err := LoadMembership(dir)
	if err != nil {
		return err
	}
	all, err := filepath.Glob(filepath.Join(dir, "networks", "*", "ledger"))
	if err != nil {
		return err
	}
	for _, at := range all {
		if !isStore(at) {
			continue
		}
		if err := withLedger(at, m, do); err != nil {
			return err
		}
	}
	return nil
}

func withLedger(at string, m Membership, do func(openLedger) error) (err error) {
	l := openLedger{name: filepath.Base(filepath.Dir(at))}
	store, err := badgerstore.Open(at)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	l.store = store
	v, err := ledger.OpenView(store)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil // not begun
	}
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	l.view, l.account = v, v.Account()
	if l.genesis, err = v.Genesis(); errors.Is(err, ledger.ErrNotFound) { // begun before books kept it
		for _, g := range []ledger.Genesis{m.Genesis, ledger.DefaultGenesis()} {
			if id, idErr := g.ID(); idErr == nil && id == v.Network() {
				l.genesis, err = g, nil
			}
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	mark, err := fence.Open(filepath.Join(filepath.Dir(at), "highwater"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mark.Close()) }()
	l.fence = mark
	return do(l)
}

// keyProblem says what to do about a key change that a ledger refused.
func keyProblem(network string, err error) error {
	p := &node.Problem{Code: node.CodeDenied, Message: fmt.Sprintf("network %s: %v", network, err)}
	switch {
	case errors.Is(err, ledger.ErrBusy):
		p.Hint = "start the node (p3 up), wait until `p3 credit balance` shows nothing locked and its receipts are complete, and stop it again"
	case errors.Is(err, ledger.ErrReadOnly):
		p.Hint = "see `p3 credit recover --help`"
	default:
		return fmt.Errorf("network %s: %w", strings.TrimSpace(network), err)
	}
	return p
}

// rekeyed tells people that an account goes on under another key.
func (d *Daemon) rekeyed(s ledger.Succession) {
	e, err := ledger.ParseEntry(s.Second)
	if err != nil {
		return
	}
	what := "changed its key and is"
	if e.Type == ledger.TypeRecover {
		what = "was taken over with its recovery key and is"
	}
	d.emit("info", "credit", fmt.Sprintf("account %s %s %s now; what it had earned here goes with it", e.Peer.Short(), what, e.Account.Short()))
	d.provider.Kick()
	d.wakeGrants() // what waited for the old account goes to the new one
	d.settler.Kick("")
	d.diary.touch()
}

// CloseAccount implements localapi.Backend.
func (d *Daemon) CloseAccount(ctx context.Context) (node.Balance, error) {
	if err := refuseBound(d.store, "closing it"); err != nil {
		return node.Balance{}, err
	}
	if err := d.book.CloseChain(ctx); err != nil {
		if errors.Is(err, ledger.ErrBusy) {
			return node.Balance{}, &node.Problem{Code: node.CodeDenied, Message: err.Error(), Hint: "stop donating (p3 host finish), wait until nothing is locked and all receipts are complete, and try again"}
		}
		return node.Balance{}, err
	}
	d.emit("warn", "credit", "the account is closed: it signs nothing any more")
	d.host.decide()
	d.diary.touch()
	return d.Balance(ctx)
}

// Prune implements localapi.Backend. In a network with witnesses nothing goes that one of them has not seen: it could never sign for
// this account again.
func (d *Daemon) Prune(ctx context.Context) (node.Pruned, error) {
	end := d.book.Head().Seq
	if d.council.client != nil {
		var err error
		if end, err = d.council.client.ShowAll(ctx); err != nil {
			return node.Pruned{}, &node.Problem{Code: node.CodeDenied, Message: fmt.Sprintf("not pruned: every witness has to have seen the chain before, or it never signs for this account again: %v", err),
				Hint: "see p3 witness, and try again when all of them are reached"}
		}
	}
	n, err := d.book.PruneTo(ctx, end)
	return node.Pruned{Schema: "p3.pruned/v1", Entries: n}, err
}
