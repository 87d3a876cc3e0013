package testdvr

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// BindTimeline implements RecordingServiceServer.
func (d *DVR) BindTimeline(_ context.Context, req *dvrv1.BindTimelineRequest) (*dvrv1.BindTimelineResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := string(req.GetPeerStoreId()) + string(req.GetPeerTimeline())
	switch {
	case len(req.GetTimeline()) > 0:
		d.bindings[key] = &dvrv1.BindTimelineResponse{Timeline: req.GetTimeline(), TurnDifference: req.GetTurnDifference()}
	case d.bindings[key] == nil && req.GetMake():
		var id segment.TimelineID
		rand.Read(id[:])
		d.rows = append(d.rows, id)
		d.bindings[key] = &dvrv1.BindTimelineResponse{Timeline: id[:]}
	}
	return cmp.Or(d.bindings[key], &dvrv1.BindTimelineResponse{}), nil
}

// ListStreams implements IndexServiceServer.
func (d *DVR) ListStreams(context.Context, *dvrv1.ListStreamsRequest) (*dvrv1.ListStreamsResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &dvrv1.ListStreamsResponse{Streams: []*dvrv1.StreamSummary{{
		Stream: "tv", Segments: uint64(len(d.copies)), Quarantined: uint64(len(d.rotten)), Inputs: []*dvrv1.InputSummary{{Input: "udp://x", Alive: !d.silent}},
	}}}, nil
}

// DoubtClock has its retention wait for somebody to say what time it is.
func (d *DVR) DoubtClock() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.doubt = true
}

// Heard is what it was told of the time.
func (d *DVR) Heard() []time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.heard)
}

// ConfirmClock implements MaintenanceServiceServer.
func (d *DVR) ConfirmClock(_ context.Context, m *dvrv1.ConfirmClockRequest) (*dvrv1.ConfirmClockResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard, d.doubt = append(d.heard, m.GetNow().AsTime()), false
	return &dvrv1.ConfirmClockResponse{}, nil
}

// ListTimelines implements IndexServiceServer.
func (d *DVR) ListTimelines(_ context.Context, m *dvrv1.ListTimelinesRequest) (*dvrv1.ListTimelinesResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.blind {
		return nil, rpcerr.ToStatus(fmt.Errorf("index of %s cannot be read: %w", d.Node, errs.ErrNotReady))
	}
	if !m.GetWithoutSamples() {
		d.sampled++
	}
	resp := &dvrv1.ListTimelinesResponse{StoreId: d.store[:], Deleted: d.deleted, ClockInDoubt: d.doubt}
	if !d.low.IsZero() {
		resp.LowWaterNanos = d.low.UnixNano()
	}
	for _, id := range d.rows {
		t := &dvrv1.Timeline{Id: id[:], AtTicks: int64(timeline.Wrap), AtUtcNanos: d.epoch.UnixNano()}
		for _, c := range d.of(id) {
			from, to := c.Info.Start, c.Info.End
			if t.FirstTicks == 0 || int64(from) < t.FirstTicks {
				t.FirstTicks = int64(from)
			}
			t.LastTicks = max(t.LastTicks, int64(to))
			if c.Info.Evidence.Whole() && !m.GetWithoutSamples() {
				t.Samples = append(t.Samples, &dvrv1.TimelineSample{
					BlockCell: c.Slot.AbsCell(), StartTicks: int64(from), Digest: c.Info.Digest[:],
				})
			}
		}
		resp.Timelines = append(resp.Timelines, t)
	}
	return resp, nil
}

// of gives the copies of a row by slot. d.mu is held.
func (d *DVR) of(row segment.TimelineID) []*Copy {
	var out []*Copy
	for _, c := range d.copies {
		if c.Slot.Timeline == row {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *Copy) int {
		return cmp.Or(a.Slot.Compare(b.Slot), a.Info.Digest.Compare(b.Info.Digest))
	})
	return out
}

// GetDigests implements IndexServiceServer: no block is closed.
func (d *DVR) GetDigests(context.Context, *dvrv1.GetDigestsRequest) (*dvrv1.GetDigestsResponse, error) {
	return &dvrv1.GetDigestsResponse{}, nil
}

