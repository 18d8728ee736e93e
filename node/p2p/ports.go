package p2p

import (
	"io"
	"net"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// portsFree fails when somebody listens on one of the ports already. libp2p would share the
// port with them (hole punching needs SO_REUSEPORT), and each would get half of the connections.
func portsFree(listen []string) error {
	for _, text := range listen {
		a, err := ma.NewMultiaddr(text)
		if err != nil {
			return err
		}
		ip, err := manet.ToIP(a)
		if err != nil {
			continue // nothing with a port
		}
		var l io.Closer
		if port, err := a.ValueForProtocol(ma.P_TCP); err == nil && port != "0" {
			if l, err = net.Listen("tcp", net.JoinHostPort(ip.String(), port)); err != nil {
				return err
			}
			l.Close()
		}
		if port, err := a.ValueForProtocol(ma.P_UDP); err == nil && port != "0" {
			if l, err = net.ListenPacket("udp", net.JoinHostPort(ip.String(), port)); err != nil {
				return err
			}
			l.Close()
		}
	}
	return nil
}
