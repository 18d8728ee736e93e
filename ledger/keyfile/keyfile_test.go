package keyfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"

	"github.com/personal-power-plant/p3/ledger"
)

// light is scrypt's cost in tests.
const light = 1 << 8

func newKey(t testing.TB) ledger.Key {
	t.Helper()
	k, err := ledger.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sealed(t testing.TB, k ledger.Key, passphrase string) []byte {
	t.Helper()
	b, err := seal(k, passphrase, light, 1)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func with(passphrase string) func() (string, error) {
	return func() (string, error) { return passphrase, nil }
}

func never(t testing.TB) func() (string, error) {
	return func() (string, error) { t.Error("asked for a passphrase"); return "", nil }
}

func TestKeyComesBack(t *testing.T) {
	k := newKey(t)
	if got, err := Open(Plain(k), never(t)); err != nil || got.Account() != k.Account() {
		t.Errorf("plain: %v, %v", got, err)
	}
	b := sealed(t, k, "correct horse")
	if got, err := Open(b, with("correct horse")); err != nil || !bytes.Equal(got.Bytes(), k.Bytes()) {
		t.Errorf("sealed: %v, %v", got, err)
	}
	if _, err := Open(b, with("battery staple")); !errors.Is(err, ErrPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
	if bytes.Contains(b, bytes.TrimSpace(Plain(k))) {
		t.Error("the secret stands in the sealed file")
	}
	gone := errors.New("nobody there")
	if _, err := Open(b, func() (string, error) { return "", gone }); !errors.Is(err, gone) {
		t.Errorf("%v, want the caller's error", err)
	}
}

// The file is a keystore that go-ethereum itself opens, and the other way round.
func TestOtherWalletsReadIt(t *testing.T) {
	k := newKey(t)
	got, err := keystore.DecryptKey(sealed(t, k, "correct horse"), "correct horse")
	if err != nil || got.Address != common.Address(k.Account()) {
		t.Fatalf("%v, %v", got, err)
	}
	theirs, err := keystore.EncryptKey(got, "other", light, 1)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := Open(theirs, with("other")); err != nil || back.Account() != k.Account() {
		t.Errorf("%v, %v", back, err)
	}
}

func TestSealCostsWhatItSays(t *testing.T) {
	k := newKey(t)
	for isLight, want := range map[bool]int{false: 1 << 18, true: 1 << 12} {
		b, err := Seal(k, "correct horse", isLight)
		if err != nil {
			t.Fatal(err)
		}
		var f struct {
			Crypto struct{ KDFParams struct{ N int } }
		}
		if err := json.Unmarshal(b, &f); err != nil || f.Crypto.KDFParams.N != want {
			t.Errorf("light %v: n is %d, want %d (%v)", isLight, f.Crypto.KDFParams.N, want, err)
		}
		if _, err := Account(b); err != nil { // which Open calls first
			t.Error(err)
		}
	}
}

// hostile are files that crash, or starve, who opens them unchecked.
func hostile(good []byte) []string {
	var out []string
	for old, new := range map[string]string{
		`"n":256`:               `"n":1073741824`,
		`"r":8`:                 `"r":1073741824`,
		`"p":1`:                 `"p":1000000`,
		`"dklen":32`:            `"dklen":8`,
		`"kdf":"scrypt"`:        `"kdf":"pbkdf2"`,
		`"version":3`:           `"version":1`,
		`"cipher":"aes-128-ctr`: `"cipher":"aes-128-cbc`,
		`"salt":"`:              `"salt":"zz`,
		`"iv":"`:                `"iv":"00`,
		`"mac":"`:               `"mac":"00`,
		`"ciphertext":"`:        `"ciphertext":"00`,
		`"address":"`:           `"address":"00`,
		`"id":"`:                `"id":"x`,
		`"n":2`:                 `"n":3`,
	} {
		if s := strings.Replace(string(good), old, new, 1); s != string(good) {
			out = append(out, s)
		}
	}
	return out
}

func TestHostileFilesAreRefused(t *testing.T) {
	good := sealed(t, newKey(t), "x")
	bad := hostile(good)
	if len(bad) != 14 {
		t.Fatalf("%d of the changes took effect on %s", len(bad), good)
	}
	for _, file := range append(bad, "", "{", "{}", "zz", "{\"crypto\":3}", strings.Repeat("0", MaxSize+2)) {
		if _, err := Open([]byte(file), never(t)); err == nil {
			t.Errorf("taken: %.200s", file)
		}
	}
	// The key of somebody else under this account's name.
	other := strings.Replace(string(good), `"address":"`, `"address":"`+strings.Repeat("0", 40)+`","x":"`, 1)
	if _, err := Open([]byte(other), with("x")); !errors.Is(err, ErrDamaged) {
		t.Errorf("another account's name: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	good := sealed(f, newKey(f), "x")
	f.Add(good)
	f.Add(Plain(newKey(f)))
	for _, s := range hostile(good) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := Open(b, func() (string, error) {
			var cost struct {
				Crypto struct {
					KDFParams struct{ N, R, P int64 } `json:"kdfparams"`
				} `json:"crypto"`
			}
			if json.Unmarshal(b, &cost) != nil || cost.Crypto.KDFParams.N*cost.Crypto.KDFParams.R*cost.Crypto.KDFParams.P > 1<<16 {
				return "", errors.New("allowed, but slow")
			}
			return "x", nil
		})
		if err == nil && k.Account().IsZero() {
			t.Fatal("a key without an account")
		}
	})
}
