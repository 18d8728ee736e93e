package nodetest

import (
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

// sampleCredit adds what an open, mutual network has of credit: what peers may claim and why, and whom a proof is kept against.
func sampleCredit(s *State) {
	s.Recovery = node.Recovery{Signs: true}
	s.Witness = node.WitnessStatus{NetName: "home", Witnesses: []node.WitnessSeat{}}
	s.Caught = node.Convictions{Schema: "p3.convicted/v1", Total: 2, List: []node.Conviction{
		{Account: account(2), Name: "birch", Why: "it signed two entries for one place in its chain", Did: 1_200_000, Got: 4_000_000},
		{Account: account(77), Why: "it settled below a voucher it had signed"},
	}}
	s.Views = map[ledger.Account]node.PeerView{
		account(1): {Did: 2_500_000, Got: 12_300_000, Leases: 1, Unpaid: 2, Window: 8, Trust: 0.97, Valid: 41, Row: 41, Check: 0.05,
			Limited: true, Limit: 16_300_000, Flow: 12_300_000, Starter: 4_000_000, Today: 4_000_000,
			Why: "flow 12.300000 cr via " + account(3).Short() + "; starter left today 4.000000 cr"},
		account(2): {Did: 1_200_000, Got: 4_000_000, Window: 1, Defaults: 1, Trust: 0.33, Frozen: true},
	}
}

// Granted is a Sample of an organisation's network whose mint's key is here, with four witnesses of which one is away.
func Granted(now time.Time, offers int) State {
	s := Sample(now, offers)
	s.Status.NetName, s.Status.Network = "acme", ledger.Network(digest(70))
	mint := account(200)
	s.Org = &node.Org{Schema: "p3.org/v1", Name: "acme", Network: s.Status.Network, Witnesses: 4, Quorum: 3, Faulty: 1,
		Mints: []node.OrgMint{{Account: mint, Cap: 10_000_000_000}}, Mint: mint, Issued: 325_000_000, Left: 9_675_000_000, Grants: 9,
		Members: []node.OrgMember{
			{Account: s.Status.Account, Name: "elm", Granted: 100_000_000, Grants: 2},
			{Account: account(1), Name: "maple", Granted: 125_000_000, Grants: 5, Allowance: 5_000_000, Every: "week", Next: now.AddDate(0, 0, 1).UTC().Truncate(24 * time.Hour)},
			{Account: account(50), Granted: 100_000_000, Grants: 2, Waiting: 100_000_000},
		}}
	s.Grants = []node.GrantTaken{
		{ID: digest(301), Mint: mint, Amount: 20_000_000, Time: now.Add(-2 * time.Hour)},
		{ID: digest(300), Mint: mint, Amount: 80_000_000, Time: now.AddDate(0, 0, -9)},
	}
	s.Witness = node.WitnessStatus{Account: account(300), Named: true, Serving: true, NetName: "acme", Need: 3, Of: 4, Faulty: 1,
		Accounts: 14, Entries: 2044, Signed: 611, Refused: 3, Forks: 1,
		Witnesses: []node.WitnessSeat{
			{Account: account(300), Peer: s.Status.Peer, Name: "elm", Here: true, Asked: now.Add(-40 * time.Second)},
			{Account: account(301), Peer: peerID(0), Name: "maple", Asked: now.Add(-40 * time.Second)},
			{Account: account(302), Peer: peerID(2), Name: "oak", Asked: now.Add(-40 * time.Second)},
			{Account: account(303), Asked: now.Add(-3 * time.Hour), Why: "not reached"},
		},
		Certified: &node.WitnessedLock{Lock: s.Receipts[1].ID, Seq: 1201, Time: now.Add(-40 * time.Second), By: []ledger.Account{account(300), account(301), account(302)}},
	}
	return s
}
