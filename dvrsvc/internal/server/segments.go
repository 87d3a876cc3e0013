package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/dvrsvc/internal/recorder"
	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// beatEvery is how often a follower of the tail hears how far it has come.
const beatEvery = time.Second

// Where the media lies in what is sent, which is sent without a copy for each follower.
const (
	tailChunkField = 2  // TailResponse.chunk
	chunkDataField = 15 // Chunk.data
	readDataField  = 15 // ReadSegmentResponse.data
)

// openRefBytes is the length of a reference to an open copy, unlike that of a digest: its number, then the count of
// its chunks that are meant.
const openRefBytes = 12

type segments struct {
	*Server
	dvrv1.UnimplementedSegmentServiceServer
}

// ReadSegment implements SegmentServiceServer.
func (x segments) ReadSegment(m *dvrv1.ReadSegmentRequest, rpc grpc.ServerStreamingServer[dvrv1.ReadSegmentResponse]) error {
	a, err := x.archive(m.GetStream())
	if err != nil {
		return err
	}
	if len(m.GetDigest()) == openRefBytes {
		return readOpen(a, m, rpc)
	}
	d, err := segmentpb.ToDigest(m.GetDigest())
	if err != nil {
		return invalid(err)
	}
	r, err := a.NewReaderFor(purpose(m.GetPurpose()), d, m.GetOffset())
	if err != nil {
		return fmt.Errorf("read segment %s: %w", d, err)
	}
	defer r.Close()
	c := r.Copy()
	if m.GetOffset() > c.Info.Bytes {
		return fmt.Errorf("read segment %s from %d: it has %d bytes: %w", d, m.GetOffset(), c.Info.Bytes, errs.ErrInvalid)
	}
	inits, err := a.Inits(&c.Info)
	if err != nil {
		return fmt.Errorf("read segment %s: %w", d, err)
	}
	p := newPieces(rpc, m.GetOffset())
	if err := p.head(c.Slot, c.Info, inits, c.UTC); err != nil {
		return err
	}
	for {
		ch, data, err := r.Next()
		if errors.Is(err, io.EOF) {
			if err := p.flush(); err != nil || !m.GetPackets() {
				return err
			}
			return p.packets(r.Runs())
		}
		if err != nil {
			return fmt.Errorf("read segment %s: %w", d, err)
		}
		if err := p.add(ch.Offset, data); err != nil {
			return err
		}
	}
}

// purpose says why a caller reads; one that does not say plays.
func purpose(p dvrv1.ReadPurpose) stats.Purpose {
	if p == dvrv1.ReadPurpose_READ_PURPOSE_REPLICATION {
		return stats.Replication
	}
	return stats.Play
}

// readOpen gives the durable part of an open segment.
func readOpen(a *store.Stream, m *dvrv1.ReadSegmentRequest, rpc grpc.ServerStreamingServer[dvrv1.ReadSegmentResponse]) error {
	ref := m.GetDigest()
	id, count := binary.BigEndian.Uint64(ref), int(binary.BigEndian.Uint32(ref[8:]))
	for _, o := range a.OpenParts() {
		if o.ID != id || count > len(o.Info.Chunks) {
			continue
		}
		durable := durablePart(o, count)
		inits, err := a.Inits(&durable.Info)
		if err != nil {
			return fmt.Errorf("read open segment %s: %w", o.Slot, err)
		}
		p := newPieces(rpc, m.GetOffset())
		if err := p.head(o.Slot, durable.Info, inits, o.UTC); err != nil {
			return err
		}
		err = a.ReadPart(purpose(m.GetPurpose()), &o, count, func(ch segment.Chunk, data []byte) error { return p.add(ch.Offset, data) })
		if err != nil {
			return fmt.Errorf("read open segment %s: %w", o.Slot, err)
		}
		return p.flush()
	}
	return fmt.Errorf("read open segment: %w", errs.ErrUnknown)
}

// durablePart cuts an open segment after count chunks.
func durablePart(o store.OpenPart, count int) store.OpenPart {
	o.Info.Chunks = o.Info.Chunks[:count]
	o.Info.Bytes = 0
	if count > 0 {
		last := o.Info.Chunks[count-1]
		o.Info.Bytes = last.Offset + uint64(last.Size)
	}
	return o
}

// pieces sends the bytes of a segment in messages of at most pieceBytes.
type pieces struct {
	// send sends a message; free is called, unless it is nil, when its data is not needed any more.
	send func(m *dvrv1.ReadSegmentResponse, free func()) error
	from uint64  // what lies before it is not sent
	at   uint64  // where buf lies
	buf  *[]byte // of pieceBuffers; nil: nothing is held
}

var pieceBuffers = sync.Pool{New: func() any { b := make([]byte, 0, pieceBytes); return &b }}

