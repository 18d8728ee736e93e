package ledger

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Kinds of a Row.
const (
	RowNetwork = "network" // the genesis document; the first row
	RowEntry   = "entry"   // one entry of the account's chain, in order
	RowReceipt = "receipt" // one lease, in the order they were met, newest first
	RowGrant   = "grant"   // one grant of a mint that is known here, by mint and place
)

// A Row is one line of an exported ledger. Signed holds the bytes that prove the rest: what other
// programs read is in the fields before it, what an audit reads is Signed. Fields that a kind does
// not use are empty. Names and order are the columns of the CSV form and never change; new ones
// come at the end.
type Row struct {
	Schema  string    `json:"schema"`            // "p3.ledger/v1"
	Kind    string    `json:"kind"`              // RowNetwork, RowEntry, RowGrant or RowReceipt
	Time    time.Time `json:"time,omitzero"`     // of the entry, or of the receipt's lock; UTC, to the ms
	Account Account   `json:"account"`           // whose ledger this is
	Network Network   `json:"network"`           //
	Epoch   uint32    `json:"epoch,omitempty"`   // of an entry
	Seq     uint64    `json:"seq,omitempty"`     // of an entry; of a grant its place in the mint's chain
	Type    string    `json:"type,omitempty"`    // of an entry: "lock", "settle", …; of a receipt its state
	Peer    Account   `json:"peer,omitzero"`     // the other account
	Lock    Digest    `json:"lock,omitzero"`     // digest of the lock; of a grant, or an entry that claims one, the grant's
	Job     Digest    `json:"job,omitzero"`      // what the lock is for
	Amount  Credits   `json:"amount_ucr"`        // of the entry; of a receipt what was paid
	Change  Credits   `json:"change_ucr"`        // by which an entry changes the balance
	Fuel    Fuel      `json:"fuel,omitempty"`    //
	Units   uint32    `json:"units,omitempty"`   //
	Balance Credits   `json:"balance_ucr"`       // after an entry: granted + earned − spent
	Locked  Credits   `json:"locked_ucr"`        // after an entry; of a receipt what was locked
	Problem string    `json:"problem,omitempty"` // of a receipt: what is wrong with it
	Name    string    `json:"name,omitempty"`    // of the network
	Signed  HexBytes  `json:"signed_hex"`        // the entry; the receipt as a file; the genesis document
}

// RowSchema is every Row's Schema.
const RowSchema = "p3.ledger/v1"

// HexBytes are written as lower-case hex.
type HexBytes []byte

