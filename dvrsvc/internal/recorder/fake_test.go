package recorder

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// fakeClock is a clock that a test moves. Wall time is mono + wall.
type fakeClock struct {
	clock.System // timers are not used in these tests
	mono         time.Duration
	wall         time.Time
}

func (c *fakeClock) Now() time.Time      { return c.wall.Add(c.mono) }
func (c *fakeClock) Mono() time.Duration { return c.mono }

// content is a source: segments of exactly one cell, two tracks, all a function of (name, k).
type content struct {
	name string
	base timeline.Ticks // PTS of its beginning
}

const (
	chunksPer = 6 // of a segment
	segTicks  = timeline.CellTicks
	videoPID  = 256
	audioPID  = 257
)

var segTime = segTicks.Duration()

// made is a segment of a source as a producer holds it.
type made struct {
	begin  Begin
	chunks []Chunk
	info   segment.Info
	age    time.Duration // of its end, when it is offered
}

// segment makes segment k of the source. Its start is the beginning of a cell.
func (c content) segment(k int, path ...string) *made {
	start := segmentT(c.base + timeline.Ticks(k)*segTicks)
	tracks := []segment.Track{
		{PID: videoPID, Codec: "avc1", Init: segment.Sum([]byte("video")), Start: start, End: start + segTicks, Samples: 100},
		{PID: audioPID, Codec: "mp4a", Init: segment.Sum([]byte("audio")), Start: start, End: start + segTicks, Samples: 200},
	}
	m := &made{begin: Begin{
		Key: segment.Key{Start: start, InitSet: segment.MakeInitSet(tracks)}, Tracks: tracks, Path: path, Independent: true,
	}}
	var all []byte
	for i := range chunksPer {
		cell := uint32(start>>15) + uint32(i/2)*5
		pid := uint16(videoPID + i%2)
		data := bytes.Repeat(fmt.Appendf(nil, "%s/%d/%d ", c.name, c.base+timeline.Ticks(k)*segTicks, i), 40)
		m.chunks = append(m.chunks, Chunk{Chunk: segment.Chunk{
			PID: pid, Cell: cell, Size: uint32(len(data)), CRC: crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)),
		}, Data: data})
		all = append(all, data...)
	}
	m.info = segment.Info{
		Start: start, End: start + segTicks, Digest: segment.Sum(all), Bytes: uint64(len(all)), Tracks: tracks,
		Path: path, Format: segment.Format, Independent: true,
	}
	return m
}

// damage makes the segment differ from chunk i on, with evidence.
func (m *made) damage(i int) *made {
	var all []byte
	for k := range m.chunks {
		c := &m.chunks[k]
		if k == i {
			c.Data = append([]byte("hurt "), c.Data...)
			c.Size, c.CRC = uint32(len(c.Data)), crc32.Checksum(c.Data, crc32.MakeTable(crc32.Castagnoli))
		}
		all = append(all, c.Data...)
	}
	m.info.Digest, m.info.Bytes = segment.Sum(all), uint64(len(all))
	m.info.Evidence.Faulty = []segment.FaultySample{{PID: m.chunks[i].PID, DTS: m.info.Start + 1}}
	return m
}

// bench is a stream with what a test needs around it.
type bench struct {
	t     *testing.T
	clock *fakeClock
	a     *fakeArchive
	s     *Stream
	cfg   Config
	ids   uint64
}

func newBench(t *testing.T, inputs ...Input) *bench {
	b := &bench{t: t, a: newFakeArchive(t), clock: &fakeClock{mono: time.Hour, wall: time.Unix(1_800_000_000, 0).UTC()}}
	for i := range inputs {
		inputs[i].Priority = i + 1
		if inputs[i].SourceTimeout == 0 {
			inputs[i].SourceTimeout = 3 * time.Second
		}
	}
	b.cfg = Config{Name: "tv", Inputs: inputs}
	b.start()
	return b
}

// start starts dvrsvc, again if it ran before.
func (b *bench) start() {
	b.s = newStream("here", b.cfg, b.a, b.clock, slog.New(slog.DiscardHandler), NewMetrics(nil), stats.New().Stream("tv"))
	b.s.random = func(p []byte) {
		b.ids++
		binary.BigEndian.PutUint64(p, b.ids)
	}
}

