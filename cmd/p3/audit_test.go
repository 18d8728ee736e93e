package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
)

// exportFile writes an export as p3 credit export does, of records of the test's own making.
func exportFile(t *testing.T, g ledger.Genesis, entries ...[]byte) string {
	t.Helper()
	doc, err := g.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := ledger.NewRowWriter(&b, false)
	w.Write(ledger.Row{Schema: ledger.RowSchema, Kind: ledger.RowNetwork, Signed: doc})
	for _, e := range entries {
		w.Write(ledger.Row{Schema: ledger.RowSchema, Kind: ledger.RowEntry, Signed: e})
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "export.jsonl")
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// An account that spent one credit twice is convicted by the two exports that show it.
func TestAuditPrintsTheForkProof(t *testing.T) {
	g := ledger.MutualGenesis("fork", 10*ledger.Credit)
	network, err := g.ID()
	if err != nil {
		t.Fatal(err)
	}
	key, err := ledger.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	sign := func(e ledger.Entry) []byte {
		raw, err := key.SignEntry(e)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	head := ledger.Head{Network: network, Account: key.Account()}
	first := head.Genesis(ledger.Digest{}, now)
	head = ledger.HeadAt(first, first.Digest())
	one := sign(head.Lock(ledger.Account{1}, ledger.Credit, ledger.Digest{}, now.Add(time.Hour), now))
	two := sign(head.Lock(ledger.Account{2}, ledger.Credit, ledger.Digest{}, now.Add(time.Hour), now))
	a, b := exportFile(t, g, sign(first), one), exportFile(t, g, sign(first), two)

	var out, talk bytes.Buffer
	if code := run([]string{"credit", "audit", a, b}, nil, &out, &talk); code != exitUnbalanced {
		t.Errorf("exit code %d, want %d: %s", code, exitUnbalanced, &talk)
	}
	for _, want := range []string{"NOT CONSERVED: 1 problem", "fork by " + key.Account().String(), hex.EncodeToString(one), hex.EncodeToString(two), a + ":3", b + ":3", "entry 1 (epoch 0) lock, 1.00 cr"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
	out.Reset()
	if code := run([]string{"--json", "credit", "audit", a, b}, nil, &out, &talk); code != exitUnbalanced {
		t.Errorf("exit code %d, want %d: %s", code, exitUnbalanced, &talk)
	}
	var report auditReport
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	if report.Conserved || len(report.Problems) != 1 || report.Problems[0].Kind != ledger.ProblemFork ||
		!bytes.Equal(report.Problems[0].A, one) || !bytes.Equal(report.Problems[0].B, two) {
		t.Errorf("%+v", report)
	}
	out.Reset()
	if code := run([]string{"credit", "audit", a}, nil, &out, &talk); code != exitOK {
		t.Errorf("one of them alone: exit code %d\n%s", code, &out)
	}
	other := exportFile(t, ledger.MutualGenesis("other", 1))
	if code := run([]string{"credit", "audit", a, other}, nil, &out, &talk); code != exitUsage || !strings.Contains(talk.String(), "audit each network by itself") {
		t.Errorf("two networks: exit code %d, %s", code, &talk)
	}
}
