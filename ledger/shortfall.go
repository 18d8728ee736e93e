package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// What a payer signs away of a lock, and what the payee takes up of it, stand in two chains, and the two may have agreed to say
// different things: the payer settles for nothing and has its credit back, and the payee earns by a voucher, or by another settle. A
// witness sees both chains. What was earned beyond what was settled would be credit from nothing, so it is short in one of the two:
// in the payer's as far as that has it still, else in the payee's. An honest witness in both quorums
// thus lets it be spent once. Neither chain is refused, since an honest payee cannot know what its payer shows to witnesses; but no
// LOCK is signed that only the shortfall would cover.
//
// To find out, a witness keeps of each lease whichever half it saw first:
//
//	witness/s/LOCK    amount u64 · place of the SETTLE u64
//	witness/u/LOCK    ROOT, then amount u64 · the voucher with FlagVoucher; ROOT alone once the SETTLE was seen

// covers refuses a LOCK that the chain's balance does not cover without what is short.
func (c *followed) covers(e Entry) error {
	if e.Type != TypeLock || c.short == 0 || c.Head.Free(c.floor) >= c.short {
		return nil
	}
	return fmt.Errorf("%s %d of %s: %w: %s of its balance was paid to somebody else as well, by a settle below a voucher or another settle", e.Type, e.Seq, e.Account.Short(), ErrUnbacked, c.short)
}

// compare holds a SETTLE or an EARN, which extended chain c, against the other half of its lease.
func (w *Witness) compare(t *batch, c *followed, root Account, x link) error {
	switch x.e.Type {
	case TypeSettle:
		return w.compareSettle(t, c, x)
	case TypeEarn:
		return w.compareEarn(t, c, root, x)
	}
	return nil
}

func (w *Witness) compareSettle(t *batch, c *followed, x link) error {
	at := lockKey(witnessUsed, x.e.Ref)
	v, err := t.get(at)
	switch {
	case err != nil:
		return err
	case v == nil:
		be := binary.BigEndian
		t.put(lockKey(witnessSettled, x.e.Ref), be.AppendUint64(be.AppendUint64(nil, uint64(x.e.Amount)), x.e.Seq))
		return nil
	case len(v) == len(Account{}): // seen by a p3 that did not compare
		return nil
	case len(v) < len(Account{})+8:
		return fmt.Errorf("lock %s: the witness' records are damaged: %w", x.e.Ref.Short(), ErrMalformed)
	}
	r := reader{b: v[len(Account{}):]}
	if earned := r.credits(); earned > x.e.Amount {
		c.short = saturating(c.short, earned-x.e.Amount)
		w.accuse(x.Entry, v[len(Account{})+8:])
	}
	t.put(at, v[:len(Account{}):len(Account{})])
	return nil
}

func (w *Witness) compareEarn(t *batch, c *followed, root Account, x link) error {
	var voucher []byte
	if x.e.Flags&FlagVoucher != 0 {
		voucher = x.Paid
	}
	at := lockKey(witnessSettled, x.e.Ref)
	v, err := t.get(at)
	switch {
	case err != nil:
		return err
	case v == nil:
		used := binary.BigEndian.AppendUint64(append([]byte(nil), root[:]...), uint64(x.e.Amount))
		t.put(lockKey(witnessUsed, x.e.Ref), append(used, voucher...))
		return nil
	case len(v) != 16:
		return fmt.Errorf("lock %s: the witness' records are damaged: %w", x.e.Ref.Short(), ErrMalformed)
	}
	t.delete(at)
	r := reader{b: v}
	settled, seq := r.credits(), r.u64()
	if x.e.Amount <= settled {
		return nil
	}
	excess := x.e.Amount - settled
	payer, err := w.root(x.from.lock.Account)
	if err != nil {
		return err
	}
	if payer == root { // it took over who owed it
		c.short = saturating(c.short, excess)
		return nil
	}
	p, err := w.followIn(t, payer)
	if err != nil {
		return err
	}
	has := min(excess, max(0, p.Head.Free(p.floor)-p.short))
	p.short = saturating(p.short, has)
	c.short = saturating(c.short, excess-has)
	t.put(accountKey(witnessChain, payer), p.encode())
	if r, err := w.row(payer, seq); err == nil && r != nil {
		w.accuse(r.entry, voucher)
	}
	return nil
}

// followIn is follow through a batch: two halves of several leases may meet in one.
func (w *Witness) followIn(t *batch, root Account) (*followed, error) {
	v, err := t.get(accountKey(witnessChain, root))
	if err == nil && v == nil {
		err = ErrNotFound
	}
	c := w.newFollowed(root)
	if err == nil {
		err = c.decode(v)
	}
	if err != nil {
		return nil, fmt.Errorf("chain of %s: the witness' records are damaged: %w", root.Short(), errors.Join(err, ErrMalformed))
	}
	return c, nil
}

// accuse notes that a settle is below a voucher, if there is one, for the judge. Signatures were checked, or the judge does.
func (w *Witness) accuse(settle, voucher []byte) {
	if w.judge == nil || len(voucher) == 0 {
		return
	}
	if p, err := NewProof(ProofUnderSettle, settle, voucher); err == nil {
		w.under = append(w.under, p.Encode())
	}
}
