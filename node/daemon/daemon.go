package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	record "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/blob"
	"github.com/personal-power-plant/p3/exec/wasm"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/badgerstore"
	"github.com/personal-power-plant/p3/ledger/fence"
	"github.com/personal-power-plant/p3/market/dht"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/fraud"
	"github.com/personal-power-plant/p3/node/job"
	"github.com/personal-power-plant/p3/node/localapi"
	"github.com/personal-power-plant/p3/node/p2p"
	"github.com/personal-power-plant/p3/node/witness"
)

// bindingLife is how long a NodeBinding stands; it is renewed at every start and after half of it.
const bindingLife = 90 * 24 * time.Hour

// A Daemon is a running node. It implements localapi.Backend.
type Daemon struct {
	cfg     Config
	log     *slog.Logger
	started time.Time
	genesis ledger.Genesis

	store     ledger.Store
	book      *ledger.Book
	blobs     *blob.Store
	engine    exec.Engine
	p2p       *p2p.Node
	net       *network
	market    *dht.Market
	requester *job.Requester
	provider  *job.Provider
	settler   *job.Settler
	issuer    *ledger.Issuer // nil: no mint's key is here
	till      *job.Till
	home      peer.ID      // of an office PC: the node that has the key
	granter   *job.Granter // nil in a mutual network
	fraud     *fraud.Spreader
	council   council
	host      *hostState
	diary     *diary
	bindAt    time.Time // of the last binding; owned by the start, then by hostState.run

	run      context.Context // while it runs
	serving  chan struct{}   // closed when every protocol is served
	stopping chan struct{}
	stopOnce sync.Once
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	closers  []func() error // in order of opening
}

// Start starts a node. ctx bounds the start only. When it fails, everything it had opened
// is closed again.
func Start(ctx context.Context, cfg Config) (_ *Daemon, err error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	d := &Daemon{cfg: cfg, log: cfg.Log, started: time.Now(), diary: newDiary(), stopping: make(chan struct{}), serving: make(chan struct{})}
	var run context.Context
	run, d.cancel = context.WithCancel(context.Background())
	d.run = run
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	api, err := d.listen()
	if err != nil {
		return nil, err
	}
	k, m, err := d.identity()
	if err != nil {
		return nil, err
	}
	if err := d.openLedger(ctx, k, m); err != nil {
		return nil, err
	}
	if err := d.openExec(); err != nil {
		return nil, err
	}
	if err := d.openNetwork(ctx, k, m); err != nil {
		return nil, err
	}
	if err := d.openWitnesses(run); err != nil {
		return nil, err
	}
	if err := d.openJobs(run, k); err != nil {
		return nil, err
	}
	close(d.serving)
	if api != nil {
		serve, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- localapi.Serve(serve, api, d) }()
		d.closing(func() error { stop(); return <-done })
	}
	d.diary.emit("ok", "node", fmt.Sprintf("node started on network %s", m.Genesis.Name))
	return d, nil
}

// closing adds something that Close undoes, last first.
func (d *Daemon) closing(f func() error) { d.closers = append(d.closers, f) }

// Stopping is closed when somebody asked the node to stop.
func (d *Daemon) Stopping() <-chan struct{} { return d.stopping }

// Close stops in reverse order: no more requests, jobs where they are, the network, the ledger.
func (d *Daemon) Close() error {
	d.stopOnce.Do(func() { close(d.stopping) })
	var errs []error
	for _, f := range slices.Backward(d.closers) {
		errs = append(errs, f())
	}
	d.closers = nil
	d.cancel()
	d.wg.Wait()
	return errors.Join(errs...)
}

