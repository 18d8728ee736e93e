package job

import (
	"context"
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/flow"
)

// trust holds as much credit for a lease as its payer may have here, and says why so much. It refuses what
// does not cover one unit at its worst. The result is nil where no limit applies.
func (p *Provider) trust(ctx context.Context, payer ledger.Account, from peer.ID, o *open, worst ledger.Credits) (*flow.Credit, string, error) {
	terms := p.policy().Terms
	if terms == nil {
		return nil, "", nil
	}
	lock, err := ledger.ParseEntry(o.Lock)
	if err != nil {
		return nil, "", refuse(CodeRecord, "%v", err)
	}
	now := time.Now()
	if p.env.vouched() {
		return nil, "", nil
	}
	if p.granted != nil {
		return p.trustGranted(ctx, lock, from, o, worst, *terms, now)
	}
	if err := p.limiter.Learn(payer, o.Work, func(n int) bool { return p.settler.meter.take(from, n, now) }); err != nil {
		return nil, "", refuse(CodeRecord, "%v", err)
	}
	c, limit, err := p.limiter.Open(payer, lock.Amount, worst, *terms, now)
	if err != nil {
		return nil, "", refuse(CodeHost, "%v", err)
	}
	why := limit.Text(p.env.who)
	if c == nil {
		return nil, "", refuse(CodeCredit, "credit limit %s, one unit may cost %s: %s", limit.Total(), worst, why)
	}
	return c, why, nil
}

// trustGranted is trust in a granted network: the payer shows the grants that its balance stands on, and those that
// stand behind who paid it.
func (p *Provider) trustGranted(ctx context.Context, lock ledger.Entry, from peer.ID, o *open, worst ledger.Credits, terms flow.Terms, now time.Time) (*flow.Credit, string, error) {
	check := func(n int) bool { return p.settler.meter.take(from, n, now) }
	if len(o.Grants) > 0 && check(len(o.Grants)) { // else they count when they are shown again
		err := p.env.Book.LearnGrants(ctx, o.Grants)
		switch {
		case errors.Is(err, ledger.ErrReadOnly), errors.Is(err, ledger.ErrBookClosed):
			return nil, "", refuse(CodeHost, "%v", err)
		case err != nil:
			return nil, "", refuse(CodeRecord, "%v", err)
		}
	}
	if err := p.granted.Learn(lock.Account, o.Work, check); err != nil {
		return nil, "", refuse(CodeRecord, "%v", err)
	}
	c, limit, err := p.granted.Open(lock, worst, terms, now)
	if err != nil {
		return nil, "", refuse(CodeHost, "%v", err)
	}
	why := limit.Text(p.env.who)
	if c == nil {
		return nil, "", refuse(CodeCredit, "credit limit %s, one unit may cost %s: %s", limit.Total(), worst, why)
	}
	return c, why, nil
}

// GrantedLimit is Limit in a granted network.
func (p *Provider) GrantedLimit(payer ledger.Account) (limit flow.GrantedLimit, why string, ok bool, err error) {
	terms := p.policy().Terms
	if p.granted == nil || terms == nil {
		return limit, "", false, nil
	}
	limit, err = p.granted.Limit(payer, *terms, time.Now())
	return limit, limit.Text(p.env.who), true, err
}

// Limit is what payer may claim here now, by the owner's policy. ok is false where no limit applies, and in a granted
// network.
func (p *Provider) Limit(payer ledger.Account) (limit flow.Limit, why string, ok bool, err error) {
	terms := p.policy().Terms
	if p.limiter == nil || terms == nil {
		return limit, "", false, nil
	}
	limit, err = p.limiter.Limit(payer, *terms, time.Now())
	return limit, limit.Text(p.env.who), true, err
}

// who is how people know an account.
func (e *Env) who(a ledger.Account) string {
	if e.Who != nil {
		if name := e.Who(a); name != "" {
			return clipName(name)
		}
	}
	return a.Short()
}

// clipName keeps a name that somebody chose for himself from filling a reason.
func clipName(s string) string { return s[:min(len(s), 32)] }
