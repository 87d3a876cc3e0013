package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/export"
	"github.com/twinreel/twinreel/pkg/rpcerr"
)

// WriteError answers with err as JSON: {"error": …, "reason": …}.
func WriteError(w http.ResponseWriter, err error) {
	code := statusOf(err)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(code)
	body := struct {
		Error  string `json:"error"`
		Reason string `json:"reason,omitempty"`
	}{err.Error(), rpcerr.Reason(err)}
	json.NewEncoder(w).Encode(body) //nolint:errcheck // the client is gone
}

func statusOf(err error) int {
	var configuration *export.ConfigurationError
	switch {
	case errors.Is(err, errs.ErrInvalid):
		return http.StatusBadRequest
	case errors.As(err, &configuration):
		return http.StatusConflict
	case errors.Is(err, errs.ErrExpired), errors.Is(err, errs.ErrDeleted):
		return http.StatusGone
	case errors.Is(err, errs.ErrStreamUnknown), errors.Is(err, errs.ErrUnknown), errors.Is(err, errs.ErrQuarantined),
		errors.Is(err, export.ErrNothing):
		return http.StatusNotFound
	case errors.Is(err, errs.ErrNotReady): // it may be said by this process, and have no status
		return http.StatusServiceUnavailable
	case errors.Is(err, context.Canceled):
		return 499 // the client went away; nobody reads it
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded:
		return http.StatusServiceUnavailable
	case codes.NotFound:
		return http.StatusNotFound
	case codes.InvalidArgument:
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}
