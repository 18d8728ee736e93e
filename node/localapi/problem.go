package localapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
)

var statusOf = map[string]int{
	node.CodeUsage:    http.StatusBadRequest,
	node.CodeNoCredit: http.StatusPaymentRequired,
	node.CodeDenied:   http.StatusForbidden,
	node.CodeNotFound: http.StatusNotFound,
	node.CodeNoOffers: http.StatusConflict,
	node.CodeNoNode:   http.StatusServiceUnavailable,
	node.CodeTimeout:  http.StatusGatewayTimeout,
}

func usage(format string, args ...any) error {
	return &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf(format, args...)}
}

// problemOf is err as the caller of the API sees it.
func problemOf(err error) *node.Problem {
	var p *node.Problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, ledger.ErrNotFound):
		return &node.Problem{Code: node.CodeNotFound, Message: err.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		return &node.Problem{Code: node.CodeTimeout, Message: err.Error(), Hint: "try again"}
	case errors.Is(err, context.Canceled):
		return &node.Problem{Code: node.CodeNoNode, Message: "the node is stopping", Hint: "start it with: p3 up"}
	}
	return &node.Problem{Code: node.CodeInternal, Message: err.Error()}
}

func fail(w http.ResponseWriter, err error) {
	p := problemOf(err)
	code, known := statusOf[p.Code]
	if !known {
		code = http.StatusInternalServerError
	}
	reply(w, code, node.ErrorReply{Error: p})
}

func reply(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil { // a float that is no number, for one
		status = http.StatusInternalServerError
		b, _ = json.Marshal(node.ErrorReply{Error: &node.Problem{Code: node.CodeInternal, Message: err.Error()}})
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a caller who has gone needs no answer
}
