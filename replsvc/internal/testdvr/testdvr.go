// Package testdvr is a dvrsvc for tests: the four calls of the archive that replsvc lives on, kept in memory, with the
// decisions (who is active, what is wanted) left to the test. It checks what it is sent as the real one does: bytes
// against chunk checksums and the digest of the seal, slots against the rows it has.
package testdvr

import (
	"crypto/rand"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// pieceBytes bounds one message of the tail.
const pieceBytes = 1 << 20

// DVR is one dvrsvc with any number of streams.
type DVR struct {
	dvrv1.UnimplementedRecordingServiceServer
	dvrv1.UnimplementedIndexServiceServer
	dvrv1.UnimplementedSegmentServiceServer
	dvrv1.UnimplementedMaintenanceServiceServer
	Node string

	mu        sync.Mutex // protects the fields below
	store     [16]byte
	row       segment.TimelineID
	epoch     time.Time
	copies    map[segment.Digest]*Copy
	inputs    map[string]*Input
	bindings  map[string]*dvrv1.BindTimelineResponse
	rows      []segment.TimelineID
	tail      []*dvrv1.TailResponse
	grown     chan struct{}
	tailSeq   uint64
	roles     uint64        // epoch of the newest role of this start
	ended     chan struct{} // closed when this start ends
	corrupt   bool
	silent    bool
	late      bool // what is sealed is not released
	unlisted  bool
	away      bool
	blind     bool
	refuse    string
	full      map[int64]bool // cells of which nothing more is taken
	reads     int
	records   int // calls of Record
	tails     int // calls of Tail
	fullTails int
	sampled   int // how often samples of rows were listed
	puts      map[segment.Digest]int
	told      []segment.Digest // offers of backfill calls
	lost      map[segment.Digest]string
	rotten    map[segment.Digest]bool // shut away
	deleted   []*dvrv1.Span
	low       time.Time
	claims    map[segment.Digest]error // listed, and not given
	doubt     bool                     // the clock leapt
	heard     []time.Time              // of what the clock is said to be
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
	Kind        dvrv1.Kind
	Progress    *dvrv1.Progress
	Incarnation uint64
	Offers      map[uint64]*dvrv1.Offer
	Active      bool
	PeerRow     segment.PeerRow // of the newest segment that was begun
	send        func(*dvrv1.RecordResponse)
	tail        map[uint64]uint64 // its number → that of the tail
}

// New makes an empty one. epoch is UTC of U = 2^33 on its row.
func New(node string, epoch time.Time) *DVR {
	d := &DVR{
		Node: node, epoch: epoch, copies: map[segment.Digest]*Copy{}, inputs: map[string]*Input{},
		bindings: map[string]*dvrv1.BindTimelineResponse{}, grown: make(chan struct{}), ended: make(chan struct{}), puts: map[segment.Digest]int{}, lost: map[segment.Digest]string{}, rotten: map[segment.Digest]bool{},
		claims: map[segment.Digest]error{},
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
	dvrv1.RegisterMaintenanceServiceServer(r, d)
}

// Make makes a segment that fills a cell; its bytes are a function of cell and variant.
func Make(cell int, variant byte, path ...string) *Copy {
	return MakeSized(cell, variant, 400_000, path...)
}

// MakeSized is Make with chunks of at least so many bytes.
func MakeSized(cell int, variant byte, chunkBytes int, path ...string) *Copy {
	start := timeline.Wrap + timeline.Ticks(cell)*timeline.CellTicks
	init := segment.Init{PID: 256, Data: []byte("ftypmoov")}
	init.Hash = segment.Sum(init.Data)
	c := &Copy{Inits: []segment.Init{init}}
	i := &c.Info
	i.Start, i.End, i.Independent, i.Path, i.Format = start, start+timeline.CellTicks, true, path, segment.Format
	for k := range 4 {
		data := []byte(fmt.Sprintf("cell %d variant %d chunk %d ", cell, variant, k))
		for len(data) < chunkBytes {
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
		delete(d.rotten, c.Info.Digest)
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
		data := c.Data[ch.Offset : ch.Offset+uint64(ch.Size)]
		for at := 0; at < len(data); at += pieceBytes { // only the first piece says everything
			m := &dvrv1.Chunk{
				Seq: c.seq, Pid: uint32(ch.PID), ChunkCell: ch.Cell, Crc32C: ch.CRC, Size: ch.Size,
				Offset: uint32(at), Data: data[at:min(at+pieceBytes, len(data))],
			}
			if at == 0 {
				m.Path = c.Info.Path
			}
			d.publish(&dvrv1.TailResponse{Event: &dvrv1.TailResponse_Chunk{Chunk: m}})
		}
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

// Against is what is known against a copy that is stored.
func (d *DVR) Against(digest segment.Digest) segment.Evidence {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.copies[digest]; c != nil {
		return c.Info.Evidence
	}
	return segment.Evidence{}
}

// Told is of which copies evidence came without bytes, in order.
func (d *DVR) Told() []segment.Digest {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.told)
}

// Lose loses a copy when evidence of it comes, which is then refused for the reason.
func (d *DVR) Lose(digest segment.Digest, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lost[digest] = reason
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

// Runs gives the packet runs of all copies in a cell.
func (d *DVR) Runs(cell int64) (out []segment.Run) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.copies {
		if c.Slot.AbsCell() == cell {
			out = segment.UniteRuns(out, c.Info.Runs)
		}
	}
	return out
}

// Drop loses a copy.
func (d *DVR) Drop(digest segment.Digest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.copies, digest)
}

// Delete deletes a copy as an operator does.
func (d *DVR) Delete(c *Copy) {
	d.Drop(c.Info.Digest)
	d.mu.Lock()
	defer d.mu.Unlock()
	from, to := d.on(c)
	d.deleted = append(d.deleted, &dvrv1.Span{From: timestamppb.New(from), To: timestamppb.New(to)})
}

// Expire lets go a copy, and takes nothing that old any more.
func (d *DVR) Expire(c *Copy) {
	d.Drop(c.Info.Digest)
	d.mu.Lock()
	defer d.mu.Unlock()
	_, to := d.on(c)
	d.low = to.Add(time.Second - 5*time.Minute) // what is about to go counts as gone
}

// on is when a copy was on air. d.mu is held.
func (d *DVR) on(c *Copy) (from, to time.Time) {
	at := func(t timeline.Ticks) time.Time { return d.epoch.Add((t - timeline.Wrap).Duration()) }
	return at(c.Info.Start), at(c.Info.End)
}

// Rot has the bytes of a copy found rotten.
func (d *DVR) Rot(digest segment.Digest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.copies, digest)
	d.rotten[digest] = true
}

// Wipe is a new and empty store.
func (d *DVR) Wipe() {
	d.mu.Lock()
	defer d.mu.Unlock()
	rand.Read(d.store[:])
	d.empty()
}

// Outgrow has retention take all, and the rows that it was on.
func (d *DVR) Outgrow() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.empty()
}

// empty leaves one row, without anything on it. d.mu is held.
func (d *DVR) empty() {
	rand.Read(d.row[:])
	d.rows, d.tail, d.tailSeq = []segment.TimelineID{d.row}, nil, 0
	clear(d.copies)
	clear(d.bindings)
}

// Restart ends every call of a producer and of a tail, as a process that is killed and started again does: epochs count from 1 anew.
func (d *DVR) Restart() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.ended)
	d.ended, d.roles = make(chan struct{}), 0
	clear(d.inputs)
}

