package playback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

const (
	// eventsBefore is how long before a window what ends in it may have begun: longer than breaks are.
	eventsBefore = 10 * time.Minute
	// sameSplice is how far apart the times of one splice may lie: a section is sent several times.
	sameSplice = time.Second
)

// dateRange is an EXT-X-DATERANGE (RFC 8216, 4.3.2.7.1).
type dateRange struct {
	id      string
	start   time.Time
	end     time.Time     // zero: not known
	planned time.Duration // 0: not said
	out, in []byte        // sections
	cmd     []byte
}

// splice names an event from its beginning to its end.
type splice struct {
	pid    uint32
	insert bool
	kind   uint32 // segmentation_type_id of its beginning
	id     uint32
}

// dateRanges makes date ranges of events, which are in the order in which they came. What begins and ends is one; what
// is said again is nothing new; what is called off before it has begun is none.
func dateRanges(events []*dvrv1.Event) []*dateRange {
	var out []*dateRange
	last := make(map[splice]*dateRange)
	for _, e := range events {
		at := e.GetTime().AsTime()
		insert := e.GetCommand() == "splice_insert"
		if e.GetProblem() != "" || insert && e.GetSegmentationType() != 0 {
			continue // unreadable, or what goes with a splice that has a range of its own
		}
		kind, leaves, returns := breakType(e.GetSegmentationType())
		if insert {
			leaves, returns = e.GetOutOfNetwork(), !e.GetOutOfNetwork()
		}
		key := splice{e.GetPid(), insert, kind, e.GetEventId()}
		before := last[key]
		switch {
		case e.GetCancel():
			if before != nil && before.start.After(e.GetReceived().AsTime()) {
				out = slices.DeleteFunc(out, func(r *dateRange) bool { return r == before })
				delete(last, key)
			}
			continue
		case before != nil && !returns && near(before.start, at):
			continue
		case before != nil && returns && before.in != nil && near(before.end, at):
			continue
		case before != nil && returns && before.in == nil && !at.Before(before.start):
			before.end, before.in = at, e.GetRaw()
			continue
		}
		r := &dateRange{
			id:    fmt.Sprintf("scte35-%d-%d-%d-%d", e.GetPid(), e.GetEventId(), e.GetSegmentationType(), e.GetPts()),
			start: at, planned: timeline.Ticks(e.GetDurationTicks()).Duration(),
		}
		switch {
		case leaves:
			r.out = e.GetRaw()
		case returns: // nobody saw it begin
			r.in, r.end, r.planned = e.GetRaw(), at, 0
		default:
			r.cmd = e.GetRaw()
		}
		last[key] = r
		out = append(out, r)
	}
	return out
}

func near(a, b time.Time) bool { return a.Sub(b).Abs() < sameSplice }

// breakType sorts a segmentation_type_id (SCTE 35, table 23) into what leaves the programme, what returns to it, and what
// does neither; kind is that of the beginning.
func breakType(t uint32) (kind uint32, leaves, returns bool) {
	switch t {
	case 0x22, 0x30, 0x32, 0x34, 0x36, 0x38, 0x3A, 0x44, 0x46:
		return t, true, false
	case 0x23, 0x31, 0x33, 0x35, 0x37, 0x39, 0x3B, 0x45, 0x47:
		return t - 1, false, true
	}
	return t, false, false
}

// over reports whether the range has ended before t.
func (r *dateRange) over(t time.Time) bool {
	switch {
	case !r.end.IsZero():
		return r.end.Before(t)
	case r.out != nil && r.planned == 0:
		return false // until somebody says so
	}
	return r.start.Add(r.planned).Before(t)
}

func (r *dateRange) write(b *bytes.Buffer) {
	const layout = "2006-01-02T15:04:05.000Z"
	fmt.Fprintf(b, "#EXT-X-DATERANGE:ID=%q,START-DATE=%q", r.id, r.start.UTC().Format(layout))
	if !r.end.IsZero() {
		fmt.Fprintf(b, ",END-DATE=%q", r.end.UTC().Format(layout))
	}
	if r.planned > 0 {
		fmt.Fprintf(b, ",PLANNED-DURATION=%.3f", r.planned.Seconds())
	}
	for _, s := range []struct {
		name string
		raw  []byte
	}{{"SCTE35-OUT", r.out}, {"SCTE35-IN", r.in}, {"SCTE35-CMD", r.cmd}} {
		if s.raw != nil {
			fmt.Fprintf(b, ",%s=0x%X", s.name, s.raw)
		}
	}
	b.WriteByte('\n')
}

// ranges gives the date ranges of a window as lines. A playlist without them is better than none, so what fails is logged.
func (h *handler) ranges(ctx context.Context, stream string, l *playlist) []byte {
	if !slices.ContainsFunc(l.segments[len(l.segments)-1].Info.Tracks, func(t segment.Track) bool {
		return t.Codec == segment.DataCodec+segment.SCTE35
	}) {
		return nil
	}
	first := l.segments[0].Start
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rpc, err := dvrv1.NewIndexServiceClient(h.dvr).ListEvents(ctx, &dvrv1.ListEventsRequest{
		Stream: stream, From: timestamppb.New(first.Add(-eventsBefore)), To: timestamppb.New(l.segments[len(l.segments)-1].End),
	})
	var events []*dvrv1.Event
	for err == nil {
		var m *dvrv1.ListEventsResponse
		if m, err = rpc.Recv(); err == nil {
			events = append(events, m.GetEvents()...)
		}
	}
	if !errors.Is(err, io.EOF) {
		h.log.Warn("playlist without date ranges", "stream", stream, "error", err)
		return nil
	}
	b := &bytes.Buffer{}
	for _, r := range dateRanges(events) {
		if !r.over(first) {
			r.write(b)
		}
	}
	return b.Bytes()
}
