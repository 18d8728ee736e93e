package p2p

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/canon"
)

const groupDomain = "p3 group 1"

// Bounds of a job's group.
const (
	MaxMembers      = 1024
	MaxMembership   = 64<<10 - 1 // bytes, signed; with its kind it fits into one gossip message
	MaxGroupMessage = 32 << 10   // bytes
	groupRate       = 20         // messages a second of one member …
	groupBurst      = 60         // … and at once; more are dropped
)

// Refusals of a group.
var (
	ErrMembership = errors.New("membership is not signed by the job's requester")
	ErrOldMembers = errors.New("membership is not newer than the one known")
	ErrNotMember  = errors.New("not a member of the job's group, or no longer")
)

// A Member is one peer of a group. Ranks number the processes of a message-passing job;
// elsewhere they are just distinct.
type Member struct {
	Peer peer.ID `cbor:"1,keyasint"`
	Rank int     `cbor:"2,keyasint"`
}

// A Membership is the requester's signed statement of who takes part in a job. A higher Seq
// replaces a lower one, so a member is revoked by a list without it.
type Membership struct {
	Job       exec.JobID `cbor:"1,keyasint"`
	Seq       uint64     `cbor:"2,keyasint"`
	Requester peer.ID    `cbor:"3,keyasint"`
	Members   []Member   `cbor:"4,keyasint"` // at most MaxMembers; the requester need not be listed
	Revoked   []peer.ID  `cbor:"5,keyasint"` // who was sent away, for people to see; wins over Members
}

// membershipRecord is the libp2p envelope (RFC 0002) around a Membership.
type membershipRecord struct{ *Membership }

func (m membershipRecord) Domain() string                 { return groupDomain }
func (m membershipRecord) Codec() []byte                  { return []byte(groupDomain) }
func (m membershipRecord) MarshalRecord() ([]byte, error) { return canon.Marshal(m.Membership) }
func (m membershipRecord) UnmarshalRecord(b []byte) error { return canon.Unmarshal(b, m.Membership) }

// SignMembership signs with the requester's node key and sets Requester.
func SignMembership(m Membership, key crypto.PrivKey) (raw []byte, err error) {
	if m.Requester, err = peer.IDFromPrivateKey(key); err != nil {
		return nil, fmt.Errorf("sign membership: %w", err)
	}
	if len(m.Members) > MaxMembers || len(m.Revoked) > MaxMembers {
		return nil, fmt.Errorf("sign membership of %d: at most %d members", len(m.Members), MaxMembers)
	}
	env, err := record.Seal(membershipRecord{&m}, key)
	if err != nil {
		return nil, fmt.Errorf("sign membership: %w", err)
	}
	if raw, err = env.Marshal(); err == nil && len(raw) > MaxMembership {
		err = fmt.Errorf("membership of %d bytes, at most %d", len(raw), MaxMembership)
	}
	return raw, err
}

// ParseMembership reads a membership that requester must have signed.
func ParseMembership(raw []byte, requester peer.ID) (Membership, error) {
	var m Membership
	if len(raw) > MaxMembership {
		return m, fmt.Errorf("%d bytes: %w", len(raw), ErrMembership)
	}
	env, err := record.ConsumeTypedEnvelope(raw, membershipRecord{&m})
	if err != nil || string(env.PayloadType) != groupDomain || m.Requester != requester || !requester.MatchesPublicKey(env.PublicKey) ||
		len(m.Members) > MaxMembers || len(m.Revoked) > MaxMembers {
		return Membership{}, ErrMembership
	}
	return m, nil
}

// Has reports whether p takes part, as a member or as the requester.
func (m Membership) Has(p peer.ID) bool {
	if p == m.Requester {
		return true
	}
	return !slices.Contains(m.Revoked, p) && slices.ContainsFunc(m.Members, func(x Member) bool { return x.Peer == p })
}

// A Group is the gossip among the peers of one job: control and progress, small and lossy.
// Only members publish, at a bounded rate; what others send is not passed on. It is safe for
// concurrent use, except that one goroutine calls Next.
type Group struct {
	n     *Node
	topic *pubsub.Topic
	sub   *pubsub.Subscription

	mu      sync.Mutex // guards what follows
	members Membership
	in      map[peer.ID]bool // members as a set
	buckets map[peer.ID]*bucket
}

// A GroupMessage is what a member published.
type GroupMessage struct {
	From peer.ID
	Data []byte
}

// Kinds of gossip message, its first byte.
const (
	groupData       = 1
	groupMembership = 2
)

// GroupTopic is the gossip topic of a job.
func GroupTopic(job exec.JobID) string { return "/p3/group/" + job.String() }

