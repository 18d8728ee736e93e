package ledger

import (
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"
)

// hashStruct is EIP-712's hashStruct for flat types, written from the EIP alone: it reads the
// type string and encodes each value by the type named there.
func hashStruct(t *testing.T, typ string, values map[string]any) []byte {
	t.Helper()
	enc := crypto.Keccak256([]byte(typ))
	_, list, _ := strings.Cut(strings.TrimSuffix(typ, ")"), "(")
	for member := range strings.SplitSeq(list, ",") {
		kind, name, _ := strings.Cut(member, " ")
		v, there := values[name]
		if !there {
			t.Fatalf("%s: no value for %s", typ, name)
		}
		switch {
		case kind == "string":
			enc = append(enc, crypto.Keccak256([]byte(v.(string)))...)
		case kind == "bytes":
			enc = append(enc, crypto.Keccak256(v.([]byte))...)
		case kind == "bytes32":
			w := v.([32]byte)
			enc = append(enc, w[:]...)
		case kind == "address":
			w := v.([20]byte)
			enc = append(enc, new(big.Int).SetBytes(w[:]).FillBytes(make([]byte, 32))...)
		case strings.HasPrefix(kind, "uint"):
			enc = append(enc, new(big.Int).SetUint64(v.(uint64)).FillBytes(make([]byte, 32))...)
		default:
			t.Fatalf("type %s", kind)
		}
	}
	return crypto.Keccak256(enc)
}

func typedDigest(t *testing.T, network Network, typ string, values map[string]any) Digest {
	t.Helper()
	domain := hashStruct(t, "EIP712Domain(string name,string version,bytes32 salt)",
		map[string]any{"name": "P3 Credit", "version": "1", "salt": [32]byte(network)})
	return Digest(crypto.Keccak256(append(append([]byte("\x19\x01"), domain...), hashStruct(t, typ, values)...)))
}

func TestReferenceEncoderAgreesWithTheExampleOfTheEIP(t *testing.T) {
	contract := [20]byte(unhexT(t, "cccccccccccccccccccccccccccccccccccccccc"))
	got := hashStruct(t, "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)",
		map[string]any{"name": "Ether Mail", "version": "1", "chainId": uint64(1), "verifyingContract": contract})
	if hex.EncodeToString(got) != "f2cee375fa42b42143804025fc449deafd50cc031ca257e0b194a650a912090f" {
		t.Fatalf("%x", got)
	}
}

// unhexT reads hex digits, several lines of them, each with a comment after '#'.
func unhexT(t *testing.T, s string) []byte {
	t.Helper()
	var digits strings.Builder
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.TrimSpace(line))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// word fills 32 bytes with one value.
func word(b byte) (w [32]byte) {
	for i := range w {
		w[i] = b
	}
	return w
}

func addr(b byte) (a [20]byte) {
	w := word(b)
	return [20]byte(w[:20])
}

// sampleEntry has another value in every field. It is well-formed, not a valid chain link.
func sampleEntry(account Account) Entry {
	return Entry{Type: TypeEarn, Flags: FlagVoucher, Network: word(0x11), Account: account, Epoch: 0x0102, Seq: 0x0304,
		Prev: word(0x22), Peer: addr(0x33), Ref: word(0x44), Amount: 0x05, Fuel: 0x0607, Units: 0x08, Evidence: word(0x55),
		Granted: 0x09, Earned: 0x0a0b, Spent: 0x0c, Locked: 0x0d, MMRRoot: word(0x66), TimeMs: 0x0e0f, ExpiryMs: 0x1011}
}

