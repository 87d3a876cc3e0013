package server

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/dvrsvc/internal/recorder"
	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// samplesPerRow is how many whole segments of a row a peer gets, to find that a row of its own is the same.
const samplesPerRow = 32

type index struct {
	*Server
	dvrv1.UnimplementedIndexServiceServer
}

// ListStreams implements IndexServiceServer.
func (x index) ListStreams(context.Context, *dvrv1.ListStreamsRequest) (*dvrv1.ListStreamsResponse, error) {
	out := &dvrv1.ListStreamsResponse{}
	for _, s := range x.rec.List() {
		m := &dvrv1.StreamSummary{
			Stream: s.Stream, First: timestamp(s.Summary.First), Last: timestamp(s.Summary.Last),
			Segments: s.Summary.Segments, Bytes: s.Summary.Bytes, Configured: s.Configured, Problem: s.Problem,
			Locks: uint32(s.Locks), Quarantined: s.Summary.Quarantined,
		}
		for _, in := range s.Inputs {
			if in.Active {
				m.ActiveInput = in.Input
			}
			m.Inputs = append(m.Inputs, &dvrv1.InputSummary{
				Input: in.Input, Priority: uint32(in.Priority), Alive: in.Alive, Active: in.Active, Path: in.Path,
				Unreleased: uint32(in.Unreleased), Fault: in.Fault,
			})
		}
		out.Streams = append(out.Streams, m)
	}
	return out, nil
}

// GetRanges implements IndexServiceServer.
func (x index) GetRanges(_ context.Context, m *dvrv1.GetRangesRequest) (*dvrv1.GetRangesResponse, error) {
	from, to, err := window(m.GetFrom(), m.GetTo())
	if err != nil {
		return nil, err
	}
	a, err := x.archive(m.GetStream())
	if err != nil {
		return nil, err
	}
	list := a.Ranges
	if m.GetApart() {
		list = a.Parts
	}
	ranges := list(from, to)
	out := &dvrv1.GetRangesResponse{Ranges: make([]*dvrv1.Range, len(ranges))}
	messages, times := make([]dvrv1.Range, len(ranges)), make([]timestamppb.Timestamp, 2*len(ranges)) // not one by one: a month has hundreds
	for i, r := range ranges {
		m := &messages[i]
		out.Ranges[i], m.From, m.To = m, &times[2*i], &times[2*i+1]
		m.From.Seconds, m.From.Nanos = r.From.Unix(), int32(r.From.Nanosecond())
		m.To.Seconds, m.To.Nanos = r.To.Unix(), int32(r.To.Nanosecond())
		m.DamagedTicks, m.ReplicatedTicks, m.LateTicks = int64(r.DamagedTicks), int64(r.ReplicatedTicks), int64(r.LateTicks)
		if m.State = dvrv1.Range_INTACT; r.Damaged {
			m.State = dvrv1.Range_DAMAGED
		}
	}
	return out, nil
}

// FindGaps implements IndexServiceServer.
func (x index) FindGaps(_ context.Context, m *dvrv1.FindGapsRequest) (*dvrv1.FindGapsResponse, error) {
	from, to, err := window(m.GetFrom(), m.GetTo())
	if err != nil {
		return nil, err
	}
	a, err := x.archive(m.GetStream())
	if err != nil {
		return nil, err
	}
	out := &dvrv1.FindGapsResponse{}
	for _, g := range a.Gaps(from, to) {
		out.Gaps = append(out.Gaps, &dvrv1.Gap{
			From: timestamp(g.From), To: timestamp(g.To), Reason: g.Reason, Ticks: int64(g.Ticks),
		})
	}
	return out, nil
}

// ListSegments implements IndexServiceServer.
func (x index) ListSegments(m *dvrv1.ListSegmentsRequest, rpc grpc.ServerStreamingServer[dvrv1.ListSegmentsResponse]) error {
	from, to, err := window(m.GetFrom(), m.GetTo())
	if err != nil {
		return err
	}
	a, err := x.archive(m.GetStream())
	if err != nil {
		return err
	}
	for c, err := range a.Segments(from, to, m.GetIncludeUnpresented()) {
		if err != nil {
			return err
		}
		if err := rpc.Send(&dvrv1.ListSegmentsResponse{Segment: fromCopy(&c)}); err != nil {
			return err
		}
	}
	return nil
}

