package pack

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

const (
	// window bounds the bytes of segments that are on their way.
	window = 32 << 20
	// flightsMax bounds how many segments are.
	flightsMax = 256
	// pieceBytes bounds one message of media.
	pieceBytes = 1 << 20
	// slowFor bounds how long one Slow holds media back when dvrsvc says nothing more.
	slowFor = time.Second
	// durableWithin bounds the wait for an answer of any kind: a dvrsvc that needs longer has lost what was sent.
	durableWithin = time.Minute
)

// Taken is what became of the segments of a pack. All of it is durable, but what was refused.
type Taken struct {
	Span
	Stream    string
	Segments  uint64            // of which the answer came: the sum of those below
	Stored    uint64            // were written
	Here      uint64            // were here already, byte for byte
	Contained uint64            // are contained in others that are here
	Refused   map[string]uint64 // by reason, as Release.reason has them
	Bytes     uint64            // of what was written
}

// DamagedError says where a pack is torn or spoiled. All before it was brought.
type DamagedError = store.PackError

// Damaged reports whether an error of Read is of the pack and not of dvrsvc.
func Damaged(err error) bool {
	return errors.Is(err, errs.ErrCorrupt) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errs.ErrFormat)
}

// Read brings a pack to a dvrsvc that records the stream; "": the one that the pack names. What it returns counts also where
// it ends with an error. Errors: *DamagedError, errs.ErrFull and errs.ErrNotReady (dvrsvc takes nothing now), else of the call.
func Read(outer context.Context, conn grpc.ClientConnInterface, stream string, in io.Reader, clk clock.Clock) (Taken, error) {
	ctx, cancel := context.WithCancel(outer)
	defer cancel()
	x := &reader{
		taken: Taken{Stream: stream, Refused: map[string]uint64{}}, clock: clk, flights: map[uint64]*flight{},
		releases: make(chan *dvrv1.Release, 2*flightsMax), slow: make(chan struct{}, 1), ended: make(chan error, 1),
	}
	packed := make(chan *store.Packed)
	failed := make(chan error, 1)
	go func() { // reading may wait for a pipe: what is on its way goes on
		r := store.NewPackReader(in)
		for {
			p, err := r.Next()
			if err != nil {
				failed <- err
				return
			}
			select {
			case packed <- p:
			case <-ctx.Done():
				return
			}
		}
	}()
	err := x.run(ctx, conn, packed, failed)
	if e := outer.Err(); err != nil && e != nil {
		err = fmt.Errorf("bring segments: %w", e)
	}
	return x.taken, err
}

// phase says what of a segment is waited for.
type phase uint8

const (
	asking   phase = iota // whether it is here
	sent                  // that it is durable
	weighing              // whether it was kept, or others contain it
)

type flight struct {
	packed *store.Packed
	slot   segment.Slot
	phase  phase
}

type reader struct {
	taken Taken
	clock clock.Clock
	rows  *uniter
	call  grpc.BidiStreamingClient[dvrv1.RecordRequest, dvrv1.RecordResponse]

	seq      uint64
	flights  map[uint64]*flight
	bytes    int                 // of them
	releases chan *dvrv1.Release // as many as there may be flights
	slow     chan struct{}
	ended    chan error
}

// run carries segments until the pack has ended and all are answered for.
func (x *reader) run(ctx context.Context, conn grpc.ClientConnInterface, packed <-chan *store.Packed, failed <-chan error) error {
	var last error // of the pack; set once it has ended
	timer := x.clock.NewTimer(durableWithin)
	defer timer.Stop()
	calm := x.clock.NewTimer(0)
	defer calm.Stop()
	held := false
	for last == nil || len(x.flights) > 0 {
		next := packed
		if last != nil || held || x.bytes >= window || len(x.flights) >= flightsMax {
			next = nil
		}
		if len(x.flights) == 0 {
			timer.Reset(durableWithin)
		}
		select {
		case p := <-next:
			if err := x.take(ctx, conn, p); err != nil {
				return err
			}
		case last = <-failed:
			failed = nil
		case m := <-x.releases:
			held = false
			timer.Reset(durableWithin)
			if err := x.answer(m); err != nil {
				return err
			}
		case <-x.slow:
			held = true
			calm.Reset(slowFor)
		case <-calm.C():
			held = false
		case err := <-x.ended:
			return fmt.Errorf("bring segments: %w", err)
		case <-timer.C():
			return fmt.Errorf("bring segments: no answer within %s: %w", durableWithin, errs.ErrNotReady)
		case <-ctx.Done():
			return fmt.Errorf("bring segments: %w", ctx.Err())
		}
	}
	if errors.Is(last, io.EOF) {
		return nil
	}
	return last
}

// take asks whether a segment is here.
func (x *reader) take(ctx context.Context, conn grpc.ClientConnInterface, p *store.Packed) error {
	if x.taken.Stream == "" {
		x.taken.Stream = p.Part.Stream
	}
	if x.call == nil {
		if err := x.dial(ctx, conn); err != nil {
			return err
		}
	}
	b, err := x.rows.bind(ctx, p)
	if err != nil {
		return err
	}
	f := &flight{packed: p, slot: b.translate(p.Slot)}
	x.bytes += len(p.Data)
	x.offer(f)
	return nil
}

