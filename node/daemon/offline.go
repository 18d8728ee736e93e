package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/badgerstore"
)

// An OfflineLedger is what the ledger in a folder held when it was opened. Close it.
type OfflineLedger struct {
	*ledger.View
	Genesis ledger.Genesis
	Store   ledger.Store
}

// Close removes the copy that it read from.
func (l *OfflineLedger) Close() error { return l.Store.Close() }

// ReadLedger reads the ledger of a data folder, of the network which that belongs to now, or of the
// folder of a ledger itself. It changes nothing there and does not disturb a node that runs on it.
// fs.ErrNotExist if there is none.
func ReadLedger(dir string) (_ *OfflineLedger, err error) {
	at, known := dir, []ledger.Genesis{ledger.DefaultGenesis()}
	if !isStore(dir) {
		m, err := LoadMembership(dir)
		if err != nil {
			return nil, err
		}
		if at, err = ledgerDir(dir, m.Genesis); err != nil {
			return nil, err
		}
		known = append(known, m.Genesis)
	}
	store, err := badgerstore.OpenSnapshot(at)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, store.Close())
		}
	}()
	view, err := ledger.OpenView(store)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	l := &OfflineLedger{View: view, Store: store}
	if l.Genesis, err = view.Genesis(); !errors.Is(err, ledger.ErrNotFound) {
		return l, err
	}
	for _, g := range known { // begun before books kept it
		if id, err := g.ID(); err == nil && id == view.Network() {
			l.Genesis = g
			return l, nil
		}
	}
	return nil, fmt.Errorf("%s: the rules of its network are not known here: start its node once, or audit its export", at)
}

func ledgerDir(dir string, g ledger.Genesis) (string, error) {
	network, err := g.ID()
	return filepath.Join(dir, "networks", network.String()[:8], "ledger"), err
}

func isStore(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "MANIFEST"))
	return err == nil
}

// LedgerDirs are the folders below dir that ReadLedger reads: dir itself, or those of its folders
// which are data folders. Several nodes of one machine often lie side by side.
func LedgerDirs(dir string) ([]string, error) {
	is := func(d string) bool {
		info, err := os.Stat(filepath.Join(d, "networks"))
		return err == nil && info.IsDir() || isStore(d)
	}
	if is(dir) {
		return []string{dir}, nil
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range list {
		if d := filepath.Join(dir, f.Name()); is(d) {
			out = append(out, d)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no node's data folder: %w", dir, fs.ErrNotExist)
	}
	return out, nil
}
