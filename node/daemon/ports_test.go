package daemon

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

func TestPortsOutliveARestart(t *testing.T) {
	store := ledgertest.NewMemory()
	listen := []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1", "/ip6/::/tcp/0"}
	if got, err := lastPorts(store, listen); err != nil || !slices.Equal(got, listen) {
		t.Errorf("first life: %v, %v", got, err)
	}
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcpAt := "/ip4/127.0.0.1/tcp/" + port(taken.Addr())
	udpAt := "/ip4/127.0.0.1/udp/" + port(udp.LocalAddr()) + "/quic-v1"
	if err := savePorts(t.Context(), store, []string{tcpAt, udpAt, "nonsense"}); err != nil {
		t.Fatal(err)
	}
	udp.Close()
	if got, err := lastPorts(store, listen); err != nil || !slices.Equal(got, []string{listen[0], udpAt, listen[2]}) {
		t.Errorf("with the TCP port taken: %v, %v", got, err)
	}
	taken.Close()
	if got, err := lastPorts(store, listen); err != nil || !slices.Equal(got, []string{tcpAt, udpAt, listen[2]}) {
		t.Errorf("with both free: %v, %v", got, err)
	}
	chosen := []string{"/ip4/127.0.0.1/tcp/1"}
	if got, err := lastPorts(store, chosen); err != nil || !slices.Equal(got, chosen) {
		t.Errorf("with a port of the owner's choice: %v, %v", got, err)
	}
}

func port(a net.Addr) string { return a.String()[strings.LastIndexByte(a.String(), ':')+1:] }
