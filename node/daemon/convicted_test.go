//go:build linux

package daemon

import (
	"slices"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/p2p"
)

// Those who matter to the node come before strangers, each with what its proof shows.
func TestConvictedAreListedWithTheirRole(t *testing.T) {
	var keys [4]ledger.Key
	for i := range keys {
		k, err := ledger.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = k
	}
	mint, witness := keys[0].Account(), keys[1].Account()
	doc, err := ledger.GrantedGenesis("acme", ledger.Mint{Account: mint, Cap: ledger.Credit}).Witnessed(witness).Encode()
	if err != nil {
		t.Fatal(err)
	}
	d := startNode(t, Config{Name: "elm"}, p2p.Invite{Genesis: doc}.String())
	if c, err := d.Convicted(t.Context()); err != nil || c.Total != 0 || c.List == nil || len(c.List) > 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	for _, k := range keys {
		var two [2][]byte
		for i := range two {
			h := ledger.Head{Network: d.book.Network(), Account: k.Account()}
			if two[i], err = k.SignEntry(h.Genesis(ledger.Digest{byte(i)}, time.Now())); err != nil {
				t.Fatal(err)
			}
		}
		p, err := ledger.NewProof(ledger.ProofFork, two[0], two[1])
		if err != nil {
			t.Fatal(err)
		}
		if _, news, err := d.book.Convict(t.Context(), p.Encode()); err != nil || !news {
			t.Fatalf("news %v, %v", news, err)
		}
	}
	got, err := d.Convicted(t.Context())
	if err != nil || got.Total != 4 || len(got.List) != 4 {
		t.Fatalf("%+v, %v", got, err)
	}
	roles := map[ledger.Account]string{mint: "mint", witness: "witness"}
	for _, c := range got.List {
		if c.Role != roles[c.Account] || c.Why != ledger.ProofFork.String() {
			t.Errorf("%+v", c)
		}
	}
	stranger := func(c node.Conviction) bool { return c.Role == "" }
	if at := slices.IndexFunc(got.List, stranger); at != 2 {
		t.Errorf("the first stranger is at %d of %+v", at, got.List)
	}
}
