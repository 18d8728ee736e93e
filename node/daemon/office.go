package daemon

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/p2p"
)

// An office PC has keys/binding instead of keys/account: the account's word that this node earns for it, and the peer ID of the node that
// gave it, as text: p3b: · NodeBinding in base64url · "." · peer ID.
const bindingPrefix = "p3b:"

func bindingFile(dir string) string { return filepath.Join(dir, "keys", "binding") }

// loadBinding reads the binding of an office PC, and where it is from; nil elsewhere.
func loadBinding(dir string) ([]byte, peer.ID, error) {
	text, err := os.ReadFile(bindingFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	return parseBinding(string(text))
}

func parseBinding(text string) (raw []byte, home peer.ID, err error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), bindingPrefix)
	rest, from, dot := strings.Cut(rest, ".")
	if ok = ok && dot; ok {
		raw, err = base64.RawURLEncoding.DecodeString(rest)
	}
	if ok && err == nil {
		_, err = ledger.ParseBinding(raw)
	}
	if ok && err == nil {
		home, err = peer.Decode(from)
	}
	if err != nil || !ok {
		return nil, "", &node.Problem{Code: node.CodeUsage, Message: "that is no binding", Hint: "give the line that p3 credit bind printed on the PC with the key, or a file with it"}
	}
	return raw, home, nil
}

func encodeBinding(raw []byte, home peer.ID) string {
	return bindingPrefix + base64.RawURLEncoding.EncodeToString(raw) + "." + home.String()
}

// SaveBinding makes the node of a data folder an office PC from its next start on. The folder must not have an account of its own.
func SaveBinding(dir, text string) error {
	raw, home, err := parseBinding(text)
	if err != nil {
		return err
	}
	have, _, err := loadBinding(dir)
	if err == nil && have != nil && !newer(raw, have) {
		return nil // it was renewed since
	}
	if _, err := os.Stat(accountFile(dir)); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, &node.Problem{Code: node.CodeDenied, Message: dir + " has an account of its own", Hint: "use another folder for a node that earns for another one: --data-dir"})
	}
	return writeFile(bindingFile(dir), []byte(encodeBinding(raw, home)+"\n"))
}

// newer reports whether a binding replaces another: one of another account does.
func newer(raw, than []byte) bool {
	a, err := ledger.ParseBinding(raw)
	b, err2 := ledger.ParseBinding(than)
	return err != nil || err2 != nil || a.Account != b.Account || a.Network != b.Network || a.Seq > b.Seq
}

// PeerID is the peer ID of a data folder's node, whose key is made if there is none yet.
func PeerID(dir string) (peer.ID, error) {
	key, err := loadNode(dir)
	if err != nil {
		return "", err
	}
	return peer.IDFromPrivateKey(key)
}

// openTill opens the ledger of an office PC.
func (d *Daemon) openTill(ctx context.Context, mark ledger.Fence, k keys, g ledger.Genesis) (*ledger.Book, error) {
	secret, err := k.node.Raw()
	if err != nil {
		return nil, err
	}
	key, err := ledger.ParseKey(secret)
	if err != nil {
		return nil, err
	}
	b, err := ledger.OpenTill(ctx, d.store, mark, key, k.binding, g)
	if errors.Is(err, ledger.ErrTillFull) {
		err = &node.Problem{Code: node.CodeDenied, Message: err.Error(), Hint: "give --earn-for the binding of that account again and let it run until p3 status shows nothing waiting; or use another folder: --data-dir"}
	} else if errors.As(err, new(*ledger.NetworkError)) {
		err = &node.Problem{Code: node.CodeDenied, Message: "the binding is for another network: " + err.Error(), Hint: "join the network of the PC with the key, or have that one bind this node again"}
	} else if errors.Is(err, ledger.ErrConflict) {
		err = &node.Problem{Code: node.CodeDenied, Message: err.Error(), Hint: "on the PC with the key: p3 credit bind with what `p3 peer id` prints here"}
	}
	return b, err
}

// binds tells until when the binding of an office PC stands; ok is false elsewhere.
func (d *Daemon) boundUntil() (until time.Time, ok bool) {
	raw, ok := d.book.Till()
	if !ok {
		return until, false
	}
	if n, err := ledger.ParseBinding(raw); err == nil {
		until = n.Expiry()
	}
	return until, true
}

// rebound takes a newer binding from the PC with the key.
func (d *Daemon) rebound(raw []byte) {
	if err := writeFile(bindingFile(d.cfg.Dir), []byte(encodeBinding(raw, d.home)+"\n")); err != nil {
		d.log.Error("keep the binding", "err", err)
	}
	d.net.binding.Store(&raw)
	d.p2p.SetBinding(raw)
	d.host.decide()
}

