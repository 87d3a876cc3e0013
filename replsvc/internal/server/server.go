package server

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
	"github.com/twinreel/twinreel/replsvc/internal/event"
	"github.com/twinreel/twinreel/replsvc/internal/ledger"
	"github.com/twinreel/twinreel/replsvc/internal/live"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
	"github.com/twinreel/twinreel/replsvc/internal/peer"
	"github.com/twinreel/twinreel/replsvc/internal/plan"
	"github.com/twinreel/twinreel/replsvc/internal/reconcile"
	"github.com/twinreel/twinreel/replsvc/internal/transfer"
)

// compareTimeout bounds a comparison with one peer.
const compareTimeout = 2 * time.Minute

// Server implements ReplicationService.
type Server struct {
	replv1.UnimplementedReplicationServiceServer
	node     string
	set      *peer.Set
	transfer *transfer.Transfer
	clock    clock.Clock
	index    dvrv1.IndexServiceClient
	hub      *event.Hub
	watcher  *event.Watcher
	looking  chan struct{} // capacity 1, full while a Fetch looks what has come

	mu    sync.Mutex // protects the field below
	books map[string]ledger.Hour
}

var _ replv1.ReplicationServiceServer = (*Server)(nil)

// New makes a server.
func New(node string, set *peer.Set, t *transfer.Transfer, dvr grpc.ClientConnInterface, clk clock.Clock) *Server {
	s := &Server{node: node, set: set, transfer: t, clock: clk, index: dvrv1.NewIndexServiceClient(dvr), hub: event.NewHub(clk), looking: make(chan struct{}, 1)}
	s.watcher = event.NewWatcher(s.Watched(), s.hub, clk)
	return s
}

// Hub is where events come from, and Watcher who makes them.
func (s *Server) Hub() *event.Hub { return s.hub }

// Watcher is to be run.
func (s *Server) Watcher() *event.Watcher { return s.watcher }

// GetStatus implements ReplicationServiceServer.
func (s *Server) GetStatus(_ context.Context, req *replv1.GetStatusRequest) (*replv1.GetStatusResponse, error) {
	backlog := map[[2]string][]plan.Item{}
	for _, it := range plan.Backlog(s.transfer.Plan(req.GetStream())) {
		k := [2]string{it.Stream, it.Peer}
		backlog[k] = append(backlog[k], it)
	}
	resp := &replv1.GetStatusResponse{Node: s.node}
	for _, l := range s.set.Links() {
		if req.GetStream() == "" || req.GetStream() == l.Stream {
			resp.Peers = append(resp.Peers, s.status(l, backlog[[2]string{l.Stream, l.URL()}]))
		}
	}
	if req.GetStream() == "" {
		for _, x := range s.set.Sources() {
			resp.Sources = append(resp.Sources, sourceStatus(x))
		}
	}
	return resp, nil
}

func sourceStatus(x *peer.Source) *replv1.SourceStatus {
	conn, st := x.Peer.Status(), x.Status()
	m := &replv1.SourceStatus{
		Address: x.Addr, PeerNode: conn.Node, State: conn.State, Problem: conn.Problem, Streams: st.Streams, NamedAlike: st.NamedAlike,
		LeftOut: st.LeftOut, Asked: stamp(st.Asked),
	}
	if m.Problem == "" && st.Problem != nil {
		m.Problem = st.Problem.Error()
	}
	return m
}

func (s *Server) status(l *peer.Link, backlog []plan.Item) *replv1.PeerStatus {
	conn, stats := l.Peer.Status(), s.transfer.Stats(l.Stream, l.URL())
	bits, paused := s.transfer.Limit(l.Stream, l.URL())
	p := &replv1.PeerStatus{
		Stream: l.Stream, Url: l.URL(), PeerNode: conn.Node, State: conn.State, Problem: conn.Problem,
		Live: l.Relay.Status(), BytesPerSecond: stats.BytesPerSecond(),
		FetchedSegments: stats.Segments, FetchedBytes: stats.Bytes, RefusedSegments: stats.Refused,
		JoinedSegments: stats.Joined, JoinConflicts: stats.Conflicts, MendedUnits: stats.Mended, UnlikePackets: stats.Unlike,
		ClockOffsetNanos: int64(conn.Offset), LimitBitsPerSecond: bits, Paused: paused, NotReplicatedSeconds: s.behind(l.Stream, l.URL()), FailedFetches: stats.Failed,
	}
	if p.Live == live.Degraded && p.State == m4fclient.Connected {
		p.State = live.Degraded
	}
	if p.Problem == "" {
		p.Problem = stats.LastError
	}
	if err := l.Recon.Problem(); err != nil {
		p.Problem = cmp.Or(p.Problem, err.Error())
	}
	slots := map[segment.Slot]timeline.Ticks{}
	for _, it := range backlog {
		slots[it.Slot] = max(slots[it.Slot], it.Copy.Info.End-it.Copy.Info.Start)
		p.BacklogBytes += it.Copy.Info.Bytes
	}
	for _, t := range slots {
		p.BacklogSlots++
		p.BacklogTicks += int64(t)
	}
	p.EtaSeconds = eta(p.BacklogBytes, p.BytesPerSecond)
	if behind, ok := l.LiveBehind(); ok {
		p.LiveBehindNanos = proto.Int64(int64(behind))
	}
	if k, ok := l.Recon.Known(); ok {
		p.Compared = timestamppb.New(k.Compared)
		p.InAgreement = k.Agreed && len(backlog) == 0
		p.Conflicts = uint64(k.Conflicts)
	}
	return p
}

