package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/keyfile"
	"github.com/personal-power-plant/p3/node"
)

func accountFile(dir string) string { return filepath.Join(dir, "keys", "account") }

// loadAccount reads the account key of a data folder, or makes one on the first start.
func loadAccount(dir string, passphrase func() (string, error)) (ledger.Key, error) {
	file, err := os.ReadFile(accountFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ledger.NewKey()
		if err != nil {
			return key, err
		}
		return key, writeFile(accountFile(dir), keyfile.Plain(key))
	}
	if err != nil {
		return ledger.Key{}, fmt.Errorf("account key: %w", err)
	}
	return openAccount(dir, file, passphrase)
}

func openAccount(dir string, file []byte, passphrase func() (string, error)) (ledger.Key, error) {
	if passphrase == nil {
		passphrase = func() (string, error) {
			return "", &node.Problem{Code: node.CodeDenied, Message: "the account key has a passphrase, and none was given", Hint: "give it with --passphrase-file or $P3_PASSPHRASE"}
		}
	}
	key, err := keyfile.Open(file, passphrase)
	if keyfile.Encrypted(file) {
		debug.FreeOSMemory() // scrypt's, which is more than all the rest of a node
	}
	var p *node.Problem
	switch {
	case errors.As(err, &p):
	case errors.Is(err, keyfile.ErrPassphrase):
		err = &node.Problem{Code: node.CodeDenied, Message: "wrong passphrase for the account key", Hint: "try again; without the passphrase only a backup of the key helps"}
	case err != nil:
		err = fmt.Errorf("account key in %s: %w", accountFile(dir), err)
	}
	return key, err
}

// NeedsPassphrase reports whether the account key of a data folder has a passphrase.
func NeedsPassphrase(dir string) (bool, error) {
	file, err := os.ReadFile(accountFile(dir))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) { // the start says what is wrong with the folder
		return false, nil
	}
	return keyfile.Encrypted(file), err
}

// SetPassphrase encrypts the account key of a data folder with another passphrase, or with "" leaves it
// open, and returns the account. old is asked for the one it has, if any. A node that runs on it goes on
// as it is. light as in keyfile.Seal. CodeDenied for a wrong one, CodeNotFound without a key.
func SetPassphrase(dir string, old func() (string, error), passphrase func() (string, error), light bool) (ledger.Account, error) {
	file, err := os.ReadFile(accountFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return ledger.Account{}, &node.Problem{Code: node.CodeNotFound, Message: "there is no account key in " + dir + " yet", Hint: "start the node once: p3 up"}
	}
	if err != nil {
		return ledger.Account{}, err
	}
	key, err := openAccount(dir, file, old)
	if err != nil {
		return ledger.Account{}, err
	}
	text, err := passphrase()
	if err != nil {
		return key.Account(), err
	}
	file = keyfile.Plain(key)
	if text != "" {
		if file, err = keyfile.Seal(key, text, light); err != nil {
			return key.Account(), err
		}
	}
	return key.Account(), writeFile(accountFile(dir), file)
}
