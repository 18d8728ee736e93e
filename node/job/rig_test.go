package job

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
	"github.com/personal-power-plant/p3/market"
)

var (
	errIdle     = errors.New("idle")
	errReset    = errors.New("reset")
	errTooLarge = errors.New("frame too large")
	errOther    = errors.New("other bytes")
)

// A pipe is one direction of a stream.
type pipe struct {
	frames chan []byte
	closed chan struct{}
	close  func()
}

func newPipe() *pipe {
	p := &pipe{frames: make(chan []byte, 64), closed: make(chan struct{})}
	p.close = sync.OnceFunc(func() { close(p.closed) })
	return p
}

// An end is one end of a stream between two nodes of a hub.
type end struct {
	peer    peer.ID
	limit   int
	in, out *pipe
	dead    chan struct{}
	kill    func()
	of      *link // whose end it is, if it serves

	mu   sync.Mutex // guards idle
	idle time.Duration
}

func (e *end) ReadFrame() ([]byte, error) {
	e.mu.Lock()
	idle := e.idle
	e.mu.Unlock()
	if idle == 0 {
		idle = time.Hour
	}
	timer := time.NewTimer(idle)
	defer timer.Stop()
	take := func(b []byte) ([]byte, error) {
		if len(b) > e.limit {
			return nil, errTooLarge
		}
		return b, nil
	}
	select {
	case b := <-e.in.frames:
		return take(b)
	case <-e.in.closed:
		select { // what was written before comes first
		case b := <-e.in.frames:
			return take(b)
		default:
			return nil, io.EOF
		}
	case <-e.dead:
		return nil, errReset
	case <-timer.C:
		return nil, errIdle
	}
}

func (e *end) WriteFrame(payloads ...[]byte) error {
	if e.of != nil {
		time.Sleep(e.of.delay())
	}
	for _, b := range payloads {
		select {
		case <-e.dead:
			return errReset
		case <-e.out.closed:
			return errReset
		case e.out.frames <- bytes.Clone(b):
		case <-time.After(10 * time.Second):
			return errIdle
		}
	}
	return nil
}

func (e *end) SetIdle(d time.Duration) { e.mu.Lock(); e.idle = d; e.mu.Unlock() }
func (e *end) Peer() peer.ID           { return e.peer }
func (e *end) Close() error            { e.out.close(); return nil }
func (e *end) Reset() error            { e.kill(); return nil }

// A hub joins nodes by streams in memory.
type hub struct {
	t     *testing.T
	books []*ledger.Book
	wg    sync.WaitGroup
	ctx   context.Context
	mu    sync.Mutex // guards nets
	nets  map[peer.ID]*link
}

// newHub is torn down at the end of the test.
func newHub(t *testing.T) *hub {
	t.TempDir() // the first call decides when folders are removed: after all is over
	h := &hub{t: t, nets: map[peer.ID]*link{}}
	var cancel func()
	h.ctx, cancel = context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		h.wg.Wait()
		for _, b := range h.books {
			b.Close()
		}
	})
	return h
}

// A link is one node's Network.
type link struct {
	hub  *hub
	self peer.ID

	mu     sync.Mutex // guards what follows
	served map[string]func(context.Context, Stream)
	limits map[string]int
	lag    time.Duration // before each write to a stream that it serves
}

func (l *link) slow(lag time.Duration) { l.mu.Lock(); l.lag = lag; l.mu.Unlock() }
func (l *link) delay() time.Duration   { l.mu.Lock(); defer l.mu.Unlock(); return l.lag }

func (l *link) Self() peer.ID             { return l.self }
func (l *link) RTT(peer.ID) time.Duration { return time.Millisecond }
func (l *link) Name(p peer.ID) string     { return p.String()[46:] }

func (l *link) Handle(id string, limit int, serve func(context.Context, Stream)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.served[id], l.limits[id] = serve, limit
}

func (l *link) Open(_ context.Context, p peer.ID, id string, limit int) (Stream, error) {
	l.hub.mu.Lock()
	to := l.hub.nets[p]
	l.hub.mu.Unlock()
	if to == nil {
		return nil, errors.New("no such peer")
	}
	to.mu.Lock()
	serve, theirs := to.served[id], to.limits[id]
	to.mu.Unlock()
	if serve == nil {
		return nil, errors.New("protocol not served")
	}
	a, b, dead := newPipe(), newPipe(), make(chan struct{})
	kill := sync.OnceFunc(func() { close(dead) })
	here := &end{peer: p, limit: limit, in: a, out: b, dead: dead, kill: kill}
	there := &end{of: to, peer: l.self, limit: theirs, in: b, out: a, dead: dead, kill: kill}
	l.hub.wg.Go(func() {
		defer context.AfterFunc(l.hub.ctx, kill)()
		serve(l.hub.ctx, there)
		there.Close()
	})
	return here, nil
}