// JoinGroup joins the group of the job that membership (SignMembership) names. requester is
// who handed it over on the job's stream. The caller leaves the group. A node joins the group of a job once.
func (n *Node) JoinGroup(requester peer.ID, membership []byte) (*Group, error) {
	m, err := ParseMembership(membership, requester)
	if err != nil {
		return nil, err
	}
	if !m.Has(n.ID()) {
		return nil, ErrNotMember
	}
	g := &Group{n: n, buckets: map[peer.ID]*bucket{}}
	g.set(m)
	name := GroupTopic(m.Job)
	if err := n.ps.RegisterTopicValidator(name, g.validate, pubsub.WithValidatorInline(true)); err != nil {
		return nil, fmt.Errorf("join group of %s: %w", m.Job.Short(), err)
	}
	if g.topic, err = n.ps.Join(name); err == nil {
		g.sub, err = g.topic.Subscribe()
	}
	if err != nil {
		n.ps.UnregisterTopicValidator(name)
		return nil, fmt.Errorf("join group of %s: %w", m.Job.Short(), err)
	}
	return g, nil
}

// Members is the newest membership.
func (g *Group) Members() Membership {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.members
}

// Publish sends data, at most MaxGroupMessage bytes, to all members. Nobody acknowledges it.
func (g *Group) Publish(ctx context.Context, data []byte) error {
	if len(data) > MaxGroupMessage {
		return fmt.Errorf("group message of %d bytes: at most %d", len(data), MaxGroupMessage)
	}
	return g.topic.Publish(ctx, append([]byte{groupData}, data...))
}

// Next returns the next message of another member. It fails when ctx ends, when the group is left
// (pubsub.ErrSubscriptionCancelled), or with ErrNotMember once we were revoked.
func (g *Group) Next(ctx context.Context) (GroupMessage, error) {
	for {
		if !g.has(g.n.ID()) {
			return GroupMessage{}, ErrNotMember
		}
		m, err := g.sub.Next(ctx)
		if err != nil {
			return GroupMessage{}, err
		}
		if from := m.GetFrom(); m.Data[0] == groupData && from != g.n.ID() {
			return GroupMessage{from, m.Data[1:]}, nil
		}
	}
}

// Update takes a newer membership, and passes it on if we are the requester. Members that
// gossip reaches take it by themselves. It fails with ErrMembership or ErrOldMembers.
func (g *Group) Update(ctx context.Context, membership []byte) error {
	if err := g.update(membership); err != nil {
		return err
	}
	if g.Members().Requester != g.n.ID() {
		return nil
	}
	return g.topic.Publish(ctx, append([]byte{groupMembership}, membership...))
}

// Leave ends the subscription; a waiting Next returns.
func (g *Group) Leave() error {
	g.sub.Cancel()
	return errors.Join(g.n.ps.UnregisterTopicValidator(g.topic.String()), g.topic.Close())
}

func (g *Group) update(raw []byte) error {
	known := g.Members()
	m, err := ParseMembership(raw, known.Requester)
	if err != nil || m.Job != known.Job {
		return ErrMembership
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.Seq <= g.members.Seq {
		return ErrOldMembers
	}
	g.setLocked(m)
	return nil
}

func (g *Group) set(m Membership) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.setLocked(m)
}

func (g *Group) setLocked(m Membership) {
	g.members, g.in = m, map[peer.ID]bool{m.Requester: true}
	for _, x := range m.Members {
		g.in[x.Peer] = true
	}
	for _, p := range m.Revoked {
		if p != m.Requester {
			delete(g.in, p)
		}
	}
	for p := range g.buckets {
		if !g.in[p] {
			delete(g.buckets, p)
		}
	}
}

func (g *Group) has(p peer.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.in[p]
}

// validate decides which messages are passed on. Pubsub has verified the sender's signature.
func (g *Group) validate(_ context.Context, _ peer.ID, m *pubsub.Message) pubsub.ValidationResult {
	from := m.GetFrom()
	if len(m.Data) == 0 || !g.has(from) {
		return pubsub.ValidationReject
	}
	switch kind, body := m.Data[0], m.Data[1:]; kind {
	case groupMembership:
		if from == g.n.ID() {
			return pubsub.ValidationAccept // Update took it already
		}
		err := g.update(body)
		switch {
		case err == nil:
			return pubsub.ValidationAccept
		case errors.Is(err, ErrOldMembers):
			return pubsub.ValidationIgnore
		}
		return pubsub.ValidationReject
	case groupData:
		if len(body) > MaxGroupMessage {
			return pubsub.ValidationReject
		}
		if !g.allow(from, time.Now()) {
			return pubsub.ValidationIgnore
		}
		return pubsub.ValidationAccept
	}
	return pubsub.ValidationReject
}

// allow takes a token of the sender's bucket.
func (g *Group) allow(p peer.ID, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.buckets[p]
	if b == nil {
		b = &bucket{tokens: groupBurst, at: now}
		g.buckets[p] = b
	}
	return b.take(now)
}

// A bucket is a token bucket of groupRate and groupBurst.
type bucket struct {
	tokens float64
	at     time.Time
}

func (b *bucket) take(now time.Time) bool {
	b.tokens = min(groupBurst, b.tokens+groupRate*max(0, now.Sub(b.at).Seconds()))
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
