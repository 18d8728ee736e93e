package ledger

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
)

// Golden bytes: the field that each run of hex digits belongs to follows it.

// goldenKey signs the golden records; ECDSA nonces follow RFC 6979, so signatures repeat.
func goldenKey(t testing.TB) Key {
	t.Helper()
	secret := word(0x42)
	k, err := ParseKey(secret[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestGoldenEntry(t *testing.T) {
	k := goldenKey(t)
	raw, err := k.SignEntry(sampleEntry(k.Account()))
	golden(t, raw, err, `
		01 # version
		05 # type: earn
		0001 # flags: voucher
		1111111111111111111111111111111111111111111111111111111111111111 # network
		17c5185167401ed00cf5f5b2fc97d9bbfdb7d025 # account
		00000102 # epoch
		0000000000000304 # seq
		2222222222222222222222222222222222222222222222222222222222222222 # prev
		3333333333333333333333333333333333333333 # peer
		4444444444444444444444444444444444444444444444444444444444444444 # ref
		0000000000000005 # amount
		0000000000000607 # fuel
		00000008 # units
		5555555555555555555555555555555555555555555555555555555555555555 # evidence
		0000000000000009 # granted
		0000000000000a0b # earned
		000000000000000c # spent
		000000000000000d # locked
		6666666666666666666666666666666666666666666666666666666666666666 # mmrRoot
		0000000000000e0f # timeMs
		0000000000001011 # expiryMs
		6a0be826266c747718d8d8fa0728e5304da15c29b8acf6d0fa82481e84ed68fd # R
		177bb2a3c4da899e48ba53bc85222bf9f29e3674228bff7f46dc2787b5b4c75a # S
		01 # V`)
	if e, _, err := VerifyEntry(raw); err != nil || e != sampleEntry(k.Account()) {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestGoldenClaim(t *testing.T) {
	k := goldenKey(t)
	c := Claim{word(0x11), word(0x22), 0x0102, 0x0304, 0x0506, word(0x33), ""}
	raw, err := k.SignClaim(c)
	golden(t, raw, err, `
		01 # version
		21 # kind: claim
		1111111111111111111111111111111111111111111111111111111111111111 # network
		2222222222222222222222222222222222222222222222222222222222222222 # lock
		00000102 # k
		0000000000000304 # cumFuel
		0000000000000506 # cumAmount
		3333333333333333333333333333333333333333333333333333333333333333 # resultRoot
		148cfd104cf6a53f7014bce14deb92e383c9c842d9318d4a22b9533d27fa2645 # R
		05b619e674665f4787033d9f19fb64a57150e6e342237e18320e1207b69af7d0 # S
		00 # V`)
	if got, err := VerifyClaim(raw, k.Account()); err != nil || got != c {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestGoldenVoucher(t *testing.T) {
	k := goldenKey(t)
	v := Voucher{word(0x11), word(0x22), 0x0102, 0x0304, word(0x33)}
	raw, err := k.SignVoucher(v)
	golden(t, raw, err, `
		01 # version
		22 # kind: voucher
		1111111111111111111111111111111111111111111111111111111111111111 # network
		2222222222222222222222222222222222222222222222222222222222222222 # lock
		00000102 # k
		0000000000000304 # cumAmount
		3333333333333333333333333333333333333333333333333333333333333333 # claimDigest
		27e4f6b94d551b82b668f4882e6cc73c54ab056e28405f30834b439f4dc59e67 # R
		69cf2890c2a6d4a437c623e976000dd33cfec67921cf0a478c2bc0ba969623a9 # S
		00 # V`)
	if got, err := VerifyVoucher(raw, k.Account()); err != nil || got != v {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestGoldenNodeBinding(t *testing.T) {
	k := goldenKey(t)
	n := NodeBinding{word(0x11), k.Account(), []byte("peer-1"), 0x0102, 0x0304, 0}
	raw, err := k.SignBinding(n)
	golden(t, raw, err, `
		01 # version
		23 # kind: binding
		1111111111111111111111111111111111111111111111111111111111111111 # network
		17c5185167401ed00cf5f5b2fc97d9bbfdb7d025 # account
		0000000000000102 # seq
		0000000000000304 # expiryMs
		06 # length
		706565722d31 # peerID
		c2f6faf250e4698f7b415e1573e4cb3cc731fd9e844d752de212f39e40920a7f # R
		188c182a1e4cc36dffcf8707f3c42069b345cd7920bcefd57f6dff646b6868a7 # S
		00 # V`)
	if got, err := VerifyBinding(raw, n.Network, time.UnixMilli(0x0303)); err != nil || !bytes.Equal(got.PeerID, n.PeerID) || got.Seq != n.Seq {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestGoldenPublication(t *testing.T) {
	k := goldenKey(t)
	p := Publication{word(0x11), k.Account(), word(0x22)}
	raw, err := k.SignPublication(p)
	golden(t, raw, err, `
		01 # version
		29 # kind: publication
		1111111111111111111111111111111111111111111111111111111111111111 # network
		17c5185167401ed00cf5f5b2fc97d9bbfdb7d025 # account
		2222222222222222222222222222222222222222222222222222222222222222 # program
		36326d28bd094cc66a8630755e5730ff5f28a812b9cf938b71f70778f0f18598 # R
		61fdda7fbc6b6a7346fd8eae32ace8b537cd18760c63e5cb04661e71085e5fe9 # S
		01 # V`)
	if got, err := VerifyPublication(raw, p.Network, p.Program); err != nil || got != p {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := VerifyPublication(raw, p.Network, word(0x23)); !errors.Is(err, ErrConflict) {
		t.Errorf("another program: %v", err)
	}
	if _, err := VerifyPublication(raw, word(0x12), p.Program); !errors.As(err, new(*NetworkError)) {
		t.Errorf("another network: %v", err)
	}
	raw[40]++ // of the account
	if _, err := VerifyPublication(raw, p.Network, p.Program); !errors.Is(err, ErrSignature) {
		t.Errorf("another signer: %v", err)
	}
}

func TestGoldenGrant(t *testing.T) {
	k := goldenKey(t)
	genesis := GrantedGenesis("g", Mint{k.Account(), 0x0607})
	network, err := genesis.ID()
	if err != nil {
		t.Fatal(err)
	}
	g := Grant{word(0x11), k.Account(), 0x0102, word(0x22), addr(0x33), 0x0405, 0x0607}
	raw, err := k.SignGrant(g)
	golden(t, raw, err, `
		01 # version
		28 # kind: grant
		1111111111111111111111111111111111111111111111111111111111111111 # network
		17c5185167401ed00cf5f5b2fc97d9bbfdb7d025 # mint
		0000000000000102 # grantSeq
		2222222222222222222222222222222222222222222222222222222222222222 # prev
		3333333333333333333333333333333333333333 # to
		0000000000000405 # amount
		0000000000000607 # totalIssued
		fd468161f8c6b5c0b048603cc40058855709ce8352ec2fc0c665a53cd8cbf00f # R
		7021caf4f77111273b268bb321b03233b3d8ab29c047e6c732cb4058a514cea8 # S
		01 # V`)
	var other *NetworkError
	if _, _, err := VerifyGrant(raw, genesis); !errors.As(err, &other) {
		t.Errorf("another network's: %v", err)
	}
	g.Network = network
	raw, err = k.SignGrant(g)
	if err != nil {
		t.Fatal(err)
	}
	if got, d, err := VerifyGrant(raw, genesis); err != nil || got != g || d != g.Digest() {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestGoldenStatement(t *testing.T) {
	k := goldenKey(t)
	s := Statement{word(0x11), k.Account(), addr(0x22), 0x0102, 0x0304, word(0x33)}
	raw, err := k.SignStatement(s)
	golden(t, raw, err, `
		01 # version
		26 # kind: statement
		1111111111111111111111111111111111111111111111111111111111111111 # network
		17c5185167401ed00cf5f5b2fc97d9bbfdb7d025 # witness
		2222222222222222222222222222222222222222 # account
		00000102 # epoch
		0000000000000304 # seq
		3333333333333333333333333333333333333333333333333333333333333333 # digest
		fd7841690bbedbd4e16e0c1c85aa46dfd3685f47c793b2b58df006c010581694 # R
		1d91d916c5e3eec8d8d4b91b02dfcc49991690777ac1f095958dd2249555a97c # S
		00 # V`)
	if got, err := VerifyStatement(raw); err != nil || got != s {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestGoldenCertificate(t *testing.T) {
	one, two := Cosignature{Witness: 0x02}, Cosignature{Witness: 0x05}
	for i := range one.Signature {
		one.Signature[i], two.Signature[i] = 0x11, 0x22
	}
	golden(t, Certificate{one, two}.Encode(), nil, `
		01 # version
		27 # kind: certificate
		02 # number
		02 # witness
		`+strings.Repeat("11", 65)+` # signature
		05 # witness
		`+strings.Repeat("22", 65)+` # signature`)
}

func TestGoldenGenesis(t *testing.T) {
	g := Genesis{Version: 1, Name: "g", Mints: []Mint{{addr(0x11), 7}}, Witnesses: []Account{addr(0x22)}, Params: Params{9, 16}}
	raw, err := g.Encode()
	golden(t, raw, err, `
		a6 # map of 6
		0101 # version 1
		026167 # name "g"
		0381 # mints, one
		a2 # map of 2
		01541111111111111111111111111111111111111111 # account
		0207 # cap 7
		0481 # witnesses, one
		542222222222222222222222222222222222222222 # account
		0500 # floor 0
		06a2 # params, map of 2
		0109 # grace 9 ms
		0210 # checkpoint every 16`)
	id, err := DefaultGenesis().ID()
	if err != nil || id.String() != "3ae6a780d484153fa5c294eb403f7b32904729c8a176a4adf0f82aa1b60a93b0" {
		t.Errorf("the public network changed to %s, %v: nodes of two versions would not meet", id, err)
	}
}

func golden(t *testing.T, have []byte, err error, want string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, unhexT(t, want)) {
		t.Errorf("bytes changed; peers and stores of older versions would not read them:\n%s", hex.EncodeToString(have))
	}
}

// The hashes that checkpoints sign: another tree or order would break every chain.
func TestGoldenCheckpoint(t *testing.T) {
	s := newHistory(4)
	s.apply(Entry{Type: TypeGenesis, Evidence: word(0x11)}, word(0x22))
	s.apply(Entry{Type: TypeLock, Peer: addr(0x33), Amount: 5}, word(0x44))
	s.apply(Entry{Type: TypeLock, Peer: addr(0x33), Amount: 6}, word(0x43))
	s.apply(Entry{Type: TypeEarn, Ref: word(0x55)}, word(0x66))
	s.apply(Entry{Type: TypeCheckpoint}, word(0x77))
	e := s.checkpoint(Entry{})
	if got := e.MMRRoot.String() + " " + e.Evidence.String(); got != "f6f80814a84209030d6477aa707fee257a58f2872944f00b42fa9383a298d9ca "+
		"33c941be4e8ccbcfc97c44562c55f0211829a5ed51d09542f9a1894d93da4693" {
		t.Errorf("roots changed: %s", got)
	}
	if got := hex.EncodeToString(s.state()); got != "1111111111111111111111111111111111111111111111111111111111111111"+ // recovery
		"0000000000000001"+ // locks earned
		"39b3f2fa322d6172f0d73d905908ec6a3abfb563890a98cdf1f90ec89e57ffec" { // their peak
		t.Errorf("state changed: %s", got)
	}
}

// goldenOffice is a claim of a node that the account of goldenKey has bound; the node has the same key, for brevity.
func goldenOffice(t testing.TB) Claim {
	k := goldenKey(t)
	peer := append(bytes.Clone(secp256k1ID), crypto.CompressPubkey(&k.private.PublicKey)...)
	binding, err := k.SignBinding(NodeBinding{word(0x11), k.Account(), peer, 0x0102, 0x0304, EarnsOnly})
	if err != nil {
		t.Fatal(err)
	}
	return Claim{word(0x11), word(0x22), 1, 2, 3, word(0x33), string(binding)}
}

func TestGoldenOfficeClaim(t *testing.T) {
	k := goldenKey(t)
	c := goldenOffice(t)
	raw, err := k.SignClaim(c)
	golden(t, raw, err, `
		01 # version
		2a # kind: claim by a node
		1111111111111111111111111111111111111111111111111111111111111111 # network
		2222222222222222222222222222222222222222222222222222222222222222 # lock
		00000001 # k
		0000000000000002 # cumFuel
		0000000000000003 # cumAmount
		3333333333333333333333333333333333333333333333333333333333333333 # resultRoot
		b0 # length of the binding
		02 # version, with flags
		23 # kind: node binding
		01 # flags: earns only
		1111111111111111111111111111111111111111111111111111111111111111 # network
		17c5185167401ed00cf5f5b2fc97d9bbfdb7d025 # account
		0000000000000102 # seq
		0000000000000304 # expiry
		27 # length of the peer ID
		0025 # identity multihash of 37 bytes
		08021221 # secp256k1 public key of 33 bytes
		0324653eac434488002cc06bbfb7f10fe18991e35f9fe4302dbea6d2353dc0ab1c # which is this
		1187780752fca7bb6d5123880d6d18999e24450d3d0f7b6f00c05f277acd0f36 # R
		20a97cdfc5532b3b870358c2ef2918bab3b88084167df38fd24f37e1fa20dce2 # S
		01 # V
		3a9fd9354c4577e7b3baa197aba25f244b982b50ba8165d5f366928420d11900 # R
		60dad1c1faf82fceef9b2f1098f094aa4983789ea3b8670a7255d3c159fb286f # S
		01 # V`)
	if back, err := VerifyClaim(raw, k.Account()); err != nil || back != c {
		t.Errorf("%+v, %v", back, err)
	}
}
