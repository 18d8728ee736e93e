package ledger

import (
	"bytes"
	"testing"
	"time"
)

// TestAttack05NonCanonicalEncoding: whatever a decoder takes, it would write the same way, so
// no record has two encodings. The fuzzers below search for a counterexample; their seeds run
// with every test.
func TestAttack05NonCanonicalEncoding(t *testing.T) {
	k := goldenKey(t)
	entry, _ := k.SignEntry(sampleEntry(k.Account()))
	claim, _ := k.SignClaim(Claim{K: 1, Amount: 5})
	voucher, _ := k.SignVoucher(Voucher{K: 1, Amount: 5})
	binding, _ := k.SignBinding(NodeBinding{Account: k.Account(), PeerID: []byte("p")})
	genesis, _ := DefaultGenesis().Encode()
	publication, _ := k.SignPublication(Publication{Account: k.Account()})
	grant, _ := k.SignGrant(Grant{To: addr(1), Amount: 5, Total: 5})
	statement, _ := k.SignStatement(Statement{Witness: k.Account(), Seq: 5})
	certificate := Certificate{{Witness: 1}, {Witness: 3}}.Encode()
	receipt := Receipt{Lock: entry, Claim: claim, Certificate: certificate}.Encode()
	for name, c := range map[string]struct {
		raw   []byte
		parse func([]byte) error
	}{
		"entry":       {entry, func(b []byte) error { _, err := ParseEntry(b); return err }},
		"claim":       {claim, func(b []byte) error { _, err := ParseClaim(b); return err }},
		"voucher":     {voucher, func(b []byte) error { _, err := ParseVoucher(b); return err }},
		"binding":     {binding, func(b []byte) error { _, err := ParseBinding(b); return err }},
		"grant":       {grant, func(b []byte) error { _, err := ParseGrant(b); return err }},
		"genesis":     {genesis, func(b []byte) error { _, err := ParseGenesis(b); return err }},
		"publication": {publication, func(b []byte) error { _, err := ParsePublication(b); return err }},
		"statement":   {statement, func(b []byte) error { _, err := ParseStatement(b); return err }},
		"certificate": {certificate, func(b []byte) error { _, err := ParseCertificate(b); return err }},
		"receipt":     {receipt, func(b []byte) error { _, err := ParseReceipt(b); return err }},
	} {
		if err := c.parse(c.raw); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.parse(append(bytes.Clone(c.raw), 0)) == nil {
			t.Errorf("%s: a byte too many was taken", name)
		}
		for n := range c.raw {
			if c.parse(c.raw[:n]) == nil {
				t.Errorf("%s: %d of %d bytes were taken", name, n, len(c.raw))
			}
		}
		other := bytes.Clone(c.raw)
		if other[0]++; c.parse(other) == nil {
			t.Errorf("%s: another version was taken", name)
		}
	}
	// The same map with its keys in another order, and with a longer integer.
	if _, err := ParseGenesis([]byte{0xa4, 0x02, 0x61, 'g', 0x01, 0x01, 0x05, 0x00, 0x06, 0xa2, 0x01, 0x01, 0x02, 0x02}); err == nil {
		t.Error("genesis with unordered keys was taken")
	}
	if _, err := ParseGenesis([]byte{0xa4, 0x01, 0x18, 0x01, 0x02, 0x61, 'g', 0x05, 0x00, 0x06, 0xa2, 0x01, 0x01, 0x02, 0x02}); err == nil {
		t.Error("genesis with a long integer was taken")
	}
	if _, err := ParseGenesis([]byte{0xa4, 0x01, 0x01, 0x02, 0x61, 'g', 0x05, 0x00, 0x06, 0xa2, 0x01, 0x01, 0x02, 0x02}); err != nil {
		t.Errorf("the canonical form: %v", err)
	}
}

func FuzzEntry(f *testing.F) {
	k := goldenKey(f)
	raw, _ := k.SignEntry(sampleEntry(k.Account()))
	f.Add(raw)
	f.Add(raw[:EntrySize])
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseEntry(b)
		if err != nil {
			return
		}
		if !bytes.Equal(e.Append(nil), b[:EntrySize]) {
			t.Fatal("decode then encode is not the identity")
		}
		_, _, _ = VerifyEntry(b)
		_, _, _ = e.Net(), e.Time(), e.Expiry()
		_, _ = Head{Network: e.Network, Account: e.Account}.Apply(e, testFloor, e.Amount)
	})
}

func FuzzClaim(f *testing.F) {
	raw, _ := goldenKey(f).SignClaim(Claim{K: 1, Amount: 5})
	f.Add(raw)
	office, _ := goldenKey(f).SignClaim(goldenOffice(f))
	f.Add(office)
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseClaim(b); err == nil {
			if !bytes.Equal(c.append(nil), b[:len(b)-SignatureSize]) {
				t.Fatal("decode then encode is not the identity")
			}
			_, _ = VerifyClaim(b, addr(1))
		}
	})
}

func FuzzVoucher(f *testing.F) {
	raw, _ := goldenKey(f).SignVoucher(Voucher{K: 1, Amount: 5})
	f.Add(raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := ParseVoucher(b); err == nil {
			if !bytes.Equal(v.append(nil), b[:voucherSize]) {
				t.Fatal("decode then encode is not the identity")
			}
			_, _ = VerifyVoucher(b, addr(1))
		}
	})
}