// homes are nodes with the key of the account that this office PC earns for: those that are connected, else the one that bound it,
// wherever it is.
func (d *Daemon) homes() (out []peer.ID) {
	for _, p := range d.p2p.Peers() {
		if p.Account == d.book.Account() && !p.Office {
			out = append(out, p.ID)
		}
	}
	if len(out) == 0 && d.home != "" {
		out = append(out, d.home)
	}
	return out
}

// office is what Status says of an office PC.
func (d *Daemon) office() (*node.OfficeStatus, error) {
	until, ok := d.boundUntil()
	if !ok {
		return nil, nil
	}
	s := &node.OfficeStatus{Account: d.book.Account(), Expires: until, Home: d.atHome()}
	for _, l := range d.book.OpenLocks() {
		s.Open++
		s.Vouched += l.Vouched
	}
	s.Refused, s.Why = d.till.Refused()
	var err error
	s.Waiting, s.Amount, err = d.book.Waiting()
	return s, err
}

// atHome reports whether a node with the key is connected.
func (d *Daemon) atHome() bool {
	return slices.ContainsFunc(d.p2p.Peers(), func(p p2p.PeerInfo) bool { return p.Account == d.book.Account() && !p.Office })
}

// On the PC with the key: node/office/PEER → what is noted of a node that is bound.
const officePrefix = "node/office/"

type officeRow struct {
	LifeMs  int64          `json:"life_ms"`
	Since   time.Time      `json:"since"`
	Expires time.Time      `json:"expires"`
	Ended   bool           `json:"ended,omitempty"` // unbound
	Day     ledger.Credits `json:"day_ucr"`
}

func (r officeRow) life() time.Duration { return time.Duration(r.LifeMs) * time.Millisecond }

// quota is what may be taken up of the node: what it earned while it was away as long as its binding stands may come at once.
func (r officeRow) quota() ledger.Quota {
	return ledger.Quota{Day: r.Day, Days: int(r.life()/(24*time.Hour)) + 1, Since: r.Since}
}

func (d *Daemon) officeRow(p peer.ID) (row officeRow, known bool, err error) {
	b, err := d.store.Get([]byte(officePrefix + p.String()))
	if errors.Is(err, ledger.ErrNotFound) {
		return row, false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &row)
	}
	return row, err == nil, err
}

func (d *Daemon) putOffice(ctx context.Context, p peer.ID, row officeRow) error {
	b, err := json.Marshal(row)
	if err != nil {
		return err
	}
	return d.store.Commit(ctx, ledger.Op{Key: []byte(officePrefix + p.String()), Value: b})
}

