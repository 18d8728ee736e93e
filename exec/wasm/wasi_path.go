package wasm

import "fmt"

// Flags of path_open.
const (
	openCreate = 1
	openDir    = 2
	openExcl   = 4
	openTrunc  = 8
)

// at reads a path and the folder it starts from.
func (g *guest) at(m memory, fd, p, n uint32) (*node, string, errno) {
	d, e := g.openDir(fd)
	if e != success {
		return nil, "", e
	}
	path, e := m.path(g, p, n)
	return d.node, path, e
}

// find resolves a path that must exist.
func (g *guest) find(m memory, fd, p, n uint32) (*node, errno) {
	dir, path, e := g.at(m, fd, p, n)
	if e != success {
		return nil, e
	}
	return g.tree.lookup(dir, path)
}

func pathCreateDirectory(g *guest, m memory, a args) errno {
	dir, path, e := g.at(m, a.u32(0), a.u32(1), a.u32(2))
	if e != success {
		return e
	}
	parent, last, _, e := g.tree.walk(dir, path)
	switch {
	case e != success:
		return e
	case last == "" || parent.kids[last] != nil:
		return eExist
	}
	_, e = g.tree.create(parent, last, true)
	return e
}

func pathFilestatGet(g *guest, m memory, a args) errno {
	n, e := g.find(m, a.u32(0), a.u32(2), a.u32(3))
	if e != success {
		return e
	}
	kind := uint8(typeFile)
	if n.dir {
		kind = typeDir
	}
	return m.putStat(a.u32(4), n.ino, kind, n.size())
}

func pathFilestatSetTimes(g *guest, m memory, a args) errno {
	n, e := g.find(m, a.u32(0), a.u32(2), a.u32(3))
	switch {
	case e != success:
		return e
	case !n.writable:
		return eRofs
	}
	return success
}

func pathOpen(g *guest, m memory, a args) errno {
	dir, path, e := g.at(m, a.u32(0), a.u32(2), a.u32(3))
	if e != success {
		return e
	}
	oflags, rights, flags := a.u32(4), a[5], a.u32(7)
	if oflags > 15 || flags > flagsAll {
		return eInval
	}
	if g.full() {
		return eMfile
	}
	d := &descriptor{kind: fdNode, flags: uint16(flags), read: rights&rightRead != 0, write: rights&rightWrite != 0}
	parent, last, needDir, e := g.tree.walk(dir, path)
	if e != success {
		return e
	}
	n := parent
	if last != "" {
		n = parent.kids[last]
	}
	switch {
	case n == nil && oflags&openCreate == 0:
		return eNoent
	case n == nil && (needDir || oflags&openDir != 0):
		return eIsdir
	case n == nil:
		if n, e = g.tree.create(parent, last, false); e != success {
			return e
		}
	case oflags&openCreate != 0 && oflags&openExcl != 0:
		return eExist
	case n.dir && oflags&openCreate != 0:
		return eIsdir
	case (needDir || oflags&openDir != 0) && !n.dir:
		return eNotdir
	case !n.dir && !n.writable && (d.write || oflags&openTrunc != 0):
		return eRofs
	case n.dir && oflags&openTrunc != 0:
		return eIsdir
	case oflags&openTrunc != 0:
		g.tree.resize(n, 0)
	}
	if n.dir {
		d.write = false
	}
	if n.src != nil {
		f, err := n.src.open()
		if err != nil {
			panic(&hostFault{fmt.Errorf("open %s: %w", n.name, err)})
		}
		d.file = f
	}
	d.node = n
	num, e := g.install(d)
	if e != success {
		return e
	}
	return m.put32(a.u32(8), num)
}

// pathReadlink never succeeds: there are no links.
func pathReadlink(g *guest, m memory, a args) errno {
	if _, e := g.find(m, a.u32(0), a.u32(1), a.u32(2)); e != success {
		return e
	}
	return eInval
}

func pathRemoveDirectory(g *guest, m memory, a args) errno {
	n, e := g.find(m, a.u32(0), a.u32(1), a.u32(2))
	switch {
	case e != success:
		return e
	case !n.dir:
		return eNotdir
	case n.parent == nil || !n.parent.writable:
		return eRofs
	case len(n.kids) > 0:
		return eNotempty
	}
	g.tree.remove(n)
	return success
}

func pathUnlinkFile(g *guest, m memory, a args) errno {
	n, e := g.find(m, a.u32(0), a.u32(1), a.u32(2))
	switch {
	case e != success:
		return e
	case n.dir:
		return eIsdir
	case !n.parent.writable:
		return eRofs
	}
	g.tree.remove(n)
	return success
}

func pathRename(g *guest, m memory, a args) errno {
	n, e := g.find(m, a.u32(0), a.u32(1), a.u32(2))
	if e != success {
		return e
	}
	dir, path, e := g.at(m, a.u32(3), a.u32(4), a.u32(5))
	if e != success {
		return e
	}
	return g.tree.rename(n, dir, path)
}
