package m4fserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	m4fv1 "github.com/twinreel/twinreel/proto/m4f/v1"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// beatEvery is how often a subscriber hears something at least.
const beatEvery = time.Second

// Subscribe implements M4FServiceServer.
func (s *Server) Subscribe(rpc grpc.BidiStreamingServer[m4fv1.SubscribeRequest, m4fv1.SubscribeResponse]) error {
	first, err := rpc.Recv()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(rpc.Context())
	defer cancel()
	s.touch(ctx, +1)
	defer s.touch(ctx, -1)
	if err := s.given(ctx, first.GetStream()); err != nil {
		return rpcerr.ToStatus(err)
	}
	sub := &subscription{
		server: s, rpc: rpc, stream: first.GetStream(), after: first.GetAfter(),
		nodes: append(slices.Clone(first.GetNodes()), auth.FromContext(ctx).Node),
	}
	modes := make(chan m4fv1.Mode)
	go func() {
		for {
			m, err := rpc.Recv()
			if err != nil { // the caller is gone; or will never change the mode, which ends with the call
				if !errors.Is(err, io.EOF) {
					cancel()
				}
				return
			}
			select {
			case modes <- m.GetMode():
			case <-ctx.Done():
				return
			}
		}
	}()
	mode := first.GetMode()
	for {
		changed, err := sub.follow(ctx, mode, modes)
		if err != nil {
			return passOn("follow "+sub.stream, err)
		}
		mode = changed
	}
}

// subscription is one call of Subscribe. One goroutine uses it.
type subscription struct {
	server *Server
	rpc    grpc.BidiStreamingServer[m4fv1.SubscribeRequest, m4fv1.SubscribeResponse]
	stream string
	nodes  []string
	after  *dvrv1.Slot // the last slot that was sealed

	slot      *dvrv1.Slot // what dvrsvc said last of its tail
	head      int64       // 0: not known yet
	alive     bool
	path      []string
	seq       uint64              // the segment that is being sent
	chunkPath []string            // of the chunk that is being sent, as the subscriber gets it
	partial   map[uint64]struct{} // segments of which some was withheld, so that the rest is of no use
}

