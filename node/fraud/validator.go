package fraud

import (
	"bytes"
	"errors"
	"fmt"

	record "github.com/libp2p/go-libp2p-record"

	"github.com/personal-power-plant/p3/ledger"
)

// Namespaces of DHT values.
const (
	proofSpace = "p3fraud"
	headSpace  = "p3head"
	grantSpace = "p3grant"
)

// proofKey is the DHT key of the proof against an account.
func proofKey(a ledger.Account) string { return "/" + proofSpace + "/" + a.String() }

// headKey is the DHT key of a place in an account's chain.
func headKey(e ledger.Entry) string {
	return fmt.Sprintf("/%s/%s/%d/%d", headSpace, e.Account, e.Epoch, e.Seq)
}

// grantKey is the DHT key of a place in a mint's chain.
func grantKey(g ledger.Grant) string { return fmt.Sprintf("/%s/%s/%d", grantSpace, g.Mint, g.Seq) }

// Validators decide which DHT values of ours other nodes keep and pass on.
func (s *Spreader) Validators() map[string]record.Validator {
	return map[string]record.Validator{proofSpace: proofs{s.book.Genesis()}, headSpace: heads{s}, grantSpace: grants{s}}
}

type proofs struct{ genesis ledger.Genesis }

// Validate takes only a valid proof under the key of its account.
func (v proofs) Validate(key string, value []byte) error {
	p, err := ledger.ParseProof(value)
	if err != nil {
		return err
	}
	if key != proofKey(p.Account) {
		return fmt.Errorf("proof against %s under the key %.80q", p.Account, key)
	}
	_, err = ledger.VerifyProof(value, v.genesis)
	return err
}

// Select prefers the lowest bytes, so that all nodes come to hold the same proof. Any convicts.
func (proofs) Select(_ string, values [][]byte) (int, error) {
	if len(values) == 0 {
		return 0, errors.New("no proof among the values")
	}
	best := 0
	for i, v := range values {
		if bytes.Compare(v, values[best]) < 0 {
			best = i
		}
	}
	return best, nil
}

type heads struct{ s *Spreader }

// Validate takes only a signed entry under the key of its place.
func (v heads) Validate(key string, value []byte) error {
	e, err := ledger.ParseEntry(value)
	if err != nil {
		return err
	}
	if network := v.s.book.Network(); e.Network != network {
		return &ledger.NetworkError{Want: network, Have: e.Network}
	}
	if key != headKey(e) {
		return fmt.Errorf("entry %d of %s under the key %.80q", e.Seq, e.Account, key)
	}
	_, _, err = ledger.VerifyEntry(value)
	return err
}

// Select prefers the lowest digest. Two entries of one place are a fork, whichever wins: this is
// where two payees that never met find out.
func (v heads) Select(_ string, values [][]byte) (int, error) {
	best, at := -1, ledger.Digest{}
	for i, raw := range values {
		e, err := ledger.ParseEntry(raw)
		if err != nil {
			continue
		}
		d := e.Digest()
		if best >= 0 && d != at {
			v.s.suspect(ledger.ProofFork, values[best], raw)
		}
		if best < 0 || bytes.Compare(d[:], at[:]) < 0 {
			best, at = i, d
		}
	}
	if best < 0 {
		return 0, errors.New("no entry among the values")
	}
	return best, nil
}

type grants struct{ s *Spreader }

// Validate takes only a grant of a mint under the key of its place. One beyond the cap convicts at once.
func (v grants) Validate(key string, value []byte) error {
	g, err := ledger.ParseGrant(value)
	if err != nil {
		return err
	}
	if key != grantKey(g) {
		return fmt.Errorf("grant %d of %s under the key %.80q", g.Seq, g.Mint, key)
	}
	_, _, err = ledger.VerifyGrant(value, v.s.book.Genesis())
	if bad := (*ledger.MintError)(nil); errors.As(err, &bad) {
		v.s.suspect(bad.Kind, bad.A, bad.B)
	}
	return err
}

// Select prefers the lowest digest. Two grants in one place convict their mint, whichever wins.
func (v grants) Select(_ string, values [][]byte) (int, error) {
	best, at := -1, ledger.Digest{}
	for i, raw := range values {
		g, err := ledger.ParseGrant(raw)
		if err != nil {
			continue
		}
		d := g.Digest()
		if best >= 0 && d != at {
			v.s.suspect(ledger.ProofMintFork, values[best], raw)
		}
		if best < 0 || bytes.Compare(d[:], at[:]) < 0 {
			best, at = i, d
		}
	}
	if best < 0 {
		return 0, errors.New("no grant among the values")
	}
	return best, nil
}
