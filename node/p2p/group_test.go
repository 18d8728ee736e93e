package p2p

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/exec"
)

var testJob = exec.JobID{7}

func signMembers(t testing.TB, requester *Node, seq uint64, members ...*Node) []byte {
	t.Helper()
	m := Membership{Job: testJob, Seq: seq}
	for i, n := range members {
		m.Members = append(m.Members, Member{n.ID(), i})
	}
	raw, err := SignMembership(m, requester.cfg.Key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func join(t testing.TB, n, requester *Node, raw []byte) *Group {
	t.Helper()
	g, err := n.JoinGroup(requester.ID(), raw)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Leave() })
	return g
}

// until publishes through from, now and again as gossip is lossy, until to has received it.
func until(t testing.TB, from, to *Group, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got := make(chan error, 1)
	go func() {
		for {
			m, err := to.Next(ctx)
			if err != nil || string(m.Data) == text && m.From == from.n.ID() {
				got <- err
				return
			}
		}
	}()
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		if err := from.Publish(ctx, []byte(text)); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-got:
			tick.Stop()
			if err != nil {
				t.Fatal(err)
			}
			return
		case <-tick.C:
		}
	}
}

func TestMembersTalkAndTheRevokedDoNot(t *testing.T) {
	r, a, b := startNode(t, nil), startNode(t, nil), startNode(t, nil)
	connect(t, a, r)
	connect(t, b, r) // a and b only reach each other through the requester
	raw := signMembers(t, r, 1, a, b)
	gr, ga, gb := join(t, r, r, raw), join(t, a, r, raw), join(t, b, r, raw)
	until(t, ga, gb, "a to b")
	until(t, gr, ga, "requester to a")

	if err := gr.Update(t.Context(), signMembers(t, r, 2, a)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for { // b learns it from the gossip
		if _, err := gb.Next(ctx); errors.Is(err, ErrNotMember) {
			break
		} else if err != nil {
			t.Fatalf("b was not told that it is out: %v", err)
		}
	}
	for ga.Members().Seq < 2 { // a message may overtake the list
		until(t, gr, ga, "after the update")
	}
	if m := ga.Members(); m.Seq != 2 || gr.has(b.ID()) || ga.has(b.ID()) {
		t.Errorf("b is still a member; a knows list %d", m.Seq)
	}
	if err := gb.Publish(t.Context(), []byte("still here")); err == nil {
		t.Error("b still publishes")
	}
	if err := gr.Update(t.Context(), raw); !errors.Is(err, ErrOldMembers) {
		t.Errorf("an old list came back: %v", err)
	}
}

func TestMembershipMustBeTheRequesters(t *testing.T) {
	r, mallory := startNode(t, nil), startNode(t, nil)
	forged := signMembers(t, mallory, 1, mallory)
	if _, err := mallory.JoinGroup(r.ID(), forged); !errors.Is(err, ErrMembership) {
		t.Errorf("forged: %v", err)
	}
	if _, err := mallory.JoinGroup(r.ID(), signMembers(t, r, 1)); !errors.Is(err, ErrNotMember) {
		t.Errorf("not listed: %v", err)
	}
	g := join(t, r, r, signMembers(t, r, 1))
	if err := g.update(forged); !errors.Is(err, ErrMembership) {
		t.Errorf("forged update: %v", err)
	}
	if err := g.Publish(t.Context(), make([]byte, MaxGroupMessage+1)); err == nil {
		t.Error("oversized message published")
	}
}

func TestGroupRateIsBounded(t *testing.T) {
	b, passed := bucket{tokens: groupBurst, at: now}, 0
	for i := range 10_000 { // over ten seconds
		if b.take(now.Add(time.Duration(i) * time.Millisecond)) {
			passed++
		}
	}
	if want := groupBurst + 10*groupRate; passed < want-2 || passed > want {
		t.Errorf("%d messages passed, want about %d", passed, want)
	}
}

func TestLargestMembershipFits(t *testing.T) {
	k := testKey(t)
	id, _ := peer.IDFromPrivateKey(k)
	m := Membership{Job: testJob}
	for i := range MaxMembers {
		m.Members = append(m.Members, Member{id, i})
	}
	raw, err := SignMembership(m, k)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseMembership(raw, id); err != nil || len(got.Members) != MaxMembers || fmt.Sprint(got.Members[3]) != fmt.Sprint(m.Members[3]) {
		t.Errorf("%d members, %v", len(got.Members), err)
	}
	if _, err := ParseMembership(bytes.Replace(raw, []byte(groupDomain), []byte("p3 offer 1"), -1), id); err == nil {
		t.Error("accepted under another domain")
	}
}

func FuzzParseMembership(f *testing.F) {
	k := testKey(f)
	id, _ := peer.IDFromPrivateKey(k)
	raw, _ := SignMembership(Membership{Job: testJob, Members: []Member{{id, 0}}}, k)
	f.Add(raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := ParseMembership(b, id); err == nil && m.Requester != id {
			t.Fatal("accepted another's")
		}
	})
}
