package ledger

import (
	"encoding/binary"

	"github.com/ethereum/go-ethereum/crypto"
)

// A typed value under EIP-712 (eips.ethereum.org/EIPS/eip-712): the type hash and the fields,
// one 32-byte word each. Every kind of record has its own type hash and every network its own
// domain, so a signature made for one is worthless for another.
type typed []byte

var (
	domainType = crypto.Keccak256([]byte("EIP712Domain(string name,string version,bytes32 salt)"))
	domainName = crypto.Keccak256([]byte("P3 Credit"))
	domainVers = crypto.Keccak256([]byte("1"))

	entryType     = crypto.Keccak256([]byte("Entry(uint8 ver,uint8 type,uint16 flags,bytes32 network,address account,uint32 epoch,uint64 seq,bytes32 prev,address peer,bytes32 ref,uint64 amount,uint64 fuel,uint32 units,bytes32 evidence,uint64 granted,uint64 earned,uint64 spent,uint64 locked,bytes32 mmrRoot,uint64 timeMs,uint64 expiryMs)"))
	claimType     = crypto.Keccak256([]byte("Claim(bytes32 network,bytes32 lock,uint32 k,uint64 cumFuel,uint64 cumAmount,bytes32 resultRoot)"))
	voucherType   = crypto.Keccak256([]byte("Voucher(bytes32 network,bytes32 lock,uint32 k,uint64 cumAmount,bytes32 claimDigest)"))
	grantType     = crypto.Keccak256([]byte("Grant(bytes32 network,address mint,uint64 grantSeq,bytes32 prev,address to,uint64 amount,uint64 totalIssued)"))
	publishType   = crypto.Keccak256([]byte("Publication(bytes32 network,address account,bytes32 program)"))
	bindingType   = crypto.Keccak256([]byte("NodeBinding(bytes32 network,address account,bytes peerID,uint64 seq,uint64 expiryMs)"))
	statementType = crypto.Keccak256([]byte("Statement(bytes32 network,address witness,address account,uint32 epoch,uint64 seq,bytes32 digest)"))
	officeType    = crypto.Keccak256([]byte("OfficeBinding(uint8 flags,bytes32 network,address account,bytes peerID,uint64 seq,uint64 expiryMs)"))
	officeClaim   = crypto.Keccak256([]byte("OfficeClaim(bytes32 network,bytes32 lock,uint32 k,uint64 cumFuel,uint64 cumAmount,bytes32 resultRoot,bytes32 binding)"))
)

func newTyped(typeHash []byte, fields int) typed {
	return append(make(typed, 0, 32*(1+fields)), typeHash...)
}

// uint appends an unsigned integer of at most 64 bits.
func (t *typed) uint(v uint64) {
	var word [32]byte
	binary.BigEndian.PutUint64(word[24:], v)
	*t = append(*t, word[:]...)
}

// word appends a bytes32.
func (t *typed) word(w [32]byte) { *t = append(*t, w[:]...) }

// account appends an address.
func (t *typed) account(a Account) {
	var word [32]byte
	copy(word[12:], a[:])
	*t = append(*t, word[:]...)
}

// digest is keccak256(0x1901 ‖ domain separator ‖ keccak256(type hash ‖ fields)).
func (t typed) digest(network Network) Digest {
	var domain [128]byte
	copy(domain[:], domainType)
	copy(domain[32:], domainName)
	copy(domain[64:], domainVers)
	copy(domain[96:], network[:])
	return Digest(crypto.Keccak256([]byte{0x19, 0x01}, crypto.Keccak256(domain[:]), crypto.Keccak256(t)))
}
