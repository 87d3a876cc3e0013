package pack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// ErrNothing is the end of Write where the range has no segment.
var ErrNothing = errors.New("nothing is stored in the range")

// Written is what a pack has.
type Written struct {
	Span
	Segments uint64 // copies of them
	Bytes    int64  // of the pack
	Rotten   uint64 // copies of the range that were left out, as their bytes are not what they should be, or were found not to be before
}

// Write packs what the archives have of a stream that overlaps r: every sealed, durable copy, also where several have a
// slot. Each archive's comes behind the one before's. Errors: ErrNothing, errs.ErrStreamUnknown, errs.ErrNotReady.
func Write(ctx context.Context, archives []grpc.ClientConnInterface, stream string, r archive.Range, out io.Writer) (Written, error) {
	w := writer{stream: stream, r: r, rotten: map[segment.Digest]bool{}, out: store.NewPackWriter(out, func(b []byte) { _, _ = rand.Read(b) })}
	for _, conn := range archives {
		w.index, w.segments = dvrv1.NewIndexServiceClient(conn), dvrv1.NewSegmentServiceClient(conn)
		if err := w.archive(ctx); err != nil {
			return w.done, fmt.Errorf("pack %s: %w", stream, err)
		}
	}
	if w.done.Segments == 0 {
		return w.done, fmt.Errorf("pack %s: %w", stream, ErrNothing)
	}
	err := w.out.End()
	w.done.Bytes = w.out.Bytes()
	return w.done, err
}

type writer struct {
	stream   string
	r        archive.Range
	index    dvrv1.IndexServiceClient
	segments dvrv1.SegmentServiceClient
	out      *store.PackWriter
	key      partKey // of the part that is open
	rotten   map[segment.Digest]bool
	done     Written
}

// partKey is what all copies of a part have in common.
type partKey struct {
	row     segment.TimelineID
	turn    int32
	initSet segment.InitSet
}

func (w *writer) archive(ctx context.Context) error {
	m, err := w.index.ListTimelines(ctx, &dvrv1.ListTimelinesRequest{Stream: w.stream})
	if err != nil {
		return rpcerr.FromStatus(err)
	}
	rows, id, err := toRows(m)
	if err != nil {
		return err
	}
	w.key = partKey{}
	for i := range rows {
		if err := w.row(ctx, &rows[i], id); err != nil {
			return err
		}
	}
	if err := w.quarantined(ctx); err != nil {
		return err
	}
	w.done.Rotten = uint64(len(w.rotten))
	return nil
}

// quarantined finds what is known to be rotten, also since before: it is in no list of slots.
func (w *writer) quarantined(ctx context.Context) error {
	req := &dvrv1.ListSegmentsRequest{Stream: w.stream, IncludeUnpresented: true}
	if !w.r.From.IsZero() {
		req.From = timestamppb.New(w.r.From)
	}
	if !w.r.To.IsZero() {
		req.To = timestamppb.New(w.r.To)
	}
	rpc, err := w.index.ListSegments(ctx, req)
	if err != nil {
		return rpcerr.FromStatus(err)
	}
	for {
		m, err := rpc.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return rpcerr.FromStatus(err)
		}
		if !m.GetSegment().GetQuarantined() {
			continue
		}
		d, err := segment.ParseDigest(m.GetSegment().GetDigest())
		if err != nil {
			return err
		}
		w.rotten[d] = true
	}
}

// row packs one row, block by block.
func (w *writer) row(ctx context.Context, row *row, id [16]byte) error {
	part := store.Part{Store: id, Stream: w.stream, Row: store.Row{ID: row.id, Mapping: row.mapping}}
	for _, s := range row.samples {
		part.Samples = append(part.Samples, store.PackSample{AbsCell: s.cell, Start: s.start, Digest: s.digest.String()})
	}
	window := timeline.Range{From: row.first, To: row.last}
	if !w.r.From.IsZero() {
		window.From = max(window.From, row.mapping.From(w.r.From))
	}
	if !w.r.To.IsZero() {
		window.To = min(window.To, row.mapping.From(w.r.To))
	}
	if window.Len() == 0 {
		return nil
	}
	for block := blockOf(window.From) - 1; block <= blockOf(window.To); block++ { // a copy may reach into the next one
		m, err := w.index.ListSlots(ctx, &dvrv1.ListSlotsRequest{Stream: w.stream, Timeline: row.id[:], FromBlock: block, ToBlock: block + 1})
		if err != nil {
			return rpcerr.FromStatus(err)
		}
		for _, s := range m.GetSlots() {
			if err := w.slot(ctx, row, part, s, window); err != nil {
				return err
			}
		}
	}
	return nil
}

