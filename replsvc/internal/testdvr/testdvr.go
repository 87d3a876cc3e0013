// Package testdvr is a dvrsvc for tests: the four calls of the archive that replsvc lives on, kept in memory, with the
// decisions (who is active, what is wanted) left to the test. It checks what it is sent as the real one does: bytes
// against chunk checksums and the digest of the seal.
package testdvr

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// DVR is one dvrsvc with any number of streams.
type DVR struct {
	dvrv1.UnimplementedRecordingServiceServer
	dvrv1.UnimplementedIndexServiceServer
	dvrv1.UnimplementedSegmentServiceServer
	Node string

	mu       sync.Mutex // protects the fields below
	store    [16]byte
	row      segment.TimelineID
	epoch    time.Time
	copies   map[segment.Digest]*Copy
	inputs   map[string]*Input
	bindings map[string]*dvrv1.BindTimelineResponse
	rows     []segment.TimelineID
	tail     []*dvrv1.TailResponse
	grown    chan struct{}
	tailSeq  uint64
	corrupt  bool
	silent   bool
	puts     map[segment.Digest]int
}

// Copy is a stored copy.
type Copy struct {
	Slot  segment.Slot
	Info  segment.Info
	Inits []segment.Init
	Data  []byte

	seq uint64 // on the tail
}

// Input is a producer that is or was connected.
type Input struct {
	Kind     dvrv1.Kind
	Progress *dvrv1.Progress
	Offers   map[uint64]*dvrv1.Offer
	Active   bool
	send     func(*dvrv1.RecordResponse)
	tail     map[uint64]uint64 // its number → that of the tail
}

// New makes an empty one. epoch is UTC of U = 2^33 on its row.
func New(node string, epoch time.Time) *DVR {
	d := &DVR{
		Node: node, epoch: epoch, copies: map[segment.Digest]*Copy{}, inputs: map[string]*Input{},
		bindings: map[string]*dvrv1.BindTimelineResponse{}, grown: make(chan struct{}), puts: map[segment.Digest]int{},
	}
	rand.Read(d.store[:])
	rand.Read(d.row[:])
	d.rows = []segment.TimelineID{d.row}
	return d
}

// Register adds its services to a server.
func (d *DVR) Register(r grpc.ServiceRegistrar) {
	dvrv1.RegisterRecordingServiceServer(r, d)
	dvrv1.RegisterIndexServiceServer(r, d)
	dvrv1.RegisterSegmentServiceServer(r, d)
}

// Make makes a segment that fills a cell; its bytes are a function of cell and variant.
func Make(cell int, variant byte, path ...string) *Copy {
	start := timeline.Wrap + timeline.Ticks(cell)*timeline.CellTicks
	init := segment.Init{PID: 256, Data: []byte("ftypmoov")}
	init.Hash = segment.Sum(init.Data)
	c := &Copy{Inits: []segment.Init{init}}
	i := &c.Info
	i.Start, i.End, i.Independent, i.Path, i.Format = start, start+timeline.CellTicks, true, path, segment.Format
	for k := range 4 {
		data := []byte(fmt.Sprintf("cell %d variant %d chunk %d ", cell, variant, k))
		for len(data) < 400_000 {
			data = append(data, data...)
		}
		i.Chunks = append(i.Chunks, segment.Chunk{
			PID: 256, Cell: uint32(start/timeline.ChunkTicks) + uint32(4*k), Offset: uint64(len(c.Data)), Size: uint32(len(data)), CRC: crc(data),
		})
		c.Data = append(c.Data, data...)
	}
	i.Bytes, i.Digest = uint64(len(c.Data)), segment.Sum(c.Data)
	i.Tracks = []segment.Track{{PID: 256, Codec: "avc1.64001f", Init: init.Hash, Start: i.Start, End: i.End, Samples: 145, Bytes: i.Bytes}}
	c.Slot = segment.Slot{Cell: uint16(cell), InitSet: segment.MakeInitSet(i.Tracks)}
	return c
}

func crc(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// Put stores copies as if they had been recorded, without the tail.
func (d *DVR) Put(cs ...*Copy) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range cs {
		own := *c
		if own.Slot.Timeline.IsZero() {
			own.Slot.Timeline = d.row
		}
		d.copies[c.Info.Digest] = &own
	}
}