func (d *Daemon) listen() (net.Listener, error) {
	if d.cfg.Socket == "none" {
		return nil, nil
	}
	l, err := localapi.Listen(d.cfg.Socket)
	if err != nil {
		return nil, err
	}
	d.closing(func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return l, nil
}

func (d *Daemon) identity() (keys, Membership, error) {
	k, err := loadKeys(d.cfg.Dir, d.cfg.Passphrase)
	if err != nil {
		return k, Membership{}, err
	}
	if d.cfg.Network != nil {
		return k, *d.cfg.Network, nil
	}
	m, err := LoadMembership(d.cfg.Dir)
	return k, m, err
}

func (d *Daemon) openLedger(ctx context.Context, k keys, m Membership) (err error) {
	d.genesis = m.Genesis
	dir, err := ledgerDir(d.cfg.Dir, m.Genesis)
	if err != nil {
		return err
	}
	if d.store = d.cfg.Store; d.store == nil {
		if d.store, err = badgerstore.Open(dir); err != nil {
			return err
		}
	}
	d.closing(d.store.Close)
	mark, err := fence.Open(filepath.Join(filepath.Dir(dir), "highwater"))
	if err != nil {
		return err
	}
	d.closing(mark.Close)
	if d.book, err = d.openBook(ctx, mark, k, m.Genesis); err != nil {
		return err
	}
	d.closing(func() error { d.book.Close(); return nil })
	if err := d.book.ReadOnly(); err != nil {
		d.emit("error", "credit", err.Error())
	}
	if err := d.openMint(); err != nil {
		return err
	}
	d.fraud = fraud.New(d.book, d.log)
	d.book.OnConvict(d.fraud.Convicted)
	return nil
}

// openBook opens the book with the key that its ledger has, or begins one with the recovery key that was noted.
func (d *Daemon) openBook(ctx context.Context, mark ledger.Fence, k keys, g ledger.Genesis) (*ledger.Book, error) {
	if k.binding != nil {
		d.home = k.home
		return d.openTill(ctx, mark, k, g)
	}
	key, err := keyOf(d.cfg.Dir, k.account, d.store, d.cfg.Passphrase)
	if err != nil {
		return nil, err
	}
	if _, err := ledger.OpenView(d.store); errors.Is(err, ledger.ErrNotFound) {
		recovery, err := recoveryAccount(d.cfg.Dir)
		if err != nil {
			return nil, err
		}
		if !recovery.IsZero() && recovery != key.Account() {
			return ledger.BeginBook(ctx, d.store, mark, key, g, recovery)
		}
	}
	return ledger.OpenFenced(ctx, d.store, mark, key, g)
}

func (d *Daemon) openExec() (err error) {
	if d.blobs, err = blob.Open(filepath.Join(d.cfg.Dir, "blobs"), defaultDisk); err != nil {
		return err
	}
	d.closing(d.blobs.Close)
	temp := d.tempDir()
	if err := os.RemoveAll(temp); err != nil { // what a crash left
		return err
	}
	if err := os.MkdirAll(temp, 0o700); err != nil {
		return err
	}
	if d.engine = d.cfg.Engine; d.engine == nil {
		d.engine, err = wasm.NewPool(wasm.PoolOptions{Slots: maxSlots, CacheDir: filepath.Join(d.cfg.Dir, "cache"), Argv: d.cfg.Worker,
			Foreground: d.cfg.Eager, Log: d.log})
		if err != nil {
			return err
		}
	}
	d.closing(d.engine.Close)
	return nil
}

// maxSlots is as many slots as a policy may have: the provider hands out no more than the policy in force.
const maxSlots = 4096

func (d *Daemon) tempDir() string { return filepath.Join(d.cfg.Dir, "tmp") }

// bind joins our node key to our account anew.
func (d *Daemon) bind(id peer.ID) ([]byte, error) {
	now := time.Now()
	if until, ok := d.boundUntil(); ok { // without one that stands, it says hello for nobody
		raw, _ := d.book.Till()
		if !until.After(now) {
			raw = nil
		}
		return raw, nil
	}
	d.bindAt = now
	return d.book.Bind([]byte(id), uint64(now.UnixMilli()), now.Add(bindingLife))
}

// binding is our NodeBinding in force.
func (d *Daemon) binding() []byte { return *d.net.binding.Load() }

// renewBinding signs a new one in time, so that a node can stay up for years.
func (d *Daemon) renewBinding(now time.Time) {
	if _, office := d.book.Till(); office || now.Sub(d.bindAt) < bindingLife/2 {
		return
	}
	b, err := d.bind(d.p2p.ID())
	if err != nil {
		d.log.Error("renew binding", "err", err)
		return
	}
	d.net.binding.Store(&b)
	d.p2p.SetBinding(b)
}

func (d *Daemon) openNetwork(ctx context.Context, k keys, m Membership) error {
	id, err := peer.IDFromPrivateKey(k.node)
	if err != nil {
		return err
	}
	binding, err := d.bind(id)
	if err != nil {
		return err
	}
	listen := d.cfg.Listen
	if listen == nil {
		listen = p2p.DefaultListen
	}
	if listen, err = lastPorts(d.store, listen); err != nil {
		return err
	}
	peersKey := []byte("node/peers")
	d.p2p, err = p2p.Start(ctx, p2p.Config{
		Key: k.node, Network: d.book.Network(), Name: d.cfg.Name, Binding: binding, Agent: "p3/" + d.cfg.Version,
		Listen: listen, Bootstrap: m.Bootstrap, PSK: m.PSK, MDNS: !d.cfg.NoLAN, Reach: d.cfg.Reach, Relay: d.cfg.Relay,
		Small: d.cfg.Small, Host: d.cfg.Host, Log: d.log, Validators: d.validators(), Ready: d.serving,
		Load: func() ([]byte, error) {
			b, err := d.store.Get(peersKey)
			if errors.Is(err, ledger.ErrNotFound) {
				return nil, nil
			}
			return b, err
		},
		Save: func(b []byte) error {
			return d.store.Commit(context.Background(), ledger.Op{Key: peersKey, Value: b})
		},
	})
	if err != nil {
		return &node.Problem{Code: node.CodeInternal, Message: err.Error(), Hint: "another program may use the port: choose others with --listen, or none to take any free ones"}
	}
	d.closing(d.p2p.Close)
	if d.cfg.Host == nil {
		var addrs []string
		for _, a := range d.p2p.Host().Network().ListenAddresses() {
			addrs = append(addrs, a.String())
		}
		if err := savePorts(ctx, d.store, addrs); err != nil {
			return err
		}
	}
	d.net = &network{p2p: d.p2p, names: map[peer.ID]string{}}
	d.net.binding.Store(&binding)
	d.market, err = dht.New(dht.Config{
		Host: d.p2p.Host(), Routing: d.p2p.DHT(), PubSub: d.p2p.PubSub(), Key: k.node, Network: d.book.Network(), Prefix: p2p.Prefix(d.book.Network()), Log: d.log,
	})
	if err != nil {
		return err
	}
	d.fraud.Start(fraud.Config{
		Net: d.net, Account: d.p2p.Account, Routing: d.p2p.DHT(), PubSub: d.p2p.PubSub(), Prefix: p2p.Prefix(d.book.Network()), Shun: d.p2p.Shun, Tell: d.convicted, Rekeyed: d.rekeyed,
	})
	return nil
}

// validators decide which DHT values this node keeps for others.
func (d *Daemon) validators() map[string]record.Validator {
	v := dht.Validators(d.book.Network())
	maps.Copy(v, d.fraud.Validators())
	if len(d.genesis.Witnesses) > 0 {
		maps.Copy(v, witness.Validators(d.genesis, d.book.Network()))
	}
	return v
}

func (d *Daemon) openJobs(run context.Context, k keys) error {
	env := job.Env{
		Net: d.net, Groups: groups{d.p2p, k.node}, Book: d.book, Store: d.store, Blobs: blobs{d.blobs, d.tempDir()}, Engine: d.engine, Costs: wasm.CostTable(),
		Binding: d.binding, Log: d.log, Emit: d.emit, Tell: d.diary.touch, Who: d.who, Find: d.peerOf,
	}
	if d.council.client != nil {
		env.Witnesses = d.council.client
	}
	x := job.NewExchange(d.net, env.Blobs)
	d.settler = job.NewSettler(env)
	d.startGrants(env)
	d.till = job.NewTill(env, d, d.homes, d.rebound)
	var err error
	if d.host, err = newHost(d, k); err != nil {
		return err
	}
	env.Moved = d.host.moved
	env.Accepted = d.fraud.Accepted
	d.provider = job.NewProvider(env, x, d.settler, d.host.policy)
	d.requester = job.NewRequester(env, x, d.settler, bazaar{d})
	d.closing(d.host.close)
	d.host.apply()
	if err := d.requester.Resume(); err != nil {
		return err
	}
	d.closing(func() error { d.requester.Close(); d.cancel(); d.wg.Wait(); return nil })
	d.wg.Go(func() {
		if err := d.market.Run(run); err != nil && run.Err() == nil {
			d.emit("error", "node", fmt.Sprintf("the market ended: %v", err))
		}
	})
	d.wg.Go(func() {
		if err := d.fraud.Run(run); err != nil && run.Err() == nil {
			d.emit("error", "node", fmt.Sprintf("proofs of fraud are not spread any more: %v", err))
		}
	})
	d.wg.Go(func() { d.settler.Run(run) })
	d.wg.Go(func() { d.till.Run(run) })
	if d.granter != nil {
		d.wg.Go(func() { d.granter.Run(run) })
	}
	d.wg.Go(func() { d.watchPeers(run) })
	d.wg.Go(func() { d.host.run(run) })
	d.wg.Go(func() { d.host.watch(run) })
	return nil
}

// emit writes to the diary and to the log.
func (d *Daemon) emit(level, kind, text string, with ...any) {
	d.diary.emit(level, kind, text, with...)
	switch level {
	case "warn":
		d.log.Warn(text, with...)
	case "error":
		d.log.Error(text, with...)
	default:
		d.log.Info(text, with...)
	}
}

// convicted ends what runs with an account that was frozen, and tells people.
func (d *Daemon) convicted(p ledger.Proof, own bool) {
	from := "others sent the proof"
	if own {
		from = "this node has the proof and spreads it"
	}
	d.emit("error", "credit", fmt.Sprintf("account %s is frozen: %s; %s", p.Account.Short(), p.Kind, from))
	d.provider.Kick()
	d.requester.Convicted(p.Account)
	d.diary.touch()
}

// meetAgain is the longest pause before a peer that could not be asked for what it knows is asked again.
const meetAgain = time.Minute

// watchPeers keeps names, tells of comings and goings, wakes the settler for who came and asks them whom
// they know as a cheat.
func (d *Daemon) watchPeers(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	slots := make(chan struct{}, 16)
	meet := func(p peer.ID) {
		asking.Go(func() {
			select {
			case slots <- struct{}{}:
				met := d.fraud.Met(ctx, p)
				d.metWitness(ctx, p)
				<-slots
				for wait := time.Second; met != nil && wait < meetAgain && d.p2p.Greeted(p); wait *= 2 { // while others have their turn
					select {
					case <-time.After(wait):
						met = d.fraud.Met(ctx, p)
					case <-ctx.Done():
						return
					}
				}
				if d.granter != nil {
					d.granter.Met()
				}
			case <-ctx.Done():
			}
		})
	}
	events, cancel := d.p2p.Subscribe()
	defer func() { cancel() }()
	for _, p := range d.p2p.Peers() {
		meet(p.ID)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				if ctx.Err() != nil {
					return
				}
				select { // we lagged, or the network is closing
				case <-ctx.Done():
					return
				case <-time.After(time.Second):
				}
				events, cancel = d.p2p.Subscribe()
				d.settler.Kick("")
				for _, p := range d.p2p.Peers() { // whoever came meanwhile
					meet(p.ID)
				}
				continue
			}
			switch e.Kind {
			case p2p.PeerGreeted:
				d.net.named(e.Peer, e.Name)
				d.settler.Kick(e.Peer)
				d.wakeGrants()
				d.till.Kick()
				meet(e.Peer)
				d.emit("info", "peer", fmt.Sprintf("%s connected", d.net.Name(e.Peer)), "peer", d.net.Name(e.Peer))
				if why := wrongClock(d.net.Name(e.Peer), e.Skew); why != "" {
					d.emit("warn", "peer", why, "peer", d.net.Name(e.Peer))
				}
			case p2p.PeerRefused:
				d.emit("warn", "peer", e.Why, "peer", d.net.Name(e.Peer))
			case p2p.PeerDisconnected:
				d.emit("info", "peer", fmt.Sprintf("%s disconnected", d.net.Name(e.Peer)), "peer", d.net.Name(e.Peer))
			}
			d.diary.touch()
		}
	}
}
