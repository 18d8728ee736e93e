package ledger

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
)

// A BalanceProof shows where an account stands to whoever has nothing of its chain: the newest
// checkpoint in its place, all entries after it, and a sample of the blocks before.
//
// It proves that the account signed these entries, that they keep every rule of the chain from
// the checkpoint on, and that the sampled checkpoints lie in the tree that the newest one signs, each
// of them having signed exactly the part of that tree before itself. It does not prove that the account
// signed nothing else (see ForkError), that a lock was not earned before the checkpoint, or anything
// of the entries between two sampled checkpoints but their number and digests.
//
// A chain without a checkpoint is its own proof: then base is its first entry.
type BalanceProof struct {
	genesis  Genesis
	base     []byte // signed entry: a checkpoint, or the first entry
	recovery Digest
	open     map[Digest]openLock // at base
	claimed  mmr                 // at base
	peaks    []Digest            // of the blocks before base
	tail     [][]byte            // signed entries after base
	audits   []audit             // by place
	grants   [][]byte            // to the account, signed, by mint and place; none in a mutual network
}

// An audit is the first entry of a block before base, and its path to a peak.
type audit struct {
	block uint64
	entry []byte
	path  []Digest
}

const (
	proofMagic = "P3B\x01"

	// proofAudits is how many blocks a proof samples: whoever faked one in ten is caught with
	// 98.5 %. More would help little, since the sampler is the head's digest and a forger may try
	// many heads.
	proofAudits = 40

	// maxProofLocks bounds the open locks in a proof. Nobody has thousands of leases at a time.
	maxProofLocks = 4096

	// maxProofGrants bounds the grants in a proof, which shows the largest: 100 KB. A monthly allowance
	// of 40 years fits.
	maxProofGrants = 512

	openLockSize = 32 + 20 + 8
)

// MaxBalanceProof is the largest encoded proof, in bytes. In the public network one has at most 150 KB while
// fewer than 300 leases are open.
const MaxBalanceProof = len(proofMagic) + 2 + MaxGenesis + SignedEntrySize + 32 + 2 + maxProofLocks*openLockSize + 8 + 2*64*32 + 2 +
	MaxCheckpointEvery*SignedEntrySize + proofAudits*(SignedEntrySize+64*32) + 2 + maxProofGrants*SignedGrantSize

// sample chooses the blocks, of the full ones, that a chain with this head must show: up to
// proofAudits, ascending. Draw i is the first 8 bytes of keccak256("P3 audit 1" ‖ head ‖ i u32)
// modulo full; a block drawn before is passed over.
func sample(head Digest, full uint64) (blocks []uint64) {
	if full <= proofAudits {
		for k := range full {
			blocks = append(blocks, k)
		}
		return blocks
	}
	for i := uint32(0); len(blocks) < proofAudits; i++ {
		b := binary.BigEndian.AppendUint32(append([]byte("P3 audit 1"), head[:]...), i)
		k := binary.BigEndian.Uint64(crypto.Keccak256(b)) % full
		if at, had := slices.BinarySearch(blocks, k); !had {
			blocks = slices.Insert(blocks, at, k)
		}
	}
	return blocks
}

// Encode is the proof as a file: "P3B", version 1 · length u16 · genesis · base. Unless base is the
// chain's first entry: recovery 32 · number of open locks u16 · each lock 32, peer 20, amount u64, by
// lock · number of earned locks u64 · peaks over them · peaks over the blocks. Then number of tail entries
// u16 · each, and for each sampled block its first entry and path; and in a network with mints number of grants
// u16 · each, by mint and place. All other counts follow.
func (p BalanceProof) Encode() ([]byte, error) {
	doc, err := p.genesis.Encode()
	if err != nil {
		return nil, err
	}
	be := binary.BigEndian
	b := append(be.AppendUint16([]byte(proofMagic), uint16(len(doc))), doc...)
	b = append(b, p.base...)
	if len(p.peaks) > 0 {
		b = be.AppendUint16(append(b, p.recovery[:]...), uint16(len(p.open)))
		s := &history{open: p.open}
		for _, id := range s.sorted() {
			l := p.open[id]
			b = append(append(b, id[:]...), l.peer[:]...)
			b = be.AppendUint64(b, uint64(l.amount))
		}
		b = appendDigests(p.claimed.encode(b), p.peaks)
	}
	b = be.AppendUint16(b, uint16(len(p.tail)))
	for _, raw := range p.tail {
		b = append(b, raw...)
	}
	for _, a := range p.audits {
		b = appendDigests(append(b, a.entry...), a.path)
	}
	if !p.genesis.Mutual() {
		b = be.AppendUint16(b, uint16(len(p.grants)))
		for _, raw := range p.grants {
			b = append(b, raw...)
		}
	}
	return b, nil
}