func FuzzBinding(f *testing.F) {
	raw, _ := goldenKey(f).SignBinding(NodeBinding{PeerID: []byte("peer")})
	f.Add(raw)
	f.Add([]byte(goldenOffice(f).Office))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := ParseBinding(b); err == nil {
			if !bytes.Equal(n.append(nil), b[:len(b)-SignatureSize]) {
				t.Fatal("decode then encode is not the identity")
			}
			_, _ = VerifyBinding(b, n.Network, time.UnixMilli(0))
		}
	})
}

func FuzzGrant(f *testing.F) {
	k := goldenKey(f)
	genesis := GrantedGenesis("g", Mint{k.Account(), 7})
	network, _ := genesis.ID()
	for _, g := range []Grant{{network, k.Account(), 0, word(0), addr(1), 5, 5}, {network, k.Account(), 1, word(2), addr(1), 2, 8}} {
		raw, _ := k.SignGrant(g)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := ParseGrant(b)
		if err != nil {
			return
		}
		if !bytes.Equal(g.append(nil), b[:grantSize]) || g.Amount <= 0 || g.Total < g.Amount {
			t.Fatal("decode then encode is not the identity, or it makes no sense")
		}
		_, _, _ = VerifyGrant(b, genesis)
		_ = g.follows(g.Digest(), g, g.Digest())
	})
}

func FuzzGenesis(f *testing.F) {
	raw, _ := DefaultGenesis().Encode()
	f.Add(raw)
	raw, _ = Genesis{Version: 1, Name: "g", Mints: []Mint{{addr(1), 7}}, Witnesses: []Account{addr(2)}, Params: Params{9, 16}}.Encode()
	f.Add(raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		if g, err := ParseGenesis(b); err == nil {
			if again, err := g.Encode(); err != nil || !bytes.Equal(again, b) {
				t.Fatalf("decode then encode is not the identity: %v", err)
			}
		}
	})
}

func FuzzReceipt(f *testing.F) {
	k := goldenKey(f)
	entry, _ := k.SignEntry(sampleEntry(k.Account()))
	claim, _ := k.SignClaim(Claim{K: 1, Amount: 5})
	f.Add(Receipt{Lock: entry, Claim: claim}.Encode())
	f.Add(Receipt{Lock: entry, Settle: entry, Earn: entry}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseReceipt(b)
		if err != nil {
			return
		}
		if !bytes.Equal(r.Encode(), b) {
			t.Fatal("decode then encode is not the identity")
		}
		if s, err := r.Verify(); err == nil {
			_ = s.State(time.UnixMilli(0))
		}
	})
}

// FuzzPeer reads what the disk says of another account.
func FuzzPeer(f *testing.F) {
	f.Add(peer{window: Window{1, 2, 3}}.encode())
	f.Add(peer{frozen: 1, known: true, newest: Head{Seq: 4, Earned: 5}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := decodePeer(b); err == nil && len(b) > 0 && !bytes.Equal(p.encode(), b) {
			t.Fatal("decode then encode is not the identity")
		}
	})
}

func FuzzStatement(f *testing.F) {
	k := goldenKey(f)
	raw, _ := k.SignStatement(Statement{word(1), k.Account(), addr(2), 3, 4, word(5)})
	f.Add(raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseStatement(b)
		if err != nil {
			return
		}
		if !bytes.Equal(s.append(nil), b[:statementSize]) {
			t.Fatalf("%x decodes and encodes to something else", b)
		}
		_, _ = VerifyStatement(b)
	})
}

func FuzzCertificate(f *testing.F) {
	k := goldenKey(f)
	g := DefaultGenesis().Witnessed(k.Account(), addr(2), addr(3), addr(4))
	e := sampleEntry(k.Account())
	raw, _ := k.SignStatement(StatementOn(k.Account(), e, e.Digest()))
	c, _ := g.Certify(raw)
	f.Add(c.Encode())
	f.Add(append(Certificate{{Witness: 0}, {Witness: 63}}.Encode(), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCertificate(b)
		if err != nil {
			return
		}
		if !bytes.Equal(c.Encode(), b) || len(b) > MaxCertificate {
			t.Fatalf("%x decodes and encodes to something else", b)
		}
		if c.Verify(g, e, e.Digest(), nil) == nil { // nobody has the keys of the others
			t.Fatal("it counts")
		}
		for i := range c {
			c.Statement(i, g, e, e.Digest())
		}
	})
}

// FuzzFollowed: what a witness keeps of a chain reads back as it was, or not at all.
func FuzzFollowed(f *testing.F) {
	w := &Witness{network: word(0x11), genesis: DefaultGenesis()}
	k := goldenKey(f)
	h := Head{Network: w.network, Account: k.Account()}
	c := w.newFollowed(k.Account())
	for i := range 5 {
		e := h.Genesis(word(9), time.UnixMilli(1))
		if i > 0 {
			e = h.Lock(addr(byte(i)), 5, word(7), time.UnixMilli(9), time.UnixMilli(1))
		}
		if err := c.ApplyKnown(e, e.Digest()); err != nil {
			f.Fatal(err)
		}
		h, c.newest = c.Head, e.Append(nil)
	}
	c.newest, c.accounts = append(c.newest, make([]byte, SignatureSize)...), []Account{k.Account()}
	f.Add(c.encode())
	c.short = 7
	f.Add(c.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		c := w.newFollowed(Account{})
		if err := c.decode(b); err == nil && !bytes.Equal(c.encode(), b) {
			t.Fatalf("%x decodes and encodes to something else", b)
		}
	})
}
