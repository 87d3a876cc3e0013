// Package server answers the gRPC services of twinreel.dvr.v1, and gives the same bytes over HTTP: adapters between the
// messages and the recorder and store, with no decisions of their own.
//
// Invariants:
//
//	I1  Generated types stop here.
//	I2  No message is larger than 1 MiB of media and its head.
//	I3  Errors carry the sentinels of package errs, so that rpcerr gives them their codes and reasons.
//
// Everything is safe for concurrent use.
package server

import (
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/dvrsvc/internal/recorder"
	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// pieceBytes bounds the media in one message.
const pieceBytes = 1 << 20

// Server answers all services of dvrsvc.
type Server struct {
	rec   *recorder.Recorder
	node  string
	clock clock.Clock
}

// New returns a server of what rec records.
func New(rec *recorder.Recorder, node string, clk clock.Clock) *Server {
	return &Server{rec: rec, node: node, clock: clk}
}

// Register registers all services.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	dvrv1.RegisterRecordingServiceServer(r, recording{Server: s})
	dvrv1.RegisterIndexServiceServer(r, index{Server: s})
	dvrv1.RegisterSegmentServiceServer(r, segments{Server: s})
	dvrv1.RegisterMaintenanceServiceServer(r, maintenance{Server: s})
}

// archive gives the archive of a stream.
func (s *Server) archive(name string) (*store.Stream, error) {
	a, _, err := s.rec.Archive(name)
	return a, err
}

func toTime(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// window reads a half-open range of UTC; a zero time is no bound.
func window(from, to *timestamppb.Timestamp) (time.Time, time.Time, error) {
	for _, t := range []*timestamppb.Timestamp{from, to} {
		if t != nil && t.CheckValid() != nil {
			return time.Time{}, time.Time{}, fmt.Errorf("read range: %w: %w", t.CheckValid(), errs.ErrInvalid)
		}
	}
	f, t := toTime(from), toTime(to)
	return f, t, checkWindow(f, t)
}

func checkWindow(from, to time.Time) error {
	if !from.IsZero() && !to.IsZero() && from.After(to) {
		return fmt.Errorf("read range: it begins at %s and ends before that, at %s: %w",
			from.Format(time.RFC3339Nano), to.Format(time.RFC3339Nano), errs.ErrInvalid)
	}
	return nil
}

// fromNanos reads nanoseconds since 1970; 0 is no bound.
func fromNanos(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// timelineID reads the 16 bytes of a row.
func timelineID(b []byte) (segment.TimelineID, error) {
	var id segment.TimelineID
	if len(b) != len(id) {
		return id, fmt.Errorf("read timeline: it has %d bytes, want %d: %w", len(b), len(id), errs.ErrInvalid)
	}
	return segment.TimelineID(b), nil
}

// invalid marks an error as the caller's.
func invalid(err error) error { return fmt.Errorf("%w: %w", err, errs.ErrInvalid) }
