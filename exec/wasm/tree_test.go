package wasm

import (
	"strings"
	"testing"

	"github.com/personal-power-plant/p3/exec"
)

// FuzzPaths makes, moves and removes things under names a guest chose. Whatever it does, what
// can be listed has a name that is safe on the host, and the quota adds up.
func FuzzPaths(f *testing.F) {
	f.Add("out/a", "out/b/../c", "tmp/x/")
	f.Add("../../etc/passwd", "/out/x", "out/a:b\\c")
	f.Add("out/d/d/d", "out/.", "out/..")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		q := quota{limit: 1000}
		tr, err := newTree(map[string]*hostFile{"file": {size: 3}}, nil, &q)
		if err != nil {
			t.Fatal(err)
		}
		made := func(path string, dir bool) {
			if parent, last, _, e := tr.walk(tr.root, path); e == success && last != "" && parent.kids[last] == nil {
				if n, e := tr.create(parent, last, dir); e == success && !dir {
					tr.resize(n, int64(len(path)%100))
				}
			}
		}
		made(a, true)
		made(a+"/"+b, false)
		made(b, false)
		made(c, true)
		for _, pair := range [][2]string{{a, c + "/x"}, {b, a}, {c, b}} {
			if n, e := tr.lookup(tr.root, pair[0]); e == success {
				tr.rename(n, tr.root, pair[1])
			}
		}
		if n, e := tr.lookup(tr.root, b); e == success && n.parent != nil && n.parent.writable && len(n.kids) == 0 {
			tr.remove(n)
		}
		var sum int64
		for _, top := range []string{"out", "tmp"} {
			_ = tr.root.kids[top].files("", func(name string, data []byte) error {
				sum += int64(len(data))
				if !exec.ValidName(name) {
					t.Errorf("file %q", name)
				}
				return nil
			})
		}
		if sum != q.used {
			t.Errorf("%d bytes charged for %d", q.used, sum)
		}
		if names := strings.Join(tr.root.names(), " "); names != "data in out tmp" {
			t.Errorf("the root has %s", names)
		}
	})
}
