package wasm

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/personal-power-plant/p3/exec"
)

// A hostFile is a file of this host that the guest may read and nothing else.
type hostFile struct {
	size int64 // bytes; a file that turns out shorter is a fault of this host
	open func() (readerAtCloser, error)
}

type readerAtCloser interface {
	io.ReaderAt
	io.Closer
}

// A node is a file or folder of the guest's tree.
type node struct {
	ino      uint64
	name     string
	parent   *node // nil for the root and for what was removed
	kids     map[string]*node
	src      *hostFile // read-only content from the host
	data     []byte    // content in memory otherwise
	opens    int       // descriptors that refer to it
	dir      bool
	writable bool // a folder that may change, or a file in one
}

// maxNodes bounds the files and folders that a guest may have made at one time.
const maxNodes = exec.MaxFiles

// A tree is the guest's whole file system. It charges every byte kept to a quota.
type tree struct {
	root  *node
	out   *node
	ino   uint64
	made  int // nodes made by the guest
	quota *quota
}

// A quota counts bytes against exec.Limits.Output.
type quota struct{ used, limit int64 }

// take adds n bytes, or says no.
func (q *quota) take(n int64) bool {
	if n > q.limit-q.used {
		return false
	}
	q.used += n
	return true
}

// newTree lays out /data, /in, /out and /tmp. Inodes follow the order of names.
func newTree(in, data map[string]*hostFile, q *quota) (*tree, error) {
	t := &tree{quota: q}
	t.root = t.node("", nil, true)
	for _, top := range []struct {
		name     string
		files    map[string]*hostFile
		writable bool
	}{{"data", data, false}, {"in", in, false}, {"out", nil, true}, {"tmp", nil, true}} {
		dir := t.node(top.name, t.root, true)
		dir.writable = top.writable
		names := make([]string, 0, len(top.files))
		for name := range top.files {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if err := t.place(dir, name, top.files[name]); err != nil {
				return nil, fmt.Errorf("/%s/%s: %w", top.name, name, err)
			}
		}
		if top.name == "out" {
			t.out = dir
		}
	}
	return t, nil
}

func (t *tree) node(name string, parent *node, dir bool) *node {
	t.ino++
	n := &node{ino: t.ino, name: name, parent: parent, dir: dir}
	if dir {
		n.kids = map[string]*node{}
	}
	if parent != nil {
		parent.kids[name] = n
	}
	return n
}

// place puts a host file at a slash path below dir.
func (t *tree) place(dir *node, name string, f *hostFile) error {
	if !exec.ValidName(name) {
		return fmt.Errorf("not a clean relative path")
	}
	parts := strings.Split(name, "/")
	for _, p := range parts[:len(parts)-1] {
		kid := dir.kids[p]
		if kid == nil {
			kid = t.node(p, dir, true)
		}
		if !kid.dir {
			return fmt.Errorf("%s is a file and a folder", p)
		}
		dir = kid
	}
	last := parts[len(parts)-1]
	if dir.kids[last] != nil {
		return fmt.Errorf("named twice")
	}
	t.node(last, dir, false).src = f
	return nil
}

// maxPath is the longest path a guest may name, in bytes.
const maxPath = 4096

// walk resolves all but the last element of path, from dir. The last element is "" when the path
// names the folder itself; above the root is the root, as in POSIX. needDir reports that the path ended in a slash.
func (t *tree) walk(dir *node, path string) (parent *node, last string, needDir bool, e errno) {
	switch {
	case path == "":
		return nil, "", false, eNoent
	case len(path) > maxPath:
		return nil, "", false, eNametoolng
	case !utf8.ValidString(path) || strings.IndexByte(path, 0) >= 0:
		return nil, "", false, eIlseq
	case path[0] == '/':
		return nil, "", false, eNotcapable
	}
	needDir = strings.HasSuffix(path, "/")
	at := dir
	for path != "" {
		var part string
		part, path, _ = strings.Cut(path, "/")
		switch {
		case part == "" || part == ".":
			continue
		case last != "":
			at, e = at.sub(last)
			if e != success {
				return nil, "", false, e
			}
			last = ""
		}
		if part == ".." {
			switch {
			case at.parent != nil:
				at = at.parent
			case at != t.root: // removed while open
				return nil, "", false, eNoent
			}
			continue
		}
		last = part
	}
	return at, last, needDir, success
}

