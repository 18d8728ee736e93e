//go:build netns && linux

package p2p

import (
	"bufio"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strings"
	"testing"
	"time"
)

// Two machines on one LAN, as network namespaces on a bridge: needs root. Each runs this
// test binary again in its namespace.

const lanChild = "P3_TEST_LAN_CHILD"

func TestPeersOnOneLANFindEachOther(t *testing.T) {
	if os.Getenv(lanChild) != "" {
		lanNode(t)
		return
	}
	lan := newLAN(t, 2)
	first := startLANNode(t, lan[0])
	first.line(t, "up")
	start := time.Now()
	second := startLANNode(t, lan[1])
	took := second.line(t, "met")
	first.line(t, "met")
	t.Logf("second machine: first peer %s after its node started, %s with process start", strings.TrimPrefix(took, "met "), time.Since(start).Round(time.Millisecond))
	if d, err := time.ParseDuration(strings.TrimPrefix(took, "met ")); err != nil || d > time.Second {
		t.Errorf("first peer after %s, want at most a second", took)
	}
}

// lanNode is one machine: it says when it met somebody and ends with its stdin.
func lanNode(t *testing.T) {
	start := time.Now()
	n := startNode(t, func(c *Config) { c.MDNS, c.Listen = true, []string{"/ip4/0.0.0.0/tcp/0"} })
	events, stop := n.Subscribe()
	defer stop()
	fmt.Println("up")
	if len(n.Peers()) == 0 {
		await(t, events, PeerGreeted)
	}
	fmt.Println("met", time.Since(start).Round(time.Millisecond))
	io.Copy(io.Discard, os.Stdin)
}

// newLAN makes n namespaces on a bridge and returns their names.
func newLAN(t *testing.T, n int) (names []string) {
	t.Helper()
	bridge := fmt.Sprintf("p3b%d", os.Getpid()%100000)
	ip := func(args ...string) {
		t.Helper()
		if out, err := osexec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	hub := bridge + "h"
	ip("netns", "add", hub)
	t.Cleanup(func() { osexec.Command("ip", "netns", "del", hub).Run() })
	ip("-n", hub, "link", "add", bridge, "type", "bridge", "mcast_snooping", "0")
	ip("-n", hub, "link", "set", bridge, "up")
	for i := range n {
		name := fmt.Sprintf("%sn%d", bridge, i)
		ip("netns", "add", name)
		t.Cleanup(func() { osexec.Command("ip", "netns", "del", name).Run() })
		port := fmt.Sprintf("v%d", i)
		ip("link", "add", port, "netns", hub, "type", "veth", "peer", "name", "eth0", "netns", name)
		ip("-n", hub, "link", "set", port, "master", bridge, "up")
		ip("-n", name, "addr", "add", fmt.Sprintf("10.77.0.%d/24", i+1), "dev", "eth0")
		ip("-n", name, "link", "set", "lo", "up")
		ip("-n", name, "link", "set", "eth0", "up")
		ip("-n", name, "route", "add", "default", "dev", "eth0")
		names = append(names, name)
	}
	return names
}

type lanProcess struct {
	lines chan string
}

func startLANNode(t *testing.T, namespace string) *lanProcess {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := osexec.Command("ip", "netns", "exec", namespace, self, "-test.run", "^TestPeersOnOneLANFindEachOther$", "-test.timeout", "30s")
	cmd.Env = append(os.Environ(), lanChild+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &lanProcess{lines: make(chan string, 64)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(p.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		stdin.Close()
		<-read
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", namespace, err)
		}
	})
	return p
}

// line waits for a line that begins with prefix.
func (p *lanProcess) line(t *testing.T, prefix string) string {
	t.Helper()
	for {
		select {
		case s, ok := <-p.lines:
			if !ok {
				t.Fatalf("process ended before %q", prefix)
			}
			if strings.HasPrefix(s, prefix) {
				return s
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("no %q within 20 s", prefix)
		}
	}
}
