package faults

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

const (
	pid           = 256
	frameTicks    = 1920 // of AAC at 48 kHz
	framesPerCell = 274  // not less than a cell
)

// made is a segment of real chunks: one AAC track, as long as a cell.
type made struct {
	seq    uint64
	init   segment.Init
	info   segment.Info
	chunks [][]byte
}

func segmentStart(k int) timeline.Ticks {
	return timeline.Wrap + 1000*timeline.CellTicks + timeline.Ticks(k)*framesPerCell*frameTicks
}

func makeSegment(stream string, k int, path string) *made {
	data, codec, err := fmp4.AACInit(pid, "eng", fmp4.AACConfig{ObjectType: 2, FrequencyIndex: 3, Channels: 2})
	if err != nil {
		panic(err)
	}
	m := &made{seq: uint64(k + 1), init: segment.Init{PID: pid, Hash: segment.Sum(data), Data: data}}
	start := segmentStart(k)
	m.info = segment.Info{Start: start, End: segmentStart(k + 1), Independent: true, Path: []string{path}, Format: segment.Format}
	var all []byte
	for from := 0; from < framesPerCell; {
		at := start + timeline.Ticks(from*frameTicks)
		var samples []fmp4.Sample
		var payload []byte
		for ; from < framesPerCell && (start+timeline.Ticks(from*frameTicks))>>15 == at>>15; from++ {
			frame := fmt.Appendf(nil, "%s segment %d frame %d of a source that does not exist", stream, k, from)
			samples = append(samples, fmp4.Sample{Duration: frameTicks, Size: uint32(len(frame)), Flags: fmp4.FlagsSync})
			payload = append(payload, frame...)
		}
		b := fmp4.AppendChunk(nil, fmp4.Audio, pid, at, samples, payload)
		m.chunks = append(m.chunks, b)
		m.info.Chunks = append(m.info.Chunks, segment.Chunk{
			PID: pid, Cell: uint32(at >> 15), Offset: uint64(len(all)), Size: uint32(len(b)),
			CRC: crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)), TfdtOffset: fmp4.TfdtOffset,
		})
		all = append(all, b...)
	}
	m.info.Digest, m.info.Bytes = segment.Sum(all), uint64(len(all))
	m.info.Tracks = []segment.Track{{
		PID: pid, Codec: codec, Language: "eng", Init: m.init.Hash, Start: start, End: m.info.End,
		Samples: framesPerCell, Bytes: uint64(len(all)),
	}}
	return m
}

func (m *made) key(slot *segment.Slot) *dvrv1.SegmentKey {
	return segmentpb.Key(segment.Key{
		Seq: m.seq, Start: m.info.Start, InitSet: segment.MakeInitSet(m.info.Tracks), Slot: slot,
	})
}

func (m *made) begin(slot *segment.Slot) *dvrv1.RecordRequest {
	return &dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Begin{Begin: &dvrv1.Begin{
		Key: m.key(slot), Inits: segmentpb.Inits([]segment.Init{m.init}), Path: m.info.Path,
		Tracks: segmentpb.Tracks(m.info.Tracks), Independent: true,
	}}}
}

func (m *made) chunk(i int) *dvrv1.RecordRequest {
	c := m.info.Chunks[i]
	return &dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Chunk{Chunk: &dvrv1.Chunk{
		Seq: m.seq, Pid: uint32(c.PID), ChunkCell: c.Cell, TfdtOffset: c.TfdtOffset, Crc32C: c.CRC, Size: c.Size, Data: m.chunks[i],
	}}}
}

func (m *made) seal() *dvrv1.RecordRequest {
	return &dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Seal{Seal: &dvrv1.Seal{Seq: m.seq, Info: segmentpb.Info(m.info)}}}
}

// ledger is what was said to be durable.
type ledger struct {
	mu       sync.Mutex                        // protects the fields below
	released map[string]map[segment.Digest]int // the number of each segment
	refused  map[string]int
}

