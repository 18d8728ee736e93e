package p2p

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// Whoever cannot be reached is told of in one line, without multiaddrs.
func TestUnreachablePeerIsToldOfPlainly(t *testing.T) {
	n, other := startNode(t, nil), startNode(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	l.Close() // nobody listens there now
	closed := ma.StringCast("/ip4/127.0.0.1/tcp/" + port)
	stranger := startNode(t, nil)
	for _, x := range []struct {
		name string
		to   peer.AddrInfo
		want string
	}{
		{"closed", peer.AddrInfo{ID: stranger.ID(), Addrs: []ma.Multiaddr{closed}}, "127.0.0.1:" + port + ": connection refused"},
		{"somebody else", peer.AddrInfo{ID: closedID(t), Addrs: other.AddrInfo().Addrs}, "another peer answers"},
		{"nowhere", peer.AddrInfo{ID: closedID(t)}, "no address of it is known"},
	} {
		t.Run(x.name, func(t *testing.T) {
			err := n.Connect(t.Context(), x.to)
			if err == nil {
				t.Fatal("connected")
			}
			got := Unreachable(err)
			if !strings.Contains(got, x.want) || strings.ContainsAny(got, "\n*[") || strings.Contains(got, "/ip4") {
				t.Errorf("%q, want %q; from %v", got, x.want, err)
			}
		})
	}
}

// closedID is the identity of a node that is no more.
func closedID(t *testing.T) peer.ID {
	n := startNode(t, nil)
	id := n.ID()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	return id
}
