package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/dvrsvc/internal/recorder"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// ringTime is how long a producer should keep what is not released, beside source_timeout and its two longest
// segments: a restart of dvrsvc.
const ringTime = 5 * time.Second

type recording struct {
	*Server
	dvrv1.UnimplementedRecordingServiceServer
}

type recordStream = grpc.BidiStreamingServer[dvrv1.RecordRequest, dvrv1.RecordResponse]

// Record implements RecordingServiceServer.
func (r recording) Record(rpc recordStream) error {
	first, err := rpc.Recv()
	if err != nil {
		return err
	}
	m := first.GetHello()
	if m == nil {
		return fmt.Errorf("record: the first message is not Hello: %w", errs.ErrInvalid)
	}
	hello, err := toHello(m)
	if err != nil {
		return invalid(err)
	}
	s, err := r.rec.Stream(m.GetStream())
	if err != nil {
		return err
	}
	_, storeID, err := r.rec.Archive(m.GetStream())
	if err != nil {
		return err
	}
	call, err := s.Attach(hello)
	if err != nil {
		return err
	}
	defer call.Close()
	welcome := &dvrv1.Welcome{Node: r.node, StoreId: storeID[:], RingNanos: int64(ringTime)}
	if err := rpc.Send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Welcome{Welcome: welcome}}); err != nil {
		return err
	}
	// The handler sends, so that the end of the call from our side ends it at once; this goroutine ends with the call.
	received := make(chan error, 1)
	ctx, cancel := context.WithCancel(rpc.Context())
	defer cancel()
	go func() {
		defer cancel()
		received <- (&receiver{rpc: rpc, call: call}).run()
	}()
	for {
		out, err := call.Next(ctx)
		for _, m := range out {
			if err := rpc.Send(fromMessage(m)); err != nil {
				return err
			}
		}
		if err == nil {
			continue
		}
		select {
		case rerr := <-received: // the producer ended it, or said something wrong
			if errors.Is(rerr, io.EOF) {
				return nil
			}
			return rerr
		default:
			return err
		}
	}
}

// receiver takes the messages of a call in order.
type receiver struct {
	rpc   recordStream
	call  *recorder.Call
	inits map[segment.Digest][]byte // data sent before in this call
	parts map[uint64]*part          // a chunk that comes in pieces, by seq
}

// part is what has come of a chunk: evidence with its first piece.
type part struct {
	pid, cell uint32
	path      []string
	evidence  segment.Evidence
	data      []byte
}

func (r *receiver) run() error {
	r.inits, r.parts = map[segment.Digest][]byte{}, map[uint64]*part{}
	for {
		m := &dvrv1.RecordRequest{}
		if err := r.rpc.RecvMsg(grpcx.Received(m, chunkField, chunkDataField)); err != nil {
			return err
		}
		if err := r.take(m); err != nil {
			return err
		}
	}
}

func (r *receiver) take(m *dvrv1.RecordRequest) error {
	switch m := m.GetMessage().(type) {
	case *dvrv1.RecordRequest_Chunk:
		return r.chunk(m.Chunk)
	case *dvrv1.RecordRequest_Progress:
		p := m.Progress
		return r.call.Progress(recorder.Progress{
			Run: p.GetRun(), Stretch: p.GetStretch(), Head: timeline.Ticks(p.GetHeadTicks()), Age: max(0, time.Duration(p.GetAgeNanos())),
			Path: p.GetPath(), Alive: p.GetAlive(), Gapless: max(0, time.Duration(p.GetGaplessNanos())),
			Fault: fault(p.GetFault()), Peer: segmentpb.ToPeerRow(p.GetPeerRow()),
		})
	case *dvrv1.RecordRequest_Begin:
		return r.begin(m.Begin)
	case *dvrv1.RecordRequest_Seal:
		info, err := segmentpb.ToInfo(m.Seal.GetInfo())
		if err != nil {
			return invalid(err)
		}
		if len(m.Seal.GetPackets()) > 0 {
			info.Runs, _ = segment.ParseRuns(m.Seal.GetPackets()) // without them a copy is as good
		}
		r.drop(m.Seal.GetSeq())
		return r.call.Seal(m.Seal.GetSeq(), info)
	case *dvrv1.RecordRequest_Offer:
		o, err := toOffer(m.Offer)
		if err != nil {
			return invalid(err)
		}
		return r.call.Offer(o)
	case *dvrv1.RecordRequest_Withdraw:
		r.drop(m.Withdraw.GetSeq())
		return r.call.Withdraw(m.Withdraw.GetSeq(), m.Withdraw.GetReason())
	}
	return fmt.Errorf("record: message %T where it has no place: %w", m.GetMessage(), errs.ErrInvalid)
}