func newLedger() *ledger {
	return &ledger{released: map[string]map[segment.Digest]int{}, refused: map[string]int{}}
}

func (l *ledger) note(stream string, m *made, r *dvrv1.Release) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !r.GetDurable() {
		l.refused[r.GetReason()]++
		return
	}
	if l.released[stream] == nil {
		l.released[stream] = map[segment.Digest]int{}
	}
	l.released[stream][m.info.Digest] = int(m.seq) - 1
}

// of gives what was released of a stream.
func (l *ledger) of(stream string) map[segment.Digest]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.released[stream])
}

// newest is the highest number of a segment that was released.
func (l *ledger) newest(stream string) (n int) {
	for _, k := range l.of(stream) {
		n = max(n, k)
	}
	return n
}

func (l *ledger) count() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.released {
		n += len(r)
	}
	return n
}

// producer records a stream without end, whatever becomes of dvrsvc: it holds what is not released, and offers it again.
type producer struct {
	stream string
	conn   grpc.ClientConnInterface
	ledger *ledger

	mu   sync.Mutex // protects the field below
	ring []*made    // not released
	next int
}

// forget takes a segment off the ring.
func (p *producer) forget(seq uint64) *made {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, m := range p.ring {
		if m.seq == seq {
			p.ring = append(p.ring[:i:i], p.ring[i+1:]...)
			return m
		}
	}
	return nil
}

func (p *producer) held() []*made {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*made(nil), p.ring...)
}

func (p *producer) make() *made {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := makeSegment(p.stream, p.next, "there")
	p.next++
	p.ring = append(p.ring, m)
	return m
}

// again calls until ctx ends.
func again(ctx context.Context, call func(context.Context) error) {
	for ctx.Err() == nil {
		one, cancel := context.WithCancel(ctx)
		if call(one) != nil {
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
		cancel()
	}
}

// open opens a call and reads its welcome.
func (p *producer) open(ctx context.Context, hello *dvrv1.Hello) (grpc.BidiStreamingClient[dvrv1.RecordRequest, dvrv1.RecordResponse], error) {
	rpc, err := dvrv1.NewRecordingServiceClient(p.conn).Record(ctx)
	if err == nil {
		err = rpc.Send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Hello{Hello: hello}})
	}
	if err == nil {
		_, err = rpc.Recv()
	}
	return rpc, err
}

// backfill brings segments of the past, a few at a time.
func (p *producer) backfill(ctx context.Context, from time.Time) error {
	row, err := dvrv1.NewRecordingServiceClient(p.conn).BindTimeline(ctx, &dvrv1.BindTimelineRequest{
		Stream: p.stream, PeerStoreId: []byte("a store far away"), PeerTimeline: []byte("the timeline of ")[:16],
		Make: true, AtTicks: int64(segmentStart(0)), AtUtcNanos: from.UnixNano(),
	})
	if err != nil {
		return err
	}
	rpc, err := p.open(ctx, &dvrv1.Hello{
		Stream: p.stream, Input: "m4f://there:7000/" + p.stream, Incarnation: 1, Kind: dvrv1.Kind_KIND_BACKFILL, Format: segment.Format,
	})
	if err != nil {
		return err
	}
	send := func(m *made) error {
		slot := &segment.Slot{
			Timeline: segment.TimelineID(row.GetTimeline()), Turn: row.GetTurnDifference(), Cell: uint16(m.info.Start.Cell()),
			InitSet: segment.MakeInitSet(m.info.Tracks),
		}
		err := rpc.Send(m.begin(slot))
		for i := range m.chunks {
			err = errors.Join(err, rpc.Send(m.chunk(i)))
		}
		return errors.Join(err, rpc.Send(m.seal()))
	}
	held := p.held()
	for len(held) < 6 {
		held = append(held, p.make())
	}
	for _, m := range held {
		if err := send(m); err != nil {
			return err
		}
	}
	for {
		r, err := rpc.Recv()
		if err != nil {
			return err
		}
		rel := r.GetRelease()
		if rel == nil {
			continue
		}
		if m := p.forget(rel.GetSeq()); m != nil {
			p.ledger.note(p.stream, m, rel)
			time.Sleep(20 * time.Millisecond) // or a dvrsvc that waits for no disk would be flooded
			if !rel.GetDurable() {
				time.Sleep(time.Second) // as replsvc does where there is no room
			}
			if err := send(p.make()); err != nil {
				return err
			}
		}
	}
}

