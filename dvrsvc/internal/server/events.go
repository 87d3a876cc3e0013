package server

import (
	"errors"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/scte35"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// ListEvents implements IndexServiceServer. Events are read out of the bytes: there is no second list that could differ
// from them after a repair, a replication or the loss of the index.
func (x index) ListEvents(m *dvrv1.ListEventsRequest, rpc grpc.ServerStreamingServer[dvrv1.ListEventsResponse]) error {
	from, to, err := window(m.GetFrom(), m.GetTo())
	if err != nil {
		return err
	}
	a, err := x.archive(m.GetStream())
	if err != nil {
		return err
	}
	for c, err := range a.Segments(from, to, false) {
		if err != nil {
			return err
		}
		events, err := segmentEvents(a, &c, m.GetIncludeNull())
		switch {
		case isGone(err):
			continue
		case err != nil:
			return err
		case len(events) == 0:
			continue
		}
		if err := rpc.Send(&dvrv1.ListEventsResponse{Start: timestamp(c.UTC), End: timestamp(c.UTCEnd), Events: events}); err != nil {
			return err
		}
	}
	return nil
}

// isGone reports whether a segment is not here any more, or not as it was.
func isGone(err error) bool {
	return slices.ContainsFunc([]error{
		errs.ErrUnknown, errs.ErrExpired, errs.ErrDeleted, errs.ErrSuperseded, errs.ErrCorrupt, errs.ErrQuarantined,
	}, func(gone error) bool { return errors.Is(err, gone) })
}

// segmentEvents reads the chunks of a copy that hold sections of SCTE-35, and no others.
func segmentEvents(a *store.Stream, c *store.CopyInfo, null bool) (out []*dvrv1.Event, err error) {
	for i := range c.Info.Tracks {
		t := &c.Info.Tracks[i]
		if t.Codec != segment.DataCodec+segment.SCTE35 || t.Samples == 0 {
			continue
		}
		for _, ch := range c.Info.Chunks {
			if ch.PID != t.PID {
				continue
			}
			if out, err = chunkEvents(a, c, ch, null, out); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func chunkEvents(a *store.Stream, c *store.CopyInfo, ch segment.Chunk, null bool, out []*dvrv1.Event) ([]*dvrv1.Event, error) {
	r, err := a.NewReader(c.Info.Digest, ch.Offset)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	_, data, err := r.Next()
	if err != nil {
		return nil, err
	}
	parsed, err := fmp4.ParseChunk(data)
	if err != nil {
		return nil, errors.Join(errs.ErrCorrupt, err)
	}
	for s := range parsed.All() {
		for _, e := range sectionEvents(s.Data, s.DTS, func(t timeline.Ticks) time.Time { return c.UTC.Add((t - c.Info.Start).Duration()) }) {
			e.Pid = uint32(ch.PID)
			if null || e.GetCommand() != scte35.CommandName(scte35.SpliceNull) && e.GetCommand() != scte35.CommandName(scte35.BandwidthReservation) {
				out = append(out, e)
			}
		}
	}
	return out, nil
}

// sectionEvents are the events of a section that came at a time T; utc tells when that is.
func sectionEvents(raw []byte, at timeline.Ticks, utc func(timeline.Ticks) time.Time) []*dvrv1.Event {
	raw = append([]byte(nil), raw...)
	event := func(pts *uint64) *dvrv1.Event {
		e := &dvrv1.Event{Received: timestamppb.New(utc(at)), Time: timestamppb.New(utc(at)), Pts: uint64(at & (timeline.Wrap - 1)), Raw: raw}
		if pts != nil {
			e.Pts, e.Timed = *pts, true
			e.Time = timestamppb.New(utc(timeline.Unwrap(timeline.Ticks(*pts), at)))
		}
		return e
	}
	s, err := scte35.Parse(raw)
	switch {
	case err != nil:
		e := event(nil)
		e.Problem = err.Error()
		return []*dvrv1.Event{e}
	case s.Encrypted:
		e := event(nil)
		e.Problem = "the section is encrypted"
		return []*dvrv1.Event{e}
	}
	var out []*dvrv1.Event
	when := s.Time
	if i := s.Insert; i != nil {
		when = i.Time
		e := event(i.Time)
		e.EventId, e.Cancel, e.OutOfNetwork, e.AutoReturn = i.EventID, i.Cancel, i.Out, i.AutoReturn
		if i.Duration != nil {
			e.DurationTicks = *i.Duration
		}
		out = append(out, e)
	}
	for _, g := range s.Segmentations {
		e := event(when)
		e.EventId, e.Cancel, e.SegmentationType, e.UpidType, e.Upid = g.EventID, g.Cancel, uint32(g.Type), uint32(g.UPIDType), g.UPID
		if g.Duration != nil {
			e.DurationTicks = *g.Duration
		}
		out = append(out, e)
	}
	if len(out) == 0 {
		out = append(out, event(when))
	}
	for _, e := range out {
		e.Command = scte35.CommandName(s.Command)
	}
	return out
}