// IsBalanceProof tells that a file begins as a balance proof does.
func IsBalanceProof(b []byte) bool { return len(b) > 3 && string(b[:3]) == proofMagic[:3] }

// balanceReader takes parts off a proof and notes when it is too short; then all parts are zero.
type balanceReader struct {
	reader
	short bool
}

func (r *balanceReader) part(n int) []byte {
	if r.short || n > len(r.b) {
		r.short = true
		return make([]byte, min(n, MaxGenesis))
	}
	return slices.Clone(r.next(n))
}

func (r *balanceReader) count() int { return int(binary.BigEndian.Uint16(r.part(2))) }

func (r *balanceReader) digests(n int) []Digest {
	list := make([]Digest, 0, n)
	for range n {
		list = append(list, Digest(r.part(32)))
	}
	return list
}

// ParseBalanceProof reads what Encode wrote, strictly. It checks no signature and no hash; Verify does.
func ParseBalanceProof(b []byte) (BalanceProof, error) {
	fail := func(what string) (BalanceProof, error) {
		return BalanceProof{}, fmt.Errorf("balance proof: %s: %w", what, ErrMalformed)
	}
	switch {
	case len(b) > MaxBalanceProof || len(b) < len(proofMagic) || !IsBalanceProof(b):
		return fail("not one")
	case b[3] != proofMagic[3]:
		return fail(fmt.Sprintf("version %d: this p3 knows version 1; update p3", b[3]))
	}
	r := &balanceReader{reader: reader{b: b[len(proofMagic):]}}
	var p BalanceProof
	var err error
	if p.genesis, err = ParseGenesis(r.part(r.count())); err != nil {
		return BalanceProof{}, fmt.Errorf("balance proof: %w", err)
	}
	every := p.genesis.Params.CheckpointEvery
	p.base = r.part(SignedEntrySize)
	if r.short {
		return fail("cut short")
	}
	base, err := ParseEntry(p.base)
	if err != nil {
		return BalanceProof{}, fmt.Errorf("balance proof: %w", err)
	}
	if base.Seq%every != 0 || base.Seq > 1<<62 {
		return fail("it starts at another place than a checkpoint's")
	}
	full := base.Seq / every
	if full > 0 {
		if err := p.parseState(r, full); err != nil {
			return BalanceProof{}, err
		}
	}
	n := r.count()
	if uint64(n) >= every {
		return fail("too many entries after its checkpoint")
	}
	for range n {
		p.tail = append(p.tail, r.part(SignedEntrySize))
	}
	if r.short {
		return fail("cut short")
	}
	head := base
	if n > 0 {
		if head, err = ParseEntry(p.tail[n-1]); err != nil {
			return BalanceProof{}, fmt.Errorf("balance proof: %w", err)
		}
	}
	for _, k := range sample(head.Digest(), full) {
		_, height := mountain(base.Seq, k*every)
		p.audits = append(p.audits, audit{k, r.part(SignedEntrySize), r.digests(height)})
	}
	if !p.genesis.Mutual() {
		n := r.count()
		if n > maxProofGrants {
			return fail("too many grants")
		}
		for range n {
			p.grants = append(p.grants, r.part(SignedGrantSize))
		}
	}
	if r.short || len(r.b) != 0 {
		return fail("cut short, or bytes too many")
	}
	return p, nil
}

// parseState reads what stands for the entries before base.
func (p *BalanceProof) parseState(r *balanceReader, full uint64) error {
	p.recovery = Digest(r.part(32))
	n := r.count()
	if n > maxProofLocks {
		return fmt.Errorf("balance proof: %d open locks: %w", n, ErrMalformed)
	}
	p.open = make(map[Digest]openLock, min(n, len(r.b)/openLockSize))
	last := Digest{}
	for i := range n {
		one := reader{b: r.part(openLockSize)}
		id, l := one.word(), openLock{one.account(), one.credits()}
		if i > 0 && string(id[:]) <= string(last[:]) || l.amount <= 0 || one.bad != "" || r.short {
			return fmt.Errorf("balance proof: open lock %d: %w", i, ErrMalformed)
		}
		p.open[id], last = l, id
	}
	p.claimed.size = binary.BigEndian.Uint64(r.part(8))
	p.claimed.peaks = r.digests(bits.OnesCount64(p.claimed.size))
	p.peaks = r.digests(bits.OnesCount64(full))
	if r.short {
		return fmt.Errorf("balance proof: cut short: %w", ErrMalformed)
	}
	return nil
}