// Play records a segment live: begin, chunks and seal go to the tail, and it is stored.
func (d *DVR) Play(c *Copy) {
	d.Begin(c)
	d.Chunks(c, 0, len(c.Info.Chunks))
	d.Seal(c)
}

// Begin begins a segment on the tail.
func (d *DVR) Begin(c *Copy) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.Slot.Timeline = d.row
	d.tailSeq++
	c.seq = d.tailSeq
	d.publish(&dvrv1.TailResponse{Event: &dvrv1.TailResponse_Begin{Begin: &dvrv1.TailBegin{
		Slot: segmentpb.Slot(c.Slot), Begin: &dvrv1.Begin{
			Key:   segmentpb.Key(segment.Key{Seq: d.tailSeq, Start: c.Info.Start, InitSet: c.Slot.InitSet}),
			Inits: segmentpb.Inits(c.Inits), Path: c.Info.Path, Tracks: segmentpb.Tracks(c.Info.Tracks), Independent: true,
		},
	}}})
}

// Chunks sends some chunks of a segment that was begun.
func (d *DVR) Chunks(c *Copy, from, to int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, ch := range c.Info.Chunks[from:to] {
		d.publish(&dvrv1.TailResponse{Event: &dvrv1.TailResponse_Chunk{Chunk: &dvrv1.Chunk{
			Seq: c.seq, Pid: uint32(ch.PID), ChunkCell: ch.Cell, Crc32C: ch.CRC, Size: ch.Size, Path: c.Info.Path,
			Data: c.Data[ch.Offset : ch.Offset+uint64(ch.Size)],
		}}})
	}
}

// Seal seals a segment that was begun, and stores it.
func (d *DVR) Seal(c *Copy) {
	d.Put(c)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.publish(&dvrv1.TailResponse{Event: &dvrv1.TailResponse_Seal{Seal: &dvrv1.TailSeal{
		Slot: segmentpb.Slot(c.Slot), Seal: &dvrv1.Seal{Seq: c.seq, Info: segmentpb.Info(c.Info)},
	}}})
}

// publish adds to the tail. d.mu is held.
func (d *DVR) publish(e *dvrv1.TailResponse) {
	d.tail = append(d.tail, e)
	close(d.grown)
	d.grown = make(chan struct{})
}

// Events is what the live tail has had: "begin 100", "seal 100", by cell.
func (d *DVR) Events() (out []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.tail {
		switch e := e.GetEvent().(type) {
		case *dvrv1.TailResponse_Begin:
			out = append(out, fmt.Sprint("begin ", e.Begin.GetSlot().GetCell()))
		case *dvrv1.TailResponse_Seal:
			out = append(out, fmt.Sprint("seal ", e.Seal.GetSlot().GetCell()))
		}
	}
	return out
}

// Has reports whether a copy is stored, and how often it was recorded.
func (d *DVR) Has(digest segment.Digest) (held bool, puts int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.copies[digest] != nil, d.puts[digest]
}

// Slots counts the slots that hold anything, over all rows by their place on the source's clock.
func (d *DVR) Slots() map[int64][]segment.Digest {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := map[int64][]segment.Digest{}
	for dg, c := range d.copies {
		m[c.Slot.AbsCell()] = append(m[c.Slot.AbsCell()], dg)
	}
	return m
}

// Drop loses a copy.
func (d *DVR) Drop(digest segment.Digest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.copies, digest)
}

// Wipe is a new and empty store.
func (d *DVR) Wipe() {
	d.mu.Lock()
	defer d.mu.Unlock()
	rand.Read(d.store[:])
	rand.Read(d.row[:])
	d.rows, d.tail = []segment.TimelineID{d.row}, nil
	clear(d.copies)
	clear(d.bindings)
}

// Corrupt makes reads give wrong bytes.
func (d *DVR) Corrupt(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.corrupt = on
}

// Silence says that no input moves.
func (d *DVR) Silence(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.silent = on
}

