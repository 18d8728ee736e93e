package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"

	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node/job"
)

// askTimeout is how long one witness has for one lock, with all that it has to be shown before. It is shorter than the
// time in which a provider expects a lease's first frame.
const (
	askTimeout = 8 * time.Second
	busyWait   = 500 * time.Millisecond
)

// A Book is whose locks are witnessed: ledger.Book.
type Book interface {
	Account() ledger.Account
	Network() ledger.Network
	Genesis() ledger.Genesis
	Head() ledger.Head
	Receipt(lock ledger.Digest) (ledger.Receipt, error)
	Show(from, to uint64, yield func(ledger.Shown) bool) error
	Convicted(ledger.Account) bool
	CheckOwn(ctx context.Context, entry []byte) error
	KeepCertificate(ctx context.Context, lock ledger.Digest, certificate []byte) error
}

// A Config is the network that a Client works with. All fields are required.
type Config struct {
	Net     job.Network
	Routing routing.ValueStore // made with Validators
}

// A Client asks the witnesses of a network about the locks of a book.
type Client struct {
	book    Book
	cfg     Config
	log     *slog.Logger
	genesis ledger.Genesis
	network ledger.Network
	run     context.Context
	stop    func()
	wg      sync.WaitGroup

	checking chan struct{} // holds one token: who has it asks for Ready

	mu    sync.Mutex // guards what follows
	seats []*seat    // in the order of the genesis
	local *ledger.Witness
	ready bool // a quorum answered last time, and none of it knows more of our chain than the book
	last  Certified
}

// New prepares a Client; Close ends it.
func New(book Book, cfg Config, log *slog.Logger) *Client {
	c := &Client{book: book, cfg: cfg, log: log, genesis: book.Genesis(), network: book.Network(), checking: make(chan struct{}, 1)}
	c.checking <- struct{}{}
	c.run, c.stop = context.WithCancel(context.Background())
	for _, a := range c.genesis.Witnesses {
		s := &seat{account: a, turn: make(chan struct{}, 1), next: ^uint64(0)}
		s.turn <- struct{}{}
		c.seats = append(c.seats, s)
	}
	return c
}

// Close ends what still asks.
func (c *Client) Close() { c.stop(); c.wg.Wait() }

// SetLocal tells that one of the witnesses is at work in this process.
func (c *Client) SetLocal(w *ledger.Witness) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.local = w
}

// A State is a witness as this node sees it.
type State struct {
	Account   ledger.Account
	Peer      string // where it is asked, "" = not known yet
	Name      string // what that peer calls itself, "" = not known
	Convicted bool
	Asked     time.Time // last, zero = never
	Err       error     // what came of that, nil = it signed
}

// States are the network's witnesses in the order of the genesis.
func (c *Client) States() []State {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []State
	for _, s := range c.seats {
		st := State{Account: s.account, Name: s.name, Asked: s.at, Err: s.last, Convicted: c.book.Convicted(s.account)}
		if s.peer != "" {
			st.Peer = s.peer.String()
		}
		out = append(out, st)
	}
	return out
}

// Certify asks all witnesses at once about a lock of the book, signed, and returns the encoded certificate when a
// quorum has signed. A *ledger.QuorumError tells that they cannot come together: how many did, and why others did not.
func (c *Client) Certify(ctx context.Context, lock []byte) ([]byte, error) {
	e, err := ledger.ParseEntry(lock)
	if err != nil {
		return nil, err
	}
	t := target{lock, e, e.Digest()}
	cert, err := c.gather(ctx, t)
	if err != nil {
		return nil, err
	}
	c.keep(t, cert)
	return cert.Encode(), nil
}

// A Certified is a lock that a quorum has signed.
type Certified struct {
	Lock ledger.Digest
	Seq  uint64           // its place in the chain
	By   []ledger.Account // witnesses, in the order of the genesis
	At   time.Time
}

// Last is the last lock that Certify got a certificate for; false if there was none.
func (c *Client) Last() (Certified, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, !c.last.At.IsZero()
}

func (c *Client) keep(t target, cert ledger.Certificate) {
	last := Certified{Lock: t.d, Seq: t.e.Seq, At: time.Now()}
	for _, s := range cert {
		last.By = append(last.By, c.genesis.Witnesses[s.Witness])
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = last
}

// A target is the entry that statements are wanted on.
type target struct {
	raw []byte
	e   ledger.Entry
	d   ledger.Digest
}

// name is how people know a witness: what its node called itself when it was last reached.
func (c *Client) name(s *seat) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.name == "" {
		return s.account.Short()
	}
	return fmt.Sprintf("%.32s (%s)", s.name, s.account.Short())
}

