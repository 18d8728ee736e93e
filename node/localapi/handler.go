package localapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

type handler struct{ b Backend }

// Handler answers the local API from b.
func Handler(b Backend) http.Handler {
	h, mux := handler{b}, http.NewServeMux()
	// A call either answers with one JSON value or writes its own reply, having returned nil.
	value := func(c node.Call, f func(*http.Request) (any, error)) {
		mux.HandleFunc(string(c), func(w http.ResponseWriter, r *http.Request) {
			if v, err := f(r); err != nil {
				fail(w, err)
			} else {
				reply(w, http.StatusOK, v)
			}
		})
	}
	stream := func(c node.Call, f func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(string(c), func(w http.ResponseWriter, r *http.Request) {
			if err := f(w, r); err != nil {
				fail(w, err)
			}
		})
	}
	value(node.CallStatus, func(r *http.Request) (any, error) { return b.Status(r.Context()) })
	value(node.CallOffers, func(r *http.Request) (any, error) { return list(b.Offers(r.Context())) })
	value(node.CallPeers, func(r *http.Request) (any, error) { return list(b.Peers(r.Context())) })
	value(node.CallPeer, func(r *http.Request) (any, error) { return b.Peer(r.Context(), r.PathValue("id")) })
	value(node.CallPeerWhy, func(r *http.Request) (any, error) { return b.PeerWhy(r.Context(), r.PathValue("id")) })
	value(node.CallPutBlob, func(r *http.Request) (any, error) { return b.PutBlob(r.Context(), r.Body) })
	value(node.CallSubmit, h.submit)
	value(node.CallJobs, func(r *http.Request) (any, error) { return list(b.Jobs(r.Context())) })
	value(node.CallJob, func(r *http.Request) (any, error) { return b.Job(r.Context(), r.PathValue("id")) })
	value(node.CallInputs, h.inputs)
	value(node.CallCloseInputs, h.closeInputs)
	value(node.CallUnitStates, h.unitStates)
	value(node.CallUnit, h.unit)
	value(node.CallCancel, func(r *http.Request) (any, error) { return b.CancelJob(r.Context(), r.PathValue("id")) })
	value(node.CallRemove, func(r *http.Request) (any, error) { return b.RemoveJob(r.Context(), r.PathValue("id")) })
	value(node.CallRaise, func(r *http.Request) (any, error) {
		var x node.Raise
		if err := decodeBody(r, &x); err != nil {
			return nil, err
		}
		return b.RaiseBudget(r.Context(), r.PathValue("id"), x.By)
	})
	value(node.CallJobWhy, func(r *http.Request) (any, error) { return b.JobWhy(r.Context(), r.PathValue("id")) })
	value(node.CallBalance, func(r *http.Request) (any, error) { return b.Balance(r.Context()) })
	value(node.CallHistory, h.history)
	value(node.CallSend, h.send)
	value(node.CallBound, func(r *http.Request) (any, error) { return list(b.Bound(r.Context())) })
	value(node.CallBind, h.bind)
	value(node.CallUnbind, func(r *http.Request) (any, error) { return b.Unbind(r.Context(), r.PathValue("peer")) })
	value(node.CallClose, func(r *http.Request) (any, error) { return b.CloseAccount(r.Context()) })
	value(node.CallPrune, func(r *http.Request) (any, error) { return b.Prune(r.Context()) })
	value(node.CallRecover, func(r *http.Request) (any, error) {
		return b.Recover(r.Context(), r.URL.Query().Get("sure") == "1")
	})
	value(node.CallInvite, func(r *http.Request) (any, error) {
		s, err := b.Invite(r.Context())
		return node.Invitation{Invite: s}, err
	})
	value(node.CallJoin, h.join)
	value(node.CallGrants, func(r *http.Request) (any, error) { return list(b.Grants(r.Context())) })
	value(node.CallConvicted, func(r *http.Request) (any, error) { return b.Convicted(r.Context()) })
	value(node.CallOrg, func(r *http.Request) (any, error) { return b.Org(r.Context()) })
	value(node.CallOrgGrant, func(r *http.Request) (any, error) {
		var g node.OrgGrant
		if err := decodeBody(r, &g); err != nil {
			return nil, err
		}
		return b.OrgGrant(r.Context(), g)
	})
	value(node.CallOrgAllow, func(r *http.Request) (any, error) {
		var a node.OrgAllow
		if err := decodeBody(r, &a); err != nil {
			return nil, err
		}
		return b.OrgAllow(r.Context(), a)
	})
	value(node.CallOrgRecover, func(r *http.Request) (any, error) { return b.OrgRecover(r.Context()) })
	value(node.CallHost, h.host)
	value(node.CallHostWhy, func(r *http.Request) (any, error) { return b.HostWhy(r.Context()) })
	value(node.CallPolicy, h.policy)
	value(node.CallWitness, func(r *http.Request) (any, error) { return b.Witness(r.Context()) })
	value(node.CallBeWitness, func(r *http.Request) (any, error) { return b.BeWitness(r.Context()) })
	value(node.CallShutdown, func(r *http.Request) (any, error) { return struct{}{}, b.Shutdown(r.Context()) })

	stream(node.CallWatch, h.watch)
	stream(node.CallGetBlob, h.getBlob)
	stream(node.CallResults, h.results)
	stream(node.CallReceipts, h.receipts)
	stream(node.CallReceipt, h.receiptBytes)
	stream(node.CallExport, h.export)
	stream(node.CallProof, h.balanceProof)
	stream(node.CallPublish, h.publish)
	stream(node.CallBackup, h.backup)

	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, &node.Problem{Code: node.CodeNotFound, Message: fmt.Sprintf("no call %s %.100q", r.Method, r.URL.Path), Hint: "use the p3 that started this node"})
	})
	return mux
}

