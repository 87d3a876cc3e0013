package m4fclient

import (
	"context"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	m4fv1 "github.com/twinreel/twinreel/proto/m4f/v1"
)

// Subscription follows a stream of the peer. Events are the messages of the protocol: live hands them on to dvrsvc, whose
// messages they contain, without taking media apart. Recv and SetMode may run in two goroutines.
type Subscription struct {
	session *Session
	cancel  context.CancelFunc
	rpc     grpc.BidiStreamingClient[m4fv1.SubscribeRequest, m4fv1.SubscribeResponse]
}

// Subscribe begins to follow until Close; after is the last slot (in the peer's numbering) that is not wanted again, or nil.
func (s *Session) Subscribe(ctx context.Context, stream string, after *segment.Slot, full bool) (*Subscription, error) {
	ctx, cancel := context.WithCancel(ctx)
	rpc, err := s.over(s.conns.live).Subscribe(ctx)
	if err != nil {
		cancel()
		return nil, s.check(fmt.Errorf("subscribe to %s: %w", stream, err))
	}
	req := &m4fv1.SubscribeRequest{Stream: stream, Mode: mode(full), Nodes: []string{s.cfg.Node}}
	if after != nil {
		req.After = segmentpb.Slot(*after)
	}
	if err := rpc.Send(req); err != nil && err != io.EOF {
		cancel()
		return nil, s.check(fmt.Errorf("subscribe to %s: %w", stream, err))
	}
	return &Subscription{session: s, cancel: cancel, rpc: rpc}, nil
}

// Close ends the subscription on both sides.
func (s *Subscription) Close() { s.cancel() }

func mode(full bool) m4fv1.Mode {
	if full {
		return m4fv1.Mode_MODE_FULL
	}
	return m4fv1.Mode_MODE_OFFERS
}

// SetMode changes what is carried: everything, or sealed segments without bytes.
func (s *Subscription) SetMode(full bool) error {
	if err := s.rpc.Send(&m4fv1.SubscribeRequest{Mode: mode(full)}); err != nil && err != io.EOF {
		return s.session.check(fmt.Errorf("change subscription: %w", err))
	}
	return nil
}

// Recv waits for the next event.
func (s *Subscription) Recv() (*m4fv1.SubscribeResponse, error) {
	m := &m4fv1.SubscribeResponse{}
	if err := s.rpc.RecvMsg(grpcx.Received(m, subscribeChunkField, chunkDataField)); err != nil {
		return nil, s.session.check(fmt.Errorf("follow subscription: %w", err))
	}
	return m, nil
}