// ListLocks implements IndexServiceServer.
func (x index) ListLocks(_ context.Context, m *dvrv1.ListLocksRequest) (*dvrv1.ListLocksResponse, error) {
	a, err := x.archive(m.GetStream())
	if err != nil {
		return nil, err
	}
	_, deleted := a.Kept()
	out := &dvrv1.ListLocksResponse{Deleted: fromSpans(deleted)}
	for _, l := range a.Locks() {
		out.Locks = append(out.Locks, fromLock(l))
	}
	return out, nil
}

func fromSpans(in []store.Span) []*dvrv1.Span {
	var out []*dvrv1.Span
	for _, s := range in {
		out = append(out, &dvrv1.Span{From: timestamp(s.From), To: timestamp(s.To)})
	}
	return out
}

func fromLock(l store.Lock) *dvrv1.Lock {
	return &dvrv1.Lock{
		Id: l.ID, From: timestamp(l.From), To: timestamp(l.To), Owner: l.Owner, Comment: l.Comment, Until: timestamp(l.Until),
	}
}

// ListTimelines implements IndexServiceServer.
func (x index) ListTimelines(_ context.Context, m *dvrv1.ListTimelinesRequest) (*dvrv1.ListTimelinesResponse, error) {
	a, id, err := x.rec.Archive(m.GetStream())
	if err != nil {
		return nil, err
	}
	locked, deleted := a.Kept()
	out := &dvrv1.ListTimelinesResponse{
		StoreId: id[:], LowWaterNanos: a.Mark().UnixNano(), Locked: fromSpans(locked), Deleted: fromSpans(deleted),
		ClockInDoubt: a.ClockInDoubt(),
	}
	for _, r := range a.Timelines() {
		at := r.Last
		if at <= r.First { // it has only begun: a peer unites it by where the source was then
			at = r.Mapping[len(r.Mapping)-1].U
		}
		t := &dvrv1.Timeline{
			Id: r.ID[:], FirstTicks: int64(r.First), LastTicks: int64(r.Last),
			AtTicks: int64(at), AtUtcNanos: r.Mapping.UTC(at).UnixNano(),
		}
		for _, at := range r.Mapping {
			t.Mapping = append(t.Mapping, &dvrv1.TimelinePoint{Ticks: int64(at.U), UtcNanos: at.UTC})
		}
		out.Timelines = append(out.Timelines, t)
		if m.GetWithoutSamples() {
			continue
		}
		whole, err := a.Spread(r.ID, samplesPerRow)
		if err != nil {
			return nil, err
		}
		for _, c := range whole {
			t.Samples = append(t.Samples, &dvrv1.TimelineSample{
				BlockCell: c.Slot.AbsCell(), StartTicks: int64(c.Info.Start), Digest: c.Info.Digest[:],
			})
		}
	}
	return out, nil
}

// GetDigests implements IndexServiceServer.
func (x index) GetDigests(_ context.Context, m *dvrv1.GetDigestsRequest) (*dvrv1.GetDigestsResponse, error) {
	row, err := timelineID(m.GetTimeline())
	if err != nil {
		return nil, err
	}
	a, err := x.archive(m.GetStream())
	if err != nil {
		return nil, err
	}
	out := &dvrv1.GetDigestsResponse{}
	for _, b := range a.Digests(row, m.GetFromBlock(), m.GetToBlock()) {
		out.Blocks = append(out.Blocks, &dvrv1.BlockDigest{Block: b.Block, Digest: b.Digest.String(), Slots: b.Slots})
	}
	return out, nil
}

