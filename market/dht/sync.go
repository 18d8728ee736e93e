package dht

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/market"
)

// OfferProtocol hands out listings: whoever opens a stream is sent records, until EOF:
//
//	kind   1 byte   1 offer, 2 advert
//	length 2 bytes  big-endian, at most market.MaxSigned
//	record length bytes, as signed
//
// The owner's own come first, then a random sample of what it has heard.
const OfferProtocol = "/p3/offer/1.0.0"

const (
	kindOffer  = 1
	kindAdvert = 2

	sampleOffers  = 128
	sampleAdverts = 64
	maxRecords    = 512 // taken from one answer
	syncTimeout   = 10 * time.Second
)

// serve answers one stream.
func (m *Market) serve(s network.Stream) {
	p := s.Conn().RemotePeer()
	if !m.admit(p) {
		s.Reset()
		return
	}
	defer m.dismiss(p)
	now := time.Now()
	s.SetDeadline(now.Add(syncTimeout))
	w := bufio.NewWriter(s)
	own, ads := m.own()
	if own != nil {
		writeRecord(w, kindOffer, own)
	}
	for _, a := range ads {
		writeRecord(w, kindAdvert, a)
	}
	for _, o := range m.directory.Sample(sampleOffers, now) {
		if o.Peer != m.self {
			writeRecord(w, kindOffer, o.Raw())
		}
	}
	for _, a := range m.jobs.Sample(sampleAdverts, now) {
		if a.Peer != m.self {
			writeRecord(w, kindAdvert, a.Raw())
		}
	}
	if w.Flush() != nil {
		s.Reset()
		return
	}
	s.Close()
}

// maxServing is how many peers are answered at a time, one stream each, so that slow readers keep few others waiting.
const maxServing = 64

func (m *Market) admit(p peer.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.serving[p] || len(m.serving) >= maxServing {
		return false
	}
	m.serving[p] = true
	return true
}

func (m *Market) dismiss(p peer.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.serving, p)
}

func writeRecord(w *bufio.Writer, kind byte, raw []byte) {
	w.WriteByte(kind) // errors stay with the writer until Flush
	w.Write(binary.BigEndian.AppendUint16(nil, uint16(len(raw))))
	w.Write(raw)
}

// ask fetches what a peer offers and has heard.
func (m *Market) ask(ctx context.Context, p peer.ID) error {
	ctx, cancel := context.WithTimeout(network.WithAllowLimitedConn(ctx, "p3 offers"), syncTimeout)
	defer cancel()
	s, err := m.cfg.Host.NewStream(ctx, p, OfferProtocol)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { s.Reset() })
	defer stop()
	s.SetDeadline(time.Now().Add(syncTimeout))
	s.CloseWrite()
	err = readRecords(s, func(kind byte, raw []byte) error { return m.take(kind, raw, p) })
	if err != nil {
		s.Reset()
		return fmt.Errorf("offers of %s: %w", p, err)
	}
	return s.Close()
}

// readRecords calls take for each record, which is only valid during the call.
func readRecords(r io.Reader, take func(kind byte, raw []byte) error) error {
	br, buf := bufio.NewReader(r), make([]byte, market.MaxSigned)
	for range maxRecords {
		var head [3]byte
		if _, err := io.ReadFull(br, head[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint16(head[1:]))
		if n > len(buf) {
			return fmt.Errorf("record of %d bytes: %w", n, market.ErrTooLarge)
		}
		if _, err := io.ReadFull(br, buf[:n]); err != nil {
			return err
		}
		if err := take(head[0], buf[:n]); err != nil {
			return err
		}
	}
	return nil
}

// take keeps a record that a peer handed us. It fails only on what an honest peer never sends.
func (m *Market) take(kind byte, raw []byte, from peer.ID) error {
	var err error
	switch kind {
	case kindOffer:
		err = m.takeOffer(raw, from)
	case kindAdvert:
		err = m.takeAdvert(raw, from)
	} // other kinds come from newer peers
	if harmless(err) {
		return nil
	}
	return err
}

// harmless errors happen between honest peers: clocks differ, boards fill up, news is old.
func harmless(err error) bool {
	for _, e := range []error{market.ErrStale, market.ErrQuota, market.ErrFull, market.ErrExpired, market.ErrFuture, market.ErrVersion} {
		if errors.Is(err, e) {
			return true
		}
	}
	return err == nil
}

// takeOffer adds an offer that came from a peer, looking first whether it is news.
func (m *Market) takeOffer(raw []byte, from peer.ID) error {
	h, err := market.Peek(raw)
	if err != nil {
		return err
	}
	if h.Peer == m.self || !m.directory.Newer(h.Peer, h.Seq) {
		return market.ErrStale
	}
	now := time.Now()
	o, err := market.ParseOffer(raw, m.cfg.Network, now)
	if err != nil {
		return err
	}
	return m.directory.Add(o, from == o.Peer, now)
}

func (m *Market) takeAdvert(raw []byte, from peer.ID) error {
	h, err := market.Peek(raw)
	if err != nil {
		return err
	}
	if h.Peer == m.self {
		return market.ErrStale
	}
	now := time.Now()
	a, err := market.ParseAdvert(raw, m.cfg.Network, now)
	if err != nil {
		return err
	}
	return m.jobs.Add(a, from == a.Peer, now)
}
