package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/personal-power-plant/p3/node"
)

// PolicyText returns the host policy of a data folder as its owner edits it, and where it lies: the file as it
// is, right or wrong, or where there is none yet what it would begin with.
func PolicyText(dir string) (path string, text []byte, err error) {
	path = filepath.Join(dir, "policy.yaml")
	text, err = os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		var w node.HostWhy
		w, err = Policy(dir, node.PolicyChange{})
		text = []byte(w.Policy.Text())
	}
	if err != nil {
		return path, nil, fmt.Errorf("the host policy: %w", err)
	}
	return path, text, nil
}

// CheckPolicy says what is wrong with a policy's text, with line and column.
func CheckPolicy(text []byte) error {
	_, err := node.ParsePolicy(plainPolicy(), text)
	return err
}

// SavePolicy writes an edited policy to its file, as it is, if it is right. A running node takes it by itself.
func SavePolicy(path string, text []byte) error {
	if err := CheckPolicy(text); err != nil {
		return err
	}
	if err := writeFile(path, text); err != nil {
		return fmt.Errorf("save the host policy: %w", err)
	}
	return nil
}
