package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/backup"
	"github.com/personal-power-plant/p3/ledger/badgerstore"
	"github.com/personal-power-plant/p3/ledger/keyfile"
	"github.com/personal-power-plant/p3/node"
)

// What a backup holds: these files, keys last to be restored; the book; and with whom each lock is shared, so
// that what waits in the outbox finds its way; and which nodes are bound. Not jobs, nor blobs, nor how far the account has signed:
// that would be of the same age. So a mint that was restored grants nothing until p3 org recover.
var (
	backupFiles = []string{"network", "policy.yaml", "keys/mint", "keys/node", "keys/recovery", "keys/account.next", "keys/account"}
	backupRows  = []string{"ledger/", "job/l/", officePrefix}
)

// backupTime names the item that says when a backup was made, Unix ms as text.
const backupTime = "made"

// backupItems yields what is to be kept of a data folder and its store. Rows of the book are those of one moment.
func backupItems(ctx context.Context, dir string, store ledger.Store) iter.Seq2[backup.Item, error] {
	return func(yield func(backup.Item, error) bool) {
		if !yield(backup.Item{Kind: backup.File, Name: backupTime, Value: fmt.Append(nil, time.Now().UnixMilli())}, nil) {
			return
		}
		for _, name := range backupFiles {
			b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if !yield(backup.Item{Kind: backup.File, Name: name, Value: b}, err) || err != nil {
				return
			}
		}
		for _, prefix := range backupRows {
			more := true
			err := store.Scan([]byte(prefix), nil, func(k, v []byte) bool {
				more = yield(backup.Item{Kind: backup.Row, Name: string(k), Value: bytes.Clone(v)}, ctx.Err())
				return more && ctx.Err() == nil
			})
			if !more {
				return
			}
			if err = errors.Join(err, ctx.Err()); err != nil {
				yield(backup.Item{}, err)
				return
			}
		}
	}
}

// Backup implements localapi.Backend.
func (d *Daemon) Backup(ctx context.Context, r node.BackupRequest) (io.ReadCloser, error) {
	if r.Passphrase == "" {
		return nil, &node.Problem{Code: node.CodeUsage, Message: "a backup needs a passphrase", Hint: "it holds the account key"}
	}
	if isOffice(d.cfg.Dir) {
		return nil, errOffice("back up")
	}
	in, out := io.Pipe()
	d.wg.Go(func() {
		out.CloseWithError(backup.Write(out, r.Passphrase, r.Light, backupItems(ctx, d.cfg.Dir, d.store)))
	})
	return in, nil
}

// BackupOffline writes a backup of a data folder whose node does not run.
func BackupOffline(ctx context.Context, w io.Writer, dir string, r node.BackupRequest) error {
	if isOffice(dir) {
		return errOffice("back up")
	}
	l, err := ReadLedger(dir)
	if err != nil {
		return err
	}
	return errors.Join(backup.Write(w, r.Passphrase, r.Light, backupItems(ctx, dir, l.Store)), l.Close())
}

// A Restored is what came out of a backup.
type Restored struct {
	Account ledger.Account
	Network ledger.Network
	Name    string // of the network
	Made    time.Time
	Entries uint64
}

// Restore makes a data folder from a backup. The folder must not hold keys or a ledger. The book in it is
// marked as restored (ledger.ErrRestored). Nothing is there until all is, and the keys come last. CodeDenied for a wrong
// passphrase and for a folder in use.
func Restore(ctx context.Context, dir string, r io.Reader, passphrase string) (_ Restored, err error) {
	for _, name := range []string{"keys", "networks"} {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return Restored{}, &node.Problem{Code: node.CodeDenied, Message: fmt.Sprintf("%s has %s already: a restore would replace an account", dir, name), Hint: "restore into an empty folder with --data-dir, or move this one away"}
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Restored{}, err
	}
	tmp, err := os.MkdirTemp(dir, ".restore-")
	if err != nil {
		return Restored{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	out, err := unpack(ctx, tmp, r, passphrase)
	if err != nil {
		return out, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "networks", out.Network.String()[:8]), 0o700); err != nil {
		return out, err
	}
	if err := os.Rename(filepath.Join(tmp, "ledger"), filepath.Join(dir, "networks", out.Network.String()[:8], "ledger")); err != nil {
		return out, err
	}
	for _, name := range []string{"network", "policy.yaml", "keys"} {
		if err := os.Rename(filepath.Join(tmp, name), filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return out, err
		}
	}
	return out, nil
}

// unpack writes a backup into an empty folder and checks that its parts belong together.
func unpack(ctx context.Context, tmp string, r io.Reader, passphrase string) (out Restored, err error) {
	store, err := badgerstore.Open(filepath.Join(tmp, "ledger"))
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	var ops []ledger.Op
	size := 0
	flush := func() error {
		err := store.Commit(ctx, ops...)
		ops, size = ops[:0], 0
		return err
	}
	var accounts [][]byte
	err = backup.Read(r, passphrase, func(x backup.Item) error {
		switch {
		case x.Kind == backup.Row && hasAnyPrefix(x.Name, backupRows):
			ops = append(ops, ledger.Op{Key: []byte(x.Name), Value: x.Value})
			if size += len(x.Name) + len(x.Value); size > 256<<10 || len(ops) >= 512 {
				return flush()
			}
			return nil
		case x.Kind == backup.File && x.Name == backupTime:
			var ms int64
			if _, err := fmt.Sscan(string(x.Value), &ms); err != nil {
				return fmt.Errorf("time of the backup: %w", backup.ErrDamaged)
			}
			out.Made = time.UnixMilli(ms)
			return nil
		}
		for _, name := range backupFiles {
			if x.Kind == backup.File && x.Name == name {
				if strings.HasPrefix(name, "keys/account") {
					accounts = append(accounts, x.Value)
				}
				return writeFile(filepath.Join(tmp, filepath.FromSlash(name)), x.Value)
			}
		}
		return fmt.Errorf("it holds %.40q, which this p3 does not know: update p3: %w", x.Name, backup.ErrDamaged)
	})
	switch {
	case errors.Is(err, backup.ErrPassphrase):
		return out, &node.Problem{Code: node.CodeDenied, Message: "wrong passphrase for the backup", Hint: "it is the one that was given when the backup was made"}
	case errors.Is(err, backup.ErrDamaged):
		return out, &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "take another copy of the backup"}
	case err != nil:
		return out, err
	}
	ops = append(ops, ledger.MarkRestored(out.Made))
	if err := flush(); err != nil {
		return out, err
	}
	v, err := ledger.OpenView(store)
	if err != nil {
		return out, err
	}
	out.Account, out.Network = v.Account(), v.Network()
	var whose ledger.Account
	for _, file := range accounts { // two while a change of keys is on its way
		a, err := keyfile.Account(file)
		if err != nil {
			return out, fmt.Errorf("the backup: %w", err)
		}
		if whose != out.Account {
			whose = a
		}
	}
	if whose != out.Account {
		return out, fmt.Errorf("the backup: its key is of %s, its ledger of %s", whose, out.Account)
	}
	if g, err := v.Genesis(); err == nil {
		out.Name = g.Name
	}
	return out, v.Entries(0, 0, func([]byte) bool { out.Entries++; return true })
}

func hasAnyPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