// Plan implements ReplicationServiceServer.
func (s *Server) Plan(_ context.Context, req *replv1.PlanRequest) (*replv1.PlanResponse, error) {
	return &replv1.PlanResponse{Items: s.planItems(s.transfer.Plan(req.GetStream()))}, nil
}

func (s *Server) planItems(items []plan.Item) (out []*replv1.PlanItem) {
	nodes := map[[2]string]string{}
	for _, l := range s.set.Links() {
		nodes[[2]string{l.Stream, l.URL()}] = l.Peer.Status().Node
	}
	for _, it := range items {
		out = append(out, &replv1.PlanItem{
			Stream: it.Stream, Digest: it.Copy.Info.Digest.String(), PeerNode: nodes[[2]string{it.Stream, it.Peer}],
			Start: timestamppb.New(it.Copy.StartUTC), Why: string(it.Why), WhyNot: string(it.WhyNot), Bytes: it.Copy.Info.Bytes,
			JoinedWith: hex(it.With), Here: it.Here, Asked: it.Asked,
		})
	}
	return out
}

// Compare implements ReplicationServiceServer.
func (s *Server) Compare(ctx context.Context, req *replv1.CompareRequest) (*replv1.CompareResponse, error) {
	targets, err := s.targets(req)
	if err != nil {
		return nil, rpcerr.ToStatus(err)
	}
	resp := &replv1.CompareResponse{}
	for _, t := range targets {
		c, err := s.compare(ctx, req.GetStream(), t)
		if err != nil {
			return nil, rpcerr.ToStatus(fmt.Errorf("compare %s with %s: %w", req.GetStream(), t, err))
		}
		resp.Comparisons = append(resp.Comparisons, c)
	}
	return resp, nil
}

// targets are the peers to compare with. The stream need not be configured when a peer is named: its archive may be left
// from a config that had it.
func (s *Server) targets(req *replv1.CompareRequest) ([]streamconf.M4F, error) {
	if err := streamconf.CheckName(req.GetStream()); err != nil {
		return nil, fmt.Errorf("%w: %w", errs.ErrInvalid, err)
	}
	if req.GetUrl() != "" {
		m, err := streamconf.ParseM4F(req.GetUrl(), req.GetStream())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errs.ErrInvalid, err)
		}
		return []streamconf.M4F{m}, nil
	}
	st, ok := s.set.Stream(req.GetStream())
	if !ok {
		return nil, fmt.Errorf("compare %s: %w", req.GetStream(), errs.ErrStreamUnknown)
	}
	return st.Peers(), nil
}

func (s *Server) compare(ctx context.Context, stream string, target streamconf.M4F) (*replv1.Comparison, error) {
	ctx, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	session, err := m4fclient.Connect(ctx, s.set.ClientConfig(target))
	if err != nil {
		if rpcerr.Reason(err) == "" {
			err = fmt.Errorf("%w: %w", errs.ErrPeerUnreachable, err)
		}
		return nil, err
	}
	defer session.Close()
	conf, _ := s.set.Stream(stream)
	res, err := reconcile.Once(ctx, reconcile.Query{
		Local: s.set.Local(), Registry: s.set.Registry(), Peer: session, Stream: stream, PeerStream: target.Stream,
		Retention: conf.DVR.Retention, Silent: s.set.Silent(stream), Now: s.clock.Now(),
	})
	if err != nil {
		return nil, err
	}
	c := &replv1.Comparison{Url: target.String(), Slots: uint64(res.Slots), Equal: uint64(res.Equal)}
	for _, d := range res.Differences {
		c.Differences = append(c.Differences, &replv1.Difference{
			Start: timestamppb.New(res.Start(d)), Here: hex(d.Here), There: hex(d.There),
			Kind: kindOf(&res, d), CoveredThere: res.Covered(d),
		})
	}
	return c, nil
}

// kindOf says what a difference is.
func kindOf(res *reconcile.Result, d reconcile.Difference) string {
	switch why := res.Why(d); {
	case why != "":
		return string(why)
	case len(d.Here) == 0:
		return "missing_here"
	case len(d.There) == 0:
		return "missing_there"
	}
	return "differs"
}

func hex(ds []segment.Digest) []string {
	out := make([]string, len(ds))
	for i, d := range ds {
		out[i] = d.String()
	}
	return out
}