// Corrupt makes reads give wrong bytes.
func (d *DVR) Corrupt(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.corrupt = on
}

// Claim goes on listing a copy of which a read ends with err behind the first piece; nil: it is given again.
func (d *DVR) Claim(digest segment.Digest, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.claims[digest] = err; err == nil {
		delete(d.claims, digest)
	}
}

// Late has what backfill seals from here on stored and not released, as by a disk that stands still.
func (d *DVR) Late() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.late = true
}

// Unlisted refuses to list slots, as while the archive is busy.
func (d *DVR) Unlisted() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unlisted = true
}

// Silence says that no input moves.
func (d *DVR) Silence(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.silent = on
}

// Away refuses producers, as while the store is being opened.
func (d *DVR) Away(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.away = on
}

// Unreadable says that no index can be read.
func (d *DVR) Unreadable(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.blind = on
}

// Refuse refuses segments for a reason.
func (d *DVR) Refuse(reason string, on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refuse = ""
	if on {
		d.refuse = reason
	}
}

// Fill has no more room for copies of a cell.
func (d *DVR) Fill(cell int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = map[int64]bool{cell: true}
}

// Reads counts what was read of segments.
func (d *DVR) Reads() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reads
}

// Records counts the calls of producers.
func (d *DVR) Records() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.records
}

// Sampled counts how often the samples of rows were asked for.
func (d *DVR) Sampled() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sampled
}

// Off has the clock of all that is recorded be off by so much more.
func (d *DVR) Off(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.epoch = d.epoch.Add(by)
}

// Rows counts the rows.
func (d *DVR) Rows() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.rows)
}

// Tails counts those who followed the live tail.
func (d *DVR) Tails() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tails
}

// FullTails is how many of these were of everything.
func (d *DVR) FullTails() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fullTails
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
	d.roles++
	r := &dvrv1.Role{Epoch: d.roles, Active: active}
	if after > 0 {
		r.After = &dvrv1.Position{Stretch: in.Progress.GetStretch(), StartTicks: int64(after)}
	}
	d.mu.Unlock()
	in.send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Role{Role: r}})
}

// Slow asks a live producer to send less.
func (d *DVR) Slow(url string) {
	d.mu.Lock()
	in := d.inputs[dvrv1.Kind_KIND_LIVE.String()+url]
	d.mu.Unlock()
	in.send(&dvrv1.RecordResponse{Message: &dvrv1.RecordResponse_Slow{Slow: &dvrv1.Slow{}}})
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
