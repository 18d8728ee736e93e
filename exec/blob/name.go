package blob

import (
	"path"
	"strings"

	"github.com/personal-power-plant/p3/ledger"
)

func folder(hash ledger.Digest) string   { return hash.String()[:2] }
func blobName(hash ledger.Digest) string { s := hash.String(); return s[:2] + "/" + s }
func partName(hash ledger.Digest) string { return partDir + "/" + hash.String() }

// parseName is the inverse of blobName and partName.
func parseName(name string) (hash ledger.Digest, isPart, ok bool) {
	dir, base := path.Split(name)
	if hash.UnmarshalText([]byte(base)) != nil || hash.String() != base {
		return hash, false, false
	}
	dir = strings.TrimSuffix(dir, "/")
	return hash, dir == partDir, dir == partDir || dir == base[:2]
}
