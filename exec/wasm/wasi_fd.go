package wasm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

type fdKind uint8

const (
	fdNode fdKind = iota
	fdStdin
	fdStdout
	fdStderr
)

// A descriptor is one open file, folder or stream of the guest.
type descriptor struct {
	kind    fdKind
	node    *node
	file    readerAtCloser // of a host file
	offset  int64
	flags   uint16 // fdflags
	read    bool
	write   bool
	preopen bool
	listing []dirent // as it was when it was last read from its start
}

type dirent struct {
	name string
	ino  uint64
	kind uint8
}

// maxFDs bounds the descriptors of a guest; real files stand behind those below /in and /data.
const maxFDs = 256

// File types, rights and flags of WASI.
const (
	typeUnknown = 0
	typeDir     = 3
	typeFile    = 4

	rightRead  = 1 << 1
	rightSeek  = 1 << 2
	rightTell  = 1 << 5
	rightWrite = 1 << 6
	rightsAll  = 1<<30 - 1

	flagAppend = 1
	flagsAll   = 31
)

func (g *guest) fd(n uint32) *descriptor {
	if uint64(n) >= uint64(len(g.fds)) {
		return nil
	}
	return g.fds[n]
}

// install gives a descriptor the lowest free number.
func (g *guest) install(d *descriptor) (uint32, errno) {
	if d.node != nil {
		d.node.opens++
	}
	for n, old := range g.fds {
		if old == nil {
			g.fds[n] = d
			return uint32(n), success
		}
	}
	g.fds = append(g.fds, d)
	return uint32(len(g.fds) - 1), success
}

func (g *guest) full() bool {
	for _, d := range g.fds {
		if d == nil {
			return false
		}
	}
	return len(g.fds) >= maxFDs
}

func (g *guest) closeFD(d *descriptor) {
	if d.file != nil {
		d.file.Close()
	}
	if d.node != nil {
		d.node.opens--
		g.tree.release(d.node)
	}
}

// closeAll frees what the guest left open.
func (g *guest) closeAll() {
	for n, d := range g.fds {
		if d != nil {
			g.closeFD(d)
			g.fds[n] = nil
		}
	}
}

// openFile returns a descriptor's file in the tree.
func (g *guest) openFile(n uint32) (*descriptor, errno) {
	d := g.fd(n)
	switch {
	case d == nil:
		return nil, eBadf
	case d.kind != fdNode:
		return nil, eSpipe
	case d.node.dir:
		return nil, eIsdir
	}
	return d, success
}

func (g *guest) openDir(n uint32) (*descriptor, errno) {
	d := g.fd(n)
	switch {
	case d == nil:
		return nil, eBadf
	case d.kind != fdNode || !d.node.dir:
		return nil, eNotdir
	}
	return d, success
}

func fdAdvise(g *guest, _ memory, a args) errno {
	if _, e := g.openFile(a.u32(0)); e != success {
		return e
	}
	if a.u32(3) > 5 {
		return eInval
	}
	return success
}

func fdAllocate(g *guest, _ memory, a args) errno {
	d, e := g.openFile(a.u32(0))
	switch {
	case e != success:
		return e
	case !d.write:
		return eBadf
	case a[1] > math.MaxInt64 || a[2] > math.MaxInt64-a[1] || a[2] == 0:
		return eInval
	}
	if end := int64(a[1] + a[2]); end > d.node.size() {
		g.grow(d.node, end)
	}
	return success
}

// grow sets the length of a file in memory and charges for the zeros.
func (g *guest) grow(n *node, size int64) {
	if more := size - n.size(); more > 0 {
		if more > g.quota.limit-g.quota.used {
			panic(errOutputLimit)
		}
		g.chargeBytes(uint64(more))
	}
	g.tree.resize(n, size)
}

func fdClose(g *guest, _ memory, a args) errno {
	d := g.fd(a.u32(0))
	if d == nil {
		return eBadf
	}
	g.closeFD(d)
	g.fds[a.u32(0)] = nil
	return success
}

