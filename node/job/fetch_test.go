package job

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/ledger"
)

// A tolled network counts the bytes of blobs that its node gives, and may break streams.
type tolled struct {
	*link
	given atomic.Int64
	cut   func(given int64) bool // nil = never
}

func (n *tolled) Handle(id string, limit int, serve func(context.Context, Stream)) {
	n.link.Handle(id, limit, func(ctx context.Context, s Stream) { serve(ctx, &tollbooth{Stream: s, n: n}) })
}

type tollbooth struct {
	Stream
	n     *tolled
	begun bool // the header has passed
}

func (s *tollbooth) WriteFrame(payloads ...[]byte) error {
	for _, b := range payloads {
		if s.begun {
			if n := s.n.given.Add(int64(len(b))); s.n.cut != nil && s.n.cut(n) {
				s.Reset()
				return errReset
			}
		}
		s.begun = true
	}
	return s.Stream.WriteFrame(payloads...)
}

// toll makes a party count what it gives.
func (p *party) toll() *tolled {
	n := &tolled{link: p.link}
	p.x = NewExchange(n, p.Blobs)
	return n
}

// stock stores random bytes at a party.
func (p *party) stock(size int) exec.File {
	p.t.Helper()
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(b)
	f, err := p.Blobs.Put(bytes.NewReader(b), "")
	if err != nil {
		p.t.Fatal(err)
	}
	return f
}

// A connection that breaks again and again costs at most a frame each time.
func TestBrokenTransferIsResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newHub(t)
		from, to := net.party(), net.party()
		toll := from.toll()
		cuts, next := 0, int64(3*blobChunk)
		toll.cut = func(given int64) bool {
			if given < next {
				return false
			}
			cuts, next = cuts+1, next+5*blobChunk
			synctest.Wait() // what was sent before has arrived
			return true
		}
		f := from.stock(5<<20 + 77)
		defer from.x.allow(to.self, f.Hash)()
		if err := to.x.get(t.Context(), f, from.self); err != nil {
			t.Fatal(err)
		}
		// Frames in flight are lost with the stream.
		if again := toll.given.Load() - f.Size; cuts < 3 || again > int64(cuts)*blobChunk {
			t.Errorf("%d bytes were sent again after %d cuts", again, cuts)
		}
	})
}

// What had arrived when the process was killed need not come again.
func TestTransferIsResumedAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newHub(t)
		from, to := net.party(), net.party()
		toll := from.toll()
		f := from.stock(4 << 20)
		defer from.x.allow(to.self, f.Hash)()
		ctx, kill := context.WithCancel(t.Context())
		toll.cut = func(given int64) bool {
			if given < 3<<20 {
				return false
			}
			synctest.Wait() // what was sent before has arrived
			kill()
			return true
		}
		if err := to.x.get(ctx, f, from.self); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		toll.cut = nil
		to.x = NewExchange(to.link, to.Blobs) // knows nothing of before
		if err := to.x.get(t.Context(), f, from.self); err != nil {
			t.Fatal(err)
		}
		if again := toll.given.Load() - f.Size; again > blobChunk {
			t.Errorf("%d bytes were sent again", again)
		}
	})
}

// A peer of an older version knows no offset.
func TestTransferFromAnOlderPeerBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newHub(t)
		from, to := net.party(), net.party()
		f, asked := from.stock(1<<20), 0
		from.Handle(BlobProtocol, blobFrame, func(_ context.Context, s Stream) {
			s.ReadFrame()
			asked++
			b, _ := canon.Marshal(struct {
				Found bool  `cbor:"1,keyasint"`
				Size  int64 `cbor:"2,keyasint"`
			}{true, f.Size})
			s.WriteFrame(b)
			r, _, _ := from.Blobs.Open(f.Hash)
			defer r.Close()
			buf := make([]byte, blobChunk)
			for i := range 4 {
				n, _ := io.ReadFull(r, buf)
				if s.WriteFrame(buf[:n]); i == 1 && asked == 1 {
					synctest.Wait() // what was sent has arrived
					s.Reset()
				}
			}
			s.Close()
		})
		if err := to.x.get(t.Context(), f, from.self); err != nil || asked != 2 {
			t.Error(asked, err)
		}
	})
}

// What an earlier peer left wrong does not spoil what an honest one brings.
func TestWrongBytesOfAnEarlierFetchAreThrownAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newHub(t)
		from, to := net.party(), net.party()
		f := from.stock(1 << 20)
		in, err := to.Blobs.Create(f)
		if err != nil {
			t.Fatal(err)
		}
		in.Write(make([]byte, 1000))
		in.Close()
		defer from.x.allow(to.self, f.Hash)()
		if err := to.x.get(t.Context(), f, from.self); err != nil || to.x.marked(from.self).liar {
			t.Error(err)
		}
	})
}

// A liar is asked once, not until he tells the truth, and not again for the next blob.
func TestLiarIsNotAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newHub(t)
		from, to := net.party(), net.party()
		f := from.stock(1 << 20)
		toll := from.toll()
		from.x.blobs = twisted{from.Blobs}
		defer from.x.allow(to.self, f.Hash)()
		if err := to.x.get(t.Context(), f, from.self); !errors.Is(err, ErrWrongBlob) {
			t.Error(err)
		}
		if toll.given.Load() != f.Size || !to.x.marked(from.self).liar {
			t.Errorf("%d bytes", toll.given.Load())
		}
	})
}

