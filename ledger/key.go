package ledger

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/crypto"
)

// SignatureSize is the length of a signature: R ‖ S ‖ V, 32 + 32 + 1 bytes.
const SignatureSize = crypto.SignatureLength

// ErrSignature reports a signature that its account did not make, or that is not in the one
// accepted form.
var ErrSignature = errors.New("signature does not belong to the account")

// A Key signs for one account: a secp256k1 private key. It is immutable and safe for
// concurrent use; it prints as its account, never as the secret.
type Key struct {
	private *ecdsa.PrivateKey
	account Account
}

// NewKey returns a fresh random key.
func NewKey() (Key, error) {
	private, err := crypto.GenerateKey()
	if err != nil {
		return Key{}, fmt.Errorf("make account key: %w", err)
	}
	return newKey(private), nil
}

// ParseKey reads the 32 bytes that Key.Bytes wrote.
func ParseKey(secret []byte) (Key, error) {
	private, err := crypto.ToECDSA(secret)
	if err != nil {
		return Key{}, fmt.Errorf("read account key: %w: restore the key file from its backup", err)
	}
	return newKey(private), nil
}

func newKey(private *ecdsa.PrivateKey) Key {
	return Key{private, Account(crypto.PubkeyToAddress(private.PublicKey))}
}

// Account is the account the key signs for.
func (k Key) Account() Account { return k.account }

// Bytes is the secret scalar, 32 bytes big-endian. Whoever has it can spend.
func (k Key) Bytes() []byte { return crypto.FromECDSA(k.private) }

func (k Key) String() string { return "key of " + k.account.String() }

// GoString keeps the secret out of %#v.
func (k Key) GoString() string { return k.String() }

// sign writes the signature of digest into the last SignatureSize bytes of raw.
func (k Key) sign(digest Digest, raw []byte) error {
	if k.private == nil {
		return fmt.Errorf("sign as %s: its key is not here", k.account)
	}
	signature, err := crypto.Sign(digest[:], k.private)
	if err != nil {
		return fmt.Errorf("sign as %s: %w", k.account, err)
	}
	copy(raw[len(raw)-SignatureSize:], signature)
	return nil
}

// verify checks that account made the signature at the end of raw over digest.
//
// Exactly one form of a signature is accepted: V is 0 or 1 and recovers the account's key,
// 0 < R < n, 0 < S ≤ n/2 (the twin n−S of every ECDSA signature is refused, BIP 62 rule 5).
// Recovering costs a fifth more than verifying with a known key; in exchange no table of
// public keys is kept, and V is checked as strictly on the hundredth record as on the first.
func verify(account Account, digest Digest, raw []byte) error {
	signature := raw[len(raw)-SignatureSize:]
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:64])
	if !crypto.ValidateSignatureValues(signature[64], r, s, true) {
		return fmt.Errorf("not a canonical low-S signature: %w", ErrSignature)
	}
	public, err := crypto.Ecrecover(digest[:], signature)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if signer := Account(crypto.Keccak256(public[1:])[12:]); signer != account {
		return fmt.Errorf("%w: want %s, recovered %s", ErrSignature, account, signer)
	}
	return nil
}