func (r *receiver) begin(m *dvrv1.Begin) error {
	b, err := toBegin(m)
	if err != nil {
		return invalid(err)
	}
	r.drop(b.Key.Seq)
	for i := range b.Inits {
		in := &b.Inits[i]
		if len(in.Data) > 0 {
			r.inits[in.Hash] = in.Data
		} else if in.Data = r.inits[in.Hash]; in.Data == nil {
			return fmt.Errorf("begin segment %d: init segment %s was not sent in this call: %w", b.Key.Seq, in.Hash, errs.ErrInvalid)
		}
	}
	return r.call.Begin(b)
}

// chunk passes a chunk on once all of it has come.
func (r *receiver) chunk(m *dvrv1.Chunk) error {
	ch, whole, err := r.join(m)
	if err != nil || !whole {
		return err
	}
	return r.call.Chunk(m.GetSeq(), ch)
}

// join puts a chunk together from its pieces. One that comes whole is passed on without a copy.
func (r *receiver) join(m *dvrv1.Chunk) (ch recorder.Chunk, whole bool, err error) {
	seq, data, size := m.GetSeq(), m.GetData(), int(m.GetSize())
	if size > maxChunkBytes || len(data) > size || m.GetPid() > 0x1FFF {
		return ch, false, fmt.Errorf("read chunk of PID %d: %d of %d bytes: %w", m.GetPid(), len(data), size, errs.ErrInvalid)
	}
	p := r.parts[seq]
	if m.GetOffset() == 0 {
		p = &part{pid: m.GetPid(), cell: m.GetChunkCell(), path: m.GetPath(), evidence: segmentpb.ToEvidence(m.GetEvidence())}
		if p.data = data; len(data) < size {
			p.data = append(make([]byte, 0, size), data...)
			r.parts[seq] = p
		}
	} else {
		if p == nil || p.pid != m.GetPid() || p.cell != m.GetChunkCell() || int(m.GetOffset()) != len(p.data) || len(p.data)+len(data) > size {
			return ch, false, fmt.Errorf("read chunk of PID %d: a piece for offset %d does not fit: %w", m.GetPid(), m.GetOffset(), errs.ErrInvalid)
		}
		p.data = append(p.data, data...)
	}
	if len(p.data) < size {
		return ch, false, nil
	}
	r.drop(seq)
	return recorder.Chunk{
		Chunk: segment.Chunk{
			PID: uint16(p.pid), Cell: p.cell, Size: m.GetSize(), CRC: m.GetCrc32C(), TfdtOffset: m.GetTfdtOffset(),
		},
		Path: p.path, Evidence: p.evidence, Data: p.data,
	}, true, nil
}

// drop forgets the pieces of a chunk that does not go on.
func (r *receiver) drop(seq uint64) { delete(r.parts, seq) }

// chunkField is that of RecordRequest; see chunkDataField.
const chunkField = 4

// maxChunkBytes bounds a chunk: 0.36 s at more than 700 Mbit/s.
const maxChunkBytes = 32 << 20

// BindTimeline implements RecordingServiceServer.
func (r recording) BindTimeline(_ context.Context, m *dvrv1.BindTimelineRequest) (*dvrv1.BindTimelineResponse, error) {
	s, err := r.rec.Stream(m.GetStream())
	if err != nil {
		return nil, err
	}
	b := recorder.Binding{
		TurnDifference: m.GetTurnDifference(), Make: m.GetMake(),
		At: timeline.Mapping{{U: timeline.Ticks(m.GetAtTicks()), UTC: m.GetAtUtcNanos()}},
	}
	if points := m.GetMapping(); len(points) > 0 {
		b.At = nil
		for i, p := range points {
			var ok bool
			if b.At, ok = b.At.With(timeline.Point{U: timeline.Ticks(p.GetTicks()), UTC: p.GetUtcNanos()}); !ok {
				return nil, fmt.Errorf("bind timeline: point %d of the mapping does not lie behind the one before: %w", i, errs.ErrInvalid)
			}
		}
	}
	if len(m.GetPeerStoreId()) != len(b.PeerStore) {
		return nil, fmt.Errorf("bind timeline: peer_store_id has %d bytes: %w", len(m.GetPeerStoreId()), errs.ErrInvalid)
	}
	copy(b.PeerStore[:], m.GetPeerStoreId())
	if b.PeerTimeline, err = timelineID(m.GetPeerTimeline()); err != nil {
		return nil, err
	}
	if len(m.GetTimeline()) > 0 {
		if b.Timeline, err = timelineID(m.GetTimeline()); err != nil {
			return nil, err
		}
	}
	id, difference, err := s.Bind(b)
	if err != nil {
		return nil, err
	}
	out := &dvrv1.BindTimelineResponse{TurnDifference: difference}
	if !id.IsZero() {
		out.Timeline = id[:]
	}
	return out, nil
}

