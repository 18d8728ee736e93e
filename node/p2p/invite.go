package p2p

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/ledger"
)

// An Invite is all that a new node needs to join a network, as one line of text:
//
//	"p3:" base32(version u8 = 1 · length u16 · body · checksum 4)
//
// in lower case without padding (RFC 4648 section 6), body in canonical CBOR, checksum the
// first bytes of the SHA-256 of all before it. Base32 survives chat programs, telephones and
// terminals that fold case. An invite with a PSK is a secret.
type Invite struct {
	Genesis   []byte          // ledger.Genesis document
	Bootstrap []peer.AddrInfo // whom to dial first; together at most MaxInviteAddrs addresses
	PSK       []byte          // 32 bytes; nil = open network
	Expires   time.Time       // to the millisecond; zero = never
}

// MaxInviteAddrs is how many addresses an invite carries.
const MaxInviteAddrs = 8

// maxInvite bounds the text, in bytes: a genesis of 16 KiB and the rest, in base32.
const maxInvite = 32 << 10

const invitePrefix = "p3:"

// Reasons why ParseInvite refuses. Their texts are for people.
var (
	ErrNotInvite     = errors.New("not an invite: it begins with p3: and is one line")
	ErrInviteCut     = errors.New("invite is cut off: copy the whole line")
	ErrInviteDamaged = errors.New("invite is damaged: a character was mistyped or lost; copy it again")
	ErrInviteNewer   = errors.New("invite was made by a newer p3: update this one")
	ErrInviteExpired = errors.New("invite has expired: ask for a new one")
)

type inviteBody struct {
	Genesis []byte           `cbor:"1,keyasint"`
	Peers   []rememberedPeer `cbor:"2,keyasint,omitempty"`
	PSK     []byte           `cbor:"3,keyasint,omitempty"`
	Expires int64            `cbor:"4,keyasint,omitempty"` // Unix ms
}

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Network is the network that the invite leads to.
func (i Invite) Network() (ledger.Network, error) {
	g, err := ledger.ParseGenesis(i.Genesis)
	if err != nil {
		return ledger.Network{}, err
	}
	return g.ID()
}

// String is the invite's one line. Addresses beyond MaxInviteAddrs are left out.
func (i Invite) String() string {
	body := inviteBody{Genesis: i.Genesis, PSK: i.PSK}
	if !i.Expires.IsZero() {
		body.Expires = i.Expires.UnixMilli()
	}
	left := MaxInviteAddrs
	for _, p := range i.Bootstrap {
		r := rememberedPeer{Peer: p.ID}
		for _, a := range p.Addrs[:min(left, len(p.Addrs))] {
			r.Addrs = append(r.Addrs, a.Bytes())
			left--
		}
		if len(r.Addrs) > 0 {
			body.Peers = append(body.Peers, r)
		}
	}
	b, err := canon.Marshal(body)
	if err != nil {
		panic(err) // our own struct always encodes
	}
	raw := binary.BigEndian.AppendUint16([]byte{1}, uint16(min(len(b), 1<<16-1)))
	raw = append(raw, b...)
	sum := sha256.Sum256(raw)
	return invitePrefix + base32Lower.EncodeToString(append(raw, sum[:4]...))
}

// Check fails with ErrInviteExpired once the invite is too old to join with. A node that has
// joined goes on using what it said.
func (i Invite) Check(now time.Time) error {
	if i.Expires.IsZero() || now.Before(i.Expires) {
		return nil
	}
	return fmt.Errorf("%s ago: %w", now.Sub(i.Expires).Round(time.Second), ErrInviteExpired)
}

// ParseInvite reads an invite; see also Check. It fails with one of the errors above.
func ParseInvite(s string) (Invite, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	text, ok := strings.CutPrefix(s, invitePrefix)
	if !ok || len(s) > maxInvite || strings.ContainsAny(s, "\r\n") { // the decoder would skip line breaks
		return Invite{}, ErrNotInvite
	}
	for _, r := range text {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz234567", r) {
			return Invite{}, fmt.Errorf("%q does not occur in invites: %w", r, ErrInviteDamaged)
		}
	}
	raw, err := base32Lower.DecodeString(text[:len(text)-tail(len(text))])
	if err != nil || len(raw) < 3 {
		return Invite{}, ErrInviteCut
	}
	if raw[0] > 1 {
		return Invite{}, ErrInviteNewer
	}
	switch want := 3 + int(binary.BigEndian.Uint16(raw[1:])) + 4; {
	case len(raw) < want:
		return Invite{}, fmt.Errorf("%d of %d characters: %w", len(s), len(invitePrefix)+base32Lower.EncodedLen(want), ErrInviteCut)
	case len(raw) > want || text != base32Lower.EncodeToString(raw):
		return Invite{}, ErrInviteDamaged
	}
	signed, sum := raw[:len(raw)-4], raw[len(raw)-4:]
	if want := sha256.Sum256(signed); !bytes.Equal(want[:4], sum) {
		return Invite{}, ErrInviteDamaged
	}
	var body inviteBody
	if err := canon.Unmarshal(signed[3:], &body); err != nil || raw[0] != 1 {
		return Invite{}, ErrInviteDamaged
	}
	i := Invite{Genesis: body.Genesis, PSK: body.PSK}
	if body.Expires != 0 {
		i.Expires = time.UnixMilli(body.Expires)
	}
	if len(i.PSK) != 0 && len(i.PSK) != 32 || len(body.Peers) > MaxInviteAddrs {
		return Invite{}, ErrInviteDamaged
	}
	if _, err := i.Network(); err != nil {
		return Invite{}, fmt.Errorf("invite: %w", err)
	}
	for _, r := range body.Peers {
		if addrs := decodeAddrs(r.Addrs); r.Peer.Validate() == nil && len(addrs) > 0 {
			i.Bootstrap = append(i.Bootstrap, peer.AddrInfo{ID: r.Peer, Addrs: addrs})
		}
	}
	return i, nil
}

// tail is how many characters at the end of n base32 characters make no whole byte: what a
// cut-off line may end in.
func tail(n int) int {
	switch n % 8 {
	case 1, 3, 6:
		return 1
	}
	return 0
}

// Invite leads others to this node and its network. Addresses that only work on this machine
// are left out if there are others.
func (n *Node) Invite(genesis []byte, expires time.Time) Invite {
	addrs := slices.Clone(n.host.Addrs())
	if far := slices.DeleteFunc(slices.Clone(addrs), manet.IsIPLoopback); len(far) > 0 {
		addrs = far
	}
	slices.SortStableFunc(addrs, func(a, b ma.Multiaddr) int { return rankAddr(a) - rankAddr(b) })
	return Invite{Genesis: genesis, Bootstrap: []peer.AddrInfo{{ID: n.ID(), Addrs: addrs}}, PSK: n.cfg.PSK, Expires: expires}
}

// rankAddr puts what most people can dial first.
func rankAddr(a ma.Multiaddr) int {
	switch {
	case manet.IsPublicAddr(a):
		return 0
	case manet.IsPrivateAddr(a) && !manet.IsIP6LinkLocal(a):
		return 1
	}
	return 2
}
