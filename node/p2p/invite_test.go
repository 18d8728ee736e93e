package p2p

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/ledger"
)

var now = time.UnixMilli(1_800_000_000_000)

func testInvite(t testing.TB) Invite {
	t.Helper()
	genesis, err := ledger.DefaultGenesis().Encode()
	if err != nil {
		t.Fatal(err)
	}
	a, err := peer.AddrInfoFromString("/ip4/203.0.113.7/tcp/4001/p2p/16Uiu2HAm3eYmdYMDDkaa7RpBkQjYyt8ybx3mzwBUi3gULiAW3jTB")
	if err != nil {
		t.Fatal(err)
	}
	return Invite{Genesis: genesis, Bootstrap: []peer.AddrInfo{*a}, PSK: make([]byte, 32), Expires: now.Add(time.Hour)}
}

func TestInviteIsOneLineThatComesBack(t *testing.T) {
	i := testInvite(t)
	s := i.String()
	for _, text := range []string{s, " " + s + "\n", strings.ToUpper(s)} {
		got, err := ParseInvite(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got.String() != s || len(got.Bootstrap) != 1 || got.Bootstrap[0].ID != i.Bootstrap[0].ID || !got.Expires.Equal(i.Expires) {
			t.Errorf("got %+v, want %+v", got, i)
		}
	}
	want, _ := ledger.DefaultGenesis().ID()
	if id, err := i.Network(); err != nil || id != want {
		t.Errorf("network %s %v", id, err)
	}
	t.Logf("%d characters: %s", len(s), s)
}

func TestBadInviteSaysWhatIsWrong(t *testing.T) {
	s := testInvite(t).String()
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"empty":          {"", ErrNotInvite},
		"something else": {"https://example.org", ErrNotInvite},
		"two lines":      {s[:40] + "\n" + s[40:], ErrNotInvite},
		"only prefix":    {"p3:", ErrInviteCut},
		"a digit 1":      {s[:20] + "1" + s[21:], ErrInviteDamaged},
		"more at end":    {s + "aaaaaaaa", ErrInviteDamaged},
		"newer":          {"p3:" + base32Lower.EncodeToString([]byte{2, 0, 0, 1, 2, 3, 4}), ErrInviteNewer},
	} {
		if _, err := ParseInvite(c.text); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for n := len("p3:"); n < len(s); n++ {
		if _, err := ParseInvite(s[:n]); !errors.Is(err, ErrInviteCut) {
			t.Fatalf("first %d of %d characters: %v", n, len(s), err)
		}
	}
	for i := len("p3:") + 8; i < len(s); i++ { // version and length have reasons of their own
		bad := s[:i] + string("ab"[(s[i]-'a'+1)%2&1]) + s[i+1:]
		if bad == s {
			continue
		}
		if _, err := ParseInvite(bad); !errors.Is(err, ErrInviteDamaged) {
			t.Fatalf("character %d wrong: %v", i, err)
		}
	}
	i, err := ParseInvite(s)
	if err != nil || i.Check(now) != nil || !errors.Is(i.Check(now.Add(time.Hour)), ErrInviteExpired) {
		t.Errorf("expiry: %v, %v", err, i.Check(now.Add(time.Hour)))
	}
}

func TestNodesMeetByInvite(t *testing.T) {
	genesis, err := ledger.DefaultGenesis().Encode()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := ledger.DefaultGenesis().ID()
	a := startNode(t, func(c *Config) { c.Network = id })
	i, err := ParseInvite(a.Invite(genesis, time.Time{}).String())
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	b := startNode(t, func(c *Config) { c.Network, c.Bootstrap = id, i.Bootstrap })
	events, stop := b.Subscribe()
	defer stop()
	if len(b.Peers()) == 0 {
		await(t, events, PeerGreeted)
	}
	t.Logf("joined in %s", time.Since(start).Round(time.Millisecond))
}

func FuzzParseInvite(f *testing.F) {
	f.Add(testInvite(f).String())
	f.Add("p3:aeaaa")
	f.Fuzz(func(t *testing.T, s string) {
		i, err := ParseInvite(s)
		if err != nil {
			return
		}
		again, err := ParseInvite(i.String())
		if err != nil || again.String() != i.String() {
			t.Fatalf("%q: %v", s, err)
		}
	})
}