// slot packs the copies of a slot that overlap a window. What takes the place of a copy on the way is packed for it.
func (w *writer) slot(ctx context.Context, row *row, part store.Part, m *dvrv1.SlotCopies, window timeline.Range) error {
	slot, err := segmentpb.ToSlot(m.GetSlot())
	if err != nil {
		return err
	}
	shift := timeline.Ticks(slot.Turn) * timeline.Wrap
	packed := map[segment.Digest]bool{}
	for _, c := range m.GetCopies() {
		if !window.Overlaps(timeline.Range{From: timeline.Ticks(c.GetStartTicks()) + shift, To: timeline.Ticks(c.GetEndTicks()) + shift}) {
			continue
		}
		digest, err := segmentpb.ToDigest(c.GetDigest())
		if err != nil {
			return err
		}
		for !packed[digest] {
			packed[digest] = true
			next, err := w.copy(ctx, row, part, slot, digest, c)
			if err != nil {
				return err
			}
			if !next.IsZero() {
				digest, c = next, nil
			}
		}
	}
	return nil
}

// copy packs one copy. listed is what the list says of it, or nil. next is the copy that took its place since.
func (w *writer) copy(ctx context.Context, row *row, part store.Part, slot segment.Slot, digest segment.Digest, listed *dvrv1.CopySummary) (next segment.Digest, err error) {
	c, data, err := read(ctx, w.segments, w.stream, digest)
	var superseded *errs.SupersededError
	switch {
	case errors.As(err, &superseded):
		return segment.ParseDigest(superseded.By)
	case errors.Is(err, errs.ErrCorrupt), errors.Is(err, errs.ErrQuarantined):
		w.rotten[digest] = true
		return next, nil
	case errors.Is(err, errs.ErrUnknown), errors.Is(err, errs.ErrExpired), errors.Is(err, errs.ErrDeleted):
		return next, nil // it went since it was listed
	case err != nil:
		return next, fmt.Errorf("read segment %s: %w", digest, err)
	}
	if c.slot != slot { // a source that repeated itself: the bytes lie in several slots
		if listed == nil {
			return next, nil
		}
		c.info.Evidence, c.info.Path = segmentpb.ToEvidence(listed.GetEvidence()), listed.GetPath()
		if c.info.Tracks, err = segmentpb.ToTracks(listed.GetTracks()); err != nil {
			return next, err
		}
	}
	if key := (partKey{slot.Timeline, slot.Turn, slot.InitSet}); key != w.key {
		part.Inits = c.inits
		if err := w.out.Begin(part); err != nil {
			return next, err
		}
		w.key = key
	}
	shift := timeline.Ticks(slot.Turn) * timeline.Wrap
	w.done.add(row.mapping.UTC(c.info.Start+shift), row.mapping.UTC(c.info.End+shift))
	w.done.Segments++
	return next, w.out.Add(slot, &c.info, data)
}

// copyOf is a copy as it was read.
type copyOf struct {
	slot  segment.Slot
	info  segment.Info
	inits []segment.Init
}

// maxSegment bounds what is taken into memory.
const maxSegment = 256 << 20

func read(ctx context.Context, dvr dvrv1.SegmentServiceClient, stream string, digest segment.Digest) (c copyOf, data []byte, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rpc, err := dvr.ReadSegment(ctx, &dvrv1.ReadSegmentRequest{Stream: stream, Digest: digest[:], Packets: true})
	if err != nil {
		return c, nil, rpcerr.FromStatus(err)
	}
	for {
		m, err := rpc.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return c, nil, rpcerr.FromStatus(err)
		}
		if h := m.GetHead(); h != nil {
			if c, err = toCopy(h); err != nil {
				return c, nil, err
			}
			data = make([]byte, 0, min(c.info.Bytes, maxSegment))
		}
		if len(data)+len(m.GetData()) > maxSegment {
			return c, nil, fmt.Errorf("it has more than %d bytes: %w", maxSegment, errs.ErrInvalid)
		}
		data = append(data, m.GetData()...)
		if len(m.GetPackets()) > 0 {
			c.info.Runs, _ = segment.ParseRuns(m.GetPackets()) // without them the copy is as good
		}
	}
	if segment.Sum(data) != digest || c.info.Digest != digest {
		return c, nil, fmt.Errorf("the bytes that came have another digest: %w", errs.ErrCorrupt)
	}
	return c, data, nil
}

func toCopy(h *dvrv1.Head) (c copyOf, err error) {
	if c.slot, err = segmentpb.ToSlot(h.GetSlot()); err != nil {
		return c, err
	}
	if c.info, err = segmentpb.ToInfo(h.GetInfo()); err != nil {
		return c, err
	}
	c.inits, err = segmentpb.ToInits(h.GetInits())
	return c, err
}
