// Package rpcerr carries the sentinels of package errs over gRPC: as a status code with an errdetails.ErrorInfo whose
// reason names the sentinel, so that errors.Is gives the same answer on both sides of a wire.
//
// Invariants:
//   - I1: errors.Is(FromStatus(ToStatus(err)), s) == errors.Is(err, s) for every sentinel s of the table.
//   - I2: the message of an error survives the wire, and so does what took the place of a superseded copy.
//
// The interceptors of package grpcx apply both directions to every call: a handler returns plain wrapped errors, a
// caller compares with errors.Is. All functions are safe for concurrent use.
package rpcerr

import (
	"context"
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/twinreel/twinreel/pkg/errs"
)

// supersededBy is the metadata of an ErrorInfo that carries SupersededError.By.
const supersededBy = "superseded_by"

// Domain marks the reasons as ours.
const Domain = "twinreel"

type row struct {
	err    error
	reason string
	code   codes.Code
}

// table is ordered: an error that wraps several sentinels goes by the first.
func table() []row {
	return []row{
		{errs.ErrStreamUnknown, "STREAM_UNKNOWN", codes.NotFound},
		{errs.ErrUnknown, "UNKNOWN", codes.NotFound},
		{errs.ErrExpired, "EXPIRED", codes.NotFound},
		{errs.ErrDeleted, "DELETED", codes.NotFound},
		{errs.ErrQuarantined, "QUARANTINED", codes.NotFound},
		{errs.ErrSuperseded, "SUPERSEDED", codes.NotFound},
		{errs.ErrAheadOfLive, "AHEAD_OF_LIVE", codes.OutOfRange},
		{errs.ErrOtherDigest, "OTHER_DIGEST", codes.AlreadyExists},
		{errs.ErrConflictLimit, "CONFLICT_LIMIT", codes.FailedPrecondition},
		{errs.ErrCorrupt, "CORRUPT", codes.DataLoss},
		{errs.ErrFull, "FULL", codes.ResourceExhausted},
		{errs.ErrLocked, "LOCKED", codes.FailedPrecondition},
		{errs.ErrClockDiffers, "CLOCK_DIFFERS", codes.FailedPrecondition},
		{errs.ErrFormat, "FORMAT", codes.FailedPrecondition},
		{errs.ErrDisplaced, "DISPLACED", codes.Aborted},
		{errs.ErrNotReady, "NOT_READY", codes.Unavailable},
		{errs.ErrPeerUnreachable, "PEER_UNREACHABLE", codes.Unavailable},
		{errs.ErrBadKey, "BAD_KEY", codes.Unauthenticated},
		{errs.ErrNoSession, "NO_SESSION", codes.FailedPrecondition},
		{errs.ErrOwnID, "OWN_ID", codes.PermissionDenied},
		{errs.ErrNodeConflict, "NODE_CONFLICT", codes.PermissionDenied},
		{errs.ErrNoCommonVersion, "NO_COMMON_VERSION", codes.FailedPrecondition},
		{errs.ErrWithheld, "WITHHELD", codes.PermissionDenied},
		{errs.ErrInvalid, "INVALID", codes.InvalidArgument},
		{errs.ErrConfigInvalid, "CONFIG_INVALID", codes.InvalidArgument},
		{errs.ErrConfigConflict, "CONFIG_CONFLICT", codes.Aborted},
	}
}

// Reason names the sentinel in err as messages and logs do, or is empty.
func Reason(err error) string {
	for _, r := range table() {
		if errors.Is(err, r.err) {
			return r.reason
		}
	}
	return ""
}

// Sentinel is the error that a reason names, or nil: for reasons that travel in messages, as Release.reason does.
func Sentinel(reason string) error {
	for _, r := range table() {
		if r.reason == reason {
			return r.err
		}
	}
	return nil
}

// ToStatus gives err the status that its sentinel has. A status stays as it is, an end of the context becomes CANCELED
// or DEADLINE_EXCEEDED, anything else INTERNAL.
func ToStatus(err error) error {
	if err == nil {
		return nil
	}
	for _, r := range table() {
		if !errors.Is(err, r.err) {
			continue
		}
		st := status.New(r.code, err.Error())
		info := &errdetails.ErrorInfo{Reason: r.reason, Domain: Domain}
		if by := (*errs.SupersededError)(nil); errors.As(err, &by) {
			info.Metadata = map[string]string{supersededBy: by.By}
		}
		if with, e := st.WithDetails(info); e == nil {
			st = with
		}
		return st.Err()
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	switch {
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}

// FromStatus gives a status error the sentinel that its reason names; the status stays readable with status.FromError.
// An error that is no status, or whose reason is not ours, is returned as it is.
func FromStatus(err error) error {
	st, ok := status.FromError(err)
	if !ok || err == nil {
		return err
	}
	for _, d := range st.Details() {
		info, ok := d.(*errdetails.ErrorInfo)
		if !ok || info.GetDomain() != Domain {
			continue
		}
		s := Sentinel(info.GetReason())
		if by := info.GetMetadata()[supersededBy]; by != "" && s == errs.ErrSuperseded { //nolint:errorlint // the sentinel itself
			s = &errs.SupersededError{By: by}
		}
		if s != nil {
			return &remote{st: st, sentinel: s}
		}
	}
	return err
}

// remote is an error that came over a wire.
type remote struct {
	st       *status.Status
	sentinel error
}

func (e *remote) Error() string              { return e.st.Message() }
func (e *remote) Unwrap() error              { return e.sentinel }
func (e *remote) GRPCStatus() *status.Status { return e.st }