func (h handler) submit(r *http.Request) (any, error) {
	var m exec.Manifest
	if err := decodeBody(r, &m); err != nil {
		return nil, err
	}
	return h.b.SubmitJob(r.Context(), m)
}

func (h handler) closeInputs(r *http.Request) (any, error) {
	units, err := number(r, "units")
	if err != nil {
		return nil, err
	}
	return h.b.CloseInputs(r.Context(), r.PathValue("id"), units)
}

func (h handler) unitStates(r *http.Request) (any, error) {
	from, err := optional(r, "from", 0)
	if err != nil {
		return nil, err
	}
	n, err := optional(r, "n", node.MaxStates)
	if err != nil {
		return nil, err
	}
	states, err := h.b.UnitStates(r.Context(), r.PathValue("id"), from, int(min(n, node.MaxStates)))
	return node.States{From: from, States: states}, err
}

func (h handler) unit(r *http.Request) (any, error) {
	n, err := strconv.ParseUint(r.PathValue("n"), 10, 64)
	if err != nil {
		return nil, usage("unit %.40q is not a number", r.PathValue("n"))
	}
	return h.b.Unit(r.Context(), r.PathValue("id"), n)
}

func (h handler) history(r *http.Request) (any, error) {
	days, err := number(r, "days")
	if err == nil && (days < 1 || days > node.MaxDays) {
		err = usage("days=%d: give 1 to %d", days, node.MaxDays)
	}
	if err != nil {
		return nil, err
	}
	return h.b.History(r.Context(), int(days))
}

func (h handler) bind(r *http.Request) (any, error) {
	var b node.BindRequest
	if err := decodeBody(r, &b); err != nil {
		return nil, err
	}
	if most := node.MaxBindingLife.Milliseconds(); b.LifeMs < 0 || b.LifeMs > most {
		return nil, usage("bind for %d ms: give at most %d", b.LifeMs, most)
	}
	if b.Day < 0 || b.Day > ledger.MaxCredits {
		return nil, usage("bind for %s a day", b.Day)
	}
	return h.b.Bind(r.Context(), b)
}

func (h handler) send(r *http.Request) (any, error) {
	var t node.Transfer
	if err := decodeBody(r, &t); err != nil {
		return nil, err
	}
	if most := ledger.MaxLease.Milliseconds(); t.Amount <= 0 || t.LifeMs < 0 || t.LifeMs > most {
		return nil, usage("send %s for %d ms: give an amount above zero, and at most %d ms", t.Amount, t.LifeMs, most)
	}
	return h.b.Send(r.Context(), t)
}

