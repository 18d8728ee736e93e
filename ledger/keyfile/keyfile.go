// Package keyfile turns an account key into the bytes of its file and back: 64 hex digits, or,
// when the owner sets a passphrase, an Ethereum keystore of version 3 (Web3 Secret Storage: scrypt,
// AES-128-CTR, Keccak-256), which other wallets read too.
//
// go-ethereum's accounts/keystore does the same, and is not used: it trusts the file, whose numbers decide
// how much memory scrypt takes, and it brings so much with it that every start of p3 took 10 ms longer.
// The test holds the two to each other. The package knows nothing of disks. All functions are safe for
// concurrent use.
package keyfile

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/google/uuid"
	"golang.org/x/crypto/scrypt"

	"github.com/personal-power-plant/p3/ledger"
)

// MaxSize bounds a key file, in bytes; a keystore has about 500.
const MaxSize = 16 << 10

// What a file from elsewhere may ask of scrypt: bytes of memory, and rounds.
const (
	maxMemory = 1 << 30
	maxP      = 16
)

// ErrPassphrase reports a passphrase that does not open the key.
var ErrPassphrase = errors.New("wrong passphrase")

// ErrDamaged reports bytes that are no key file.
var ErrDamaged = errors.New("the key file is damaged: restore it from its backup")

// Encrypted reports whether a key file needs a passphrase.
func Encrypted(file []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(file), []byte("{")) }

// Plain is the key's file without a passphrase. Whoever reads it can spend.
func Plain(key ledger.Key) []byte { return []byte(hex.EncodeToString(key.Bytes()) + "\n") }

// A web3Store is a file of version 3. See https://ethereum.org/en/developers/docs/data-structures-and-encoding/web3-secret-storage/.
type web3Store struct {
	Address string     `json:"address"`
	Crypto  web3Crypto `json:"crypto"`
	ID      string     `json:"id"`
	Version int        `json:"version"`
}

type web3Crypto struct {
	Cipher       string          `json:"cipher"`
	CipherText   ledger.HexBytes `json:"ciphertext"`
	CipherParams cipherParams    `json:"cipherparams"`
	KDF          string          `json:"kdf"`
	KDFParams    scryptParams    `json:"kdfparams"`
	MAC          ledger.HexBytes `json:"mac"`
}

type cipherParams struct {
	IV ledger.HexBytes `json:"iv"`
}

type scryptParams struct {
	DKLen int             `json:"dklen"`
	N     int             `json:"n"`
	P     int             `json:"p"`
	R     int             `json:"r"`
	Salt  ledger.HexBytes `json:"salt"`
}

// The costs of scrypt that go-ethereum gives to standard and light keystores.
const (
	standardN, standardP = 1 << 18, 1
	lightN, lightP       = 1 << 12, 6
	scryptR              = 8
)

// Seal is the key's file encrypted with a passphrase. To make one, or to open it, takes about a second and
// 256 MiB; light takes a tenth of the time and 4 MiB, for small machines, and makes guessing the
// passphrase as much cheaper.
func Seal(key ledger.Key, passphrase string, light bool) ([]byte, error) {
	if light {
		return seal(key, passphrase, lightN, lightP)
	}
	return seal(key, passphrase, standardN, standardP)
}

func seal(key ledger.Key, passphrase string, n, p int) ([]byte, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return nil, err
	}
	k := web3Store{Address: strings.TrimPrefix(strings.ToLower(key.Account().String()), "0x"), ID: id.String(), Version: 3}
	k.Crypto = web3Crypto{
		Cipher: "aes-128-ctr", CipherParams: cipherParams{make([]byte, aes.BlockSize)},
		KDF: "scrypt", KDFParams: scryptParams{DKLen: 32, N: n, P: p, R: scryptR, Salt: make([]byte, 32)},
	}
	rand.Read(k.Crypto.CipherParams.IV)
	rand.Read(k.Crypto.KDFParams.Salt)
	derived, err := k.Crypto.derive(passphrase)
	if err != nil {
		return nil, fmt.Errorf("encrypt the account key: %w", err)
	}
	k.Crypto.CipherText = k.Crypto.xor(derived, key.Bytes())
	k.Crypto.MAC = crypto.Keccak256(derived[16:], k.Crypto.CipherText)
	b, err := json.Marshal(k)
	return append(b, '\n'), err
}

