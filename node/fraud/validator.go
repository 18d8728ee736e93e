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
	return map[string]record.Validator{proofSpace: proofs{s.book.Genesis()}, headSpace: heads{s}, grantSpace: grants{s}, heirSpace: heirs{s}}
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

// A placed is the value under a place: the entry, and in a network with witnesses the certificate that followed it.
type placed struct {
	raw         []byte // the entry, signed
	e           ledger.Entry
	certificate ledger.Certificate
}

func parsePlaced(value []byte) (p placed, err error) {
	p.raw = value[:min(len(value), ledger.SignedEntrySize)]
	if p.e, err = ledger.ParseEntry(p.raw); err == nil && len(value) > len(p.raw) {
		p.certificate, err = ledger.ParseCertificate(value[len(p.raw):])
	}
	return p, err
}

type heads struct{ s *Spreader }

// Validate takes only a signed entry under the key of its place, and with it only a certificate that counts.
func (v heads) Validate(key string, value []byte) error {
	p, err := parsePlaced(value)
	if err != nil {
		return err
	}
	e := p.e
	if network := v.s.book.Network(); e.Network != network {
		return &ledger.NetworkError{Want: network, Have: e.Network}
	}
	if key != headKey(e) {
		return fmt.Errorf("entry %d of %s under the key %.80q", e.Seq, e.Account, key)
	}
	_, d, err := ledger.VerifyEntry(p.raw)
	if err == nil && p.certificate != nil {
		err = p.certificate.Verify(v.s.book.Genesis(), e, d, nil)
	}
	return err
}

// Select prefers the lowest digest, and of one entry the value with a certificate. Two entries of one place are a
// fork, whichever wins: this is where two payees that never met find out.
func (v heads) Select(_ string, values [][]byte) (int, error) {
	best, at, chosen := -1, ledger.Digest{}, placed{}
	for i, raw := range values {
		p, err := parsePlaced(raw)
		if err != nil {
			continue
		}
		d := p.e.Digest()
		if best >= 0 && d != at {
			v.s.conflict(chosen, p)
		}
		if c := bytes.Compare(d[:], at[:]); best < 0 || c < 0 || c == 0 && len(p.certificate) > len(chosen.certificate) {
			best, at, chosen = i, d, p
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