func newPieces(rpc grpc.ServerStreamingServer[dvrv1.ReadSegmentResponse], from uint64) *pieces {
	return &pieces{from: from, send: func(m *dvrv1.ReadSegmentResponse, free func()) error {
		if free == nil {
			return rpc.Send(m)
		}
		return rpc.SendMsg(grpcx.Lent(m, free, readDataField))
	}}
}

func (p *pieces) head(slot segment.Slot, info segment.Info, inits []segment.Init, utc time.Time) error {
	return p.send(&dvrv1.ReadSegmentResponse{Offset: p.from, Head: fromHead(slot, info, inits, utc)}, nil)
}

func fromHead(slot segment.Slot, info segment.Info, inits []segment.Init, utc time.Time) *dvrv1.Head {
	return &dvrv1.Head{
		Slot: segmentpb.Slot(slot), Info: segmentpb.Info(info), Inits: segmentpb.Inits(inits), StartUtcNanos: utc.UnixNano(),
	}
}

// add sends or keeps data, which lies at offset.
func (p *pieces) add(offset uint64, data []byte) error {
	if end := offset + uint64(len(data)); end <= p.from {
		return nil
	}
	if offset < p.from {
		offset, data = p.from, data[p.from-offset:]
	}
	for len(data) > 0 {
		if p.buf == nil {
			p.buf, p.at = pieceBuffers.Get().(*[]byte), offset
		}
		n := min(len(data), pieceBytes-len(*p.buf))
		*p.buf = append(*p.buf, data[:n]...)
		offset, data = offset+uint64(n), data[n:]
		if len(*p.buf) == pieceBytes {
			if err := p.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush sends what is held.
func (p *pieces) flush() error {
	b := p.buf
	if b == nil {
		return nil
	}
	p.buf = nil
	return p.send(&dvrv1.ReadSegmentResponse{Offset: p.at, Data: *b}, func() {
		*b = (*b)[:0]
		pieceBuffers.Put(b)
	})
}

// packets sends the packet runs of the copy.
func (p *pieces) packets(runs []segment.Run) error {
	b := segment.EncodeRuns(runs)
	if b == nil {
		return nil
	}
	return p.send(&dvrv1.ReadSegmentResponse{Packets: b}, nil)
}

// ReadInit implements SegmentServiceServer.
func (x segments) ReadInit(_ context.Context, m *dvrv1.ReadInitRequest) (*dvrv1.ReadInitResponse, error) {
	h, err := segmentpb.ToDigest(m.GetHash())
	if err != nil {
		return nil, invalid(err)
	}
	a, err := x.archive(m.GetStream())
	if err != nil {
		return nil, err
	}
	in, err := a.Init(h)
	if err != nil {
		return nil, fmt.Errorf("read init segment %s: %w", h, err)
	}
	return &dvrv1.ReadInitResponse{Data: in.Data}, nil
}

// Locate implements SegmentServiceServer.
func (x segments) Locate(m *dvrv1.LocateRequest, rpc grpc.ServerStreamingServer[dvrv1.LocateResponse]) error {
	from, to := fromNanos(m.GetFromUtcNanos()), fromNanos(m.GetToUtcNanos())
	if err := checkWindow(from, to); err != nil {
		return err
	}
	a, err := x.archive(m.GetStream())
	if err != nil {
		return err
	}
	// The open part is taken first: what is sealed meanwhile is then found among the segments, and left out of it.
	var open []store.OpenPart
	if m.GetIncludeOpen() {
		open = a.OpenParts()
	}
	sealed := map[segment.Slot]bool{}
	for c, err := range a.Segments(from, to, false) {
		if err != nil {
			return err
		}
		sealed[c.Slot] = true
		if err := rpc.Send(&dvrv1.LocateResponse{
			Head: headWithoutInits(c.Slot, c.Info, c.UTC), EndUtcNanos: c.UTCEnd.UnixNano(),
		}); err != nil {
			return err
		}
	}
	for _, o := range open {
		if o.Durable == 0 || sealed[o.Slot] || !from.IsZero() && !o.UTCEnd.After(from) || !to.IsZero() && !o.UTC.Before(to) {
			continue
		}
		d := durablePart(o, o.Durable)
		d.Info.Digest = segment.Digest{}
		ref := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, o.ID), uint32(o.Durable))
		head := headWithoutInits(d.Slot, d.Info, d.UTC)
		head.Info.Digest = nil
		if err := rpc.Send(&dvrv1.LocateResponse{
			Head: head, EndUtcNanos: d.UTCEnd.UnixNano(), Open: true, OpenRef: ref,
		}); err != nil {
			return err
		}
	}
	return nil
}

func headWithoutInits(slot segment.Slot, info segment.Info, utc time.Time) *dvrv1.Head {
	inits := make([]segment.Init, len(info.Tracks))
	for i := range info.Tracks {
		inits[i] = segment.Init{PID: info.Tracks[i].PID, Hash: info.Tracks[i].Init}
	}
	return fromHead(slot, info, inits, utc)
}

// Tail implements SegmentServiceServer.
func (x segments) Tail(m *dvrv1.TailRequest, rpc grpc.ServerStreamingServer[dvrv1.TailResponse]) error {
	s, err := x.rec.Stream(m.GetStream())
	if err != nil {
		return err
	}
	var after *segment.Slot
	if m.GetAfter() != nil {
		slot, err := segmentpb.ToSlot(m.GetAfter())
		if err != nil {
			return invalid(err)
		}
		after = &slot
	}
	f := s.Follow(after, m.GetSealsOnly(), purpose(m.GetPurpose()))
	beat := x.clock.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		e, more, err := f.Poll()
		if err != nil {
			return err
		}
		if more == nil {
			if err := sendTail(rpc, &e); err != nil {
				return err
			}
			select { // beats keep their pace also while a follower catches up
			case <-beat.C():
				b := f.Beat()
				if err := sendTail(rpc, &recorder.TailEvent{Beat: &b}); err != nil {
					return err
				}
			default:
			}
			continue
		}
		select {
		case <-more:
		case <-beat.C():
			b := f.Beat()
			if err := sendTail(rpc, &recorder.TailEvent{Beat: &b}); err != nil {
				return err
			}
		case <-rpc.Context().Done():
			return rpc.Context().Err()
		}
	}
}

