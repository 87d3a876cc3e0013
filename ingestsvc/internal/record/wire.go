package record

import (
	"google.golang.org/protobuf/proto"

	"github.com/twinreel/twinreel/ingestsvc/internal/ring"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// maxPiece is how much of a chunk goes into one message (style: media in messages of 256 KiB to 1 MiB).
const maxPiece = 1 << 20

// role is Role of the protocol.
type role struct {
	epoch   uint64
	active  bool
	fromSeq uint64    // 0: not said
	after   *position // nil: not said
}

// position is a place on the source's clock.
type position struct {
	stretch uint32
	start   timeline.Ticks
}

func toRole(m *dvrv1.Role) role {
	r := role{epoch: m.GetEpoch(), active: m.GetActive(), fromSeq: m.GetFromSeq()}
	if a := m.GetAfter(); a != nil {
		r.after = &position{stretch: a.GetStretch(), start: timeline.Ticks(a.GetStartTicks())}
	}
	return r
}

// maxHello bounds the ring in Hello: what a long outage of dvrsvc leaves of a damaged stream may be beyond any message.
const maxHello = 1 << 20

// helloMessage carries the ring as far as it fits, and returns the number of the newest segment in it.
func (c *Client) helloMessage(cfg Config, held []ring.Segment) (m *dvrv1.RecordRequest, announced uint64) {
	h := &dvrv1.Hello{
		Stream: cfg.Stream, Input: cfg.Input, Priority: cfg.Priority, Incarnation: cfg.Incarnation,
		Kind: dvrv1.Kind_KIND_LIVE, Format: segment.Format, PackagingHash: cfg.PackagingHash[:],
	}
	size := 0
	for i := range held {
		o := c.offer(&held[i])
		if size += proto.Size(o); size > maxHello {
			break
		}
		h.Ring = append(h.Ring, o)
		announced = held[i].Key.Seq
	}
	return &dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Hello{Hello: h}}, announced
}

// offer leaves the chunk table out: whoever wants the segment gets it with Seal.
func (c *Client) offer(s *ring.Segment) *dvrv1.Offer {
	info := s.Info
	info.Chunks, info.Path = nil, c.path()
	return &dvrv1.Offer{Key: segmentpb.Key(s.Key), Info: segmentpb.Info(info), AgeNanos: int64(max(1, c.clock.Mono()-s.Sealed))}
}

func (c *Client) path() []string { return []string{c.cfg.Node} }

func (c *Client) progressMessage(p Progress) *dvrv1.RecordRequest {
	return &dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Progress{Progress: &dvrv1.Progress{
		Run: p.Run, Stretch: p.Stretch, HeadTicks: int64(p.Head), AgeNanos: int64(p.Age),
		Path: c.path(), Alive: p.Alive, GaplessNanos: int64(p.Gapless), Fault: p.Fault,
	}}}
}

// requests maps what the session wants sent; a large chunk becomes several messages.
func (c *Client) requests(m message) []*dvrv1.RecordRequest {
	switch {
	case m.withdraw != nil:
		return []*dvrv1.RecordRequest{{Message: &dvrv1.RecordRequest_Withdraw{
			Withdraw: &dvrv1.Withdraw{Seq: m.withdraw.Seq, Reason: m.withdraw.Reason},
		}}}
	case m.offer != nil:
		return []*dvrv1.RecordRequest{{Message: &dvrv1.RecordRequest_Offer{Offer: c.offer(m.offer)}}}
	case m.item.Begin != nil:
		b := m.item.Begin
		return []*dvrv1.RecordRequest{{Message: &dvrv1.RecordRequest_Begin{Begin: &dvrv1.Begin{
			Key: segmentpb.Key(b.Key), Inits: segmentpb.Inits(b.Inits), Tracks: segmentpb.Tracks(b.Tracks),
			Path: c.path(), StartUncertain: b.StartUncertain, Independent: b.Independent,
		}}}}
	case m.item.Chunk != nil:
		return c.pieces(m.item.Seq, m.item.Chunk)
	default:
		info := *m.item.Seal
		info.Path = c.path()
		return []*dvrv1.RecordRequest{{Message: &dvrv1.RecordRequest_Seal{
			Seal: &dvrv1.Seal{Seq: m.item.Seq, Info: segmentpb.Info(info), Packets: segment.EncodeRuns(info.Runs)},
		}}}
	}
}

func (c *Client) pieces(seq uint64, ch *ring.Chunk) []*dvrv1.RecordRequest {
	var out []*dvrv1.RecordRequest
	for at := 0; at == 0 || at < len(ch.Data); at += maxPiece {
		m := &dvrv1.Chunk{
			Seq: seq, Pid: uint32(ch.PID), ChunkCell: ch.Cell, TfdtOffset: ch.TfdtOffset, Crc32C: ch.CRC,
			Size: uint32(len(ch.Data)), Offset: uint32(at), Path: c.path(),
			Data: ch.Data[at:min(at+maxPiece, len(ch.Data))],
		}
		if !ch.Evidence.Whole() {
			m.Evidence = segmentpb.Evidence(ch.Evidence)
		}
		out = append(out, &dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Chunk{Chunk: m}})
	}
	return out
}
