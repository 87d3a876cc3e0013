package server

import (
	"context"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/ingestsvc/internal/input"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/mpegts"
	ingestv1 "github.com/twinreel/twinreel/proto/twinreel/ingest/v1"
)

// watchEvery is how often WatchInputs tells.
const watchEvery = time.Second

// Inputs lists the inputs of the node, by stream and priority.
type Inputs interface {
	List() []input.Status
}

var _ Inputs = (*input.Manager)(nil)

// Ingest serves IngestService.
type Ingest struct {
	ingestv1.UnimplementedIngestServiceServer
	inputs Inputs
	clock  clock.Clock
}

var _ ingestv1.IngestServiceServer = (*Ingest)(nil)

// NewIngest returns the service over inputs.
func NewIngest(inputs Inputs, clk clock.Clock) *Ingest { return &Ingest{inputs: inputs, clock: clk} }

// ListInputs implements IngestService.
func (s *Ingest) ListInputs(_ context.Context, req *ingestv1.ListInputsRequest) (*ingestv1.ListInputsResponse, error) {
	return &ingestv1.ListInputsResponse{Inputs: s.list(req.GetStream())}, nil
}

// WatchInputs implements IngestService.
func (s *Ingest) WatchInputs(req *ingestv1.WatchInputsRequest, stream ingestv1.IngestService_WatchInputsServer) error {
	tick := s.clock.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		if err := stream.Send(&ingestv1.WatchInputsResponse{Inputs: s.list(req.GetStream())}); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-tick.C():
		}
	}
}

func (s *Ingest) list(stream string) []*ingestv1.Input {
	var out []*ingestv1.Input
	for _, in := range s.inputs.List() {
		if stream == "" || in.Stream == stream {
			out = append(out, message(&in))
		}
	}
	return out
}

func message(s *input.Status) *ingestv1.Input {
	m := &ingestv1.Input{
		Stream: s.Stream, Url: s.URL, Priority: uint32(s.Priority), State: string(s.State), Problem: text(s.Problem),
		Datagrams: s.Datagrams, Bytes: s.Bytes, BitsPerSecond: s.BitsPerSecond,
		ContinuityErrors: s.ContinuityErrors, TransportErrors: s.TransportErrors, KernelDrops: s.KernelDrops,
		Resyncs: s.Resyncs, FaultyAccessUnits: s.FaultyUnits,
		Segments: s.Ring.Segments, WholeSegments: s.Ring.WholeSegments,
		RingSegments: uint32(s.Ring.Sealed), RingBytes: uint64(s.Ring.Bytes), RingLimitBytes: uint64(s.Ring.Limit),
		RingOverruns: s.Ring.Overruns, ReceiveBufferBytes: uint64(s.ReceiveBuffer),
		Program: uint32(s.Program), PacketBytes: uint32(s.PacketBytes), GarbageBytes: s.GarbageBytes, Rtp: s.RTP,
		SequenceLosses: s.SequenceLosses, LatePackets: s.LatePackets, ReorderedPackets: s.ReorderedPackets,
		SenderRestarts: s.SenderRestarts, ForeignDatagrams: s.ForeignDatagrams,
	}
	for _, l := range s.Legs {
		leg := &ingestv1.Leg{
			Url: l.URL, Alive: l.Alive, Packets: l.Packets, LostPackets: l.Lost, DuplicatePackets: l.Duplicates,
			ForeignPackets: l.Foreign, Problem: text(l.Problem),
		}
		if l.Alive {
			leg.Behind = durationpb.New(l.Behind)
		}
		m.Legs = append(m.Legs, leg)
	}
	quality(m, s)
	if !s.LastReceived.IsZero() {
		m.LastReceived = timestamppb.New(s.LastReceived)
	}
	for _, e := range s.Streams {
		refused := s.Refused[e.PID]
		if refused != "" {
			e.Name += ": " + refused
		}
		m.ElementaryStreams = append(m.ElementaryStreams, &ingestv1.ElementaryStream{
			Pid: uint32(e.PID), StreamType: uint32(e.StreamType), Name: e.Name, Language: e.Language, Role: string(e.Role),
			Recorded: e.Codec != mpegts.CodecNone && refused == "", ContinuityErrors: s.PIDErrors[e.PID],
		})
	}
	return m
}

// text is what a message may hold: a file name or what a server said need not be UTF-8, and one such word would hide all
// inputs.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