// refuseBound refuses what makes bindings of an account worthless while nodes are bound: what they earned, and have not handed on, is
// for the account of this key.
func refuseBound(store ledger.Store, what string) error {
	n := 0
	var bad error
	err := store.Scan([]byte(officePrefix), nil, func(_, v []byte) bool {
		var row officeRow
		if bad = json.Unmarshal(v, &row); bad == nil && !row.Ended {
			n++
		}
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil || n == 0 {
		return err
	}
	return &node.Problem{Code: node.CodeDenied, Message: fmt.Sprintf("%d other nodes earn for this account: %s would cut off what they have not handed on", n, what), Hint: "let each run until p3 status there shows nothing waiting or open, p3 credit unbind it here; afterwards p3 credit bind it anew"}
}

// errOffice is for what needs the account's key.
func errOffice(what string) error {
	return &node.Problem{Code: node.CodeDenied, Message: "this machine earns for an account whose key is elsewhere: there is nothing here to " + what, Hint: "do it on the PC with the key"}
}

func isOffice(dir string) bool {
	_, err := os.Stat(bindingFile(dir))
	return err == nil
}

// bindOffice signs a binding for a node, and notes it before it is handed out.
func (d *Daemon) bindOffice(ctx context.Context, p peer.ID, row officeRow, now time.Time) ([]byte, officeRow, error) {
	row.Expires = now.Add(row.life())
	raw, err := d.book.BindOffice([]byte(p), uint64(now.UnixMilli()), row.Expires)
	if err != nil {
		return nil, row, err
	}
	return raw, row, d.putOffice(ctx, p, row)
}

// Renew implements job.Keeper. A binding is renewed when a tenth of its time is over, so that an office PC can miss this one
// nearly as long as it says.
func (d *Daemon) Renew(p peer.ID, shown []byte, now time.Time) (q ledger.Quota, newer []byte, err error) {
	row, known, err := d.officeRow(p)
	switch {
	case err != nil:
		return q, nil, err
	case !known || row.Ended:
		return q, nil, errors.New("this node is not bound to the account: p3 credit bind on the PC with the key")
	}
	n, err := ledger.ParseBinding(shown)
	if err == nil && n.Account != d.book.Account() {
		return q, nil, errors.New("the account has another key now, and is known by that: p3 credit bind on the PC with the key, and p3 up --earn-for here")
	}
	if err == nil && n.Expiry().Sub(now) > row.life()*9/10 {
		return row.quota(), nil, nil
	}
	newer, _, err = d.bindOffice(context.Background(), p, row, now)
	return row.quota(), newer, err
}

func (d *Daemon) bound(p peer.ID, row officeRow) (node.Bound, error) {
	x, err := d.book.TakenFrom([]byte(p))
	return node.Bound{Schema: "p3.bound/v1", Peer: p.String(), Name: d.net.Name(p), Since: row.Since, Expires: row.Expires, Ended: row.Ended, Day: row.Day, Leases: x.Leases, Earned: x.Amount, Last: x.Last}, err
}

// Bind implements localapi.Backend.
func (d *Daemon) Bind(ctx context.Context, r node.BindRequest) (node.Bound, error) {
	p, err := peer.Decode(r.Peer)
	if err != nil {
		return node.Bound{}, &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("%.60q is not a peer ID", r.Peer), Hint: "give what `p3 peer id` prints on the other PC"}
	}
	if p == d.p2p.ID() {
		return node.Bound{}, &node.Problem{Code: node.CodeUsage, Message: "that is this node itself", Hint: "give what `p3 peer id` prints on the other PC"}
	}
	now := time.Now()
	row := officeRow{LifeMs: r.LifeMs, Since: now.UTC(), Day: r.Day}
	if row.Day == 0 {
		row.Day = node.DefaultBindingDay
	}
	if row.LifeMs == 0 {
		row.LifeMs = node.DefaultBindingLife.Milliseconds()
	}
	raw, row, err := d.bindOffice(ctx, p, row, now)
	switch {
	case errors.Is(err, ledger.ErrTill):
		return node.Bound{}, &node.Problem{Code: node.CodeDenied, Message: err.Error(), Hint: "bind nodes on the PC with the key"}
	case errors.Is(err, ledger.ErrMalformed):
		return node.Bound{}, &node.Problem{Code: node.CodeUsage, Message: err.Error(), Hint: "give what `p3 peer id` prints on the other PC"}
	case errors.Is(err, ledger.ErrConflict): // a network with witnesses
		return node.Bound{}, &node.Problem{Code: node.CodeDenied, Message: err.Error(), Hint: "start the other PC with an account of its own, and move credit with p3 credit send"}
	case err != nil:
		return node.Bound{}, err
	}
	b, err := d.bound(p, row)
	b.Binding = encodeBinding(raw, d.p2p.ID())
	d.emit("ok", "credit", "node "+p.String()+" may earn for this account until "+row.Expires.Local().Format(time.DateTime))
	return b, err
}

// Unbind implements localapi.Backend.
func (d *Daemon) Unbind(ctx context.Context, id string) (node.Bound, error) {
	all, err := d.Bound(ctx)
	if err != nil {
		return node.Bound{}, err
	}
	i := slices.IndexFunc(all, func(b node.Bound) bool { return b.Peer == id || b.Name == id })
	if i < 0 {
		return node.Bound{}, &node.Problem{Code: node.CodeNotFound, Message: fmt.Sprintf("no node %.60q is bound", id), Hint: "see p3 credit bound"}
	}
	p, err := peer.Decode(all[i].Peer)
	if err != nil {
		return node.Bound{}, err
	}
	row, _, err := d.officeRow(p)
	if err != nil {
		return node.Bound{}, err
	}
	row.Ended = true
	if err := d.putOffice(ctx, p, row); err != nil {
		return node.Bound{}, err
	}
	d.emit("ok", "credit", "node "+p.String()+" is not bound any more")
	return d.bound(p, row)
}

// Bound implements localapi.Backend.
func (d *Daemon) Bound(context.Context) (out []node.Bound, err error) {
	var bad error
	err = d.store.Scan([]byte(officePrefix), nil, func(k, v []byte) bool {
		var row officeRow
		if bad = json.Unmarshal(v, &row); bad != nil {
			return false
		}
		var p peer.ID
		if p, bad = peer.Decode(string(k[len(officePrefix):])); bad != nil {
			return false
		}
		var b node.Bound
		b, bad = d.bound(p, row)
		out = append(out, b)
		return bad == nil
	})
	return out, errors.Join(err, bad)
}