// kill ends dvrsvc as kill -9 does: what is not durable is gone.
func (b *bench) kill() {
	b.a.dirty = nil
	for _, c := range b.a.open {
		c.ended = true
	}
	b.a.open = map[uint64]*fakeCopy{}
}

func (b *bench) commit() {
	b.a.commit()
	b.s.settle()
}

// pass lets time pass.
func (b *bench) pass(d time.Duration, each ...func()) {
	for end := b.clock.mono + d; b.clock.mono < end; {
		b.clock.mono += 100 * time.Millisecond
		for _, f := range each {
			f()
		}
		b.s.tick()
		b.s.settle()
		b.s.putKept()
	}
}

// bound gives a peer's row that is bound to the first row here.
func (b *bench) bound() segment.PeerRow {
	b.t.Helper()
	peer := segment.PeerRow{Store: [16]byte{1}, Timeline: segment.TimelineID{2}}
	if _, _, err := b.s.Bind(Binding{PeerStore: peer.Store, PeerTimeline: peer.Timeline, Timeline: b.a.rows[0].ID}); err != nil {
		b.t.Fatal(err)
	}
	return peer
}

// producer plays one input.
type fakeProducer struct {
	b       *bench
	input   string
	src     content
	began   time.Duration // when PTS src.base was on air
	lag     time.Duration
	path    []string
	call    *Call
	inc     uint64
	run     uint32
	stretch uint32
	seq0    int // seq of segment k is k + seq0
	peer    segment.PeerRow
	damage  func(*made)

	active   bool
	role     Role
	roles    int
	wants    []uint64
	released map[uint64]Release
	named    map[uint64]segment.Slot
}

var (
	udp  = Input{URL: "udp://239.0.0.1:1234"}
	udp2 = Input{URL: "udp://239.0.0.2:1234"}
	m4f  = Input{URL: "m4f://main:7000/tv", Peer: true}
)

// producer connects an input whose media began at the given moment.
func (b *bench) producer(in Input, src content, began time.Duration, path ...string) *fakeProducer {
	p := &fakeProducer{b: b, input: in.URL, src: src, began: began, path: path, inc: 1, seq0: 1,
		released: map[uint64]Release{}, named: map[uint64]segment.Slot{}}
	p.connect()
	return p
}

// backfill connects a peer that brings what was asked of it.
func (b *bench) backfill() *fakeProducer {
	b.t.Helper()
	p := &fakeProducer{b: b, input: m4f.URL, src: content{name: "tv", base: base}, path: []string{"there"}, seq0: 1,
		released: map[uint64]Release{}, named: map[uint64]segment.Slot{}}
	var err error
	if p.call, err = b.s.Attach(Hello{Input: m4f.URL, Kind: Backfill, Format: segment.Format, Incarnation: 1}); err != nil {
		b.t.Fatal(err)
	}
	return p
}

func (p *fakeProducer) connect(ring ...*made) {
	p.b.t.Helper()
	h := Hello{Input: p.input, Incarnation: p.inc, Kind: Live, Format: segment.Format}
	for _, m := range ring {
		h.Ring = append(h.Ring, Offer{Key: m.begin.Key, Info: m.info, Age: m.age})
	}
	var err error
	if p.call, err = p.b.s.Attach(h); err != nil {
		p.b.t.Fatal(err)
	}
	p.drain()
}

// segment is segment k as this producer made it.
func (p *fakeProducer) segment(k int) *made {
	m := p.src.segment(k, p.path...)
	m.begin.Key.Seq, m.begin.Key.Run, m.begin.Key.Stretch, m.begin.Key.Peer = uint64(k+p.seq0), p.run, p.stretch, p.peer
	if p.damage != nil {
		p.damage(m)
	}
	return m
}

// at is how far its media has come.
func (p *fakeProducer) at() timeline.Ticks {
	return p.src.base + timeline.FromDuration(p.b.clock.mono-p.began-p.lag)
}

func (p *fakeProducer) progress() {
	if err := p.call.Progress(Progress{
		Run: p.run, Stretch: p.stretch, Head: segmentT(p.at()), Path: p.path, Alive: true, Gapless: time.Hour, Peer: p.peer,
	}); err != nil {
		p.b.t.Error(err)
	}
	p.drain()
}

