package node

import (
	"os"
	"path/filepath"

	"github.com/adrg/xdg"
)

// DefaultDir is the data folder of a user's node: $P3_DATA_DIR, else p3 under the user's data folder.
func DefaultDir() string {
	if d := os.Getenv("P3_DATA_DIR"); d != "" {
		return d
	}
	return filepath.Join(xdg.DataHome, "p3")
}

// DefaultSocket is where the node with the data folder dir answers: $P3_SOCKET; else in the user's runtime folder for
// the default data folder; else p3.sock in dir, so that two nodes of one user do not meet.
func DefaultSocket(dir string) string {
	if s := os.Getenv("P3_SOCKET"); s != "" {
		return s
	}
	if runtimeDir := os.Getenv("XDG_RUNTIME_DIR"); runtimeDir != "" && dir == filepath.Join(xdg.DataHome, "p3") {
		return filepath.Join(runtimeDir, "p3", "p3.sock")
	}
	return filepath.Join(dir, "p3.sock")
}