// follow carries one mode until it changes.
func (u *subscription) follow(ctx context.Context, mode m4fv1.Mode, modes <-chan m4fv1.Mode) (m4fv1.Mode, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tail, err := u.server.segments.Tail(ctx, &dvrv1.TailRequest{
		Stream: u.stream, After: u.after, SealsOnly: mode != m4fv1.Mode_MODE_FULL,
		Purpose: dvrv1.ReadPurpose_READ_PURPOSE_REPLICATION,
	})
	if err != nil {
		return 0, err
	}
	events, failed := make(chan *dvrv1.TailResponse), make(chan error, 1)
	go func() {
		for {
			e := &dvrv1.TailResponse{}
			if err := tail.RecvMsg(grpcx.Received(e, tailChunkField, chunkDataField)); err != nil {
				failed <- err
				return
			}
			select {
			case events <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	beats := u.server.cfg.Clock.NewTicker(beatEvery)
	defer beats.Stop()
	u.seq, u.partial = 0, map[uint64]struct{}{}
	for {
		select {
		case e := <-events:
			if err := u.send(e); err != nil {
				return 0, err
			}
		case <-beats.C():
			if err := u.server.given(ctx, u.stream); err != nil { // by now
				return 0, err
			}
			if err := u.rpc.Send(u.heartbeat()); err != nil {
				return 0, err
			}
		case m := <-modes:
			if m != mode {
				return m, nil
			}
		case err := <-failed:
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("the live tail of %s has ended: %w", u.stream, io.ErrUnexpectedEOF)
			}
			return 0, err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// passed is the path as the subscriber gets it, or false when the media has passed the subscriber, or says of no node
// that it has been there.
func (u *subscription) passed(path []string) ([]string, bool) {
	if len(path) == 0 || slices.ContainsFunc(path, func(n string) bool { return slices.Contains(u.nodes, n) }) {
		return nil, false
	}
	return u.server.extend(path), true
}

// heartbeat is a Beat, or Withheld.
func (u *subscription) heartbeat() *m4fv1.SubscribeResponse {
	path, ok := u.passed(u.path)
	if !ok && len(u.path) > 0 {
		return &m4fv1.SubscribeResponse{Event: &m4fv1.SubscribeResponse_Withheld{
			Withheld: &m4fv1.Withheld{HeadTicks: u.head},
		}}
	}
	return &m4fv1.SubscribeResponse{Event: &m4fv1.SubscribeResponse_Beat{Beat: &dvrv1.Beat{
		Slot: u.slot, HeadTicks: u.head, Alive: ok && u.alive && u.head > 0, Path: path,
	}}}
}

// send passes an event of the tail on, if the subscriber may have it.
func (u *subscription) send(e *dvrv1.TailResponse) error {
	switch e := e.GetEvent().(type) {
	case *dvrv1.TailResponse_Begin:
		return u.begin(e.Begin)
	case *dvrv1.TailResponse_Chunk:
		return u.chunk(e.Chunk)
	case *dvrv1.TailResponse_Seal:
		return u.seal(e.Seal)
	case *dvrv1.TailResponse_Changed:
		return u.rpc.Send(&m4fv1.SubscribeResponse{Event: &m4fv1.SubscribeResponse_Changed{Changed: e.Changed}})
	case *dvrv1.TailResponse_Skip:
		return u.rpc.Send(&m4fv1.SubscribeResponse{Event: &m4fv1.SubscribeResponse_Skip{Skip: e.Skip}})
	case *dvrv1.TailResponse_Beat:
		u.slot, u.head, u.alive, u.path = e.Beat.GetSlot(), e.Beat.GetHeadTicks(), e.Beat.GetAlive(), e.Beat.GetPath()
		return u.rpc.Send(u.heartbeat())
	}
	return nil
}

func (u *subscription) begin(b *dvrv1.TailBegin) error {
	if !bytes.Equal(u.slot.GetTimeline(), b.GetSlot().GetTimeline()) { // the head was that of another timeline, or of none
		u.head = b.GetBegin().GetKey().GetStartTicks()
	}
	u.seq, u.slot, u.path = b.GetBegin().GetKey().GetSeq(), b.GetSlot(), b.GetBegin().GetPath()
	path, ok := u.passed(u.path)
	if !ok {
		u.partial[u.seq] = struct{}{}
		return nil
	}
	b.GetBegin().Path = path
	return u.rpc.Send(&m4fv1.SubscribeResponse{Event: &m4fv1.SubscribeResponse_Begin{Begin: b}})
}

func (u *subscription) chunk(c *dvrv1.Chunk) error {
	if c.GetOffset() == 0 { // the other pieces of it go with the first
		u.path, u.alive = c.GetPath(), true
		path, ok := u.passed(u.path)
		if !ok {
			u.partial[c.GetSeq()] = struct{}{}
		}
		u.chunkPath = path
	}
	if _, partial := u.partial[c.GetSeq()]; partial || c.GetSeq() != u.seq {
		return nil
	}
	c.Path = u.chunkPath
	out := &m4fv1.SubscribeResponse{Event: &m4fv1.SubscribeResponse_Chunk{Chunk: c}}
	return u.rpc.SendMsg(grpcx.Shared(out, subscribeChunkField, chunkDataField))
}

// seal passes a seal on. Of a segment of which not all was sent it is an offer: seq 0.
func (u *subscription) seal(s *dvrv1.TailSeal) error {
	u.after = s.GetSlot()
	seq := s.GetSeal().GetSeq()
	_, partial := u.partial[seq]
	delete(u.partial, seq)
	path, ok := u.passed(s.GetSeal().GetInfo().GetPath())
	if !ok {
		return nil
	}
	s.GetSeal().GetInfo().Path = path
	if partial {
		s.GetSeal().Seq = 0
	}
	return u.rpc.Send(&m4fv1.SubscribeResponse{Event: &m4fv1.SubscribeResponse_Seal{Seal: s}})
}