// liveRing is how many segments a live producer holds, with the one that is on air: half a minute.
const liveRing = 5

// live streams what is on air: segment k begins at began + k cells.
func (p *producer) live(ctx context.Context, began time.Time) error {
	hello := &dvrv1.Hello{Stream: p.stream, Input: liveInput, Incarnation: uint64(began.UnixNano()), Kind: dvrv1.Kind_KIND_LIVE, Format: segment.Format}
	held := p.held()
	sealed := map[uint64]*made{}
	for _, m := range held[:max(0, len(held)-1)] { // the last is on air
		sealed[m.seq] = m
		hello.Ring = append(hello.Ring, &dvrv1.Offer{Key: m.key(nil), Info: segmentpb.Info(m.info)})
	}
	rpc, err := p.open(ctx, hello)
	if err != nil {
		return err
	}
	in, failed := make(chan *dvrv1.RecordResponse, 64), make(chan error, 1)
	go func() {
		for {
			r, err := rpc.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case in <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var air *made
	if len(held) > 0 {
		air = held[len(held)-1]
	}
	active, sent := false, -1
	for {
		select {
		case err := <-failed:
			return err
		case r := <-in:
			switch {
			case r.GetRole() != nil:
				active = r.GetRole().GetActive()
			case r.GetWant() != nil:
				if m := sealed[r.GetWant().GetSeq()]; m != nil {
					err := rpc.Send(m.begin(nil))
					for i := range m.chunks {
						err = errors.Join(err, rpc.Send(m.chunk(i)))
					}
					if err = errors.Join(err, rpc.Send(m.seal())); err != nil {
						return err
					}
				}
			case r.GetRelease() != nil:
				if m := p.forget(r.GetRelease().GetSeq()); m != nil {
					p.ledger.note(p.stream, m, r.GetRelease())
				}
			}
		case <-tick.C:
			head := segmentStart(0) + timeline.FromDuration(time.Since(began))
			if err := rpc.Send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Progress{Progress: &dvrv1.Progress{
				HeadTicks: int64(head), Path: []string{"here"}, Alive: true, GaplessNanos: int64(time.Hour),
			}}}); err != nil {
				return err
			}
			if air == nil {
				air = p.make()
			}
			if !active {
				break
			}
			if sent < 0 {
				if err := rpc.Send(air.begin(nil)); err != nil {
					return err
				}
				sent = 0
			}
			for ; sent < len(air.chunks) && timeline.Ticks(air.info.Chunks[sent].Cell+1)<<15 <= head; sent++ {
				if err := rpc.Send(air.chunk(sent)); err != nil {
					return err
				}
			}
			if head >= air.info.End {
				for ; sent < len(air.chunks); sent++ {
					if err := rpc.Send(air.chunk(sent)); err != nil {
						return err
					}
				}
				if err := rpc.Send(air.seal()); err != nil {
					return err
				}
				sealed[air.seq] = air
				air, sent = p.make(), -1
				if held := p.held(); len(held) > liveRing {
					p.forget(held[0].seq)
					delete(sealed, held[0].seq)
					if err := rpc.Send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Withdraw{
						Withdraw: &dvrv1.Withdraw{Seq: held[0].seq, Reason: "ring_overrun"},
					}}); err != nil {
						return err
					}
				}
			}
		}
	}
}
