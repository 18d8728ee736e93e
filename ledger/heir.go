package ledger

import (
	"context"
	"fmt"
)

// A Succession shows that an account's chain goes on under another: two signed entries, the halves of a
// rotation, or the entry that committed to a recovery key and the recovery.
type Succession struct{ First, Second []byte }

// Verify checks both entries and returns the second: its Account follows its Peer.
func (s Succession) Verify(floor Credits) (Entry, error) {
	one, d, err := VerifyEntry(s.First)
	if err != nil {
		return Entry{}, err
	}
	two, _, err := VerifyEntry(s.Second)
	if err != nil {
		return Entry{}, err
	}
	h := HeadAt(one, d)
	if two.Type == TypeRecover { // what lies between the two is not shown
		h = Head{Network: one.Network, Account: one.Account, Len: two.Seq, Epoch: one.Epoch, Seq: two.Seq - 1, Digest: two.Prev,
			Granted: two.Granted, Earned: two.Earned, Spent: two.Spent, Locked: two.Locked, TimeMs: one.TimeMs}
		if one.Type != TypeGenesis && !one.takesOver() || one.Seq >= two.Seq || one.Evidence != RecoveryCommitment(two.Account) ||
			two.Granted < one.Granted || two.Earned < one.Earned || two.Spent < one.Spent {
			return Entry{}, fmt.Errorf("recover %d by %s: %w: not by the key that was committed to", two.Seq, two.Account.Short(), ErrChain)
		}
	}
	if !two.takesOver() {
		return Entry{}, fmt.Errorf("%s %d of %s: %w: it takes nothing over", two.Type, two.Seq, two.Account.Short(), ErrChain)
	}
	_, err = h.Apply(two, floor, 0)
	return two, err
}

// heirKeys are where the two entries of a succession lie. A recovery has its own place, since it wins over
// a rotation, whose entries stay for others to be held against.
func heirKeys(a Account, why Type) (one, two []byte) {
	k := append(accountKey(heirPrefix, a), '/', byte(why))
	return append(k[:len(k):len(k)], 1), append(k[:len(k):len(k)], 2)
}

// heir is the entry by which another account's chain went on under a further one, or nil.
func (t *batch) heir(a Account) (*Entry, error) {
	for _, why := range []Type{TypeRecover, TypeRotate} {
		_, at := heirKeys(a, why)
		raw, err := t.get(at)
		if err != nil {
			return nil, err
		}
		if raw == nil {
			continue
		}
		e, err := ParseEntry(raw)
		if err != nil {
			return nil, fmt.Errorf("heir of %s: the ledger is damaged, restore it from a backup: %w", a.Short(), err)
		}
		return &e, nil
	}
	return nil, nil
}

// maxAncestors bounds how many key changes back or on we look for a fault: nobody changes keys that often.
const maxAncestors = 64

// Succeed learns that an account's chain goes on under another one. From then on the old account gets no
// lease here, and no entry of it from that place on is taken; what is known of it, its window and its
// fault, counts for the new one.
//
// A recovery wins over a rotation, which a thief of the key may have signed: the accounts that this led to
// get no lease either. The first recovery shown stands; ErrConflict tells of another.
func (b *Book) Succeed(ctx context.Context, s Succession) error {
	two, err := s.Verify(b.genesis.Floor)
	switch {
	case err != nil:
		return err
	case two.Network != b.network:
		return &NetworkError{Want: b.network, Have: two.Network}
	}
	s = Succession{append([]byte(nil), s.First...), append([]byte(nil), s.Second...)}
	_, err = submit(ctx, b, func(t *batch) (struct{}, error) { return struct{}{}, b.inheritFrom(t, two, s) })
	return err
}

func (b *Book) inheritFrom(t *batch, two Entry, s Succession) error {
	if b.mine[two.Peer] || b.mine[two.Account] {
		return fmt.Errorf("account %s is our own: %w", two.Account, ErrConflict)
	}
	ended, err := t.succeed(two, s)
	if err != nil || len(ended) == 0 {
		return err
	}
	now := two.Account
	for range maxAncestors { // key changes after this one may have been shown before it
		e, err := t.heir(now)
		if err != nil {
			return err
		}
		if e == nil {
			break
		}
		now = e.Account
	}
	if now != two.Account {
		from, err := t.peer(two.Account)
		if err != nil {
			return err
		}
		to, err := t.peer(now)
		if err != nil {
			return err
		}
		if to.window == (Window{}) {
			to.window = from.window
			t.putPeer(now, to)
		}
	}
	return b.inherit(t, ended, now)
}

// succeed returns the accounts that end with it.
func (t *batch) succeed(two Entry, s Succession) (ended []Account, err error) {
	one, err := ParseEntry(s.First)
	if err != nil {
		return nil, err
	}
	old := two.Peer
	known, err := t.heir(old)
	switch {
	case err != nil:
		return nil, err
	case known != nil && *known == two:
		return nil, nil
	case known != nil && (known.Type == TypeRecover || two.Type != TypeRecover):
		return nil, fmt.Errorf("account %s went on under %s already: %w", old, known.Account, ErrConflict)
	}
	p, err := t.peer(old)
	if err != nil {
		return nil, err
	}
	atOne, atTwo := heirKeys(old, two.Type)
	if err := t.observe(one, one.Digest(), s.First, atOne); err != nil {
		return nil, err
	}
	for a, n := old, 0; n < maxAncestors; n++ { // what a thief handed over ends with it
		next, err := t.heir(a)
		if err != nil {
			return nil, err
		}
		ended = append(ended, a)
		if p, err := t.peer(a); err != nil {
			return nil, err
		} else if p.frozen == 0 { // leases that stand stop at the next unit
			p.frozen = frozenHeir
			t.putPeer(a, p)
		}
		one, two := heirKeys(a, two.Type)
		t.put(one, s.First)
		t.put(two, s.Second)
		if next == nil {
			break
		}
		a = next.Account
	}
	if err := t.observe(two, two.Digest(), s.Second, atTwo); err != nil {
		return nil, err
	}
	heir, err := t.peer(two.Account)
	if err != nil {
		return nil, err
	}
	heir.window = p.window
	t.putPeer(two.Account, heir)
	t.put(accountKey(beforePrefix, two.Account), old[:])
	return ended, nil
}