// shelf is Blobs in a folder, which notes who pinned what.
type shelf struct {
	dir  string
	pins *pins
}

type pins struct {
	mu     sync.Mutex // guards owners
	owners map[ledger.Digest]map[string]bool
}

// pinned lists who holds a blob.
func (s shelf) pinned(h ledger.Digest) []string {
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	return slices.Sorted(maps.Keys(s.pins.owners[h]))
}

func (s shelf) Pin(h ledger.Digest, owner string) {
	if owner == "" {
		return
	}
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	if s.pins.owners[h] == nil {
		s.pins.owners[h] = map[string]bool{}
	}
	s.pins.owners[h][owner] = true
}

func (s shelf) Unpin(owner string) {
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	for _, m := range s.pins.owners {
		delete(m, owner)
	}
}

func (s shelf) path(h ledger.Digest) string { return filepath.Join(s.dir, h.String()) }
func (s shelf) Path(h ledger.Digest) (string, error) {
	_, err := os.Stat(s.path(h))
	return s.path(h), err
}
func (s shelf) Has(h ledger.Digest) bool { _, err := os.Stat(s.path(h)); return err == nil }
func (s shelf) TempDir() (string, error) { return os.MkdirTemp(s.dir, "unit-") }
func (s shelf) Open(h ledger.Digest) (io.ReadSeekCloser, int64, error) {
	f, err := os.Open(s.path(h))
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	return f, info.Size(), err
}

func (s shelf) Put(r io.Reader, owner string) (exec.File, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return exec.File{}, err
	}
	f := exec.File{Hash: sha256.Sum256(b), Size: int64(len(b))}
	s.Pin(f.Hash, owner)
	if s.Has(f.Hash) {
		return f, nil
	}
	tmp, err := os.CreateTemp(s.dir, "new-") // whoever reads it meanwhile sees nothing or all
	if err != nil {
		return f, err
	}
	_, err = tmp.Write(b)
	return f, errors.Join(err, tmp.Close(), os.Rename(tmp.Name(), s.path(f.Hash)))
}

func (s shelf) Receive(f exec.File, owner string, r io.Reader) error {
	got, err := s.Put(r, "")
	if err == nil && got.Hash == f.Hash {
		s.Pin(f.Hash, owner)
	}
	if err == nil && got.Hash != f.Hash {
		err = errOther
	}
	return err
}

// arriving is a blob that comes into a shelf, kept beside it until it is whole.
type arriving struct {
	*os.File
	s    shelf
	f    exec.File
	have int64
}

