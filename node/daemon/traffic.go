package daemon

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// traffic counts the bytes moved for guests in one day of this machine's clock.
type traffic struct {
	day   uint32 // YYYYMMDD
	bytes int64
	saved int64
}

// trafficKey holds day u32 and bytes u64.
var trafficKey = []byte("node/traffic")

func openTraffic(s ledger.Store) (t traffic) {
	if b, err := s.Get(trafficKey); err == nil && len(b) == 12 {
		t.day, t.bytes = binary.BigEndian.Uint32(b), int64(binary.BigEndian.Uint64(b[4:])&^(1<<63))
		t.saved = t.bytes
	}
	return t
}

func dayOf(t time.Time) uint32 {
	y, m, d := t.Date()
	return uint32(y*10000 + int(m)*100 + d)
}

// today is the count so far; at midnight it begins again.
func (t *traffic) today(now time.Time) int64 {
	if day := dayOf(now); day != t.day {
		*t = traffic{day: day, saved: -1}
	}
	return t.bytes
}

func (h *hostState) moved(bytes int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.traffic.today(time.Now())
	h.traffic.bytes += max(bytes, 0)
}

// saveTraffic keeps the count for the next start. A crash loses seconds of it.
func (h *hostState) saveTraffic(ctx context.Context) error {
	h.mu.Lock()
	t := &h.traffic
	if t.bytes == t.saved || t.bytes == 0 {
		h.mu.Unlock()
		return nil
	}
	t.saved = t.bytes
	b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, t.day), uint64(t.bytes))
	h.mu.Unlock()
	err := h.d.store.Commit(ctx, ledger.Op{Key: trafficKey, Value: b})
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
