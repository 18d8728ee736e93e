package job

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec/canon"
)

// Ask puts one question to a peer, on a stream of its own, and returns the answer; each is one frame of at most maxFrame
// bytes. Dialling, and then the answer, may take most.
func Ask[Answer any](ctx context.Context, net Network, p peer.ID, protocol string, maxFrame int, most time.Duration, question any) (a Answer, err error) {
	b, err := canon.Marshal(question)
	if err != nil {
		return a, err
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	st, err := net.Open(ctx, p, protocol, maxFrame)
	if err != nil {
		return a, err
	}
	defer st.Reset()
	if err := st.WriteFrame(b); err != nil {
		return a, err
	}
	st.SetIdle(most)
	if b, err = st.ReadFrame(); err != nil {
		return a, err
	}
	if err := canon.Unmarshal(b, &a); err != nil {
		return a, err
	}
	st.Close() // the other side may have closed all of it
	return a, nil
}
