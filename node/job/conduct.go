package job

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"

	"github.com/personal-power-plant/p3/ledger"
)

// Adaptive replication (LEDGER section 9), for jobs with verify auto: the numbers are judgements.
const (
	// probation is how many checked results in a row must be right before any is accepted unchecked. It makes a
	// new identity work ten units honestly, each computed by somebody else too, before the first lie can pass.
	probation = 10

	// checkFloor is the least chance of a check. A host that lies in every unit after a long honest time is
	// found after 20 on average, and passes 90 with a chance of 1 %; checking costs 5 % more work.
	checkFloor = 0.05
)

// A Conduct is what checks of an account's results came to here, over all jobs. A result that nobody checked
// counts for nothing.
type Conduct struct {
	Row   uint64 `cbor:"1,keyasint"` // right ones since the last wrong one
	Valid uint64 `cbor:"2,keyasint"` // right ones, ever
	Wrong uint64 `cbor:"3,keyasint"`
}

// Chance is the probability that a result is checked: max(1/Row, checkFloor), 1 during probation.
func (c Conduct) Chance() float64 {
	if c.Row < probation {
		return 1
	}
	return max(1/float64(c.Row), checkFloor)
}

// conducts remembers them durably, and draws. It is the farm.Checker of all jobs and safe for concurrent use.
type conducts struct {
	env    Env
	saving sync.Mutex // held while rows are made durable, so that none is replaced by an older one; taken before mu

	mu     sync.Mutex // guards what follows
	random *rand.Rand // from the system's generator: hosts must not foresee it
	known  map[ledger.Account]Conduct
	dirty  map[ledger.Account]bool
}

func newConducts(env Env) *conducts {
	return &conducts{env: env, random: rand.New(unforeseen{}), known: map[ledger.Account]Conduct{}, dirty: map[ledger.Account]bool{}}
}

// unforeseen is crypto/rand as a source of numbers.
type unforeseen struct{}

func (unforeseen) Uint64() uint64 {
	var b [8]byte
	crand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])
}

func conductKey(a ledger.Account) []byte { return append([]byte("job/c/"), a[:]...) }

// of is what is known of a; mu is held.
func (c *conducts) of(a ledger.Account) (Conduct, error) {
	x, ok := c.known[a]
	if ok {
		return x, nil
	}
	err := (journal{c.env.Store}).get(conductKey(a), &x)
	if errors.Is(err, ledger.ErrNotFound) && c.env.Book != nil { // a host that changed its key goes on where it was
		for _, old := range c.env.Book.Before(a) {
			if err = (journal{c.env.Store}).get(conductKey(old), &x); !errors.Is(err, ledger.ErrNotFound) {
				break
			}
		}
	}
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return Conduct{}, err
	}
	c.known[a] = x
	return x, nil
}

// chance is that of a; one whose row cannot be read is a stranger. mu is held.
func (c *conducts) chance(a ledger.Account) float64 {
	x, err := c.of(a)
	if err != nil {
		c.env.Log.Warn("conduct", "account", a, "err", err)
	}
	return x.Chance()
}

// Always implements farm.Checker.
func (c *conducts) Always(a ledger.Account) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.chance(a) >= 1
}

// Draw implements farm.Checker.
func (c *conducts) Draw(a ledger.Account) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.Float64() < c.chance(a)
}

// Pick implements farm.Checker.
func (c *conducts) Pick(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.IntN(n)
}

// note counts a result that was compared with others. It is durable with the next commit.
func (c *conducts) note(a ledger.Account, valid bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x, err := c.of(a)
	if err != nil {
		c.env.Log.Warn("conduct", "account", a, "err", err)
		return
	}
	if valid {
		x.Row++
		x.Valid++
	} else {
		x.Row = 0
		x.Wrong++
	}
	c.known[a], c.dirty[a] = x, true
}

// commit makes rows durable, together with those of accounts that were noted.
func (c *conducts) commit(ctx context.Context, ops ...ledger.Op) error {
	c.mu.Lock()
	none := len(c.dirty) == 0
	c.mu.Unlock()
	if none { // jobs that compare nothing share commits
		return c.env.Store.Commit(ctx, ops...)
	}
	c.saving.Lock()
	defer c.saving.Unlock()
	c.mu.Lock()
	noted := c.dirty
	c.dirty = map[ledger.Account]bool{}
	var errs []error
	for a := range noted {
		op, err := put(conductKey(a), c.known[a])
		errs = append(errs, err)
		ops = append(ops, op)
	}
	c.mu.Unlock()
	err := errors.Join(errs...)
	if err == nil {
		err = c.env.Store.Commit(ctx, ops...)
	}
	if err != nil { // with the next
		c.mu.Lock()
		defer c.mu.Unlock()
		for a := range noted {
			c.dirty[a] = true
		}
	}
	return err
}

// Conduct is what checks of an account's results came to here, and the chance that one more is checked in a job
// with verify auto.
func (r *Requester) Conduct(a ledger.Account) (Conduct, float64, error) {
	r.conduct.mu.Lock()
	defer r.conduct.mu.Unlock()
	x, err := r.conduct.of(a)
	return x, x.Chance(), err
}