func (p *fakeProducer) drain() {
	p.call.mu.Lock()
	out := p.call.outbox
	p.call.outbox = nil
	p.call.mu.Unlock()
	for _, m := range out {
		switch m := m.(type) {
		case Role:
			p.active, p.role = m.Active, m
			p.roles++
		case Want:
			p.wants = append(p.wants, m.Seq)
		case Release:
			p.released[m.Seq] = m
		case Named:
			p.named[m.Seq] = m.Slot
			if !p.b.a.put[m.Slot.Timeline] {
				p.b.t.Errorf("slot %s is named, and its row is not durable (I5)", m.Slot)
			}
		}
	}
}

// send streams chunks [from, to) of a segment; from 0 begins it, to chunksPer seals it.
func (p *fakeProducer) send(m *made, from, to int) {
	p.b.t.Helper()
	seq := m.begin.Key.Seq
	check := func(err error) {
		if err != nil {
			p.b.t.Helper()
			p.b.t.Fatal(err)
		}
	}
	if from == 0 {
		check(p.call.Begin(m.begin))
	}
	for _, c := range m.chunks[from:to] {
		check(p.call.Chunk(seq, c))
	}
	if to == len(m.chunks) {
		check(p.call.Seal(seq, m.info))
	}
	p.drain()
}

func (p *fakeProducer) whole(m *made) { p.b.t.Helper(); p.send(m, 0, len(m.chunks)) }

func (p *fakeProducer) offer(m *made) {
	if err := p.call.Offer(Offer{Key: m.begin.Key, Info: m.info}); err != nil {
		p.b.t.Fatal(err)
	}
	p.drain()
}

// answerWants streams what was wanted.
func (p *fakeProducer) answerWants() {
	p.drain()
	wants := p.wants
	p.wants = nil
	for _, seq := range wants {
		p.whole(p.segment(int(seq) - p.seq0))
	}
}

func (p *fakeProducer) wantReleased(seqs ...uint64) {
	p.b.t.Helper()
	p.drain()
	for _, seq := range seqs {
		if r, ok := p.released[seq]; !ok || !r.Durable {
			p.b.t.Errorf("segment %d of %s is not released: %+v", seq, p.input, r)
		}
	}
}

func (p *fakeProducer) wantHeld(seqs ...uint64) {
	p.b.t.Helper()
	p.drain()
	for _, seq := range seqs {
		if r, ok := p.released[seq]; ok {
			p.b.t.Errorf("segment %d of %s is released: %+v", seq, p.input, r)
		}
		if slices.Contains(p.wants, seq) {
			p.b.t.Errorf("segment %d of %s is wanted", seq, p.input)
		}
	}
}

// follower collects the tail and checks R5 on the way.
type tailReader struct {
	t      *testing.T
	f      *Follower
	begins []TailBegin
	chunks []TailChunk
	seals  []TailSeal
	skips  int
}

func (b *bench) follow() *tailReader {
	return &tailReader{t: b.t, f: b.s.Follow(nil, false, stats.Play)}
}

func (r *tailReader) read() {
	r.t.Helper()
	for {
		e, wait, err := r.f.Poll()
		if err != nil || wait != nil {
			return
		}
		switch {
		case e.Begin != nil:
			r.begins = append(r.begins, *e.Begin)
		case e.Chunk != nil:
			r.chunks = append(r.chunks, *e.Chunk)
		case e.Seal != nil:
			r.seals = append(r.seals, *e.Seal)
		case e.Skip != nil:
			r.skips++
		}
	}
}

// want checks that the tail carried exactly the chunks of these segments, each once and in order.
func (r *tailReader) want(ms ...*made) {
	r.t.Helper()
	r.read()
	var want []Chunk
	for _, m := range ms {
		want = append(want, m.chunks...)
	}
	if len(r.chunks) != len(want) {
		r.t.Errorf("the tail has %d chunks, want %d", len(r.chunks), len(want))
	}
	for i := range min(len(want), len(r.chunks)) {
		if !bytes.Equal(r.chunks[i].Data, want[i].Data) {
			r.t.Fatalf("chunk %d of the tail is %.30q, want %.30q", i, r.chunks[i].Data, want[i].Data)
		}
	}
}
