package ledger

import "context"

// SetHeir tells the mint under which account another's chain goes on, see Book.Heir: what it grants from then on goes there, and so
// does an allowance, with the note when it was given last, so that a change of keys brings nobody a second one in a period. Call it
// before the Issuer is used.
func (i *Issuer) SetHeir(heir func(Account) Account) { i.heir = heir }

// move hands the allowance of an account whose chain goes on under another one to that; mu is held. If both have one, that of the
// present account stands.
func (i *Issuer) move(ctx context.Context, from Account) error {
	to := i.heir(from)
	if to == from {
		return nil
	}
	old, err := i.member(from)
	if err != nil || old.Allowance == (Allowance{}) {
		return err
	}
	if err := i.signs(); err != nil {
		return err
	}
	now, err := i.member(to)
	if err != nil {
		return err
	}
	last := max(now.Allowance.LastMs, old.Allowance.LastMs)
	if now.Allowance.Amount == 0 {
		now.Allowance = old.Allowance
	}
	now.Allowance.LastMs, old.Allowance = last, Allowance{}
	return i.commit(ctx, i.putMember(old), i.putMember(now))
}

// moved is Members after all of them were moved that have to be.
func (i *Issuer) moved(ctx context.Context) ([]Member, error) {
	list, err := i.Members()
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, m := range list {
		if err := i.move(ctx, m.Account); err != nil {
			return nil, err
		}
	}
	return i.Members()
}
