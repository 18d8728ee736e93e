package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/fence"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/witness"
)

// bindAgain is how often a witness signs anew where it is asked.
const bindAgain = 24 * time.Hour

// council is the part of a node that has to do with witnesses; all of it is nil or empty in an open network.
type council struct {
	client *witness.Client

	mu      sync.Mutex // guards what follows
	seat    *ledger.Witness
	why     string // why a key that is here does not serve
	binding []byte
	bound   time.Time
	marks   *fence.File
}

func witnessFile(dir string) string { return filepath.Join(dir, "keys", "witness") }

// WitnessKey reads the witness key of a data folder, or makes one. The account of its key is what the genesis
// of a network names.
func WitnessKey(dir string) (ledger.Key, error) {
	secret, err := loadSecret(witnessFile(dir), func() ([]byte, error) {
		k, err := ledger.NewKey()
		if err != nil {
			return nil, err
		}
		return k.Bytes(), nil
	})
	if err != nil {
		return ledger.Key{}, fmt.Errorf("witness key: %w", err)
	}
	k, err := ledger.ParseKey(secret)
	if err != nil {
		return k, fmt.Errorf("witness key: %w", err)
	}
	return k, nil
}

// hasWitness reports whether a data folder has a witness key.
func hasWitness(dir string) bool {
	_, err := os.Stat(witnessFile(dir))
	return !errors.Is(err, fs.ErrNotExist)
}

// openWitnesses gets ready to have locks witnessed, in a network that asks for it, and to witness, if there is a
// key for that.
func (d *Daemon) openWitnesses(run context.Context) error {
	if d.cfg.Witness {
		if _, err := WitnessKey(d.cfg.Dir); err != nil {
			return err
		}
	}
	if len(d.genesis.Witnesses) > 0 {
		d.council.client = witness.New(d.book, witness.Config{Net: d.net, Routing: d.p2p.DHT()}, d.log)
		d.closing(func() error {
			d.council.client.Close()
			d.council.mu.Lock()
			defer d.council.mu.Unlock()
			if d.council.marks == nil {
				return nil
			}
			return d.council.marks.Close()
		})
	}
	if !hasWitness(d.cfg.Dir) {
		return nil
	}
	if err := d.serveWitness(run); err != nil {
		d.emit("error", "witness", err.Error())
	}
	return nil
}

// serveWitness has the witness of this folder answer from now on.
func (d *Daemon) serveWitness(run context.Context) (err error) {
	c := &d.council
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seat != nil {
		return nil
	}
	defer func() {
		if c.why = ""; err != nil {
			c.why = err.Error()
		}
	}()
	key, err := WitnessKey(d.cfg.Dir)
	if err != nil {
		return err
	}
	if d.genesis.Witness(key.Account()) < 0 {
		return fmt.Errorf("network %s does not name %s as a witness: only who founds a network says who its witnesses are", d.genesis.Name, key.Account())
	}
	dir, err := ledgerDir(d.cfg.Dir, d.genesis)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	mark, err := fence.Open(filepath.Join(filepath.Dir(dir), "highwater-witness"))
	if err != nil {
		return err
	}
	w, err := ledger.OpenWitness(run, d.store, mark, key, d.genesis, d.book)
	if err != nil {
		return errors.Join(err, mark.Close())
	}
	c.marks, c.seat = mark, w
	if err := d.bindWitness(time.Now()); err != nil {
		return err
	}
	c.client.SetLocal(w)
	witness.Serve(w, witness.ServerConfig{Net: d.net, Genesis: d.genesis, Account: d.p2p.Account, Binding: d.witnessBinding, Log: d.log,
		Convict: func(ctx context.Context, proof []byte) {
			if _, _, err := d.book.Convict(ctx, proof); err != nil {
				d.log.Warn("fork shown to the witness", "err", err)
			}
		}})
	d.wg.Go(func() { c.client.Announce(run, w.Account(), d.witnessBinding) })
	d.emit("ok", "witness", fmt.Sprintf("witness %s is at work on network %s: %d of %d sign each lock", w.Account().Short(), d.genesis.Name, d.genesis.Quorum(), len(d.genesis.Witnesses)))
	return nil
}

// bindWitness signs where the witness is asked; mu is held.
func (d *Daemon) bindWitness(now time.Time) (err error) {
	c := &d.council
	c.binding, err = c.seat.Bind(ledger.NodeBinding{PeerID: []byte(d.p2p.ID()), Seq: uint64(now.UnixMilli()), ExpiryMs: uint64(now.Add(bindingLife).UnixMilli())})
	c.bound = now
	return err
}

// witnessBinding is the one in force.
func (d *Daemon) witnessBinding() []byte {
	c := &d.council
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.bound) > bindAgain {
		if err := d.bindWitness(now); err != nil {
			d.log.Error("renew the witness' binding", "err", err)
		}
	}
	return c.binding
}

// metWitness asks a peer that said hello whether it is a witness, where there are any.
func (d *Daemon) metWitness(ctx context.Context, p peer.ID) {
	if d.council.client != nil {
		d.council.client.Met(ctx, p)
	}
}

// Witness implements localapi.Backend.
func (d *Daemon) Witness(context.Context) (node.WitnessStatus, error) {
	c := &d.council
	s := node.WitnessStatus{NetName: d.genesis.Name, Need: d.genesis.Quorum(), Of: len(d.genesis.Witnesses), Faulty: d.genesis.Faulty(), Witnesses: []node.WitnessSeat{}}
	if hasWitness(d.cfg.Dir) {
		key, err := WitnessKey(d.cfg.Dir)
		if err != nil {
			return s, err
		}
		s.Account = key.Account()
		s.Named = d.genesis.Witness(s.Account) >= 0
	}
	c.mu.Lock()
	w := c.seat
	s.Why = c.why
	c.mu.Unlock()
	if w != nil {
		if err := w.ReadOnly(); err != nil {
			s.Why = err.Error()
		}
		x := w.Stats()
		s.Serving, s.Accounts, s.Entries, s.Signed, s.Refused, s.Forks = s.Why == "", x.Accounts, x.Entries, x.Signed, x.Refused, x.Forks
	}
	if c.client == nil {
		return s, nil
	}
	for _, x := range c.client.States() {
		seat := node.WitnessSeat{Account: x.Account, Peer: x.Peer, Here: w != nil && w.Account() == x.Account, Convicted: x.Convicted, Asked: x.Asked}
		if seat.Name = x.Name; seat.Here {
			seat.Name = d.cfg.Name
		}
		if x.Err != nil {
			seat.Why = x.Err.Error()
		}
		s.Witnesses = append(s.Witnesses, seat)
	}
	if last, ok := c.client.Last(); ok {
		s.Certified = &node.WitnessedLock{Lock: last.Lock, Seq: last.Seq, By: last.By, Time: last.At}
	}
	return s, nil
}

// BeWitness implements localapi.Backend.
func (d *Daemon) BeWitness(ctx context.Context) (node.WitnessStatus, error) {
	if _, err := WitnessKey(d.cfg.Dir); err != nil {
		return node.WitnessStatus{}, err
	}
	if err := d.serveWitness(d.run); err != nil {
		d.log.Info("witness", "err", err) // Witness says why
	}
	return d.Witness(ctx)
}
