package farm

import "github.com/personal-power-plant/p3/ledger"

// A Checker says which results of a job with Verify 1 are computed once more, by another account: adaptive
// replication (BOINC's, after Anderson, "BOINC: A Platform for Volunteer Computing", 2019, section 4.5).
//
// It is asked about a result when it can no longer be changed, so a host never knows whether one will be checked.
type Checker interface {
	// Always reports whether every result of a host is checked now. Then it stays hidden until the check is computed
	// too, so that a vote among newcomers, who may show little without pay, does not wait for pay.
	Always(ledger.Account) bool
	// Draw decides about one result, after it was shown.
	Draw(ledger.Account) bool
	// Pick returns a number from 0 to n-1, each as likely.
	Pick(n int) int
}

// check makes a unit need a second, equal vote. Who gives it is drawn among all hosts that may, and the requester
// if the unit is small: left to whoever is free first, colluders that answer at once would check each other.
func (f *Farm) check(u *unit) {
	var may []*host
	for _, h := range f.order {
		if f.usable(h) && !f.clash(h, u, nil) {
			may = append(may, h)
		}
	}
	if f.small(u) && f.cfg.Check.Pick(len(may)+1) == len(may) {
		f.compute(u)
		return
	}
	u.quorum = 2
	if len(may) > 0 {
		u.checker = may[f.cfg.Check.Pick(len(may))]
	}
}

// reserved reports whether a check is kept for a host other than h, which can still do it.
func (f *Farm) reserved(h *host, u *unit, except *host) bool {
	c := u.checker
	return c != nil && c != h && f.hosts[c.id] == c && f.usable(c) && !u.hasFailed(c.id) && !f.clash(c, u, except)
}
