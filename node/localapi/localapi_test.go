package localapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/localapi"
	"github.com/personal-power-plant/p3/node/nodetest"
)

var now = time.Date(2026, 3, 1, 14, 0, 0, 0, time.UTC)

// serve answers for b on a socket of its own until the test ends.
func serve(t *testing.T, b localapi.Backend) (client *node.Client, socket string) {
	t.Helper()
	// Not t.TempDir: its path may be longer than a socket's may be.
	dir, err := os.MkdirTemp("", "p3")
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "run", "p3.sock")
	l, err := localapi.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- localapi.Serve(ctx, l, b) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket outlives its server: %v", err)
		}
		os.RemoveAll(dir)
	})
	return node.NewClient(socket), socket
}

func manifest(name string) exec.Manifest {
	return exec.Manifest{Version: 1, Kind: exec.KindMap, Engine: exec.EngineWASM, Name: name, Program: exec.File{Name: "a.wasm", Size: 1},
		Each: exec.EachLines, Limits: exec.DefaultLimits, Verify: 1, Budget: ledger.Credit}
}

// TestConformance runs the same calls against the node in memory itself and against it
// through client, socket and handler: nobody may see a difference.
func TestConformance(t *testing.T) {
	backends := map[string]func(*testing.T) localapi.Backend{
		"direct": func(*testing.T) localapi.Backend { return nodetest.New(nodetest.Sample(now, 40)) },
		"socket": func(t *testing.T) localapi.Backend {
			c, _ := serve(t, nodetest.New(nodetest.Sample(now, 40)))
			return c
		},
	}
	for name, open := range backends {
		t.Run(name, func(t *testing.T) {
			b, want, ctx := open(t), nodetest.Sample(now, 40), t.Context()
			id := want.Jobs[0].ID.Short()

			st, err := b.Status(ctx)
			want.Status.Jobs = want.Jobs
			same(t, "status", st, want.Status, err)
			offers, err := b.Offers(ctx)
			same(t, "offers", offers, want.Offers, err)
			peers, err := b.Peers(ctx)
			same(t, "peers", peers, want.Peers, err)
			jobs, err := b.Jobs(ctx)
			same(t, "jobs", jobs, want.Jobs, err)
			job, err := b.Job(ctx, id)
			same(t, "job", job, want.Jobs[0], err)
			states, err := b.UnitStates(ctx, id, 205, 6)
			same(t, "states", states, "###xx#", err)
			unit, err := b.Unit(ctx, id, 208)
			same(t, "unit", unit, want.Results[want.Jobs[0].ID][208], err)
			balance, err := b.Balance(ctx)
			same(t, "balance", balance, want.Status.Balance, err)
			var receipts []node.Receipt
			err = b.Receipts(ctx, func(r node.Receipt) error { receipts = append(receipts, r); return nil })
			same(t, "receipts", receipts, want.Receipts, err)
			raw, err := b.ReceiptBytes(ctx, want.Receipts[0].ID.String())
			same(t, "receipt bytes", raw, want.Receipts[0].ID[:], err)
			for _, x := range []struct {
				since time.Time
				rows  []ledger.Row
			}{{time.Time{}, want.Rows}, {now.Add(-24 * time.Hour), []ledger.Row{want.Rows[0], want.Rows[2]}}} {
				var rows []ledger.Row
				err = b.Export(ctx, x.since, func(r ledger.Row) error { rows = append(rows, r); return nil })
				same(t, "rows", rows, x.rows, err)
			}
			history, err := b.History(ctx, 5)
			want.History.Days = want.History.Days[len(want.History.Days)-5:]
			same(t, "history", history, want.History, err)
			caught, err := b.Convicted(ctx)
			same(t, "convicted", caught, want.Caught, err)
			witness, err := b.Witness(ctx)
			same(t, "witness", witness, want.Witness, err)
			proof, err := b.BalanceProof(ctx)
			same(t, "proof", proof, want.Status.Account[:], err)
			published, err := b.Publish(ctx, ledger.Digest{7})
			same(t, "publication", published, append([]byte{7}, make([]byte, 31)...), err)
			sent, err := b.Send(ctx, node.Transfer{To: "elm", Amount: 5})
			same(t, "sent", sent, node.Sent{Schema: "p3.send/v1", ID: ledger.Digest{1}, Name: "elm", Amount: 5}, err)
			_, err = b.Send(ctx, node.Transfer{To: "elm", Amount: ledger.MaxCredits})
			code(t, err, node.CodeNoCredit)
			bound, err := b.Bind(ctx, node.BindRequest{Peer: "elm", LifeMs: 1000})
			same(t, "bind", bound, node.Bound{Schema: "p3.bound/v1", Peer: "elm", Binding: "p3b:example"}, err)
			_, err = b.Bind(ctx, node.BindRequest{Peer: "oak"})
			code(t, err, node.CodeUsage)
			all, err := b.Bound(ctx)
			same(t, "bound", all, []node.Bound{{Schema: "p3.bound/v1", Peer: "elm"}}, err)
			bound, err = b.Unbind(ctx, "elm")
			same(t, "unbind", bound, node.Bound{Schema: "p3.bound/v1", Peer: "elm", Ended: true}, err)
			_, err = b.Unbind(ctx, "oak")
			code(t, err, node.CodeNotFound)
			_, err = b.CloseAccount(ctx)
			if want.Status.Balance.Locked > 0 {
				code(t, err, node.CodeDenied)
			} else if err != nil {
				t.Errorf("close: %v", err)
			}
			pruned, err := b.Prune(ctx)
			same(t, "pruned", pruned, node.Pruned{Schema: "p3.pruned/v1"}, err)
			backup, err := b.Backup(ctx, node.BackupRequest{Passphrase: "correct horse"})
			if err != nil {
				t.Fatal(err)
			}
			saved, err := io.ReadAll(backup)
			backup.Close()
			same(t, "backup", string(saved), want.Status.Account.String(), err)
			_, err = b.Backup(ctx, node.BackupRequest{})
			code(t, err, node.CodeUsage)
			invite, err := b.Invite(ctx)
			same(t, "invite", invite, "p3:example", err)
			if err := b.Join(ctx, invite); err != nil {
				t.Errorf("join: %v", err)
			}
			var denied *node.Problem
			if err := b.Join(ctx, "p3:other"); !errors.As(err, &denied) || denied.Code != node.CodeDenied {
				t.Errorf("join another network: %v", err)
			}

			file, err := b.PutBlob(ctx, strings.NewReader("hello"))
			same(t, "blob size", file.Size, int64(5), err)
			r, size, err := b.GetBlob(ctx, file.Hash)
			same(t, "blob size again", size, int64(5), err)
			text, err := io.ReadAll(r)
			r.Close()
			same(t, "blob", string(text), "hello", err)

			off := false
			host, err := b.SetHost(ctx, node.HostChange{Donate: &off})
			same(t, "why", host.Why, "donation is off", err)
			job, err = b.CancelJob(ctx, id)
			same(t, "cancelled", job.State, node.JobCancelled, err)

			_, err = b.Job(ctx, "ffffff")
			code(t, err, node.CodeNotFound)
			_, _, err = b.GetBlob(ctx, ledger.Digest{1})
			code(t, err, node.CodeNotFound)
			_, err = b.SubmitJob(ctx, exec.Manifest{})
			code(t, err, node.CodeUsage)
			err = b.Results(ctx, "ffffff", 0, node.InOrder, func(node.UnitResult) error { return nil })
			code(t, err, node.CodeNotFound)

			if err := b.Shutdown(ctx); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func same(t *testing.T, what string, got, want any, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

// code checks the kind of a failure. The node in memory may say not-found the ledger's way.
func code(t *testing.T, err error, want string) {
	t.Helper()
	var p *node.Problem
	if want == node.CodeNotFound && errors.Is(err, ledger.ErrNotFound) {
		return
	}
	if !errors.As(err, &p) || p.Code != want {
		t.Fatalf("error %#v, want code %s", err, want)
	}
}

// TestInputsWaitForResults sends more units than the window holds and fetches results slowly.
func TestInputsWaitForResults(t *testing.T) {
	c, _ := serve(t, nodetest.New(nodetest.State{}))
	ctx := t.Context()
	job, err := c.SubmitJob(ctx, manifest("echo"))
	if err != nil {
		t.Fatal(err)
	}
	const units = 100
	var sent, fetched atomic.Int64
	done := make(chan error, 1)
	go func() {
		n, err := c.AddInputs(ctx, job.ID.String(), 0, func() (exec.Input, error) {
			i := sent.Load()
			if i == units {
				return exec.Input{}, io.EOF
			}
			sent.Add(1)
			return exec.Input{Stdin: fmt.Appendf(nil, "line %d %s\n", i, strings.Repeat("x", 60<<10))}, nil
		})
		if err == nil && n != units {
			err = fmt.Errorf("%d units known, want %d", n, units)
		}
		if err == nil {
			_, err = c.CloseInputs(ctx, job.ID.String(), units)
		}
		done <- err
	}()
	// One call acknowledges nothing more than its start, so fetch a few at a time.
	stop := errors.New("enough")
	for at := uint64(0); at < units; {
		err := c.Results(ctx, job.ID.String(), at, node.InOrder, func(r node.UnitResult) error {
			if r.Unit != at || !bytes.HasPrefix(r.Result.Stdout, fmt.Appendf(nil, "line %d ", at)) {
				t.Fatalf("unit %d with %.20q at %d", r.Unit, r.Result.Stdout, at)
			}
			at++
			fetched.Add(1)
			// What is under way: the window, 16 results waiting to be written, the lines in socket
			// buffers (under 512 KiB together) and one being read at each end.
			if ahead := sent.Load() - fetched.Load(); ahead > nodetest.Window+16+20 {
				t.Errorf("%d units sent ahead of the results", ahead)
			}
			return stop
		})
		if err != nil && err != stop {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := c.Results(ctx, job.ID.String(), units, node.InOrder, func(node.UnitResult) error { return nil }); err != nil {
		t.Errorf("results after the end: %v", err)
	}
}

func TestCallersErrorEndsInputs(t *testing.T) {
	c, _ := serve(t, nodetest.New(nodetest.State{}))
	job, err := c.SubmitJob(t.Context(), manifest("echo"))
	if err != nil {
		t.Fatal(err)
	}
	mine := errors.New("disk is gone")
	if _, err = c.AddInputs(t.Context(), job.ID.String(), 0, func() (exec.Input, error) { return exec.Input{}, mine }); !errors.Is(err, mine) {
		t.Errorf("got %v, want the caller's own error", err)
	}
	_, err = c.AddInputs(t.Context(), "ffff", 0, func() (exec.Input, error) { return exec.Input{Text: "x"}, nil })
	code(t, err, node.CodeNotFound)
}

func TestWatchStartsWithStateThenChanges(t *testing.T) {
	n := nodetest.New(nodetest.Sample(now, 3))
	c, _ := serve(t, n)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	updates := 0
	err := c.Watch(ctx, func(u node.Update) error {
		updates++
		if updates == 1 {
			if u.Status == nil || len(u.Status.Jobs) != 3 || len(u.Events) != 6 {
				t.Errorf("first update lacks the state: %+v", u)
			}
			n.Change(func(s *nodetest.State) { s.Status.Peers = 77 })
			n.Change(func(s *nodetest.State) { s.Events = append(s.Events, node.Event{Seq: 7, Text: "seventh"}) })
			return nil
		}
		if u.Status != nil && u.Status.Peers == 77 && len(u.Events) == 1 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("watch ended with %v", err)
	}
	mine := errors.New("seen enough")
	if err := c.Watch(t.Context(), func(node.Update) error { return mine }); err != mine {
		t.Errorf("watch ended with %v, want the caller's error", err)
	}
}

func TestWatchEndsWithTheNode(t *testing.T) {
	n := nodetest.New(nodetest.Sample(now, 3))
	dir, _ := os.MkdirTemp("", "p3")
	defer os.RemoveAll(dir)
	l, err := localapi.Listen(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- localapi.Serve(ctx, l, n) }()
	c := node.NewClient(filepath.Join(dir, "s"))
	err = c.Watch(t.Context(), func(node.Update) error { stop(); return nil })
	code(t, err, node.CodeNoNode)
	if err := <-served; err != nil {
		t.Error(err)
	}
	_, err = c.Status(t.Context())
	code(t, err, node.CodeNoNode)
	if p := new(node.Problem); !errors.As(err, &p) || p.Hint != "start it with: p3 up" {
		t.Errorf("no way out told: %+v", err)
	}
}

// brokenStream fails in the middle of what it streams.
type brokenStream struct{ *nodetest.Node }

func (b brokenStream) Receipts(_ context.Context, yield func(node.Receipt) error) error {
	if err := yield(node.Receipt{State: "open"}); err != nil {
		return err
	}
	return &node.Problem{Code: node.CodeInternal, Message: "the book is damaged"}
}

func TestProblemInTheMiddleOfAStreamArrives(t *testing.T) {
	c, _ := serve(t, brokenStream{nodetest.New(nodetest.State{})})
	seen := 0
	err := c.Receipts(t.Context(), func(node.Receipt) error { seen++; return nil })
	if seen != 1 || err == nil || err.Error() != "the book is damaged" {
		t.Errorf("%d receipts, then %v", seen, err)
	}
}

func TestHostileRequestsGetClearProblems(t *testing.T) {
	_, socket := serve(t, nodetest.New(nodetest.Sample(now, 3)))
	hc := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	job := nodetest.Sample(now, 3).Jobs[0].ID.String()
	for _, c := range []struct{ method, path, body, code, says string }{
		{"GET", "/v9/status", "", node.CodeNotFound, "no call GET"},
		{"DELETE", "/v1/jobs", "", node.CodeNotFound, "no call DELETE"},
		{"GET", "/v1/jobs/%00%1b[2J", "", node.CodeNotFound, "no job"},
		{"POST", "/v1/jobs", "{", node.CodeUsage, "bad JSON"},
		{"POST", "/v1/jobs", "[]", node.CodeUsage, "bad JSON"},
		{"POST", "/v1/jobs", `{"nmae":"x"}`, node.CodeUsage, "nmae"},
		{"POST", "/v1/jobs", `{} {}`, node.CodeUsage, "more than one value"},
		{"POST", "/v1/jobs", `{"args":["` + strings.Repeat("a", node.MaxRequest) + `"]}`, node.CodeUsage, "longer than 1024 KiB"},
		{"POST", "/v1/jobs", strings.Repeat("[", 100_000), node.CodeUsage, "bad JSON"},
		{"POST", "/v1/host", `{"pause_ms":-1}`, node.CodeUsage, "pause_ms"},
		{"POST", "/v1/host", `{"pause_ms":1e30}`, node.CodeUsage, "bad JSON"},
		{"POST", "/v1/jobs/" + job + "/inputs", "", node.CodeUsage, "at="},
		{"POST", "/v1/jobs/" + job + "/inputs?at=-1", "", node.CodeUsage, "at="},
		{"POST", "/v1/jobs/" + job + "/inputs?at=0", "{\"stdin\":\"eA==\"}\nnonsense\n", node.CodeUsage, "unit 1: bad JSON"},
		{"POST", "/v1/jobs/" + job + "/inputs?at=0", strings.Repeat("x", node.MaxInput+1), node.CodeUsage, "longer than 4 MiB"},
		{"POST", "/v1/jobs/" + job + "/inputs?at=0", `{"files":[{"name":"../../etc/passwd"}]}`, node.CodeUsage, "unit 0: file name"},
		{"POST", "/v1/jobs/" + job + "/close", "", node.CodeUsage, "units="},
		{"GET", "/v1/jobs/" + job + "/units/x", "", node.CodeUsage, "not a number"},
		{"GET", "/v1/jobs/" + job + "/units?from=99999999999999999999", "", node.CodeUsage, "from="},
		{"GET", "/v1/blobs/zz", "", node.CodeUsage, "hash"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://p3"+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := hc.Do(req)
		if err != nil {
			t.Errorf("%s %s: %v", c.method, c.path, err)
			continue
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		var r node.ErrorReply
		if err := json.Unmarshal(b, &r); err != nil || r.Error == nil {
			t.Errorf("%s %s: reply %.100q", c.method, c.path, b)
		} else if resp.StatusCode < 400 || r.Error.Code != c.code || !strings.Contains(r.Error.Message, c.says) {
			t.Errorf("%s %s: %d %+v, want %s … %q", c.method, c.path, resp.StatusCode, r.Error, c.code, c.says)
		}
	}
}

func TestListenTakesOnlyAStaleSocket(t *testing.T) {
	dir, _ := os.MkdirTemp("", "p3")
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "p3.sock")

	// What kill -9 leaves: a socket nobody listens on.
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()

	l, err := localapi.Listen(path)
	if err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	_, err = localapi.Listen(path)
	code(t, err, node.CodeDenied)
	l.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = localapi.Listen(path)
	code(t, err, node.CodeUsage)
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Error("a file in the way was touched")
	}
	left, _ := os.ReadDir(dir)
	if len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}