func fdSync(g *guest, _ memory, a args) errno {
	if g.fd(a.u32(0)) == nil {
		return eBadf
	}
	return success
}

// kindOf is the file type. Streams are of unknown type, whatever they are on this host, so that
// C libraries buffer them the same way everywhere.
func (d *descriptor) kindOf() uint8 {
	switch {
	case d.kind != fdNode:
		return typeUnknown
	case d.node.dir:
		return typeDir
	}
	return typeFile
}

func fdFdstatGet(g *guest, m memory, a args) errno {
	d := g.fd(a.u32(0))
	if d == nil {
		return eBadf
	}
	b := m.at(a.u32(1), 24)
	if b == nil {
		return eFault
	}
	rights := uint64(rightsAll)
	switch {
	case d.kind == fdStdin:
		rights = rightRead
	case d.kind != fdNode:
		rights = rightWrite
	case !d.node.dir && !d.write:
		rights &^= rightWrite
	case !d.node.dir && !d.read:
		rights &^= rightRead
	}
	clear(b)
	b[0] = d.kindOf()
	binary.LittleEndian.PutUint16(b[2:], d.flags)
	binary.LittleEndian.PutUint64(b[8:], rights)
	if d.kind == fdNode && d.node.dir {
		binary.LittleEndian.PutUint64(b[16:], rightsAll)
	}
	return success
}

func fdFdstatSetFlags(g *guest, _ memory, a args) errno {
	d := g.fd(a.u32(0))
	switch {
	case d == nil:
		return eBadf
	case a.u32(1) > flagsAll:
		return eInval
	}
	d.flags = uint16(a.u32(1))
	return success
}

// fdFdstatSetRights may only take rights away; what is left is not tracked beyond reading and writing.
func fdFdstatSetRights(g *guest, _ memory, a args) errno {
	d := g.fd(a.u32(0))
	if d == nil {
		return eBadf
	}
	d.read = d.read && a[1]&rightRead != 0
	d.write = d.write && a[1]&rightWrite != 0
	return success
}

func (m memory) putStat(p uint32, ino uint64, kind uint8, size int64) errno {
	b := m.at(p, 64)
	if b == nil {
		return eFault
	}
	le := binary.LittleEndian
	clear(b)
	le.PutUint64(b[0:], 1) // device
	le.PutUint64(b[8:], ino)
	b[16] = kind
	le.PutUint64(b[24:], 1) // links
	le.PutUint64(b[32:], uint64(size))
	for _, at := range []int{40, 48, 56} { // accessed, modified, changed
		le.PutUint64(b[at:], Epoch)
	}
	return success
}

func fdFilestatGet(g *guest, m memory, a args) errno {
	d := g.fd(a.u32(0))
	switch {
	case d == nil:
		return eBadf
	case d.kind != fdNode:
		return m.putStat(a.u32(1), 1<<32+uint64(d.kind), typeUnknown, 0)
	}
	return m.putStat(a.u32(1), d.node.ino, d.kindOf(), d.node.size())
}

func fdFilestatSetSize(g *guest, _ memory, a args) errno {
	d, e := g.openFile(a.u32(0))
	switch {
	case e != success:
		return e
	case !d.write:
		return eBadf
	case a[1] > math.MaxInt64:
		return eFbig
	}
	g.grow(d.node, int64(a[1]))
	return success
}

// fdFilestatSetTimes is accepted and changes nothing: every file has the time Epoch.
func fdFilestatSetTimes(g *guest, _ memory, a args) errno {
	d := g.fd(a.u32(0))
	switch {
	case d == nil:
		return eBadf
	case d.kind == fdNode && !d.node.writable:
		return eRofs
	}
	return success
}

func fdPrestatGet(g *guest, m memory, a args) errno {
	d := g.fd(a.u32(0))
	if d == nil || !d.preopen {
		return eBadf
	}
	return m.put64(a.u32(1), 1<<32) // a folder, with a name of one byte
}

