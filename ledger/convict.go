package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
)

// MaxStrangerProofs bounds the proofs kept against accounts that never dealt with this one: making
// an account and forking it costs an attacker nothing, so they could fill a disk. At 699 bytes
// they come to 11 MB. Beyond it a random one makes room. Proofs against accounts we have dealt
// with are kept for ever.
const MaxStrangerProofs = 16384

// strangersKey counts the proofs against strangers, u32.
const strangersKey = "ledger/strangers"

// freeze keeps a proof, the first against its account for good. stranger says that nothing else is
// known of the account.
func (t *batch) freeze(proof Proof) error {
	at := accountKey(proofPrefix, proof.Account)
	if known, err := t.get(at); err != nil || known != nil {
		return err
	}
	key := accountKey(peerPrefix, proof.Account)
	known, err := t.get(key)
	if err != nil {
		return err
	}
	rule := proofRules[proof.Kind]
	if known == nil && rule.against == nil && !t.mine[proof.Account] { // mints and witnesses are few, and kept
		if err := t.makeRoom(); err != nil {
			return err
		}
	} else {
		p, err := decodePeer(known)
		if err != nil {
			return err
		}
		p.frozen = rule.frozen
		t.putPeer(proof.Account, p)
	}
	t.put(at, proof.Encode())
	t.convicted = append(t.convicted, proof)
	return nil
}

// makeRoom counts one more proof against a stranger, and drops another when there are too many.
func (t *batch) makeRoom() error {
	v, err := t.get([]byte(strangersKey))
	if err != nil {
		return err
	}
	var n uint32
	if len(v) == 4 {
		n = (&reader{b: v}).u32()
	}
	if n >= MaxStrangerProofs {
		var from Account
		for i := range from {
			from[i] = byte(rand.Uint32())
		}
		victim, err := t.stranger(from)
		if err == nil && victim == nil {
			victim, err = t.stranger(Account{})
		}
		if err != nil {
			return err
		}
		if victim != nil {
			t.delete(victim)
			n--
		}
	}
	n++
	t.put([]byte(strangersKey), []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	return nil
}

// stranger is the key of the first proof, from an account on, against somebody we never dealt with.
func (t *batch) stranger(from Account) (key []byte, err error) {
	scan := t.store.Scan([]byte(proofPrefix), accountKey(proofPrefix, from), func(k, _ []byte) bool {
		if i, gone := t.at[string(k)]; gone && t.ops[i].Delete || len(k) != len(proofPrefix)+len(from) {
			return true
		}
		var known []byte
		if known, err = t.get(accountKey(peerPrefix, Account(k[len(proofPrefix):]))); err == nil && known == nil {
			key = bytes.Clone(k)
		}
		return err == nil && key == nil
	})
	return key, errors.Join(scan, err)
}

// frozen reports, as an error, that an account was convicted, or one before it whose chain it continues; or
// that its own chain goes on under another.
func (t *batch) frozen(a Account) error {
	heir, err := t.heir(a)
	if err != nil {
		return err
	}
	if heir != nil {
		return fmt.Errorf("%s: %w: its chain goes on under %s", a, ErrFrozen, heir.Account)
	}
	for range maxAncestors {
		v, err := t.get(accountKey(proofPrefix, a))
		if err != nil {
			return err
		}
		if v != nil {
			return frozenError(a, v)
		}
		before, err := t.get(accountKey(beforePrefix, a))
		if err != nil || len(before) != len(a) {
			return err
		}
		a = Account(before)
	}
	return nil
}

func frozenError(a Account, proof []byte) error {
	why := ProofKind(0).String()
	if len(proof) > 0 {
		why = ProofKind(proof[0]).String()
	}
	return fmt.Errorf("%s: %w: %s", a, ErrFrozen, why)
}

// Convict takes a proof from anywhere and freezes its account. news tells that none was known
// against it. What is known costs no signature check. A proof against our own account makes the
// book sign nothing more.
func (b *Book) Convict(ctx context.Context, raw []byte) (p Proof, news bool, err error) {
	if p, err = ParseProof(raw); err != nil {
		return p, false, err
	}
	if known, err := b.Proof(p.Account); err != nil || known != nil {
		return p, false, err
	}
	if p, err = VerifyProof(raw, b.genesis); err != nil {
		return p, false, err
	}
	news, err = submit(ctx, b, func(t *batch) (bool, error) {
		before := len(t.convicted)
		err := t.freeze(p)
		return len(t.convicted) > before, err
	})
	return p, news, err
}

// Compare holds an entry that somebody else got against what its account sent us. A *ForkError
// has frozen the account. Nothing else of it is kept. It costs a signature check only if
// there is an entry of that place to compare with.
func (b *Book) Compare(ctx context.Context, entry []byte) error {
	e, err := ParseEntry(entry)
	if err != nil {
		return err
	}
	if e.Network != b.network {
		return &NetworkError{Want: b.network, Have: e.Network}
	}
	seen, err := b.store.Get(seenKey(e))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	other, err := b.store.Get(seen)
	if err != nil {
		return err
	}
	if bytes.Equal(other[:min(EntrySize, len(other))], entry[:EntrySize]) {
		return nil
	}
	if _, _, err := VerifyEntry(entry); err != nil {
		return err
	}
	p, err := NewProof(ProofFork, other, bytes.Clone(entry))
	if err != nil {
		return err
	}
	if _, _, err := b.Convict(ctx, p.Encode()); err != nil {
		return err
	}
	return &ForkError{A: other, B: entry}
}

// Proof returns the encoded proof against an account, or nil.
func (b *Book) Proof(a Account) ([]byte, error) {
	v, err := b.store.Get(accountKey(proofPrefix, a))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return v, err
}

// Proofs calls yield for each proof kept, from an account on in the order of accounts, until it
// returns false. raw is only valid during the call.
func (b *Book) Proofs(from Account, yield func(a Account, raw []byte) bool) error {
	return b.store.Scan([]byte(proofPrefix), accountKey(proofPrefix, from), func(k, v []byte) bool {
		return len(k) != len(proofPrefix)+len(from) || yield(Account(k[len(proofPrefix):]), v)
	})
}

// OnConvict has f called for each account that is frozen from now on, once its proof is
// durable. f must not block and must not call the book. Call it before the book is used.
func (b *Book) OnConvict(f func(Proof)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onConvict = f
}

// convictedError is why a book of a convicted account signs nothing: nobody would take it, for ever.
func convictedError(kind ProofKind) error {
	return fmt.Errorf("%w: this account was convicted: %s: another copy of it is at work, or its key was stolen", ErrReadOnly, kind)
}

// ownConviction reports a proof against this account, as an error.
func (b *Book) ownConviction() error {
	v, err := b.Proof(b.key.account)
	if err == nil && len(v) > 0 {
		err = convictedError(ProofKind(v[0]))
	}
	return err
}

// announce tells of convictions that are durable; mu is held.
func (b *Book) announce(convicted []Proof) {
	for _, p := range convicted {
		if p.Account == b.key.account {
			b.broken, b.behindFence = convictedError(p.Kind), false
		}
		if b.onConvict != nil {
			b.onConvict(p)
		}
	}
}
