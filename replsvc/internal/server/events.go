package server

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
	"github.com/twinreel/twinreel/replsvc/internal/event"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
	"github.com/twinreel/twinreel/replsvc/internal/plan"
)

// watchQueue is how many events wait for one who watches.
const watchQueue = 256

// WatchEvents implements ReplicationServiceServer.
func (s *Server) WatchEvents(req *replv1.WatchEventsRequest, out grpc.ServerStreamingServer[replv1.WatchEventsResponse]) error {
	for _, k := range req.GetKinds() {
		if !slices.Contains(event.Kinds(), event.Kind(k)) {
			return rpcerr.ToStatus(fmt.Errorf("there is no kind of events %q: %w", k, errs.ErrInvalid))
		}
	}
	sub := s.hub.Subscribe(req.GetAfter(), watchQueue, func(e *event.Event) bool {
		return (req.GetStream() == "" || req.GetStream() == e.Stream) && (len(req.GetKinds()) == 0 || slices.Contains(req.GetKinds(), string(e.Kind)))
	})
	defer sub.Close()
	if err := out.SendHeader(nil); err != nil { // it is listened to from here on
		return err
	}
	for {
		e, missed, err := sub.Next(out.Context())
		if err != nil {
			return err
		}
		if err := out.Send(&replv1.WatchEventsResponse{Event: s.event(e), Missed: missed}); err != nil {
			return err
		}
	}
}

// EncodeEvent is an event as a webhook has it.
func (s *Server) EncodeEvent(e event.Event) ([]byte, error) {
	return protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(s.event(e))
}

func (s *Server) event(e event.Event) *replv1.Event {
	return &replv1.Event{
		Number: e.Number, Time: timestamppb.New(e.Time), Kind: string(e.Kind), Node: s.node, Stream: e.Stream, Peer: e.Peer, PeerNode: e.PeerNode,
		BacklogSegments: e.Backlog.Segments, BacklogSeconds: e.Backlog.Seconds, BacklogBytes: e.Backlog.Bytes,
		BytesPerSecond: e.Backlog.BytesPerSecond, EtaSeconds: e.Backlog.ETASeconds, FetchedSegments: e.Segments, FetchedBytes: e.Bytes,
		Count: e.Count, Problem: e.Problem, From: stamp(e.From), To: stamp(e.To),
	}
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// Watched is what events are made from.
type Watched struct{ server *Server }

var _ event.Source = Watched{}

// Watched gives it.
func (s *Server) Watched() Watched { return Watched{s} }

// Peers implements event.Source.
func (w Watched) Peers() []event.Peer {
	s := w.server
	backlog := map[[2]string]event.Backlog{}
	for _, it := range plan.Backlog(s.transfer.Plan("")) {
		k := [2]string{it.Stream, it.Peer}
		b := backlog[k]
		b.Segments++
		b.Bytes += it.Copy.Info.Bytes
		b.Seconds += (it.Copy.Info.End - it.Copy.Info.Start).Duration().Seconds()
		backlog[k] = b
	}
	links := s.set.Links()
	out := make([]event.Peer, 0, len(links))
	for _, l := range links {
		conn, stats, b := l.Peer.Status(), s.transfer.Stats(l.Stream, l.URL()), backlog[[2]string{l.Stream, l.URL()}]
		b.BytesPerSecond = stats.BytesPerSecond()
		b.ETASeconds = eta(b.Bytes, b.BytesPerSecond)
		p := event.Peer{
			Stream: l.Stream, URL: l.URL(), Node: conn.Node, Backlog: b, InFlight: stats.InFlight, Segments: stats.Segments, Bytes: stats.Bytes,
			Failed: stats.Failed, LastError: stats.LastError, Connected: conn.State == m4fclient.Connected,
		}
		if k, ok := l.Recon.Known(); ok {
			p.Conflicts, p.Compared, p.Agreed = k.Conflicts, k.Compared, k.Agreed && b.Segments == 0
		}
		out = append(out, p)
	}
	return out
}

// Gaps implements event.Source. What was deleted is none.
func (w Watched) Gaps(ctx context.Context, stream string) ([]event.Gap, error) {
	m, err := w.server.index.FindGaps(ctx, &dvrv1.FindGapsRequest{Stream: stream})
	if err != nil {
		return nil, fmt.Errorf("find gaps of %s: %w", stream, err)
	}
	if len(m.GetProblems()) > 0 { // a dvrsvc that is away may have it
		return nil, fmt.Errorf("find gaps of %s: %s: %w", stream, m.GetProblems()[0], errs.ErrNotReady)
	}
	var out []event.Gap
	for _, g := range m.GetGaps() {
		if g.GetReason() != "deleted" {
			out = append(out, event.Gap{From: g.GetFrom().AsTime(), To: g.GetTo().AsTime(), Reason: g.GetReason()})
		}
	}
	return out, nil
}

// eta is seconds until so many bytes are fetched; -1: unknown.
func eta(bytes, rate uint64) int64 {
	switch {
	case bytes == 0:
		return 0
	case rate == 0:
		return -1
	}
	return int64(bytes / rate) //nolint:gosec // seconds
}

// behind is the whole seconds of not_replicated_seconds.
func (s *Server) behind(stream, url string) int64 {
	return int64(s.watcher.Behind(stream, url) / time.Second)
}