func fdPrestatDirName(g *guest, m memory, a args) errno {
	d := g.fd(a.u32(0))
	if d == nil || !d.preopen {
		return eBadf
	}
	b := m.at(a.u32(1), a.u32(2))
	switch {
	case b == nil:
		return eFault
	case len(b) < 1:
		return eNametoolng
	}
	b[0] = '/'
	return success
}

// readAt fills bufs from offset on and returns the bytes read; 0 at the end.
func (g *guest) readAt(d *descriptor, bufs [][]byte, offset int64) (n uint32) {
	for _, b := range bufs {
		if left := d.node.size() - offset; int64(len(b)) > left {
			b = b[:max(left, 0)]
		}
		if len(b) == 0 {
			continue
		}
		g.chargeBytes(uint64(len(b)))
		if d.file == nil {
			copy(b, d.node.data[offset:])
		} else if got, err := d.file.ReadAt(b, offset); got < len(b) {
			panic(&hostFault{fmt.Errorf("read %s: %w", d.node.name, err)})
		}
		n += uint32(len(b))
		offset += int64(len(b))
	}
	return n
}

func fdPread(g *guest, m memory, a args) errno {
	d, e := g.openFile(a.u32(0))
	switch {
	case e != success:
		return e
	case !d.read:
		return eBadf
	case a[3] > math.MaxInt64:
		return eInval
	}
	bufs, e := m.vectors(g, a.u32(1), a.u32(2))
	if e != success {
		return e
	}
	return m.put32(a.u32(4), g.readAt(d, bufs, int64(a[3])))
}

func fdRead(g *guest, m memory, a args) errno {
	d := g.fd(a.u32(0))
	if d == nil || d.kind == fdStdout || d.kind == fdStderr || d.kind == fdNode && !d.node.dir && !d.read {
		return eBadf
	}
	bufs, e := m.vectors(g, a.u32(1), a.u32(2))
	if e != success {
		return e
	}
	if d.kind == fdStdin {
		return m.put32(a.u32(3), g.readStdin(bufs))
	}
	if d.node.dir {
		return eIsdir
	}
	n := g.readAt(d, bufs, d.offset)
	d.offset += int64(n)
	return m.put32(a.u32(3), n)
}

// readStdin fills all buffers, short only at the end, so that the guest cannot see how its
// input trickled in.
func (g *guest) readStdin(bufs [][]byte) (n uint32) {
	const chunk = 64 << 10
	var buf []byte
	for _, b := range bufs {
		for len(b) > 0 {
			if buf == nil {
				buf = make([]byte, chunk)
			}
			part := buf[:min(len(b), chunk)]
			var got int
			err := g.await(func() (err error) {
				if g.partial {
					got, err = g.stdin.Read(part)
				} else {
					got, err = io.ReadFull(g.stdin, part)
				}
				return err
			})
			copy(b, part[:got])
			g.chargeBytes(uint64(got))
			n += uint32(got)
			switch {
			case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
				return n
			case err != nil:
				panic(&hostFault{fmt.Errorf("read the guest's input: %w", err)})
			case g.partial:
				return n
			}
			b = b[got:]
		}
	}
	return n
}

func (g *guest) writeAt(d *descriptor, bufs [][]byte, offset int64) (n uint32, e errno) {
	for _, b := range bufs {
		if len(b) == 0 {
			continue
		}
		if offset > math.MaxInt64-int64(len(b)) {
			return n, eFbig
		}
		if end := offset + int64(len(b)); end > d.node.size() {
			g.grow(d.node, end)
		}
		g.chargeBytes(uint64(len(b)))
		copy(d.node.data[offset:], b)
		n += uint32(len(b))
		offset += int64(len(b))
	}
	return n, success
}

