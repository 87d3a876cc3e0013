package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// maxSegmentBytes bounds what Read takes into memory: a segment of 16 s at 120 Mbit/s.
const maxSegmentBytes = 256 << 20

// Range is a half-open range of UTC. A zero From or To means: as far as the archive reaches.
type Range struct{ From, To time.Time }

// Segment is one presented segment: where it lies and what it is made of.
type Segment struct {
	Slot       segment.Slot
	Info       segment.Info
	Start, End time.Time // UTC by the mapping of the node that stores it
	Open       bool      // the durable part of a segment that is not sealed yet; it has no digest
	Ref        []byte    // names the copy to the node that stores it
}

// U is t, a time of this segment's bytes, on the timeline of its row (FORMAT.md, rule 1).
func (s *Segment) U(t timeline.Ticks) timeline.Ticks {
	return t + timeline.Ticks(s.Slot.Turn)*timeline.Wrap
}

// Stream reads the archive of one stream.
type Stream struct {
	name string
	dvr  dvrv1.SegmentServiceClient
}

// New reads stream name through conn, which leads to a dvrsvc.
func New(conn grpc.ClientConnInterface, name string) *Stream {
	return &Stream{name: name, dvr: dvrv1.NewSegmentServiceClient(conn)}
}

// Locate gives the presented segments that overlap r in the order of media time, the durable part of the open one last.
// It ends after the first error. Errors: errs.ErrStreamUnknown, errs.ErrInvalid, errs.ErrNotReady.
func (a *Stream) Locate(ctx context.Context, r Range) iter.Seq2[Segment, error] {
	return func(yield func(Segment, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		fail := func(err error) { yield(Segment{}, fmt.Errorf("locate segments of %s: %w", a.name, err)) }
		rpc, err := a.dvr.Locate(ctx, &dvrv1.LocateRequest{
			Stream: a.name, FromUtcNanos: nanos(r.From), ToUtcNanos: nanos(r.To), IncludeOpen: true,
		})
		if err != nil {
			fail(rpcerr.FromStatus(err))
			return
		}
		for {
			m, err := rpc.Recv()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				fail(rpcerr.FromStatus(err))
				return
			}
			s, err := located(m)
			if err != nil {
				fail(err)
				return
			}
			if !yield(s, nil) {
				return
			}
		}
	}
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func located(m *dvrv1.LocateResponse) (Segment, error) {
	s, err := fromHead(m.GetHead())
	if err != nil {
		return s, err
	}
	s.End = time.Unix(0, m.GetEndUtcNanos()).UTC()
	s.Open, s.Ref = m.GetOpen(), bytes.Clone(s.Info.Digest[:]) // a part of s would keep all of it, whoever lets go of the chunk table
	if s.Open {
		s.Ref = m.GetOpenRef()
	}
	return s, nil
}

func fromHead(h *dvrv1.Head) (Segment, error) {
	slot, err := segmentpb.ToSlot(h.GetSlot())
	if err != nil {
		return Segment{}, err
	}
	in := h.GetInfo()
	if in != nil && len(in.GetDigest()) == 0 { // an open segment has none
		in.Digest = make([]byte, len(segment.Digest{}))
	}
	info, err := segmentpb.ToInfo(in)
	if err != nil {
		return Segment{}, err
	}
	return Segment{Slot: slot, Info: info, Start: time.Unix(0, h.GetStartUtcNanos()).UTC()}, nil
}

// Read gives the bytes of s in T form, and s as it was when they were read: the open one may have grown or been sealed,
// another copy may have taken the place of the one that was located. Slot and configuration are always those of s.
// Errors: errs.ErrUnknown and errs.ErrExpired when the slot holds nothing any more, errs.ErrCorrupt.
func (a *Stream) Read(ctx context.Context, s Segment) (Segment, []byte, error) {
	got, b, err := a.read(ctx, s.Ref)
	if errors.Is(err, errs.ErrUnknown) || errors.Is(err, errs.ErrSuperseded) {
		if now, ok := a.relocate(ctx, s); ok {
			got, b, err = a.read(ctx, now.Ref)
		}
	}
	if err != nil {
		return s, nil, fmt.Errorf("read segment of %s at %s: %w", a.name, s.Start.Format(time.RFC3339), err)
	}
	// A source that repeats itself with its clock set back gives equal bytes in two rows: the digest does not name a slot.
	got.Slot, got.Start, got.End, got.Ref = s.Slot, s.Start, s.End, s.Ref
	return got, b, nil
}

func (a *Stream) relocate(ctx context.Context, s Segment) (Segment, bool) {
	for now, err := range a.Locate(ctx, Range{From: s.Start, To: s.End.Add(time.Second)}) {
		if err == nil && now.Slot == s.Slot {
			return now, true
		}
	}
	return Segment{}, false
}

// ReadDigest gives the bytes of one sealed copy by its digest. Errors as for Read.
func (a *Stream) ReadDigest(ctx context.Context, d segment.Digest) (Segment, []byte, error) {
	s, b, err := a.read(ctx, d[:])
	if err != nil {
		return s, nil, fmt.Errorf("read segment %s of %s: %w", d, a.name, err)
	}
	return s, b, nil
}

func (a *Stream) read(ctx context.Context, ref []byte) (Segment, []byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rpc, err := a.dvr.ReadSegment(ctx, &dvrv1.ReadSegmentRequest{Stream: a.name, Digest: ref})
	if err != nil {
		return Segment{}, nil, rpcerr.FromStatus(err)
	}
	m, err := rpc.Recv()
	if err != nil {
		return Segment{}, nil, rpcerr.FromStatus(err)
	}
	s, err := fromHead(m.GetHead())
	if err != nil {
		return s, nil, err
	}
	if s.Info.Bytes > maxSegmentBytes {
		return s, nil, fmt.Errorf("it has %d bytes, more than %d: %w", s.Info.Bytes, maxSegmentBytes, errs.ErrInvalid)
	}
	b := append(make([]byte, 0, s.Info.Bytes), m.GetData()...)
	for {
		m, err := rpc.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return s, nil, rpcerr.FromStatus(err)
		}
		if m.GetOffset() != uint64(len(b)) {
			return s, nil, fmt.Errorf("data came for offset %d at %d: %w", m.GetOffset(), len(b), errs.ErrCorrupt)
		}
		b = append(b, m.GetData()...)
	}
	s.Open = s.Info.Digest.IsZero()
	if uint64(len(b)) != s.Info.Bytes || (!s.Open && segment.Sum(b) != s.Info.Digest) {
		return s, nil, fmt.Errorf("%d bytes came, %d were announced: %w", len(b), s.Info.Bytes, errs.ErrCorrupt)
	}
	return s, b, nil
}

// ReadInit gives ftyp and moov of one track. Errors: errs.ErrUnknown, errs.ErrCorrupt.
func (a *Stream) ReadInit(ctx context.Context, hash segment.Digest) ([]byte, error) {
	m, err := a.dvr.ReadInit(ctx, &dvrv1.ReadInitRequest{Stream: a.name, Hash: hash[:]})
	if err != nil {
		return nil, fmt.Errorf("read init segment %s of %s: %w", hash, a.name, rpcerr.FromStatus(err))
	}
	if segment.Sum(m.GetData()) != hash {
		return nil, fmt.Errorf("read init segment %s of %s: %w", hash, a.name, errs.ErrCorrupt)
	}
	return m.GetData(), nil
}