// ListSlots implements IndexServiceServer.
func (x index) ListSlots(_ context.Context, m *dvrv1.ListSlotsRequest) (*dvrv1.ListSlotsResponse, error) {
	row, err := timelineID(m.GetTimeline())
	if err != nil {
		return nil, err
	}
	a, err := x.archive(m.GetStream())
	if err != nil {
		return nil, err
	}
	out := &dvrv1.ListSlotsResponse{}
	for copies, err := range a.Slots(row, m.GetFromBlock(), m.GetToBlock()) {
		if err != nil {
			return nil, err
		}
		if len(copies) == 0 {
			continue
		}
		s := &dvrv1.SlotCopies{Slot: segmentpb.Slot(copies[0].Slot)}
		for i := range copies {
			c := &copies[i]
			s.Copies = append(s.Copies, &dvrv1.CopySummary{
				Digest: c.Info.Digest[:], StartTicks: int64(c.Info.Start), EndTicks: int64(c.Info.End), Bytes: c.Info.Bytes,
				Evidence: segmentpb.Evidence(c.Info.Evidence), Tracks: segmentpb.Tracks(c.Info.Tracks),
				StartUtcNanos: c.UTC.UnixNano(), Path: c.Info.Path,
			})
		}
		out.Slots = append(out.Slots, s)
	}
	return out, nil
}

// WatchStream implements IndexServiceServer.
func (x index) WatchStream(m *dvrv1.WatchStreamRequest, rpc grpc.ServerStreamingServer[dvrv1.WatchStreamResponse]) error {
	a, err := x.archive(m.GetStream())
	if err != nil {
		return err
	}
	events, stop := a.Watch()
	defer stop()
	var switches <-chan recorder.Switch
	s, err := x.rec.Stream(m.GetStream())
	switch {
	case err == nil:
		var stop func()
		switches, stop = s.WatchSwitches()
		defer stop()
	case !errors.Is(err, errs.ErrStreamUnknown): // an archive without config is still watched
		return err
	}
	// The header says that nothing from now on is missed.
	if err := rpc.SendHeader(nil); err != nil {
		return err
	}
	for {
		var out *dvrv1.WatchStreamResponse
		select {
		case <-rpc.Context().Done():
			return rpc.Context().Err()
		case e, ok := <-events:
			if !ok {
				return errs.ErrNotReady
			}
			out = &dvrv1.WatchStreamResponse{Time: timestamppb.New(e.Time), Event: string(e.Kind), Segment: fromCopy(&e.Copy)}
		case w := <-switches:
			out = &dvrv1.WatchStreamResponse{Time: timestamppb.New(w.Time), Event: "active_input", Input: w.Input}
		}
		if err := rpc.Send(out); err != nil {
			return err
		}
	}
}

// fromCopy gives a copy as the index shows it.
func fromCopy(c *store.CopyInfo) *dvrv1.Segment {
	i := &c.Info
	m := &dvrv1.Segment{
		Digest: i.Digest.String(), Timeline: c.Slot.Timeline.String(), Turn: c.Slot.Turn, Cell: uint32(c.Slot.Cell),
		Start: timestamp(c.UTC), End: timestamp(c.UTCEnd), StartTicks: int64(i.Start), EndTicks: int64(i.End), Bytes: i.Bytes,
		StartUncertain: i.Evidence.StartUncertain, EndUncertain: i.Evidence.EndUncertain, Whole: i.Evidence.Whole(),
		DamagedTicks: int64(i.DamagedTicks()), DamagedSamples: uint32(len(i.Evidence.Faulty)),
		MissingTicks: int64(i.MissingTicks()), Origin: strings.Join(i.Path, ">"), Presented: c.Presented,
		Quarantined: c.Quarantined,
	}
	for k := range i.Tracks {
		m.Tracks = append(m.Tracks, fromTrack(&i.Tracks[k]))
	}
	for _, d := range c.Replaces {
		m.Replaces = append(m.Replaces, d.String())
	}
	return m
}

func fromTrack(t *segment.Track) *dvrv1.SegmentTrack {
	return &dvrv1.SegmentTrack{
		Pid: uint32(t.PID), Codec: t.Codec, Language: t.Language, Role: t.Role, InitHash: hex.EncodeToString(t.Init[:]), Samples: t.Samples,
		StartTicks: int64(t.Start), EndTicks: int64(t.End),
	}
}
