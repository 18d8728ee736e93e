package ledger_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/ledger/ledgertest"
)

func export(t *testing.T, b *ledger.Book, asCSV bool, since time.Time) []byte {
	t.Helper()
	var out bytes.Buffer
	w := ledger.NewRowWriter(&out, asCSV)
	var failed error
	if err := b.View().Rows(network, since, func(r ledger.Row) bool { failed = w.Write(r); return failed == nil }); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// What an export writes in either form, an audit reads, and finds what the books hold.
func TestAuditReadsWhatExportWrites(t *testing.T) {
	p := settledPair(t, 2*ledger.Credit)
	p.open(t, ledger.Credit) // and one that is still open
	p.unit(t, ledger.Credit/2)
	want := audit(t, p.user, p.host).Report()
	for _, asCSV := range []bool{false, true} {
		a := ok(ledger.NewAudit(network))(t)
		for _, b := range []*ledger.Book{p.user, p.host} {
			genesis := 0
			err := ledger.ReadRows(bytes.NewReader(export(t, b, asCSV, time.Time{})), func(line int, kind string, signed []byte) error {
				if kind == ledger.RowNetwork {
					genesis = line
					if g, err := ledger.ParseGenesis(signed); err != nil || g.Name != network.Name {
						t.Errorf("genesis %q, %v", g.Name, err)
					}
				}
				return a.Row(kind, signed)
			})
			if err != nil || genesis == 0 {
				t.Fatalf("csv %v: %v, genesis in line %d", asCSV, err, genesis)
			}
		}
		if got := a.Report(); !reflect.DeepEqual(got, want) || len(got.Problems) != 0 {
			t.Errorf("csv %v: %+v, want %+v", asCSV, got, want)
		}
	}
}

// The columns of the CSV form are the fields of the JSON form, in the same order, and these.
func TestExportColumnsAreStable(t *testing.T) {
	const want = "schema,kind,time,account,network,epoch,seq,type,peer,lock,job,amount_ucr,change_ucr,fuel,units,balance_ucr,locked_ucr,problem,name,signed_hex"
	p := settledPair(t, 2*ledger.Credit)
	records, err := csv.NewReader(bytes.NewReader(export(t, p.user, true, time.Time{}))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(records[0], ","); got != want {
		t.Errorf("columns %s\nwant    %s", got, want)
	}
	var fields []string
	for f := range reflect.TypeFor[ledger.Row]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields = append(fields, name)
	}
	if got := strings.Join(fields, ","); got != want {
		t.Errorf("fields %s\nwant   %s", got, want)
	}
	lines := bytes.Split(bytes.TrimSpace(export(t, p.user, false, time.Time{})), []byte("\n"))
	if len(lines) != len(records)-1 {
		t.Fatalf("%d JSON lines, %d CSV records", len(lines), len(records)-1)
	}
	for i, line := range lines { // both say the same
		var object map[string]any
		d := json.NewDecoder(bytes.NewReader(line))
		d.UseNumber()
		if err := d.Decode(&object); err != nil {
			t.Fatal(err)
		}
		for c, name := range records[0] {
			have, there := object[name]
			text := records[i+1][c]
			if !there && text != "" && text != "0" || there && text != reflect.ValueOf(have).String() {
				t.Errorf("line %d: %s is %v in JSON, %q in CSV", i, name, have, text)
			}
		}
	}
	// The balance column is the running sum of the change column.
	sum := ledger.Credits(0)
	err = p.user.View().Rows(network, time.Time{}, func(r ledger.Row) bool {
		if r.Kind == ledger.RowEntry {
			if sum += r.Change; sum != r.Balance {
				t.Errorf("entry %d: changes add up to %s, balance %s", r.Seq, sum, r.Balance)
			}
		}
		return true
	})
	if err != nil || sum != -2*ledger.Credit {
		t.Errorf("%s, %v", sum, err)
	}
}

func TestExportSinceLeavesOutWhatIsOlder(t *testing.T) {
	p := settledPair(t, ledger.Credit)
	if n := bytes.Count(export(t, p.user, false, time.Now().Add(time.Minute)), []byte("\n")); n != 1 {
		t.Errorf("%d lines, want the network's alone", n)
	}
	if n := bytes.Count(export(t, p.user, false, time.Now().Add(-time.Minute)), []byte("\n")); n != 1+3+1 {
		t.Errorf("%d lines, want network, three entries, one receipt", n)
	}
}

func TestReadRowsRefusesWhatIsNoExport(t *testing.T) {
	for _, text := range []string{"hello", "{}", `{"schema":"p3.ledger/v2","kind":"entry","signed_hex":""}`, "a,b\n1,2", "schema,kind,signed_hex\np3.ledger/v1,entry,xx",
		`{"schema":"p3.ledger/v1","kind":"entry","signed_hex":"` + strings.Repeat("0", 1<<17) + `"}`, "schema,kind,signed_hex\np3.ledger/v1"} {
		err := ledger.ReadRows(strings.NewReader(text), func(int, string, []byte) error { return nil })
		if !errors.Is(err, ledger.ErrMalformed) {
			t.Errorf("%.60q: %v", text, err)
		}
	}
}

func FuzzReadRows(f *testing.F) {
	f.Add([]byte(`{"schema":"p3.ledger/v1","kind":"entry","signed_hex":"00"}`))
	f.Add([]byte("schema,kind,signed_hex\np3.ledger/v1,receipt,503352"))
	f.Add([]byte("schema,kind,signed_hex\n\"p3.ledger/v1\",network,a0\n{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ledger.NewAudit(network)
		if err != nil {
			t.Fatal(err)
		}
		last := 0
		_ = ledger.ReadRows(bytes.NewReader(b), func(line int, kind string, signed []byte) error {
			if line <= last || len(signed) > len(b) {
				t.Fatalf("line %d after %d with %d bytes", line, last, len(signed))
			}
			last = line
			_ = a.Row(kind, signed)
			return nil
		})
		if r := a.Report(); len(r.Problems) > last {
			t.Fatalf("%d problems in %d lines", len(r.Problems), last)
		}
	})
}

func TestHistorySumsByDay(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zones on this machine: ", err)
	}
	store := ledgertest.NewMemory()
	// A chain with known times, laid down as a book keeps it.
	key := newKey(t)
	other := newKey(t).Account()
	id := ok(network.ID())(t)
	head := ledger.Head{Network: id, Account: key.Account()}
	account := key.Account()
	ops := []ledger.Op{{Key: []byte("ledger/book"), Value: slices.Concat([]byte{1}, id[:], account[:])}}
	var lockEntry ledger.Entry
	add := func(e ledger.Entry) {
		raw := ok(key.SignEntry(e))(t)
		k := append([]byte("ledger/e/"), 0, 0, 0, byte(e.Epoch), 0, 0, 0, 0, 0, 0, 0, byte(e.Seq))
		ops = append(ops, ledger.Op{Key: k, Value: raw})
		head = ledger.HeadAt(e, e.Digest())
	}
	at := func(d, h, m int) time.Time { return time.Date(2026, 3, d, h, m, 0, 0, zone) }
	in := ledger.Entry{Network: id, Account: other, Amount: 9}
	add(head.Genesis(ledger.Digest{}, at(27, 12, 0)))
	add(head.Earn(in, 100, 1, 1, ledger.Digest{1}, 0, at(27, 23, 59)))
	lockEntry = head.Lock(other, 50, ledger.Digest{}, at(31, 0, 0), at(28, 0, 0))
	add(lockEntry)
	add(head.Settle(lockEntry, 30, 1, 1, ledger.Digest{2}, at(28, 23, 59)))
	add(head.Earn(in, 7, 1, 1, ledger.Digest{3}, 0, at(29, 0, 0)))
	add(head.Earn(in, 5, 1, 1, ledger.Digest{3}, 0, at(30, 0, 0)))
	if err := store.Commit(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
	v := ok(ledger.OpenView(store))(t)
	days := []time.Time{at(26, 0, 0), at(27, 0, 0), at(28, 0, 0), at(29, 0, 0), at(30, 0, 0), at(31, 0, 0)}
	if d := days[4].Sub(days[3]); d != 23*time.Hour {
		t.Fatalf("29 March has %s", d)
	}
	got := ok(v.History(days))(t)
	want := []ledger.Span{{}, {Earned: 100, Net: 100}, {Spent: 30, Net: 70}, {Earned: 7, Net: 77}, {Earned: 5, Net: 82}, {Net: 82}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if got := ok(v.History(days[3:]))(t); !reflect.DeepEqual(got, want[3:]) {
		t.Errorf("%+v\nwant %+v", got, want[3:])
	}
	if got := ok(v.History(nil))(t); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}
