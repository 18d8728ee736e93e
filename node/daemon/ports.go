package daemon

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"

	"github.com/personal-power-plant/p3/ledger"
)

// A node that may take any free port keeps the one it got: invites and what others remember
// of it still lead to it after a restart, even when all of them restart in turn.
var portsKey = []byte("node/ports")

// lastPorts puts the ports of the node's former life where listen leaves the choice, as far
// as they are still free.
func lastPorts(store ledger.Store, listen []string) ([]string, error) {
	b, err := store.Get(portsKey)
	if errors.Is(err, ledger.ErrNotFound) {
		return listen, nil
	}
	if err != nil {
		return nil, err
	}
	listen = slices.Clone(listen)
	for _, last := range strings.Fields(string(b)) {
		if i := slices.Index(listen, anyPort(last)); i >= 0 && free(last) {
			listen[i] = last
		}
	}
	return listen, nil
}

// savePorts keeps the addresses that the node listens on.
func savePorts(ctx context.Context, store ledger.Store, addrs []string) error {
	return store.Commit(ctx, ledger.Op{Key: portsKey, Value: []byte(strings.Join(addrs, " "))})
}

// anyPort is a listening multiaddr, /ip4/ADDRESS/tcp/PORT…, with port 0.
func anyPort(addr string) string {
	part := strings.Split(addr, "/")
	if len(part) < 5 {
		return addr
	}
	part[4] = "0"
	return strings.Join(part, "/")
}

// free reports whether a listening multiaddr can be had.
func free(addr string) bool {
	part := strings.Split(addr, "/")
	if len(part) < 5 {
		return false
	}
	network, at := part[3]+strings.TrimPrefix(part[1], "ip"), net.JoinHostPort(part[2], part[4])
	if part[3] == "udp" {
		c, err := net.ListenPacket(network, at)
		return err == nil && c.Close() == nil
	}
	l, err := net.Listen(network, at)
	return err == nil && l.Close() == nil
}
