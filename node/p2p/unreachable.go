package p2p

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	kbucket "github.com/libp2p/go-libp2p-kbucket"
	"github.com/libp2p/go-libp2p/core/routing"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
)

// maxTold is how many addresses Unreachable names.
const maxTold = 3

// Unreachable says for people why Connect failed: each address once, in the way that programs write
// them, and what happened there.
func Unreachable(err error) string {
	var dial *swarm.DialError
	if !errors.As(err, &dial) || len(dial.DialErrors) == 0 {
		return whyNot(err)
	}
	var told []string
	seen := map[string]bool{}
	for _, e := range dial.DialErrors {
		s := plainAddress(e.Address) + ": " + whyNot(e.Cause)
		if !seen[s] {
			seen[s] = true
			told = append(told, s)
		}
	}
	if n := len(told); n > maxTold {
		told = append(told[:maxTold], fmt.Sprintf("and %d more", n-maxTold))
	}
	return strings.Join(told, ", ")
}

// plainAddress is host:port, where the multiaddr has both.
func plainAddress(a ma.Multiaddr) string {
	var host, port string
	ma.ForEach(a, func(c ma.Component) bool {
		switch c.Protocol().Code {
		case ma.P_IP4, ma.P_IP6, ma.P_DNS, ma.P_DNS4, ma.P_DNS6:
			host = c.Value()
		case ma.P_TCP:
			port = c.Value()
		case ma.P_UDP:
			port = c.Value() + " (UDP)"
		}
		return host == "" || port == ""
	})
	if host == "" || port == "" {
		return a.String()
	}
	return net.JoinHostPort(host, port)
}

// whyNot is the reason at the bottom of an error.
func whyNot(err error) string {
	var other sec.ErrPeerIDMismatch
	var errno syscall.Errno
	var timeout net.Error
	switch {
	case errors.As(err, &other):
		return "another peer answers"
	case errors.Is(err, swarm.ErrNoGoodAddresses), errors.Is(err, swarm.ErrNoAddresses):
		return "no address that can be dialled from here"
	case errors.Is(err, kbucket.ErrLookupFailure), errors.Is(err, routing.ErrNotFound):
		return "no address of it is known"
	case errors.Is(err, swarm.ErrDialBackoff):
		return "did not answer a moment ago"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.As(err, &errno):
		return errno.Error()
	}
	s, _, _ := strings.Cut(err.Error(), "\n")
	return s
}