// sendTail sends an event; a chunk over pieceBytes goes in pieces.
func sendTail(rpc grpc.ServerStreamingServer[dvrv1.TailResponse], e *recorder.TailEvent) error {
	switch {
	case e.Chunk != nil:
		for at := 0; ; {
			end := min(at+pieceBytes, len(e.Chunk.Data))
			m := &dvrv1.TailResponse{Event: &dvrv1.TailResponse_Chunk{Chunk: fromChunk(e.Chunk, at, end)}}
			if err := rpc.SendMsg(grpcx.Shared(m, tailChunkField, chunkDataField)); err != nil { // nobody changes the bytes
				return err
			}
			if at = end; at == len(e.Chunk.Data) {
				return nil
			}
		}
	case e.Begin != nil:
		b := fromBegin(&e.Begin.Begin)
		b.Key.Seq, b.Key.Slot = e.Begin.Seq, nil
		return rpc.Send(&dvrv1.TailResponse{Event: &dvrv1.TailResponse_Begin{
			Begin: &dvrv1.TailBegin{Slot: segmentpb.Slot(e.Begin.Slot), Begin: b},
		}})
	case e.Seal != nil:
		return rpc.Send(&dvrv1.TailResponse{Event: &dvrv1.TailResponse_Seal{Seal: &dvrv1.TailSeal{
			Slot: segmentpb.Slot(e.Seal.Slot), Seal: &dvrv1.Seal{Seq: e.Seal.Seq, Info: segmentpb.Info(e.Seal.Info)},
		}}})
	case e.Changed != nil:
		c := &dvrv1.Changed{Slot: segmentpb.Slot(e.Changed.Slot)}
		for _, d := range e.Changed.Digests {
			c.Digests = append(c.Digests, d[:])
		}
		return rpc.Send(&dvrv1.TailResponse{Event: &dvrv1.TailResponse_Changed{Changed: c}})
	case e.Skip != nil:
		return rpc.Send(&dvrv1.TailResponse{Event: &dvrv1.TailResponse_Skip{Skip: &dvrv1.Skip{To: segmentpb.Slot(*e.Skip)}}})
	default:
		b := &dvrv1.Beat{HeadTicks: int64(e.Beat.Head), Alive: e.Beat.Alive, Path: e.Beat.Path}
		if !e.Beat.Slot.Timeline.IsZero() {
			b.Slot = segmentpb.Slot(e.Beat.Slot)
		}
		return rpc.Send(&dvrv1.TailResponse{Event: &dvrv1.TailResponse_Beat{Beat: b}})
	}
}

func fromChunk(c *recorder.TailChunk, at, end int) *dvrv1.Chunk {
	m := &dvrv1.Chunk{
		Seq: c.Seq, Pid: uint32(c.PID), ChunkCell: c.Cell, TfdtOffset: c.TfdtOffset, Crc32C: c.CRC, Size: c.Size,
		Offset: uint32(at), Path: c.Path, Data: c.Data[at:end],
	}
	if at == 0 {
		m.Evidence = segmentpb.Evidence(c.Evidence)
	}
	return m
}