func (s shelf) Create(f exec.File) (Incoming, error) {
	w, err := os.OpenFile(s.path(f.Hash)+".part", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	n, err := w.Seek(0, io.SeekEnd)
	return &arriving{w, s, f, n}, err
}

func (a *arriving) Offset() int64 { return a.have }
func (a *arriving) Write(p []byte) (int, error) {
	n, err := a.File.Write(p)
	a.have += int64(n)
	return n, err
}

func (a *arriving) Rewind() error {
	a.have = 0
	_, err := a.Seek(0, io.SeekStart)
	return errors.Join(err, a.Truncate(0))
}

func (a *arriving) Commit() error {
	_, err := a.Seek(0, io.SeekStart)
	if err == nil {
		err = a.s.Receive(a.f, "", a.File)
	}
	if errors.Is(err, errOther) {
		err = ErrWrongBlob
	}
	return errors.Join(err, a.Close(), os.Remove(a.Name()))
}

// echo is an engine that takes a second for a unit and returns its input.
type echo struct{}

func (echo) Name() string { return exec.EngineWASM }
func (echo) Close() error { return nil }
func (echo) Run(ctx context.Context, s exec.Spec) (exec.Result, error) {
	select {
	case <-time.After(time.Second):
		return exec.Result{Status: exec.Exited, Stdout: s.Stdin, Fuel: unitFuel}, nil
	case <-ctx.Done():
		return exec.Result{}, ctx.Err()
	}
}

// busy is the engine of a requester that computes nothing itself, so that votes have to do.
type busy struct{ echo }

func (busy) Run(context.Context, exec.Spec) (exec.Result, error) {
	return exec.Result{}, errors.New("no slot is free")
}

const unitFuel ledger.Fuel = 1000

var (
	onePer  = ledger.Price{Num: 1, Den: 100}
	genesis = ledger.MutualGenesis("test", ledger.DefaultFloor)
)

// A party is one node of a hub: keys, book, blobs and a link, without a role yet.
type party struct {
	Env
	*link
	t       *testing.T
	key     ledger.Key
	binding []byte
	settler *Settler
	x       *Exchange
}

func (h *hub) party() *party {
	h.t.Helper()
	return h.partyIn(genesis)
}

// partyIn is party in another network.
func (h *hub) partyIn(genesis ledger.Genesis) *party {
	h.t.Helper()
	key, err1 := ledger.NewKey()
	secret, _, err2 := crypto.GenerateSecp256k1Key(nil)
	if err := errors.Join(err1, err2); err != nil {
		h.t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(secret)
	if err != nil {
		h.t.Fatal(err)
	}
	store := ledgertest.NewMemory()
	book, err := ledger.OpenBook(h.t.Context(), store, key, genesis)
	if err != nil {
		h.t.Fatal(err)
	}
	h.books = append(h.books, book)
	p := &party{t: h.t, key: key, link: &link{hub: h, self: id, served: map[string]func(context.Context, Stream){}, limits: map[string]int{}}}
	if p.binding, err = book.Bind([]byte(id), 1, time.Now().Add(24*time.Hour)); err != nil {
		h.t.Fatal(err)
	}
	p.Env = Env{
		Net: p.link, Book: book, Store: store, Blobs: shelf{h.t.TempDir(), &pins{owners: map[ledger.Digest]map[string]bool{}}}, Engine: echo{}, Binding: func() []byte { return p.binding },
		Log: slog.New(slog.DiscardHandler), Emit: p.say, Tell: func() {},
	}
	p.settler, p.x = NewSettler(p.Env), NewExchange(p.link, p.Blobs)
	h.mu.Lock()
	h.nets[id] = p.link
	h.mu.Unlock()
	return p
}

// say shows the diary of a test that failed.
func (p *party) say(level, kind, text string, _ ...any) {
	p.t.Logf("%s %s: %s %s: %s", time.Now().Format("15:04:05.000"), p.Name(p.self), level, kind, text)
}

// provide makes the party an honest provider.
func (p *party) provide(pol Policy) *Provider {
	return NewProvider(p.Env, p.x, p.settler, func() Policy { return pol })
}

func lends(slots int) Policy {
	return Policy{Accepts: true, Capacity: exec.Capacity{Slots: slots, Memory: 64 << 20, Disk: 64 << 20, Engines: []string{exec.EngineWASM}, Speed: 1000}, Price: onePer}
}

// program stores the module that every job here names; echo does not look at it.
func (p *party) program() exec.File {
	f, err := p.Blobs.Put(bytes.NewReader([]byte("module")), "")
	if err != nil {
		p.t.Fatal(err)
	}
	f.Name = "m.wasm"
	return f
}

func (p *party) manifest(verify exec.Verify) exec.Manifest {
	return exec.Manifest{
		Version: 1, Kind: exec.KindMap, Engine: exec.EngineWASM, Name: "job", Program: p.program(), Each: exec.EachLines,
		Limits: exec.Limits{Fuel: 2 * unitFuel, Memory: 1 << 20, WallMs: 10_000, Output: 1 << 20}, Verify: verify, Budget: ledger.Credit, Retries: 3,
		Account: p.Book.Account(), Nonce: make([]byte, 16),
	}
}

// A fair is a market with fixed offers.
type fair struct{ offers []market.Offer }

func (f fair) Offers() []market.Offer                      { return f.offers }
func (f fair) Changes() (<-chan struct{}, func())          { return make(chan struct{}), func() {} }
func (f fair) Advertise(exec.JobID, exec.Manifest, uint64) {}
func (f fair) Retract(exec.JobID)                          {}

// offer is what the market shows of the party.
func (p *party) offer() market.Offer {
	pol := lends(2)
	return market.Offer{
		Header:   market.Header{Version: 1, Network: p.Book.Network(), Account: p.Book.Account(), Peer: p.self, Expires: time.Now().Add(24 * time.Hour).UnixMilli()},
		Capacity: pol.Capacity, Price: pol.Price, FreeSlots: 2,
	}
}