func (n *node) sub(name string) (*node, errno) {
	kid := n.kids[name]
	switch {
	case kid == nil:
		return nil, eNoent
	case !kid.dir:
		return nil, eNotdir
	}
	return kid, success
}

// lookup resolves a path that must exist.
func (t *tree) lookup(dir *node, path string) (*node, errno) {
	parent, last, needDir, e := t.walk(dir, path)
	if e != success {
		return nil, e
	}
	n := parent
	if last != "" {
		if n = parent.kids[last]; n == nil {
			return nil, eNoent
		}
	}
	if needDir && !n.dir {
		return nil, eNotdir
	}
	return n, success
}

// mayName reports whether a node whose own tree is below bytes high may be called name in parent.
func (t *tree) mayName(parent *node, name string, below int) errno {
	switch {
	case !parent.writable:
		return eRofs
	case parent.parent == nil:
		return eNoent // the folder was removed while open
	case len(name) > 255:
		return eNametoolng
	case !exec.ValidName(name):
		return eIlseq
	}
	for p := parent; p != nil; p = p.parent {
		below += len(p.name) + 1
	}
	if below+len(name) > 512 { // exec.ValidName holds for the whole
		return eNametoolng
	}
	return success
}

// create makes a file or folder. The caller has checked that it does not exist.
func (t *tree) create(parent *node, name string, dir bool) (*node, errno) {
	if e := t.mayName(parent, name, 0); e != success {
		return nil, e
	}
	if t.made >= maxNodes {
		panic(errOutputLimit)
	}
	t.made++
	n := t.node(name, parent, dir)
	n.writable = true
	return n, success
}

// remove takes a node out of its folder. What is still open keeps its bytes, and its charge,
// until it is closed.
func (t *tree) remove(n *node) {
	delete(n.parent.kids, n.name)
	n.parent = nil
	t.made--
	t.release(n)
}

// release gives the bytes of a node back once nothing refers to it.
func (t *tree) release(n *node) {
	if n.parent == nil && n.opens == 0 {
		t.quota.used -= int64(len(n.data))
		n.data = nil
	}
}

// resize sets the length of a file in memory, filling with zeros.
func (t *tree) resize(n *node, size int64) {
	old := len(n.data)
	if !t.quota.take(size - int64(old)) {
		panic(errOutputLimit)
	}
	if size <= int64(old) {
		n.data = n.data[:size]
		return
	}
	n.data = slices.Grow(n.data, int(size)-old)[:size]
	clear(n.data[old:])
}

func (n *node) size() int64 {
	if n.src != nil {
		return n.src.size
	}
	return int64(len(n.data))
}

func (n *node) names() []string {
	names := make([]string, 0, len(n.kids))
	for name := range n.kids {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// files calls f for every file below dir, in order of their full names.
func (n *node) files(prefix string, f func(name string, data []byte) error) error {
	var all []string
	byName := map[string]*node{}
	var collect func(n *node, prefix string)
	collect = func(n *node, prefix string) {
		for name, kid := range n.kids {
			if kid.dir {
				collect(kid, prefix+name+"/")
			} else {
				all = append(all, prefix+name)
				byName[prefix+name] = kid
			}
		}
	}
	collect(n, prefix)
	slices.Sort(all)
	for _, name := range all {
		if err := f(name, byName[name].data); err != nil {
			return err
		}
	}
	return nil
}

// rename moves n to a path below dir, as rename(2) does.
func (t *tree) rename(n, dir *node, path string) errno {
	parent, last, needDir, e := t.walk(dir, path)
	if e != success {
		return e
	}
	if last == "" {
		return eExist
	}
	old := parent.kids[last]
	if n.parent == nil || !n.parent.writable || !parent.writable {
		return eRofs
	}
	for p := parent; p != nil; p = p.parent {
		if p == n {
			return eInval // into itself
		}
	}
	switch {
	case old == n:
		return success
	case needDir && !n.dir:
		return eNotdir
	case old == nil:
	case old.dir && !n.dir:
		return eIsdir
	case !old.dir && n.dir:
		return eNotdir
	case len(old.kids) > 0:
		return eNotempty
	}
	if e := t.mayName(parent, last, n.height()); e != success {
		return e
	}
	if old != nil {
		t.remove(old)
	}
	delete(n.parent.kids, n.name)
	n.name, n.parent = last, parent
	parent.kids[last] = n
	return success
}

// height is the length of the longest path below n.
func (n *node) height() int {
	h := 0
	for name, kid := range n.kids {
		h = max(h, 1+len(name)+kid.height())
	}
	return h
}