// MarshalText writes hex.
func (h HexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

// UnmarshalText reads hex.
func (h *HexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.AppendDecode(nil, b)
	return err
}

// Rows yields the whole ledger, or what is not older than since, until yield returns false. genesis
// is the network's.
func (v *View) Rows(genesis Genesis, since time.Time, yield func(Row) bool) error {
	doc, err := genesis.Encode()
	if err != nil {
		return err
	}
	if id, err := genesis.ID(); err != nil || id != v.network {
		return errors.Join(err, &NetworkError{Want: v.network, Have: id})
	}
	base := Row{Schema: RowSchema, Account: v.account, Network: v.network}
	first := base
	first.Kind, first.Name, first.Signed = RowNetwork, genesis.Name, doc
	if !yield(first) {
		return nil
	}
	more := true
	var bad error
	err = v.Entries(0, 0, func(raw []byte) bool {
		var e Entry
		if e, bad = ParseEntry(raw); bad != nil {
			bad = fmt.Errorf("the ledger is damaged, restore it from a backup: %w", bad)
			return false
		}
		if e.Time().Before(since) {
			return true
		}
		more = yield(entryRow(base, e, bytes.Clone(raw)))
		return more
	})
	if err = errors.Join(err, bad); err != nil || !more {
		return err
	}
	if since.IsZero() { // a grant has no time
		err = v.Grants(func(raw []byte) bool {
			var g Grant
			if g, bad = ParseGrant(raw); bad != nil {
				bad = fmt.Errorf("the ledger is damaged, restore it from a backup: %w", bad)
				return false
			}
			more = yield(grantRow(base, g, bytes.Clone(raw)))
			return more
		})
		if err = errors.Join(err, bad); err != nil || !more {
			return err
		}
	}
	now := time.Now()
	return v.Receipts(0, 0, func(_ uint64, r Receipt) bool {
		row := receiptRow(base, r, now)
		return row.Time.Before(since) || yield(row)
	})
}

func grantRow(row Row, g Grant, raw []byte) Row {
	row.Kind, row.Seq, row.Peer, row.Lock, row.Amount, row.Signed = RowGrant, g.Seq, g.To, g.Digest(), g.Amount, raw
	return row
}

func entryRow(row Row, e Entry, raw []byte) Row {
	row.Kind, row.Time, row.Epoch, row.Seq, row.Type = RowEntry, e.Time().UTC(), e.Epoch, e.Seq, e.Type.String()
	row.Peer, row.Lock, row.Amount, row.Fuel, row.Units = e.Peer, e.Ref, e.Amount, e.Fuel, e.Units
	row.Balance, row.Locked, row.Signed = e.Net(), e.Locked, raw
	switch e.Type {
	case TypeLock:
		row.Lock, row.Job = e.Digest(), e.Evidence
	case TypeSettle:
		row.Change = -e.Amount
	case TypeEarn, TypeGrant:
		row.Change = e.Amount
	}
	return row
}

func receiptRow(row Row, r Receipt, now time.Time) Row {
	s, err := r.Verify()
	row.Kind, row.Time, row.Type, row.Lock, row.Job = RowReceipt, s.Time.UTC(), s.State(now), s.ID, s.Job
	row.Amount, row.Fuel, row.Units, row.Locked, row.Signed = s.Paid, s.Fuel, s.Units, s.Locked, r.Encode()
	if row.Peer = s.Payer; s.Payer == row.Account {
		row.Peer = s.Payee
	}
	if err != nil {
		row.Problem = err.Error()
	}
	return row
}

// A column is one field of the CSV form.
type column struct {
	name string
	text func(Row) string
}

var columns = []column{
	{"schema", func(r Row) string { return r.Schema }},
	{"kind", func(r Row) string { return r.Kind }},
	{"time", func(r Row) string {
		if r.Time.IsZero() {
			return ""
		}
		return r.Time.Format(time.RFC3339Nano)
	}},
	{"account", func(r Row) string { return r.Account.String() }},
	{"network", func(r Row) string { return r.Network.String() }},
	{"epoch", func(r Row) string { return r.ifEntry(uint64(r.Epoch)) }},
	{"seq", func(r Row) string {
		if r.Kind == RowGrant {
			return strconv.FormatUint(r.Seq, 10)
		}
		return r.ifEntry(r.Seq)
	}},
	{"type", func(r Row) string { return r.Type }},
	{"peer", func(r Row) string { return text(r.Peer.IsZero(), r.Peer) }},
	{"lock", func(r Row) string { return text(r.Lock.IsZero(), r.Lock) }},
	{"job", func(r Row) string { return text(r.Job.IsZero(), r.Job) }},
	{"amount_ucr", func(r Row) string { return strconv.FormatInt(int64(r.Amount), 10) }},
	{"change_ucr", func(r Row) string { return strconv.FormatInt(int64(r.Change), 10) }},
	{"fuel", func(r Row) string { return strconv.FormatUint(uint64(r.Fuel), 10) }},
	{"units", func(r Row) string { return strconv.FormatUint(uint64(r.Units), 10) }},
	{"balance_ucr", func(r Row) string { return strconv.FormatInt(int64(r.Balance), 10) }},
	{"locked_ucr", func(r Row) string { return strconv.FormatInt(int64(r.Locked), 10) }},
	{"problem", func(r Row) string { return oneLine(r.Problem) }},
	{"name", func(r Row) string { return oneLine(r.Name) }},
	{"signed_hex", func(r Row) string { return hex.EncodeToString(r.Signed) }},
}

func (r Row) ifEntry(n uint64) string {
	if r.Kind != RowEntry {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

func text(none bool, v fmt.Stringer) string {
	if none {
		return ""
	}
	return v.String()
}

// oneLine keeps a text from being more than one line, or a formula in a spreadsheet.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if s != "" && strings.ContainsAny(s[:1], "=+-@") {
		s = "'" + s
	}
	return s
}

// A RowWriter writes rows as lines: JSON, or CSV (RFC 4180) with a header. Flush it at the end.
type RowWriter struct {
	out  *bufio.Writer
	json *json.Encoder
	csv  *csv.Writer
}

// NewRowWriter writes CSV to w if csv is set, JSON lines otherwise.
func NewRowWriter(w io.Writer, asCSV bool) *RowWriter {
	out := bufio.NewWriter(w)
	if !asCSV {
		return &RowWriter{out: out, json: json.NewEncoder(out)}
	}
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	x := &RowWriter{out: out, csv: csv.NewWriter(out)}
	_ = x.csv.Write(names) // Flush tells
	return x
}

// Write writes one row.
func (w *RowWriter) Write(r Row) error {
	if w.json != nil {
		return w.json.Encode(r)
	}
	record := make([]string, len(columns))
	for i, c := range columns {
		record[i] = c.text(r)
	}
	return w.csv.Write(record)
}

// Flush writes what is buffered and returns the first error.
func (w *RowWriter) Flush() error {
	if w.csv != nil {
		w.csv.Flush()
		if err := w.csv.Error(); err != nil {
			return err
		}
	}
	return w.out.Flush()
}

// maxRow bounds a line of an export in bytes; a genesis document is the longest there may be.
const maxRow = 2*MaxGenesis + 4<<10

// ReadRows reads an export in either form and yields what each line proves, Kind and Signed: the
// other fields only repeat it. line counts from 1. It stops at the first line that is none of an export,
// or with yield's error.
func ReadRows(in io.Reader, yield func(line int, kind string, signed []byte) error) error {
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 0, 8<<10), maxRow)
	kindAt, signedAt := -1, -1
	line := 0
	for s.Scan() {
		line++
		b := bytes.TrimSpace(s.Bytes())
		var kind, signed string
		switch {
		case len(b) == 0:
			continue
		case b[0] == '{':
			var row struct {
				Schema string `json:"schema"`
				Kind   string `json:"kind"`
				Signed string `json:"signed_hex"`
			}
			if err := json.Unmarshal(b, &row); err != nil || row.Schema != RowSchema {
				return fmt.Errorf("line %d: not a line of an export of version 1: %w", line, ErrMalformed)
			}
			kind, signed = row.Kind, row.Signed
		default:
			record, err := csv.NewReader(bytes.NewReader(b)).Read()
			if err != nil {
				return fmt.Errorf("line %d: not a line of an export: %w", line, ErrMalformed)
			}
			if kindAt < 0 {
				for i, name := range record {
					switch name {
					case "kind":
						kindAt = i
					case "signed_hex":
						signedAt = i
					}
				}
				if kindAt < 0 || signedAt < 0 {
					return fmt.Errorf("line %d: not an export: %w", line, ErrMalformed)
				}
				continue
			}
			if len(record) <= max(kindAt, signedAt) || record[0] != RowSchema {
				return fmt.Errorf("line %d: not a line of an export of version 1: %w", line, ErrMalformed)
			}
			kind, signed = record[kindAt], record[signedAt]
		}
		raw, err := hex.DecodeString(signed)
		if err != nil {
			return fmt.Errorf("line %d: signed_hex: %w", line, ErrMalformed)
		}
		if err := yield(line, kind, raw); err != nil {
			return err
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("line %d: longer than any of an export: %w", line+1, ErrMalformed)
	}
	return s.Err()
}