func (h handler) join(r *http.Request) (any, error) {
	var i node.Invitation
	if err := decodeBody(r, &i); err != nil {
		return nil, err
	}
	return struct{}{}, h.b.Join(r.Context(), i.Invite)
}

func (h handler) host(r *http.Request) (any, error) {
	var c node.HostChange
	if err := decodeBody(r, &c); err != nil {
		return nil, err
	}
	if c.PauseMs != nil && *c.PauseMs < 0 {
		return nil, usage("pause_ms %d: give 0 (no pause) or more", *c.PauseMs)
	}
	return h.b.SetHost(r.Context(), c)
}

func (h handler) policy(r *http.Request) (any, error) {
	var c node.PolicyChange
	if err := decodeBody(r, &c); err != nil {
		return nil, err
	}
	return h.b.SetPolicy(r.Context(), c)
}

func (h handler) getBlob(w http.ResponseWriter, r *http.Request) error {
	var hash ledger.Digest
	if err := hash.UnmarshalText([]byte(r.PathValue("hash"))); err != nil {
		return usage("blob hash: %v", err)
	}
	body, size, err := h.b.GetBlob(r.Context(), hash)
	if err != nil {
		return err
	}
	defer body.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if n, err := io.Copy(w, body); err != nil || n != size {
		panic(http.ErrAbortHandler) // the caller sees a body cut short, not a shorter blob
	}
	return nil
}

func (h handler) backup(w http.ResponseWriter, r *http.Request) error {
	var b node.BackupRequest
	if err := decodeBody(r, &b); err != nil {
		return err
	}
	body, err := h.b.Backup(r.Context(), b)
	if err != nil {
		return err
	}
	defer body.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	if _, err := io.Copy(w, body); err != nil {
		panic(http.ErrAbortHandler) // the caller sees a body cut short, not a shorter backup
	}
	return nil
}

func (h handler) receiptBytes(w http.ResponseWriter, r *http.Request) error {
	b, err := h.b.ReceiptBytes(r.Context(), r.PathValue("id"))
	return octets(w, b, err)
}

func (h handler) publish(w http.ResponseWriter, r *http.Request) error {
	var program ledger.Digest
	if err := program.UnmarshalText([]byte(r.PathValue("hash"))); err != nil {
		return usage("program hash: %v", err)
	}
	b, err := h.b.Publish(r.Context(), program)
	return octets(w, b, err)
}

func (h handler) balanceProof(w http.ResponseWriter, r *http.Request) error {
	b, err := h.b.BalanceProof(r.Context())
	return octets(w, b, err)
}

func octets(w http.ResponseWriter, b []byte, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(b) // a caller who has gone needs no answer
	return nil
}

// list keeps an empty list from being written as null.
func list[T any](v []T, err error) ([]T, error) {
	if v == nil {
		v = []T{}
	}
	return v, err
}

// decodeBody reads one bounded JSON value and nothing else. Unknown fields are refused:
// a misspelt one would be silently ignored.
func decodeBody(r *http.Request, into any) error {
	b, err := io.ReadAll(io.LimitReader(r.Body, node.MaxRequest+1))
	if err != nil {
		return usage("read the request: %v", err)
	}
	if len(b) > node.MaxRequest {
		return usage("request longer than %d KiB", node.MaxRequest>>10)
	}
	return decodeStrict(b, into)
}

func decodeStrict(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return usage("bad JSON: %v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return usage("bad JSON: more than one value")
	}
	return nil
}

func number(r *http.Request, name string) (uint64, error) {
	text := r.URL.Query().Get(name)
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, usage("%s=%.40q: give a number from 0", name, text)
	}
	return n, nil
}

func optional(r *http.Request, name string, otherwise uint64) (uint64, error) {
	if !r.URL.Query().Has(name) {
		return otherwise, nil
	}
	return number(r, name)
}
