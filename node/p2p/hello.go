package p2p

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec/canon"
	"github.com/personal-power-plant/p3/ledger"
)

// HelloProtocol is spoken once a connection stands: the dialler sends its hello, the
// listener its own and a verdict on the dialler's, the dialler a verdict on the listener's.
const HelloProtocol = "/p3/hello/1.0.0"

const (
	helloLimit   = 4 << 10
	helloTimeout = 10 * time.Second
	helloVersion = 1
)

// hello is what a peer says of itself. Unknown fields are ignored.
type hello struct {
	Version uint           `cbor:"1,keyasint"`
	Network ledger.Network `cbor:"2,keyasint"`
	Name    string         `cbor:"3,keyasint"` // at most 64 bytes; proves nothing
	Binding []byte         `cbor:"4,keyasint"` // ledger.NodeBinding, may be empty
	Time    int64          `cbor:"5,keyasint"` // Unix ms
}

type verdict struct {
	Code Refusal `cbor:"1,keyasint"`
}

// A Refusal says why a peer does not talk to another. The numbers are on the wire and never change.
type Refusal uint8

// Refusals.
const (
	Welcome      Refusal = 0
	WrongNetwork Refusal = 1
	WrongVersion Refusal = 2
	BadBinding   Refusal = 3
	NotP3        Refusal = 4
	Shunned      Refusal = 5
)

func (r Refusal) String() string {
	switch r {
	case Welcome:
		return "welcome"
	case WrongNetwork:
		return "peer belongs to another network: join it with its invite (p3 join)"
	case WrongVersion:
		return "peer speaks another version of the protocol: update p3 on the older side"
	case BadBinding:
		return "peer may not act for the account it names: renew its binding"
	case NotP3:
		return "peer does not speak p3"
	case Shunned:
		return "peer sent what no honest peer sends, such as a forged proof: it is not spoken to for ten minutes"
	}
	return fmt.Sprintf("refused with code %d, which this p3 does not know: update p3", uint8(r))
}

// A RefusedError says which side turned the other away, and why.
type RefusedError struct {
	Peer   peer.ID
	Code   Refusal
	ByThem bool
}

func (e *RefusedError) Error() string {
	who := "we refused"
	if e.ByThem {
		who = "refused by"
	}
	return fmt.Sprintf("%s %s: %s", who, e.Peer, e.Code)
}

func (n *Node) hello() []byte {
	b, err := canon.Marshal(hello{helloVersion, n.cfg.Network, n.cfg.Name, *n.binding.Load(), time.Now().UnixMilli()})
	if err != nil {
		panic(err) // our own struct always encodes
	}
	return b
}

// ready waits until this node may say hello.
func (n *Node) ready(ctx context.Context) error {
	if n.cfg.Ready == nil {
		return nil
	}
	select {
	case <-n.cfg.Ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// greet is the dialler's side of the protocol.
func (n *Node) greet(ctx context.Context, p peer.ID) (hello, ledger.Account, error) {
	if err := n.ready(ctx); err != nil {
		return hello{}, ledger.Account{}, err
	}
	s, err := n.host.NewStream(network.WithAllowLimitedConn(ctx, "p3 hello"), p, HelloProtocol)
	if err != nil {
		return hello{}, ledger.Account{}, err
	}
	stop := context.AfterFunc(ctx, func() { s.Reset() })
	defer stop()
	c := newConn(s, p, helloLimit)
	c.SetIdle(helloTimeout)
	defer c.Close()
	if err := c.WriteFrame(n.hello()); err != nil {
		return hello{}, ledger.Account{}, err
	}
	theirs, account, code, err := n.readHello(c)
	if err != nil {
		return hello{}, ledger.Account{}, err
	}
	theirVerdict, err := readVerdict(c)
	if err != nil {
		return hello{}, ledger.Account{}, err
	}
	if err := c.WriteFrame(encodeVerdict(code)); err != nil {
		return hello{}, ledger.Account{}, err
	}
	return theirs, account, judge(p, code, theirVerdict)
}

// answer is the listener's side.
func (n *Node) answer(c *Conn) (hello, ledger.Account, error) {
	ctx, cancel := context.WithTimeout(n.ctx, helloTimeout)
	defer cancel()
	if err := n.ready(ctx); err != nil {
		return hello{}, ledger.Account{}, err
	}
	c.SetIdle(helloTimeout)
	theirs, account, code, err := n.readHello(c)
	if err != nil {
		return hello{}, ledger.Account{}, err
	}
	if err := c.WriteFrame(n.hello(), encodeVerdict(code)); err != nil {
		return hello{}, ledger.Account{}, err
	}
	theirVerdict, err := readVerdict(c)
	if err != nil {
		return hello{}, ledger.Account{}, err
	}
	return theirs, account, judge(c.Peer(), code, theirVerdict)
}

func judge(p peer.ID, ours, theirs Refusal) error {
	switch {
	case ours != Welcome:
		return &RefusedError{p, ours, false}
	case theirs != Welcome:
		return &RefusedError{p, theirs, true}
	}
	return nil
}

// readHello reads the other side's hello and makes our verdict on it.
func (n *Node) readHello(c *Conn) (h hello, account ledger.Account, code Refusal, err error) {
	b, err := c.ReadFrame()
	if err != nil {
		return h, account, 0, err
	}
	if err := canon.Unmarshal(b, &h); err != nil {
		return h, account, 0, fmt.Errorf("hello of %s: %w", c.Peer(), err)
	}
	switch {
	case h.Version != helloVersion:
		return h, account, WrongVersion, nil
	case h.Network != n.cfg.Network:
		return h, account, WrongNetwork, nil
	case n.shunned.Contains(c.Peer()):
		return h, account, Shunned, nil
	case len(h.Name) > 64:
		return h, account, 0, errors.New("hello with a name longer than 64 bytes")
	}
	h.Name = printable(h.Name)
	account, err = n.boundAccount(c.Peer(), h.Binding)
	if err != nil {
		return h, ledger.Account{}, BadBinding, nil
	}
	return h, account, Welcome, nil
}

func readVerdict(c *Conn) (Refusal, error) {
	b, err := c.ReadFrame()
	if err != nil {
		return 0, err
	}
	var v verdict
	if err := canon.Unmarshal(b, &v); err != nil {
		return 0, fmt.Errorf("verdict of %s: %w", c.Peer(), err)
	}
	return v.Code, nil
}

func encodeVerdict(r Refusal) []byte {
	b, err := canon.Marshal(verdict{r})
	if err != nil {
		panic(err) // our own struct always encodes
	}
	return b
}

// printable drops what could upset a terminal.
func printable(s string) string {
	out := []rune{}
	for _, r := range s {
		if unicode.IsPrint(r) {
			out = append(out, r)
		}
	}
	return string(out)
}