// A Position is what a verified proof shows.
type Position struct {
	Network Network
	Name    string // of the network
	Head    Head
	Floor   Credits
	Open    int     // locks
	Earned  uint64  // locks, and grants claimed
	Backed  Credits // of what was granted, by the mints' grants shown
	Base    uint64  // place of the checkpoint
	Tail    int     // entries after it
	Audits  int     // earlier checkpoints shown
	Time    time.Time
}

// Verify checks all of the proof, from its bytes alone.
func (p BalanceProof) Verify() (Position, error) {
	s, err := p.verify()
	if err != nil {
		return Position{}, fmt.Errorf("balance proof: %w", err)
	}
	return s, nil
}

func (p BalanceProof) verify() (Position, error) {
	network, err := p.genesis.ID()
	if err != nil {
		return Position{}, err
	}
	base, d, err := VerifyEntry(p.base)
	if err != nil {
		return Position{}, err
	}
	if base.Network != network {
		return Position{}, &NetworkError{Want: network, Have: base.Network}
	}
	c := NewChain(network, base.Account, p.genesis.Floor, p.genesis.Params.CheckpointEvery)
	if base.Seq == 0 {
		_, err = c.Apply(base)
	} else {
		err = p.start(c, base, d)
	}
	if err != nil {
		return Position{}, err
	}
	for _, raw := range p.tail {
		e, d, err := VerifyEntry(raw)
		if err != nil {
			return Position{}, err
		}
		if err := c.ApplyKnown(e, d); err != nil {
			return Position{}, err
		}
	}
	if p.genesis.Mutual() && c.Head.Granted != 0 {
		return Position{}, fmt.Errorf("%w: it claims a grant in a network without mints", ErrChain)
	}
	if err := p.verifyAudits(base); err != nil {
		return Position{}, err
	}
	backed, err := p.verifyGrants(c.Head)
	if err != nil {
		return Position{}, err
	}
	return Position{network, p.genesis.Name, c.Head, p.genesis.Floor, len(c.history.open), c.history.claimed.size, backed,
		base.Seq, len(p.tail), len(p.audits), time.UnixMilli(int64(c.Head.TimeMs))}, nil
}

// start sets an empty chain to base, a checkpoint, after holding the proof's state against it.
func (p BalanceProof) start(c *Chain, base Entry, d Digest) error {
	s := c.history
	s.recovery, s.claimed = p.recovery, p.claimed.clone()
	s.blocks = mmr{base.Seq / s.every, slices.Clone(p.peaks)}
	locked := Credits(0)
	for id, l := range p.open {
		var err error
		if locked, err = locked.Add(l.amount); err != nil {
			return err
		}
		s.open[id] = l
	}
	want := s.checkpoint(Entry{Type: TypeCheckpoint, Network: base.Network, Account: base.Account, Epoch: base.Epoch, Seq: base.Seq, Prev: base.Prev,
		Granted: base.Granted, Earned: base.Earned, Spent: base.Spent, Locked: locked, TimeMs: base.TimeMs})
	c.Head = HeadAt(base, d)
	switch {
	case base != want:
		return fmt.Errorf("entry %d: %w: not the checkpoint over the peaks and locks shown", base.Seq, ErrChain)
	case c.Head.Free(c.floor) < 0:
		return fmt.Errorf("entry %d: %w: balance below the floor of -%s", base.Seq, ErrChain, c.floor)
	}
	s.apply(base, d)
	return nil
}

// verifyAudits checks the sampled entries, newest first: each is signed, lies in base's tree, signed
// itself the tree before it, and its totals are not above those of the next.
func (p BalanceProof) verifyAudits(base Entry) error {
	next := base
	for _, a := range slices.Backward(p.audits) {
		e, d, err := VerifyEntry(a.entry)
		if err != nil {
			return err
		}
		fail := func(what string) error {
			return fmt.Errorf("sampled entry %d of %s: %w: %s", e.Seq, e.Account.Short(), ErrChain, what)
		}
		index := a.block * p.genesis.Params.CheckpointEvery
		switch {
		case e.Network != base.Network || e.Epoch > next.Epoch || e.Epoch == next.Epoch && e.Account != next.Account:
			return fail("of another chain")
		case e.Seq != index || e.Type != TypeCheckpoint && (e.Type != TypeGenesis || index != 0):
			return fail("no checkpoint, or in another place")
		case e.Granted > next.Granted || e.Earned > next.Earned || e.Spent > next.Spent || e.TimeMs > next.TimeMs:
			return fail("totals or time fall after it")
		}
		at, _ := mountain(base.Seq, index)
		peak, left := climb(leafHash(d), index, a.path)
		switch {
		case peak != p.peaks[at]:
			return fail("not in the tree that the newest checkpoint signs")
		case bag(slices.Concat(p.peaks[:at], left)) != e.MMRRoot:
			return fail("it signed another past")
		}
		next = e
	}
	return nil
}
