// Package keyfile turns an account key into the bytes of its file and back: 64 hex digits, or,
// when the owner sets a passphrase, an Ethereum keystore of version 3 (Web3 Secret Storage: scrypt,
// AES-128-CTR, Keccak-256), which other wallets read too.
//
// It adapts go-ethereum's accounts/keystore, which trusts the file: numbers in it decide how much
// memory scrypt takes, and some forms panic. Here a file is checked first. It knows nothing of
// disks. All functions are safe for concurrent use.
package keyfile

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/google/uuid"

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

// Seal is the key's file encrypted with a passphrase. To make one, or to open it, takes about a second and
// 256 MiB, go-ethereum's standard; light takes a tenth of the time and 4 MiB, for small machines, and
// makes guessing the passphrase as much cheaper.
func Seal(key ledger.Key, passphrase string, light bool) ([]byte, error) {
	if light {
		return seal(key, passphrase, keystore.LightScryptN, keystore.LightScryptP)
	}
	return seal(key, passphrase, keystore.StandardScryptN, keystore.StandardScryptP)
}

func seal(key ledger.Key, passphrase string, n, p int) ([]byte, error) {
	private, err := crypto.ToECDSA(key.Bytes())
	if err != nil {
		return nil, err
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return nil, err
	}
	b, err := keystore.EncryptKey(&keystore.Key{Id: id, Address: common.Address(key.Account()), PrivateKey: private}, passphrase, n, p)
	if err != nil {
		return nil, fmt.Errorf("encrypt the account key: %w", err)
	}
	return append(b, '\n'), nil
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
	account, err := check(file)
	if err != nil {
		return ledger.Key{}, err
	}
	text, err := passphrase()
	if err != nil {
		return ledger.Key{}, err
	}
	opened, err := keystore.DecryptKey(file, text)
	switch {
	case errors.Is(err, keystore.ErrDecrypt):
		return ledger.Key{}, ErrPassphrase
	case err != nil:
		return ledger.Key{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	key, err := ledger.ParseKey(crypto.FromECDSA(opened.PrivateKey))
	if err == nil && key.Account() != account {
		err = fmt.Errorf("it holds the key of %s and says %s: %w", key.Account(), account, ErrDamaged)
	}
	return key, err
}

// check reads a keystore without opening it, and returns whose key it says it is. What passes makes
// go-ethereum's decoder neither panic nor allocate more than maxMemory.
func check(file []byte) (ledger.Account, error) {
	var k struct {
		Address string `json:"address"`
		ID      string `json:"id"`
		Version int    `json:"version"`
		Crypto  struct {
			Cipher       string            `json:"cipher"`
			CipherText   ledger.HexBytes   `json:"ciphertext"`
			CipherParams map[string]string `json:"cipherparams"`
			KDF          string            `json:"kdf"`
			KDFParams    struct {
				DKLen int             `json:"dklen"`
				N     int64           `json:"n"`
				P     int64           `json:"p"`
				R     int64           `json:"r"`
				Salt  ledger.HexBytes `json:"salt"`
			} `json:"kdfparams"`
			MAC ledger.HexBytes `json:"mac"`
		} `json:"crypto"`
	}
	var a ledger.Account
	if err := json.Unmarshal(file, &k); err != nil {
		return a, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	c, p := k.Crypto, k.Crypto.KDFParams
	iv, err := hex.DecodeString(c.CipherParams["iv"])
	switch {
	case err != nil, a.UnmarshalText([]byte(k.Address)) != nil:
		return a, ErrDamaged
	case k.Version != 3 || c.Cipher != "aes-128-ctr" || c.KDF != "scrypt":
		return a, fmt.Errorf("keystore version %d with %.20q and %.20q: this p3 reads version 3 with aes-128-ctr and scrypt: %w", k.Version, c.Cipher, c.KDF, ErrDamaged)
	case len(iv) != 16 || len(c.CipherText) != 32 || len(c.MAC) != 32 || p.DKLen != 32 || len(p.Salt) == 0 || len(p.Salt) > 128:
		return a, fmt.Errorf("keystore fields of a wrong length: %w", ErrDamaged)
	case p.N < 2 || p.N&(p.N-1) != 0 || p.R < 1 || p.P < 1 || p.P > maxP || p.R > maxMemory/128 || p.N > maxMemory/128/p.R:
		return a, fmt.Errorf("scrypt with n=%d r=%d p=%d asks for more than %d MiB: %w", p.N, p.R, p.P, maxMemory>>20, ErrDamaged)
	}
	if _, err := uuid.Parse(k.ID); err != nil {
		return a, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return a, nil
}

// Account is whose key a file holds; of an encrypted one, whose it says it is.
func Account(file []byte) (ledger.Account, error) {
	if len(file) > MaxSize {
		return ledger.Account{}, fmt.Errorf("%d bytes: %w", len(file), ErrDamaged)
	}
	if Encrypted(file) {
		return check(file)
	}
	key, err := Open(file, nil)
	if err != nil {
		return ledger.Account{}, err
	}
	return key.Account(), nil
}