func TestDigestsAreEIP712(t *testing.T) {
	network := Network(word(0x11))
	account := Account(addr(0x77))
	e := sampleEntry(account)
	office := goldenOffice(t)
	bound, err := ParseBinding([]byte(office.Office))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		have Digest
		typ  string
		vals map[string]any
	}{
		{"Entry", e.Digest(), "Entry(uint8 ver,uint8 type,uint16 flags,bytes32 network,address account,uint32 epoch,uint64 seq,bytes32 prev,address peer,bytes32 ref,uint64 amount,uint64 fuel,uint32 units,bytes32 evidence,uint64 granted,uint64 earned,uint64 spent,uint64 locked,bytes32 mmrRoot,uint64 timeMs,uint64 expiryMs)",
			map[string]any{"ver": uint64(1), "type": uint64(5), "flags": uint64(1), "network": word(0x11), "account": addr(0x77), "epoch": uint64(0x0102),
				"seq": uint64(0x0304), "prev": word(0x22), "peer": addr(0x33), "ref": word(0x44), "amount": uint64(5), "fuel": uint64(0x0607), "units": uint64(8),
				"evidence": word(0x55), "granted": uint64(9), "earned": uint64(0x0a0b), "spent": uint64(0x0c), "locked": uint64(0x0d), "mmrRoot": word(0x66),
				"timeMs": uint64(0x0e0f), "expiryMs": uint64(0x1011)}},
		{"Claim", Claim{network, word(1), 2, 3, 4, word(5), ""}.Digest(), "Claim(bytes32 network,bytes32 lock,uint32 k,uint64 cumFuel,uint64 cumAmount,bytes32 resultRoot)",
			map[string]any{"network": word(0x11), "lock": word(1), "k": uint64(2), "cumFuel": uint64(3), "cumAmount": uint64(4), "resultRoot": word(5)}},
		{"Voucher", Voucher{network, word(1), 2, 3, word(4)}.Digest(), "Voucher(bytes32 network,bytes32 lock,uint32 k,uint64 cumAmount,bytes32 claimDigest)",
			map[string]any{"network": word(0x11), "lock": word(1), "k": uint64(2), "cumAmount": uint64(3), "claimDigest": word(4)}},
		{"NodeBinding", NodeBinding{network, account, []byte("peer"), 2, 3, 0}.Digest(), "NodeBinding(bytes32 network,address account,bytes peerID,uint64 seq,uint64 expiryMs)",
			map[string]any{"network": word(0x11), "account": addr(0x77), "peerID": []byte("peer"), "seq": uint64(2), "expiryMs": uint64(3)}},
		{"Publication", Publication{network, account, word(2)}.Digest(), "Publication(bytes32 network,address account,bytes32 program)",
			map[string]any{"network": word(0x11), "account": addr(0x77), "program": word(2)}},
		{"OfficeBinding", NodeBinding{network, account, []byte("peer"), 2, 3, EarnsOnly}.Digest(), "OfficeBinding(uint8 flags,bytes32 network,address account,bytes peerID,uint64 seq,uint64 expiryMs)",
			map[string]any{"flags": uint64(1), "network": word(0x11), "account": addr(0x77), "peerID": []byte("peer"), "seq": uint64(2), "expiryMs": uint64(3)}},
		{"OfficeClaim", office.Digest(), "OfficeClaim(bytes32 network,bytes32 lock,uint32 k,uint64 cumFuel,uint64 cumAmount,bytes32 resultRoot,bytes32 binding)",
			map[string]any{"network": word(0x11), "lock": word(0x22), "k": uint64(1), "cumFuel": uint64(2), "cumAmount": uint64(3), "resultRoot": word(0x33), "binding": [32]byte(bound.Digest())}},
		{"Grant", Grant{network, account, 2, word(3), addr(4), 5, 6}.Digest(), "Grant(bytes32 network,address mint,uint64 grantSeq,bytes32 prev,address to,uint64 amount,uint64 totalIssued)",
			map[string]any{"network": word(0x11), "mint": addr(0x77), "grantSeq": uint64(2), "prev": word(3), "to": addr(4), "amount": uint64(5), "totalIssued": uint64(6)}},
	} {
		if want := typedDigest(t, network, c.typ, c.vals); c.have != want {
			t.Errorf("%s: digest %s, want %s", c.name, c.have, want)
		}
	}
}

func TestResultRootChainsDigests(t *testing.T) {
	want := crypto.Keccak256(crypto.Keccak256(make([]byte, 32), binary.BigEndian.AppendUint64(make([]byte, 24), 1)), binary.BigEndian.AppendUint64(make([]byte, 24), 2))
	one, two := Digest{31: 1}, Digest{31: 2}
	if got := ResultRoot(ResultRoot(Digest{}, one), two); got != Digest(want) {
		t.Errorf("%s", got)
	}
}

func TestStatementDigestFollowsTheEIP(t *testing.T) {
	s := Statement{word(0x11), addr(0x22), addr(0x33), 0x0102, 0x0304, word(0x44)}
	want := typedDigest(t, s.Network, "Statement(bytes32 network,address witness,address account,uint32 epoch,uint64 seq,bytes32 digest)", map[string]any{
		"network": [32]byte(s.Network), "witness": [20]byte(s.Witness), "account": [20]byte(s.Account), "epoch": uint64(s.Epoch), "seq": s.Seq, "digest": [32]byte(s.Digest)})
	if s.ID() != want {
		t.Errorf("%s, want %s", s.ID(), want)
	}
}