// reached notes where a witness was just spoken to, and what that node calls itself: a name is forgotten with the
// connection.
func (c *Client) reached(s *seat, p peer.ID) {
	name := c.cfg.Net.Name(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	s.name = name
}

// note keeps what came of the last question to a witness.
func (c *Client) note(s *seat, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.last, s.at = err, time.Now()
}

// gather has every witness asked about an entry until a quorum has signed.
func (c *Client) gather(ctx context.Context, t target) (ledger.Certificate, error) {
	var mu sync.Mutex
	var statements [][]byte
	err := c.all(ctx, func(ctx context.Context, s *seat) error {
		statement, err := c.turn(ctx, s, t)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			statements = append(statements, statement)
		}
		return err
	})
	if err != nil {
		c.mu.Lock()
		c.ready = false
		c.mu.Unlock()
		return nil, err
	}
	mu.Lock()
	defer mu.Unlock()
	return c.genesis.Certify(statements[:c.genesis.Quorum()]...) // no more than it takes
}

// all has every witness that was not convicted asked at once, until a quorum has answered or cannot any more, which
// is a *ledger.QuorumError. Those that are slow are heard to the end in the background, so that they do not fall
// behind. Its error is that of the book if this signs nothing any more.
func (c *Client) all(ctx context.Context, ask func(context.Context, *seat) error) error {
	type result struct {
		s   *seat
		err error
	}
	failed := &ledger.QuorumError{Need: c.genesis.Quorum(), Of: len(c.seats)}
	results, asked := make(chan result, len(c.seats)), 0
	for _, s := range c.seats {
		if c.book.Convicted(s.account) {
			failed.Why = append(failed.Why, c.name(s)+" was convicted of signing twice")
			continue
		}
		asked++
		c.wg.Go(func() {
			ctx, cancel := context.WithTimeout(c.run, askTimeout)
			defer cancel()
			err := ask(ctx, s)
			c.note(s, err)
			results <- result{s, err}
		})
	}
	for range asked {
		select {
		case r := <-results:
			switch {
			case errors.Is(r.err, ledger.ErrReadOnly):
				return r.err
			case r.err != nil:
				failed.Why = append(failed.Why, c.name(r.s)+": "+r.err.Error())
			default:
				failed.Signed++
			}
			if failed.Signed == failed.Need {
				return nil
			}
		case <-ctx.Done():
			failed.Why = append(failed.Why, "the others have not answered yet")
			return errors.Join(failed, ctx.Err())
		}
	}
	return failed
}

// turn asks one witness when it is our turn, and notes what came of it.
func (c *Client) turn(ctx context.Context, s *seat, t target) (statement []byte, err error) {
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, fmt.Errorf("it has not answered what it was asked before: %w", ctx.Err())
	}
	statement, err = c.chain(ctx, s, t)
	if err == nil {
		err = checkStatement(statement, s.account, t)
	}
	if no := (*Refusal)(nil); errors.As(err, &no) && len(no.Entry) > 0 {
		if lost := c.surprise(ctx, s, no.Entry); lost != nil {
			err = lost
		}
	}
	return statement, err
}

func checkStatement(raw []byte, witness ledger.Account, t target) error {
	s, err := ledger.VerifyStatement(raw)
	if err == nil && s != ledger.StatementOn(witness, t.e, t.d) {
		err = fmt.Errorf("it signed something else: %w", ledger.ErrConflict)
	}
	return err
}

// errAway tells that there is no way to a witness now.
var errAway = errors.New("not reached")

// An exchange asks a witness one question after another.
type exchange func(question) (answer, error)

