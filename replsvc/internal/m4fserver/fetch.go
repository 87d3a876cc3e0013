package m4fserver

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	m4fv1 "github.com/twinreel/twinreel/proto/m4f/v1"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	"github.com/twinreel/twinreel/replsvc/internal/limit"
)

// Fetch implements M4FServiceServer. A takeover waits for what it fetches, so it passes the limits that are there to
// protect live from backfill.
func (s *Server) Fetch(req *m4fv1.FetchRequest, rpc grpc.ServerStreamingServer[m4fv1.FetchResponse]) error {
	ctx := rpc.Context()
	s.touch(ctx, 0)
	if err := s.given(ctx, req.GetStream()); err != nil {
		return rpcerr.ToStatus(err)
	}
	if _, err := segmentpb.ToDigest(req.GetDigest()); err != nil {
		return rpcerr.ToStatus(fmt.Errorf("fetch segment: %w: %w", errs.ErrInvalid, err))
	}
	flow := limit.Flow{Stream: req.GetStream(), Peer: auth.FromContext(ctx).Node}
	limited := req.GetUrgency() != m4fv1.Urgency_URGENCY_VIEWER
	if limited {
		select {
		case s.fetches <- struct{}{}:
			defer func() { <-s.fetches }()
		default:
			return rpc.Send(&m4fv1.FetchResponse{BusyMillis: uint32(busyFor.Milliseconds())})
		}
	}
	in, err := s.segments.ReadSegment(ctx, &dvrv1.ReadSegmentRequest{
		Stream: req.GetStream(), Digest: req.GetDigest(), Offset: req.GetOffset(),
		Purpose: dvrv1.ReadPurpose_READ_PURPOSE_REPLICATION, Packets: req.GetPackets(),
	})
	if err != nil {
		return passOn("fetch segment", err)
	}
	for {
		m := &dvrv1.ReadSegmentResponse{}
		err := in.RecvMsg(grpcx.Received(m, readDataField))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			if m := notHeld(rpcerr.FromStatus(err)); m != nil {
				return rpc.Send(m)
			}
			return passOn("fetch segment", err)
		}
		if info := m.GetHead().GetInfo(); info != nil {
			info.Path = s.extend(info.GetPath())
		}
		if limited {
			if err := s.limits.Wait(ctx, flow, nil, len(m.GetData())+len(m.GetPackets())); err != nil {
				return passOn("fetch segment", err)
			}
		}
		out := &m4fv1.FetchResponse{Head: m.GetHead(), Offset: m.GetOffset(), Data: m.GetData(), Packets: m.GetPackets()}
		if m.GetHead() != nil {
			out.LimitBitsPerSecond = proto.Uint64(s.cfg.Limit())
		}
		if err := rpc.SendMsg(grpcx.Shared(out, fetchDataField)); err != nil {
			return err
		}
	}
}

// Where the media lies in what is passed on.
const (
	readDataField       = 15 // ReadSegmentResponse.data
	fetchDataField      = 15 // FetchResponse.data
	tailChunkField      = 2  // TailResponse.chunk
	subscribeChunkField = 2  // SubscribeResponse.chunk
	chunkDataField      = 15 // Chunk.data
)

// extend adds this node to a path that is sent on.
func (s *Server) extend(path []string) []string {
	if len(path) > 0 && path[len(path)-1] == s.cfg.Node {
		return path
	}
	return append(slices.Clip(path), s.cfg.Node)
}

// notHeld tells why a copy is not here; nil when err is about something else.
func notHeld(err error) *m4fv1.FetchResponse {
	var superseded *errs.SupersededError
	if errors.As(err, &superseded) {
		if by, err := segment.ParseDigest(superseded.By); err == nil {
			return &m4fv1.FetchResponse{SupersededBy: by[:]}
		}
	}
	for _, e := range []error{errs.ErrUnknown, errs.ErrExpired, errs.ErrDeleted, errs.ErrQuarantined} {
		if errors.Is(err, e) {
			return &m4fv1.FetchResponse{NotHeld: rpcerr.Reason(e)}
		}
	}
	if errors.Is(err, errs.ErrCorrupt) {
		return &m4fv1.FetchResponse{NotHeld: rpcerr.Reason(errs.ErrQuarantined)}
	}
	return nil
}

func unavailable(err error) bool { return status.Code(err) == codes.Unavailable }