// twisted is Blobs that gives other bytes than it has.
type twisted struct{ Blobs }

func (b twisted) Open(h ledger.Digest) (io.ReadSeekCloser, int64, error) {
	r, size, err := b.Blobs.Open(h)
	if err != nil {
		return nil, 0, err
	}
	return twistedFile{r}, size, nil
}

type twistedFile struct{ io.ReadSeekCloser }

func (f twistedFile) Read(p []byte) (int, error) {
	n, err := f.ReadSeekCloser.Read(p)
	for i := range p[:n] {
		p[i] ^= 1
	}
	return n, err
}

// A club is a group whose members are given.
type club struct {
	fellowship
	members []peer.ID
}

func (c *club) Has(p peer.ID) bool {
	for _, m := range c.members {
		if m == p {
			return true
		}
	}
	return false
}
func (c *club) Members() []peer.ID { return c.members }

// 16 hosts want the data of a job at the same moment, several units on each. Of the hosts, one gives what it has at a
// hundredth of the others' rate and one gives wrong bytes. The requester gives it away three times at most, each honest
// host gets it once, and all have it long before the slow one could have given it to anybody.
func TestDataSpreadsFromHostToHost(t *testing.T) {
	const (
		hosts = 16
		size  = 4 << 20
		frame = 50 * time.Millisecond // to send one: about 5 MiB/s
	)
	for name, lag := range map[string]time.Duration{"all alike": frame, "one slow": 100 * frame} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newHub(t)
				you, group := net.party(), &club{}
				toll := you.toll()
				f := you.stock(size)
				you.slow(frame)
				var all []*party
				var tolls []*tolled
				group.members = append(group.members, you.self)
				for range hosts {
					p := net.party()
					all, tolls = append(all, p), append(tolls, p.toll())
					p.slow(frame)
					group.members = append(group.members, p.self)
				}
				all[0].x.blobs = twisted{all[0].Blobs}
				all[1].slow(lag)
				defer you.x.allowMembers(group, true, f.Hash)()
				begun := time.Now()
				var wg sync.WaitGroup
				var worst atomic.Int64
				for _, p := range all {
					defer p.x.allowMembers(group, false, f.Hash)()
					for range 4 {
						wg.Go(func() {
							if err := p.x.getFor(t.Context(), f, circle{[]peer.ID{you.self}, group}); err != nil {
								t.Error(err)
							}
							worst.Store(max(worst.Load(), int64(time.Since(begun))))
						})
					}
				}
				wg.Wait()
				total := toll.given.Load()
				for _, n := range tolls {
					total += n.given.Load()
				}
				once := frame * size / blobChunk
				t.Logf("the requester gave %.2f times the data, all together %.2f times to %d hosts, in %.1f times what giving it once takes",
					float64(toll.given.Load())/size, float64(total)/size, hosts, float64(worst.Load())/float64(once))
				if given := toll.given.Load(); given > 3*size {
					t.Errorf("the requester gave %.2f times the data", float64(given)/size)
				}
				if worst := time.Duration(worst.Load()); worst > 100*once/2 {
					t.Errorf("it took %s; the slow host gives it once in %s", worst, 100*once)
				}
				for i, p := range all {
					path, err := p.Blobs.Path(f.Hash)
					if err != nil {
						t.Fatal(err)
					}
					if b, err := os.ReadFile(path); err != nil || ledger.Digest(sha256.Sum256(b)) != f.Hash {
						t.Errorf("host %d has something else (%v)", i, err)
					}
				}
			})
		})
	}
}

// Nobody but those on whom a blob was spent is referred to, and they only to members.
func TestRefersOnlyToMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newHub(t)
		you, a, b, gone, stranger := net.party(), net.party(), net.party(), net.party(), net.party()
		f := you.stock(spreadSize)
		group := &club{members: []peer.ID{you.self, a.self, b.self, gone.self}}
		defer you.x.allowMembers(group, true, f.Hash)()
		for _, p := range []*party{gone, a} {
			if err := p.x.getFor(t.Context(), f, circle{[]peer.ID{you.self}, group}); err != nil {
				t.Fatal(err)
			}
		}
		ask := func(p *party) (busy *busyError, err error) {
			err = p.x.transfer(t.Context(), f, you.self, inquiry{refer: true, idle: blobStall}, func(r io.Reader, _ int64) error {
				_, err := io.Copy(io.Discard, r)
				return err
			})
			errors.As(err, &busy)
			return busy, err
		}
		if _, err := ask(stranger); !errors.Is(err, errNoBlob) {
			t.Errorf("a stranger is answered: %v", err)
		}
		if busy, err := ask(b); busy == nil || len(busy.holders) != 2 {
			t.Errorf("two have it: %v %v", busy, err)
		}
		group.members = group.members[:3]
		if _, err := ask(b); err != nil { // one alone does not relieve the requester
			t.Error(err)
		}
	})
}
