package job

import (
	"context"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// A payer that settles below its voucher has the rest back, and may spend it before witnesses have seen that we took it up. So they
// are shown an EARN by a voucher at once, and not only with our next LOCK: from then on the rest is ours and the payer is convicted.

// maxEarned bounds the EARNs remembered as shown; beyond, some are shown once more.
const maxEarned = 4096

// showEarn shows our chain up to an EARN by a voucher to the witnesses, in the background; again after retryMax if no quorum answered.
func (s *Settler) showEarn(ctx context.Context, earn []byte, now time.Time) {
	e, err := ledger.ParseEntry(earn)
	if err != nil || e.Type != ledger.TypeEarn || len(s.env.Book.Genesis().Witnesses) == 0 {
		return
	}
	s.mu.Lock()
	if s.earned == nil || len(s.earned) >= maxEarned {
		s.earned = map[ledger.Digest]time.Time{}
	}
	next, known := s.earned[e.Ref]
	if known && (next.IsZero() || now.Before(next)) {
		s.mu.Unlock()
		return
	}
	s.earned[e.Ref] = now.Add(retryMax)
	s.mu.Unlock()
	s.wg.Go(func() {
		if _, err := s.env.certify(ctx, earn); err != nil {
			s.env.Log.Info("show witnesses what was earned", "lock", e.Ref, "err", err)
			return
		}
		s.mu.Lock()
		s.earned[e.Ref] = time.Time{}
		s.mu.Unlock()
	})
}