func toHello(m *dvrv1.Hello) (recorder.Hello, error) {
	h := recorder.Hello{
		Input: m.GetInput(), Priority: int(m.GetPriority()), Incarnation: m.GetIncarnation(), Format: m.GetFormat(),
	}
	switch m.GetKind() {
	case dvrv1.Kind_KIND_LIVE:
		h.Kind = recorder.Live
	case dvrv1.Kind_KIND_BACKFILL:
		h.Kind = recorder.Backfill
	default:
		return h, fmt.Errorf("read hello of %s: kind %d is not known", m.GetInput(), m.GetKind())
	}
	for _, o := range m.GetRing() {
		offer, err := toOffer(o)
		if err != nil {
			return h, fmt.Errorf("read ring of %s: %w", m.GetInput(), err)
		}
		h.Ring = append(h.Ring, offer)
	}
	return h, nil
}

func toOffer(m *dvrv1.Offer) (recorder.Offer, error) {
	key, err := segmentpb.ToKey(m.GetKey())
	if err != nil {
		return recorder.Offer{}, err
	}
	info, err := segmentpb.ToInfo(m.GetInfo())
	if err != nil {
		return recorder.Offer{}, err
	}
	return recorder.Offer{Key: key, Info: info, Age: max(0, time.Duration(m.GetAgeNanos()))}, nil
}

func toBegin(m *dvrv1.Begin) (recorder.Begin, error) {
	b := recorder.Begin{Path: m.GetPath(), StartUncertain: m.GetStartUncertain(), Independent: m.GetIndependent()}
	var err error
	if b.Key, err = segmentpb.ToKey(m.GetKey()); err != nil {
		return b, err
	}
	if b.Inits, err = segmentpb.ToInits(m.GetInits()); err != nil {
		return b, err
	}
	b.Tracks, err = segmentpb.ToTracks(m.GetTracks())
	return b, err
}

func fromBegin(b *recorder.Begin) *dvrv1.Begin {
	return &dvrv1.Begin{
		Key: segmentpb.Key(b.Key), Inits: segmentpb.Inits(b.Inits), Path: b.Path, Tracks: segmentpb.Tracks(b.Tracks),
		StartUncertain: b.StartUncertain, Independent: b.Independent,
	}
}

func fromMessage(m recorder.Message) *dvrv1.RecordResponse {
	switch m := m.(type) {
	case recorder.Role:
		role := &dvrv1.Role{Epoch: m.Epoch, Active: m.Active, FromSeq: m.FromSeq}
		if m.After != nil {
			role.After = &dvrv1.Position{Stretch: m.After.Stretch, StartTicks: int64(m.After.T)}
		}
		return &dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Role{Role: role}}
	case recorder.Named:
		return &dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Named{
			Named: &dvrv1.Named{Seq: m.Seq, Slot: segmentpb.Slot(m.Slot)},
		}}
	case recorder.Want:
		return &dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Want{Want: &dvrv1.Want{Seq: m.Seq}}}
	case recorder.Release:
		return &dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Release{Release: &dvrv1.Release{
			Seq: m.Seq, Slot: segmentpb.Slot(m.Slot), Durable: m.Durable, Reason: m.Reason,
		}}}
	default:
		return &dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Slow{Slow: &dvrv1.Slow{}}}
	}
}

// maxFault bounds what a producer may say of itself: it goes to logs and to the API.
const maxFault = 64

func fault(s string) string {
	if len(s) > maxFault || strings.ContainsFunc(s, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }) {
		return "unknown"
	}
	return s
}
