package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/daemon"
	"github.com/personal-power-plant/p3/node/p2p"
)

// A localNet is a private network of node processes on loopback, with a genesis of its own.
type localNet struct {
	dir   string
	exe   string
	env   []string // of the processes, besides ours
	nodes []*localNode
}

// A localNode is one process of it, or the place of one that was killed.
type localNode struct {
	net    *localNet
	name   string
	dir    string
	args   []string
	client *node.Client
	cmd    *osexec.Cmd
	ended  chan struct{} // closed when the process is gone
}

// newLocalNet founds a network with nodes named as given, the first of which does not donate.
func newLocalNet(dir string, names ...string) (*localNet, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var id [4]byte
	rand.Read(id[:])
	genesis, err := ledger.MutualGenesis("demo-"+hex.EncodeToString(id[:]), ledger.DefaultFloor).Encode()
	if err != nil {
		return nil, err
	}
	n := &localNet{dir: dir, exe: exe}
	for i, name := range names {
		d := filepath.Join(dir, name)
		if err := daemon.SaveMembership(d, p2p.Invite{Genesis: genesis}); err != nil {
			return nil, err
		}
		args := []string{"--data-dir", d, "--socket", filepath.Join(d, "s"), "up", "--foreground", "--name", name, "--no-lan", "--reach", "public",
			"--listen", "/ip4/127.0.0.1/tcp/0", "--preset", "server", "--slots", "1", "--priority", "normal", "--memory", "512MiB", "--disk", "256MiB"}
		if i > 0 {
			args = append(args, "--donate")
		}
		n.nodes = append(n.nodes, &localNode{net: n, name: name, dir: d, args: args, client: node.NewClient(filepath.Join(d, "s"))})
	}
	return n, nil
}

// start starts all nodes; those after the first join by its invite.
func (n *localNet) start(ctx context.Context) error {
	first := n.nodes[0]
	if err := first.start(); err != nil {
		return err
	}
	if err := first.ready(ctx); err != nil {
		return err
	}
	text, err := first.client.Invite(ctx)
	if err != nil {
		return err
	}
	inv, err := p2p.ParseInvite(text)
	if err != nil {
		return err
	}
	for _, p := range n.nodes[1:] {
		if err := daemon.SaveMembership(p.dir, inv); err != nil {
			return err
		}
		if err := p.start(); err != nil {
			return err
		}
	}
	for _, p := range n.nodes[1:] {
		if err := p.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// offers waits until the first node sees the offers of all others.
func (n *localNet) offers(ctx context.Context) error {
	return poll(ctx, func() (bool, error) {
		o, err := n.nodes[0].client.Offers(ctx)
		return err == nil && len(o) >= len(n.nodes)-1, nil
	})
}

// stop ends all nodes in order, and those that do not end within 10 s for good.
func (n *localNet) stop() error {
	var errs []error
	for _, p := range n.nodes {
		if p.cmd != nil {
			errs = append(errs, p.cmd.Process.Signal(syscall.SIGTERM))
		}
	}
	for _, p := range n.nodes {
		if p.cmd == nil {
			continue
		}
		select {
		case <-p.ended:
		case <-time.After(10 * time.Second):
			errs = append(errs, fmt.Errorf("%s did not stop", p.name), p.kill())
		}
	}
	return errors.Join(errs...)
}

// start starts the process.
func (p *localNode) start() error {
	log, err := os.OpenFile(p.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = osexec.Command(p.net.exe, p.args...)
	ours := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "P3_") }) // its flags say all
	p.cmd.Env = append(ours, p.net.env...)
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = child()
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	p.ended = make(chan struct{})
	go func(cmd *osexec.Cmd, ended chan struct{}) { cmd.Wait(); close(ended) }(p.cmd, p.ended)
	return nil
}

func (p *localNode) logPath() string { return filepath.Join(p.dir, "log") }

// kill is kill -9: nothing is said, nothing is flushed.
func (p *localNode) kill() error {
	err := p.cmd.Process.Kill()
	<-p.ended
	return err
}

// ready waits until the node answers.
func (p *localNode) ready(ctx context.Context) error {
	err := poll(ctx, func() (bool, error) {
		select {
		case <-p.ended:
			return false, fmt.Errorf("%s ended: %s", p.name, lastLog(p.logPath()))
		default:
		}
		_, err := p.client.Status(ctx)
		return err == nil, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s does not answer: %w", p.name, err)
	}
	return err
}

// settled waits until no receipt of any node waits for a signature.
func (n *localNet) settled(ctx context.Context) error {
	return poll(ctx, func() (bool, error) {
		for _, p := range n.nodes {
			b, err := p.client.Balance(ctx) // cheap, and says most
			if err != nil || b.Locked > 0 {
				return false, nil
			}
			open := false
			err = p.client.Receipts(ctx, func(r node.Receipt) error {
				open = open || r.Paid > 0 && r.State != ledger.StateComplete
				return nil
			})
			if err != nil || open {
				return false, nil
			}
		}
		return true, nil
	})
}

// poll asks done every few milliseconds until it says yes.
func poll(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// p3 runs the command itself as a process, as the first node's user, and returns its output.
func (n *localNet) p3(args ...string) ([]byte, error) {
	cmd := osexec.Command(n.exe, append([]string{"--data-dir", n.nodes[0].dir, "--socket", filepath.Join(n.nodes[0].dir, "s")}, args...)...)
	cmd.Env = append(os.Environ(), n.env...)
	return cmd.CombinedOutput()
}