// ListSlots implements IndexServiceServer.
func (d *DVR) ListSlots(_ context.Context, req *dvrv1.ListSlotsRequest) (*dvrv1.ListSlotsResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unlisted {
		return nil, errs.ErrNotReady
	}
	resp := &dvrv1.ListSlotsResponse{}
	for _, c := range d.of(segment.TimelineID(req.GetTimeline())) {
		if b := c.Slot.Block(); b < req.GetFromBlock() || b >= req.GetToBlock() {
			continue
		}
		n := len(resp.Slots)
		if n == 0 || resp.Slots[n-1].Slot.GetCell() != uint32(c.Slot.Cell) {
			resp.Slots = append(resp.Slots, &dvrv1.SlotCopies{Slot: segmentpb.Slot(c.Slot)})
			n++
		}
		resp.Slots[n-1].Copies = append(resp.Slots[n-1].Copies, &dvrv1.CopySummary{
			Digest: c.Info.Digest[:], StartTicks: int64(c.Info.Start), EndTicks: int64(c.Info.End), Bytes: c.Info.Bytes,
			Evidence: segmentpb.Evidence(c.Info.Evidence), Tracks: segmentpb.Tracks(c.Info.Tracks),
			StartUtcNanos: d.epoch.Add((c.Info.Start - timeline.Wrap).Duration()).UnixNano(),
		})
	}
	return resp, nil
}

// ReadSegment implements SegmentServiceServer, in small pieces.
func (d *DVR) ReadSegment(req *dvrv1.ReadSegmentRequest, rpc grpc.ServerStreamingServer[dvrv1.ReadSegmentResponse]) error {
	d.mu.Lock()
	c, corrupt, claim := d.copies[segment.Digest(req.GetDigest())], d.corrupt, d.claims[segment.Digest(req.GetDigest())]
	d.reads++
	d.mu.Unlock()
	if c == nil {
		return fmt.Errorf("read segment: %w", errs.ErrUnknown)
	}
	data := c.Data
	if corrupt {
		data = slices.Clone(data)
		data[len(data)/2] ^= 1
	}
	head := &dvrv1.Head{Slot: segmentpb.Slot(c.Slot), Info: segmentpb.Info(c.Info), Inits: segmentpb.Inits(c.Inits)}
	if err := rpc.Send(&dvrv1.ReadSegmentResponse{Head: head}); err != nil {
		return err
	}
	for at := int(req.GetOffset()); at < len(data); at += 100_000 {
		piece := data[at:min(at+100_000, len(data))]
		if err := rpc.Send(&dvrv1.ReadSegmentResponse{Offset: uint64(at), Data: piece}); err != nil {
			return err
		}
		if claim != nil {
			return fmt.Errorf("read segment: %w", claim)
		}
	}
	if b := segment.EncodeRuns(c.Info.Runs); b != nil && req.GetPackets() {
		return rpc.Send(&dvrv1.ReadSegmentResponse{Packets: b})
	}
	return nil
}

// Tail implements SegmentServiceServer.
func (d *DVR) Tail(req *dvrv1.TailRequest, rpc grpc.ServerStreamingServer[dvrv1.TailResponse]) error {
	d.mu.Lock()
	d.tails++
	ended := d.ended
	at := len(d.tail)
	if !req.GetSealsOnly() { // from the segment that is open
		d.fullTails++
		for i, e := range slices.Backward(d.tail) {
			if e.GetSeal() != nil {
				break
			}
			if e.GetBegin() != nil {
				at = i
				break
			}
		}
	}
	d.mu.Unlock()
	for {
		d.mu.Lock()
		var e *dvrv1.TailResponse
		if at < len(d.tail) {
			e = d.tail[at]
			at++
		}
		grown := d.grown
		d.mu.Unlock()
		switch {
		case e == nil:
			select {
			case <-grown:
			case <-ended:
				return errs.ErrNotReady
			case <-rpc.Context().Done():
				return nil
			}
		case req.GetSealsOnly() && e.GetSeal() == nil && e.GetBeat() == nil:
		default:
			if err := rpc.Send(e); err != nil {
				return err
			}
		}
	}
}

// Beat publishes how far the tail has come.
func (d *DVR) Beat(head timeline.Ticks, path ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	slot := segment.Slot{Timeline: d.row, Cell: uint16(head.Cell())}
	d.publish(&dvrv1.TailResponse{Event: &dvrv1.TailResponse_Beat{Beat: &dvrv1.Beat{
		Slot: segmentpb.Slot(slot), HeadTicks: int64(head), Alive: true, Path: path,
	}}})
}