func fdPwrite(g *guest, m memory, a args) errno {
	d, e := g.openFile(a.u32(0))
	switch {
	case e != success:
		return e
	case !d.write:
		return eBadf
	case a[3] > math.MaxInt64:
		return eInval
	}
	bufs, e := m.vectors(g, a.u32(1), a.u32(2))
	if e != success {
		return e
	}
	n, e := g.writeAt(d, bufs, int64(a[3]))
	if e != success {
		return e
	}
	return m.put32(a.u32(4), n)
}

func fdWrite(g *guest, m memory, a args) errno {
	d := g.fd(a.u32(0))
	if d == nil || d.kind == fdStdin || d.kind == fdNode && !d.write {
		return eBadf
	}
	bufs, e := m.vectors(g, a.u32(1), a.u32(2))
	if e != success {
		return e
	}
	var n uint32
	switch d.kind {
	case fdStdout, fdStderr:
		to := g.out
		if d.kind == fdStderr {
			to = g.err
		}
		for _, b := range bufs {
			g.chargeBytes(uint64(len(b)))
			g.write(to, b)
			n += uint32(len(b))
		}
	default:
		if d.flags&flagAppend != 0 {
			d.offset = d.node.size()
		}
		if n, e = g.writeAt(d, bufs, d.offset); e != success {
			return e
		}
		d.offset += int64(n)
	}
	return m.put32(a.u32(3), n)
}

func fdReaddir(g *guest, m memory, a args) errno {
	d, e := g.openDir(a.u32(0))
	if e != success {
		return e
	}
	buf := m.at(a.u32(1), a.u32(2))
	if buf == nil {
		return eFault
	}
	cookie := a[3]
	if cookie == 0 || d.listing == nil {
		d.listing = list(d.node)
		g.charge(uint64(len(d.listing)) * costHostEntry)
	}
	if cookie > uint64(len(d.listing)) {
		return eInval
	}
	used := 0
	for i, ent := range d.listing[cookie:] {
		if used == len(buf) {
			break
		}
		var head [24]byte
		binary.LittleEndian.PutUint64(head[0:], cookie+uint64(i)+1)
		binary.LittleEndian.PutUint64(head[8:], ent.ino)
		binary.LittleEndian.PutUint32(head[16:], uint32(len(ent.name)))
		head[20] = ent.kind
		used += copy(buf[used:], head[:])
		used += copy(buf[used:], ent.name)
	}
	g.chargeBytes(uint64(used))
	return m.put32(a.u32(4), uint32(used))
}

// list is a folder's content, sorted, after "." and "..".
func list(n *node) []dirent {
	up := n
	if n.parent != nil {
		up = n.parent
	}
	all := []dirent{{".", n.ino, typeDir}, {"..", up.ino, typeDir}}
	for _, name := range n.names() {
		kid := n.kids[name]
		kind := uint8(typeFile)
		if kid.dir {
			kind = typeDir
		}
		all = append(all, dirent{name, kid.ino, kind})
	}
	return all
}

func fdRenumber(g *guest, _ memory, a args) errno {
	from, to := a.u32(0), a.u32(1)
	d := g.fd(from)
	old := g.fd(to)
	if d == nil || old == nil {
		return eBadf
	}
	if from == to {
		return success
	}
	g.closeFD(old)
	g.fds[to], g.fds[from] = d, nil
	return success
}

func fdSeek(g *guest, m memory, a args) errno {
	d, e := g.openFile(a.u32(0))
	if e != success {
		return e
	}
	var base int64
	switch a.u32(2) {
	case 0:
	case 1:
		base = d.offset
	case 2:
		base = d.node.size()
	default:
		return eInval
	}
	delta := int64(a[1])
	if delta > 0 && base > math.MaxInt64-delta || base+delta < 0 {
		return eInval
	}
	d.offset = base + delta
	return m.put64(a.u32(3), uint64(d.offset))
}

func fdTell(g *guest, m memory, a args) errno {
	d, e := g.openFile(a.u32(0))
	if e != success {
		return e
	}
	return m.put64(a.u32(1), uint64(d.offset))
}