// Input is a producer as it was last heard of; nil: it never connected.
func (d *DVR) Input(url string, kind dvrv1.Kind) *Input {
	d.mu.Lock()
	defer d.mu.Unlock()
	in := d.inputs[kind.String()+url]
	if in == nil {
		return nil
	}
	out := *in
	out.Offers = maps.Clone(in.Offers)
	return &out
}

// Role makes a live producer active or not. after is the end (T) of what is sealed here, 0: nothing.
func (d *DVR) Role(url string, active bool, after timeline.Ticks) {
	d.mu.Lock()
	in := d.inputs[dvrv1.Kind_KIND_LIVE.String()+url]
	in.Active = active
	d.tailSeq++
	r := &dvrv1.Role{Epoch: d.tailSeq, Active: active}
	if after > 0 {
		r.After = &dvrv1.Position{Stretch: in.Progress.GetStretch(), StartTicks: int64(after)}
	}
	d.mu.Unlock()
	in.send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Role{Role: r}})
}

// Want asks a live producer for all it has offered.
func (d *DVR) Want(url string) {
	d.mu.Lock()
	in := d.inputs[dvrv1.Kind_KIND_LIVE.String()+url]
	var seqs []uint64
	for seq := range in.Offers {
		seqs = append(seqs, seq)
	}
	d.mu.Unlock()
	for _, seq := range seqs {
		in.send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Want{Want: &dvrv1.Want{Seq: seq}}})
	}
}

// Record implements RecordingServiceServer.
func (d *DVR) Record(rpc grpc.BidiStreamingServer[dvrv1.RecordRequest, dvrv1.RecordResponse]) error {
	m, err := rpc.Recv()
	if err != nil {
		return err
	}
	h := m.GetHello()
	var sending sync.Mutex
	in := &Input{Kind: h.GetKind(), Offers: map[uint64]*dvrv1.Offer{}, tail: map[uint64]uint64{}}
	in.send = func(m *dvrv1.RecordResponse) {
		sending.Lock()
		defer sending.Unlock()
		rpc.Send(m) //nolint:errcheck // the call has ended
	}
	d.mu.Lock()
	for _, o := range h.GetRing() {
		in.Offers[o.GetKey().GetSeq()] = o
	}
	d.inputs[h.GetKind().String()+h.GetInput()] = in
	d.mu.Unlock()
	in.send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Welcome{Welcome: &dvrv1.Welcome{Node: d.Node, StoreId: d.store[:]}}})
	in.send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Role{Role: &dvrv1.Role{}}})
	open := map[uint64]*Copy{}
	for {
		m, err := rpc.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := d.take(in, open, m); err != nil {
			return err
		}
	}
}

