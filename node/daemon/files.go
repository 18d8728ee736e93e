package daemon

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node/p2p"
)

// The data folder:
//
//	keys/account              secp256k1 secret, mode 0600: in hex, or encrypted, see ledger/keyfile
//	keys/account.next         the key that is to follow, while a change of keys is on its way; see rekey.go
//	keys/recovery             the account of the recovery key that the next key commits to
//	keys/binding              of an office PC, instead of keys/account: see office.go
//	keys/mint                 secp256k1 secret in hex, mode 0600: where an organisation was founded, see org.go
//	keys/node                 secp256k1 secret in hex, mode 0600
//	policy.yaml               the host policy; absent = the preset that fits the machine
//	network                   the invite of the network we belong to; absent = the public one
//	networks/<8 hex>/ledger   Badger: book, job journal, remembered peers
//	networks/<8 hex>/highwater  how far the account has signed; see ledger/fence
//	networks/<8 hex>/minted   how far the mint has
//	blobs/                    content-addressed bytes
//	cache/                    compiled programs
type keys struct {
	account ledger.Key
	node    crypto.PrivKey
	binding []byte  // of an office PC, which has no account key; nil elsewhere
	home    peer.ID // then, of the node that has it
}

func loadKeys(dir string, passphrase func() (string, error)) (k keys, err error) {
	if k.binding, k.home, err = loadBinding(dir); err != nil {
		return k, err
	}
	if k.binding == nil {
		if k.account, err = loadAccount(dir, passphrase); err != nil {
			return k, err
		}
	}
	k.node, err = loadNode(dir)
	return k, err
}

// loadNode reads the node key of a data folder, or makes one on the first start.
func loadNode(dir string) (crypto.PrivKey, error) {
	secret, err := loadSecret(filepath.Join(dir, "keys", "node"), func() ([]byte, error) {
		key, err := p2p.NewKey()
		if err != nil {
			return nil, err
		}
		return key.Raw()
	})
	if err != nil {
		return nil, fmt.Errorf("node key: %w", err)
	}
	key, err := crypto.UnmarshalSecp256k1PrivateKey(secret)
	if err != nil {
		return nil, fmt.Errorf("node key: %w", err)
	}
	return key, nil
}

// loadSecret reads a secret, or makes it on the first start.
func loadSecret(path string, fresh func() ([]byte, error)) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret, err := fresh()
		if err != nil {
			return nil, err
		}
		return secret, writeFile(path, []byte(hex.EncodeToString(secret)+"\n"))
	}
	if err != nil {
		return nil, err
	}
	secret, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: restore it from your backup: %w", path, err)
	}
	return secret, nil
}

// writeFile replaces a file in one step, mode 0600, and waits until it is on disk.
func writeFile(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// LoadMembership reads which network the node of dir belongs to.
func LoadMembership(dir string) (Membership, error) {
	b, err := os.ReadFile(filepath.Join(dir, "network"))
	if errors.Is(err, fs.ErrNotExist) {
		return Membership{Genesis: ledger.DefaultGenesis()}, nil
	}
	if err != nil {
		return Membership{}, err
	}
	inv, err := p2p.ParseInvite(strings.TrimSpace(string(b)))
	if err != nil {
		return Membership{}, fmt.Errorf("%s: %w; join again with `p3 join`", filepath.Join(dir, "network"), err)
	}
	return membership(inv)
}

// SaveMembership makes the node of dir belong to the invite's network from its next start on.
func SaveMembership(dir string, inv p2p.Invite) error {
	if _, err := membership(inv); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, "network"), []byte(inv.String()+"\n"))
}

func membership(inv p2p.Invite) (Membership, error) {
	g, err := ledger.ParseGenesis(inv.Genesis)
	if err != nil {
		return Membership{}, fmt.Errorf("invite: %w", err)
	}
	return Membership{Genesis: g, Bootstrap: inv.Bootstrap, PSK: inv.PSK}, nil
}