// derive makes the 32 bytes of key material: half encrypts, half authenticates.
func (s *web3Crypto) derive(passphrase string) ([]byte, error) {
	p := s.KDFParams
	return scrypt.Key([]byte(passphrase), p.Salt, p.N, p.R, p.P, p.DKLen)
}

// xor encrypts or decrypts.
func (s *web3Crypto) xor(derived, text []byte) []byte {
	block, err := aes.NewCipher(derived[:16])
	if err != nil {
		panic(err) // of another key length only
	}
	out := make([]byte, len(text))
	cipher.NewCTR(block, s.CipherParams.IV).XORKeyStream(out, text)
	return out
}

// Open reads a key file. passphrase is called if the file is encrypted, and only then. It fails with
// ErrPassphrase, ErrDamaged or passphrase's error.
func Open(file []byte, passphrase func() (string, error)) (ledger.Key, error) {
	if len(file) > MaxSize {
		return ledger.Key{}, fmt.Errorf("%d bytes: %w", len(file), ErrDamaged)
	}
	if !Encrypted(file) {
		secret, err := hex.DecodeString(string(bytes.TrimSpace(file)))
		if err != nil {
			return ledger.Key{}, ErrDamaged
		}
		return ledger.ParseKey(secret)
	}
	k, account, err := check(file)
	if err != nil {
		return ledger.Key{}, err
	}
	text, err := passphrase()
	if err != nil {
		return ledger.Key{}, err
	}
	derived, err := k.Crypto.derive(text)
	if err != nil {
		return ledger.Key{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if subtle.ConstantTimeCompare(crypto.Keccak256(derived[16:], k.Crypto.CipherText), k.Crypto.MAC) != 1 {
		return ledger.Key{}, ErrPassphrase
	}
	key, err := ledger.ParseKey(k.Crypto.xor(derived, k.Crypto.CipherText))
	switch {
	case err != nil:
		return ledger.Key{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	case key.Account() != account:
		return ledger.Key{}, fmt.Errorf("it holds the key of %s and says %s: %w", key.Account(), account, ErrDamaged)
	}
	return key, nil
}

// check reads a keystore without opening it, and returns whose key it says it is. To open what passes
// neither panics nor takes more than maxMemory.
func check(file []byte) (k web3Store, a ledger.Account, err error) {
	if err := json.Unmarshal(file, &k); err != nil {
		return k, a, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	c, p := k.Crypto, k.Crypto.KDFParams
	switch {
	case a.UnmarshalText([]byte(k.Address)) != nil:
		return k, a, ErrDamaged
	case k.Version != 3 || c.Cipher != "aes-128-ctr" || c.KDF != "scrypt":
		return k, a, fmt.Errorf("keystore version %d with %.20q and %.20q: this p3 reads version 3 with aes-128-ctr and scrypt: %w", k.Version, c.Cipher, c.KDF, ErrDamaged)
	case len(c.CipherParams.IV) != aes.BlockSize || len(c.CipherText) != 32 || len(c.MAC) != 32 || p.DKLen != 32 || len(p.Salt) == 0 || len(p.Salt) > 128:
		return k, a, fmt.Errorf("keystore fields of a wrong length: %w", ErrDamaged)
	case p.N < 2 || p.N&(p.N-1) != 0 || p.R < 1 || p.P < 1 || p.P > maxP || p.R > maxMemory/128 || p.N > maxMemory/128/p.R:
		return k, a, fmt.Errorf("scrypt with n=%d r=%d p=%d asks for more than %d MiB: %w", p.N, p.R, p.P, maxMemory>>20, ErrDamaged)
	}
	if _, err := uuid.Parse(k.ID); err != nil {
		return k, a, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return k, a, nil
}

// Account is whose key a file holds; of an encrypted one, whose it says it is.
func Account(file []byte) (ledger.Account, error) {
	if len(file) > MaxSize {
		return ledger.Account{}, fmt.Errorf("%d bytes: %w", len(file), ErrDamaged)
	}
	if Encrypted(file) {
		_, a, err := check(file)
		return a, err
	}
	key, err := Open(file, nil)
	if err != nil {
		return ledger.Account{}, err
	}
	return key.Account(), nil
}