// dial opens the call of a producer of its own: each that is brought at once has another.
func (x *reader) dial(ctx context.Context, conn grpc.ClientConnInterface) error {
	var b [8]byte
	_, _ = rand.Read(b[:])
	rpc := dvrv1.NewRecordingServiceClient(conn)
	call, err := rpc.Record(ctx)
	if err == nil {
		err = call.Send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Hello{Hello: &dvrv1.Hello{
			Stream: x.taken.Stream, Input: "unpack:" + hex.EncodeToString(b[:]), Priority: 1,
			Incarnation: uint64(x.clock.Now().UnixNano()), Kind: dvrv1.Kind_KIND_BACKFILL, Format: segment.Format,
		}}})
	}
	if err != nil {
		return fmt.Errorf("bring segments: %w", rpcerr.FromStatus(err))
	}
	x.call = call
	x.rows = &uniter{
		stream: x.taken.Stream, index: dvrv1.NewIndexServiceClient(conn), recording: rpc, known: map[foreign]binding{},
	}
	go x.receive(call)
	return nil
}

// receive hands on what dvrsvc says until the call ends.
func (x *reader) receive(call grpc.BidiStreamingClient[dvrv1.RecordRequest, dvrv1.RecordResponse]) {
	for {
		m, err := call.Recv()
		if err != nil {
			x.ended <- rpcerr.FromStatus(err)
			return
		}
		switch m := m.GetMessage().(type) {
		case *dvrv1.RecordResponse_Release:
			select {
			case x.releases <- m.Release:
			case <-call.Context().Done():
			}
		case *dvrv1.RecordResponse_Slow:
			select {
			case x.slow <- struct{}{}:
			default:
			}
		}
	}
}

// answer takes an answer to what was asked or sent.
func (x *reader) answer(m *dvrv1.Release) error {
	f := x.flights[m.GetSeq()]
	if f == nil {
		return nil
	}
	delete(x.flights, m.GetSeq())
	e := rpcerr.Sentinel(m.GetReason())
	switch {
	case f.phase != weighing && (errors.Is(e, errs.ErrFull) || errors.Is(e, errs.ErrNotReady)):
		return fmt.Errorf("bring segment %s: it is not taken now: %w", f.packed.Info.Digest, e)
	case m.GetDurable() && f.phase == asking:
		x.taken.Here++
	case m.GetDurable() && f.phase == sent:
		f.phase = weighing
		x.offer(f)
		return nil
	case f.phase == asking: // not here, or rotten
		f.phase = sent
		x.send(f)
		return nil
	case f.phase == weighing && errors.Is(e, errs.ErrUnknown):
		x.taken.Contained++
	case f.phase == weighing:
		x.taken.Stored++
		x.taken.Bytes += f.packed.Info.Bytes
	default:
		x.taken.Refused[m.GetReason()]++
	}
	x.bytes -= len(f.packed.Data)
	part := f.packed.Part.Row.Mapping
	x.taken.Segments++
	x.taken.add(part.UTC(u(f.packed, f.packed.Info.Start)), part.UTC(u(f.packed, f.packed.Info.End)))
	return nil
}

// number gives a flight the number by which it is answered.
func (x *reader) number(f *flight) segment.Key {
	x.seq++
	x.flights[x.seq] = f
	return segment.Key{Seq: x.seq, Start: f.packed.Info.Start, InitSet: f.slot.InitSet, Slot: &f.slot}
}

// offer asks whether the bytes are here; that the call has ended is told by receive.
func (x *reader) offer(f *flight) {
	info := segmentpb.Info(f.packed.Info)
	info.Chunks = nil
	_ = x.call.Send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Offer{
		Offer: &dvrv1.Offer{Key: segmentpb.Key(x.number(f)), Info: info},
	}})
}

// send sends a segment whole.
func (x *reader) send(f *flight) {
	key, info := x.number(f), f.packed.Info
	put := func(m *dvrv1.RecordRequest) { _ = x.call.Send(m) }
	put(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Begin{Begin: &dvrv1.Begin{
		Key: segmentpb.Key(key), Inits: segmentpb.Inits(f.packed.Part.Inits), Path: info.Path, Tracks: segmentpb.Tracks(info.Tracks),
		StartUncertain: info.Evidence.StartUncertain, Independent: info.Independent,
	}}})
	for _, c := range info.Chunks {
		data := f.packed.Data[c.Offset : c.Offset+uint64(c.Size)]
		for at := 0; at < len(data); at += pieceBytes {
			put(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Chunk{Chunk: &dvrv1.Chunk{
				Seq: key.Seq, Pid: uint32(c.PID), ChunkCell: c.Cell, TfdtOffset: c.TfdtOffset, Crc32C: c.CRC, Size: c.Size,
				Offset: uint32(at), Path: info.Path, Data: data[at:min(at+pieceBytes, len(data))],
			}}})
		}
	}
	put(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Seal{Seal: &dvrv1.Seal{
		Seq: key.Seq, Info: segmentpb.Info(info), Packets: segment.EncodeRuns(info.Runs),
	}}})
}
