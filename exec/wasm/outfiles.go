package wasm

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
)

// An outDir receives files of a guest: it makes new files below one folder and nothing else.
type outDir struct{ root *os.Root } // nil drops them

func openOutDir(dir string) (*outDir, error) {
	if dir == "" {
		return &outDir{}, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("output folder: %w", err)
	}
	return &outDir{root}, nil
}

// create makes a new file. Names are those that exec.ValidName lets pass; symbolic links that
// lead out of the folder are refused by os.Root, an existing file by O_EXCL.
func (o *outDir) create(name string) (*os.File, error) {
	if !exec.ValidName(name) {
		return nil, fmt.Errorf("output file %q: not a clean relative path", name)
	}
	if o.root == nil {
		return nil, nil
	}
	if dir := path.Dir(name); dir != "." {
		if err := o.root.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("output file: %w", err)
		}
	}
	f, err := o.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("output file: %w", err)
	}
	return f, nil
}

func (o *outDir) close() {
	if o.root != nil {
		o.root.Close()
	}
}

// keepFiles writes what lies below out into dir and lists it, sorted.
func keepFiles(out *node, dir string) (files []exec.File, err error) {
	o, err := openOutDir(dir)
	if err != nil {
		return nil, err
	}
	defer o.close()
	err = out.files("", func(name string, data []byte) error {
		files = append(files, exec.File{Name: name, Hash: ledger.Digest(sha256.Sum256(data)), Size: int64(len(data))})
		f, err := o.create(name)
		if f == nil || err != nil {
			return err
		}
		_, err = f.Write(data)
		return errors.Join(err, f.Close())
	})
	return files, err
}
