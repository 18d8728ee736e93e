package ledger

import "context"

// distrusts reports whether a witness was convicted, so that its statements count no more. What cannot be
// read is taken for a conviction.
func (b *Book) distrusts(witness Account) bool {
	p, err := b.Proof(witness)
	return err != nil || p != nil
}

// Convicted reports whether there is proof against an account, as far as this book can read.
func (b *Book) Convicted(a Account) bool { return b.distrusts(a) }

// blame convicts the witnesses that signed both e and another entry for its place, if the certificate of that
// one is here too.
func (b *Book) blame(t *batch, other []byte, e Entry, certificate []byte) {
	o, err := ParseEntry(other)
	if err != nil {
		return
	}
	known, err := t.get(partKey(o.Digest(), partWitness))
	if err != nil || known == nil {
		return
	}
	ofA, err := ParseCertificate(known)
	if err != nil {
		return
	}
	ofB, err := ParseCertificate(certificate)
	if err != nil {
		return
	}
	for _, p := range DoubleSigns(b.genesis, o, ofA, e, ofB) {
		if t.freeze(p) != nil { // the fork itself is proven all the same
			return
		}
	}
}

// KeepCertificate keeps the certificate of a lock that we accepted or made, where it was lost or not known
// yet: what we earn of the lock is worth nothing to witnesses without it.
func (b *Book) KeepCertificate(ctx context.Context, lock Digest, certificate []byte) error {
	raw, err := b.store.Get(partKey(lock, partLock))
	if err != nil {
		return err
	}
	e, err := ParseEntry(raw)
	if err != nil {
		return err
	}
	c, err := ParseCertificate(certificate)
	if err == nil {
		err = c.Verify(b.genesis, e, lock, nil)
	}
	if err != nil {
		return err
	}
	_, err = submit(ctx, b, func(t *batch) (struct{}, error) {
		t.put(partKey(lock, partWitness), c.Encode())
		return struct{}{}, nil
	})
	return err
}