// dial opens an exchange with a witness.
func (c *Client) dial(ctx context.Context, s *seat) (exchange, func(), error) {
	c.mu.Lock()
	local := c.local
	c.mu.Unlock()
	if local != nil && local.Account() == s.account {
		return func(q question) (answer, error) {
			a, _ := reply(ctx, local, q)
			return a, nil
		}, func() {}, nil
	}
	p, err := c.where(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	st, err := c.cfg.Net.Open(ctx, p, Protocol, maxFrame)
	if err != nil {
		c.mu.Lock()
		s.lost = true
		c.mu.Unlock()
		c.log.Debug("witness not reached", "witness", s.account, "peer", p, "err", err)
		return nil, nil, errAway
	}
	stop := context.AfterFunc(ctx, func() { st.Reset() })
	c.reached(s, p)
	return func(q question) (answer, error) { return say(st, q) }, func() { stop(); st.Close() }, nil
}

func say(s job.Stream, q question) (a answer, err error) {
	if err := write(s, q); err != nil {
		return a, err
	}
	s.SetIdle(askTimeout)
	b, err := s.ReadFrame()
	if err != nil {
		return a, fmt.Errorf("no answer: %w", err)
	}
	return a, canon.Unmarshal(b, &a)
}

// chain shows a witness our chain up to a lock, from where it left off, and returns its statement on that.
func (c *Client) chain(ctx context.Context, s *seat, t target) ([]byte, error) {
	ask, done, err := c.dial(ctx, s)
	if err != nil {
		return nil, err
	}
	defer done()
	c.mu.Lock()
	from := min(s.next, t.e.Seq)
	c.mu.Unlock()
	jumps := 0 // to where the witness said that it is: to the start, for an account that it does not know, and from there to its end
	for {
		list, last, err := c.stretch(ctx, from, t.e.Seq)
		if err != nil {
			return nil, err
		}
		a, err := ask(question{Shown: list})
		switch {
		case err != nil:
			return nil, err
		case a.Refuse != nil && a.Refuse.Code == CodeBusy:
			if err := pause(ctx); err != nil {
				return nil, err
			}
			continue
		case a.Refuse != nil:
			return nil, &Refusal{a.Refuse.Code, clip(a.Refuse.Text), a.Refuse.Entry}
		case a.Behind != nil && (jumps == 2 || a.Behind.Next > t.e.Seq):
			return nil, fmt.Errorf("it asks for entry %d after entry %d: %w", a.Behind.Next, from, ledger.ErrMalformed)
		case a.Behind != nil:
			from = a.Behind.Next
			jumps++
			continue
		}
		c.mu.Lock()
		s.next = last + 1
		c.mu.Unlock()
		if last == t.e.Seq {
			return a.Statement, nil
		}
		from = last + 1
	}
}

// stretch is what one question shows of our chain, from a place on; last is the place where it ends.
func (c *Client) stretch(ctx context.Context, from, to uint64) (list []shown, last uint64, err error) {
	var missing []*shown
	bytes, checks, quorum := 0, 0, c.genesis.Quorum()
	last = from
	err = c.book.Show(from, to, func(x ledger.Shown) bool {
		if e, err := ledger.ParseEntry(x.Entry); err != nil || e.Seq != from+uint64(len(list)) {
			return false // pruned in between
		}
		y := shown(x)
		bytes, checks = bytes+x.Size()+ledger.MaxCertificate*min(1, len(x.Lock)), checks+y.checks(quorum)
		if len(list) > 0 && (len(list) == maxShown || bytes > maxBytes || checks > maxChecks) {
			return false
		}
		list, last = append(list, y), from+uint64(len(list))
		return true
	})
	if err == nil && len(list) == 0 {
		err = pruned(from)
	}
	for i := range list {
		if len(list[i].Lock) > 0 && len(list[i].Certificate) == 0 {
			missing = append(missing, &list[i])
		}
	}
	for _, m := range missing {
		if err == nil {
			m.Certificate, err = c.certificate(ctx, m.Lock)
		}
	}
	return list, last, err
}

// pruned says what to do about an entry that a witness wants and that is gone.
func pruned(entry uint64) error {
	return fmt.Errorf("it has to be shown entry %d of this account, which was pruned here (p3 credit prune): it signs for it only after this node was started from a backup made before that (p3 credit restore, then p3 credit recover): %w", entry, ledger.ErrNotFound)
}

// certificate gets the certificate of a lock that we accepted anew, after the disk has lost it: each witness
// gives again what it signed.
func (c *Client) certificate(ctx context.Context, lock []byte) ([]byte, error) {
	cert, err := c.regather(ctx, lock)
	if err != nil {
		return nil, fmt.Errorf("certificate of a lock we earned from: %w", err)
	}
	e, err := ledger.ParseEntry(lock)
	if err == nil {
		err = c.book.KeepCertificate(ctx, e.Digest(), cert)
	}
	return cert, err
}

// regather is gather without turns, which the caller may hold.
func (c *Client) regather(ctx context.Context, lock []byte) ([]byte, error) {
	e, err := ledger.ParseEntry(lock)
	if err != nil {
		return nil, err
	}
	t := target{lock, e, e.Digest()}
	failed := &ledger.QuorumError{Need: c.genesis.Quorum(), Of: len(c.seats)}
	var mu sync.Mutex
	var statements [][]byte
	var wg sync.WaitGroup
	for _, s := range c.seats {
		wg.Go(func() {
			statement, err := c.once(ctx, s, t)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed.Why = append(failed.Why, c.name(s)+": "+err.Error())
				return
			}
			statements = append(statements, statement)
		})
	}
	wg.Wait()
	if failed.Signed = len(statements); failed.Signed < failed.Need {
		return nil, failed
	}
	cert, err := c.genesis.Certify(statements...)
	return cert.Encode(), err
}

// once asks a witness about an entry that it has been shown before.
func (c *Client) once(ctx context.Context, s *seat, t target) ([]byte, error) {
	ask, done, err := c.dial(ctx, s)
	if err != nil {
		return nil, err
	}
	defer done()
	a, err := ask(question{Shown: []shown{{Entry: t.raw}}})
	switch {
	case err != nil:
		return nil, err
	case a.Refuse != nil:
		return nil, &Refusal{a.Refuse.Code, clip(a.Refuse.Text), a.Refuse.Entry}
	case a.Behind != nil:
		return nil, errors.New("it does not know the lock, or has forgotten it")
	}
	return a.Statement, checkStatement(a.Statement, s.account, t)
}