// take handles one message of a producer.
func (d *DVR) take(in *Input, open map[uint64]*Copy, m *dvrv1.RecordRequest) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch m := m.GetMessage().(type) {
	case *dvrv1.RecordRequest_Progress:
		in.Progress = m.Progress
	case *dvrv1.RecordRequest_Offer:
		in.Offers[m.Offer.GetKey().GetSeq()] = m.Offer
	case *dvrv1.RecordRequest_Withdraw:
		delete(in.Offers, m.Withdraw.GetSeq())
	case *dvrv1.RecordRequest_Begin:
		key, err := segmentpb.ToKey(m.Begin.GetKey())
		if err != nil {
			return fmt.Errorf("%w: %w", errs.ErrInvalid, err)
		}
		inits, err := segmentpb.ToInits(m.Begin.GetInits())
		if err != nil {
			return fmt.Errorf("%w: %w", errs.ErrInvalid, err)
		}
		c := &Copy{Slot: segment.Slot{Timeline: d.row, Cell: uint16(key.Start.Cell()), InitSet: key.InitSet}, Inits: inits}
		if key.Slot != nil {
			c.Slot = *key.Slot
		}
		open[key.Seq] = c
		if in.Active {
			d.tailSeq++
			in.tail[key.Seq] = d.tailSeq
			b := m.Begin
			d.publish(&dvrv1.TailResponse{Event: &dvrv1.TailResponse_Begin{Begin: &dvrv1.TailBegin{Slot: segmentpb.Slot(c.Slot), Begin: &dvrv1.Begin{
				Key:   segmentpb.Key(segment.Key{Seq: d.tailSeq, Start: key.Start, InitSet: key.InitSet}),
				Inits: b.Inits, Path: b.Path, Tracks: b.Tracks, Independent: b.Independent,
			}}}})
		}
		go in.send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Named{Named: &dvrv1.Named{Seq: key.Seq, Slot: segmentpb.Slot(c.Slot)}}})
	case *dvrv1.RecordRequest_Chunk:
		c := open[m.Chunk.GetSeq()]
		if c == nil {
			return fmt.Errorf("chunk of segment %d, which was not begun: %w", m.Chunk.GetSeq(), errs.ErrInvalid)
		}
		if m.Chunk.GetSize() == uint32(len(m.Chunk.GetData())) && crc(m.Chunk.GetData()) != m.Chunk.GetCrc32C() {
			return fmt.Errorf("chunk of segment %d: %w", m.Chunk.GetSeq(), errs.ErrCorrupt)
		}
		c.Data = append(c.Data, m.Chunk.GetData()...)
		if seq := in.tail[m.Chunk.GetSeq()]; in.Active && seq > 0 {
			out := &dvrv1.Chunk{
				Seq: seq, Pid: m.Chunk.GetPid(), ChunkCell: m.Chunk.GetChunkCell(), Crc32C: m.Chunk.GetCrc32C(), Size: m.Chunk.GetSize(),
				Path: m.Chunk.GetPath(), Data: m.Chunk.GetData(),
			}
			d.publish(&dvrv1.TailResponse{Event: &dvrv1.TailResponse_Chunk{Chunk: out}})
		}
	case *dvrv1.RecordRequest_Seal:
		d.seal(in, open, m.Seal)
	}
	return nil
}

// seal stores what a producer sent, if it is what it says. d.mu is held.
func (d *DVR) seal(in *Input, open map[uint64]*Copy, m *dvrv1.Seal) {
	seq := m.GetSeq()
	info, err := segmentpb.ToInfo(m.GetInfo())
	c := open[seq]
	delete(open, seq)
	delete(in.Offers, seq)
	release := &dvrv1.Release{Seq: seq, Reason: "CORRUPT"}
	if err == nil && c != nil && segment.Sum(c.Data) == info.Digest {
		c.Info = info
		d.copies[info.Digest] = c
		d.puts[info.Digest]++
		release.Durable, release.Reason, release.Slot = true, "", segmentpb.Slot(c.Slot)
		if t := in.tail[seq]; in.Active && t > 0 {
			d.publish(&dvrv1.TailResponse{Event: &dvrv1.TailResponse_Seal{Seal: &dvrv1.TailSeal{
				Slot: segmentpb.Slot(c.Slot), Seal: &dvrv1.Seal{Seq: t, Info: m.GetInfo()},
			}}})
		}
	}
	go in.send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Release{Release: release}})
}

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
		Stream: "tv", Inputs: []*dvrv1.InputSummary{{Input: "udp://x", Alive: !d.silent}},
	}}}, nil
}

// ListTimelines implements IndexServiceServer.
func (d *DVR) ListTimelines(context.Context, *dvrv1.ListTimelinesRequest) (*dvrv1.ListTimelinesResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	resp := &dvrv1.ListTimelinesResponse{StoreId: d.store[:]}
	for _, id := range d.rows {
		t := &dvrv1.Timeline{Id: id[:], AtTicks: int64(timeline.Wrap), AtUtcNanos: d.epoch.UnixNano()}
		for _, c := range d.of(id) {
			from, to := c.Info.Start, c.Info.End
			if t.FirstTicks == 0 || int64(from) < t.FirstTicks {
				t.FirstTicks = int64(from)
			}
			t.LastTicks = max(t.LastTicks, int64(to))
			if c.Info.Evidence.Whole() {
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
	c, corrupt := d.copies[segment.Digest(req.GetDigest())], d.corrupt
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
	}
	return nil
}

// Tail implements SegmentServiceServer.
func (d *DVR) Tail(req *dvrv1.TailRequest, rpc grpc.ServerStreamingServer[dvrv1.TailResponse]) error {
	d.mu.Lock()
	at := len(d.tail)
	if !req.GetSealsOnly() { // from the segment that is open
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
