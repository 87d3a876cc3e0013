package recorder

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const (
	// tailBytes is how much media the tail keeps in memory for followers that are a little behind; what is older is read
	// back from the open copy on disk, which the page cache still has.
	tailBytes = 512 << 10
	// tailSegments is how many segments a follower may be behind before it gets Skip.
	tailSegments = 4
	// tailEntries bounds the log where no segment begins for long.
	tailEntries = 4096
	// maxCells is how long a segment is at most.
	maxCells = 64
)

// TailEvent is one event of the live tail: exactly one field is set.
type TailEvent struct {
	Begin   *TailBegin
	Chunk   *TailChunk
	Seal    *TailSeal
	Changed *TailChanged
	Skip    *segment.Slot // segments were left out; the next slot
	Beat    *TailBeat
}

// TailBegin is the beginning of a segment. Seq counts the segments of this tail.
type TailBegin struct {
	Seq   uint64
	Slot  segment.Slot
	Begin Begin
}

// TailChunk is one chunk of the segment Seq.
type TailChunk struct {
	Seq uint64
	Chunk
}

// TailSeal tells that a copy is sealed and durable. Seq 0: it was not streamed on this tail as it is.
type TailSeal struct {
	Seq  uint64
	Slot segment.Slot
	Info segment.Info
}

// TailChanged tells that a slot holds other copies than before, the presented one first.
type TailChanged struct {
	Slot    segment.Slot
	Digests []segment.Digest
}

// TailBeat tells how far the tail has come.
type TailBeat struct {
	Slot  segment.Slot
	Head  timeline.Ticks // T, decode time of the newest chunk's end, to the chunk cell
	Alive bool
	Path  []string
}

// place is where something lies on the tail. Rows go by when they were taken up last, segments of a row by their start.
type place struct {
	row   int
	start timeline.Ticks // U
	slot  segment.Slot
	cell  uint32
	pid   uint16
}

// tail is the live tail of a stream: one log in memory that all followers read at their own pace, so that a slow one
// holds nothing up and costs nothing. It is safe for concurrent use.
type tail struct {
	read  func(copyID uint64, index int) ([]byte, error) // of the open copy on disk
	clock clock.Clock
	stats *stats.Stream

	mu     sync.Mutex // protects the fields below
	grown  chan struct{}
	closed bool
	log    []tailEntry
	base   uint64 // position of log[0]
	seq    uint64
	bytes  int    // of media in log
	loaded uint64 // entries before this position have no media in memory any more
	last   place  // newest published chunk
	ended  bool   // the segment of last was sealed as it was published
	cells  map[uint16]uint32
	beat   TailBeat
}

// tailEntry is an event; for a chunk whose data was dropped, copyID and index say where it is.
type tailEntry struct {
	TailEvent
	copyID uint64
	index  int
	at     time.Duration // monotonic, when it was published
}

func newTail(read func(uint64, int) ([]byte, error), c clock.Clock, counts *stats.Stream) *tail {
	return &tail{read: read, clock: c, stats: counts, grown: make(chan struct{}), cells: map[uint16]uint32{}}
}

// begin publishes the beginning of a segment and returns its number; 0: the slot lies before what was published.
func (t *tail) begin(order int, slot segment.Slot, b Begin) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := place{row: order, start: startU(slot, b.Key.Start), slot: slot, cell: math.MaxUint32}
	if t.seq > 0 && comparePlace(at, t.last) < 0 {
		return 0
	}
	if order != t.last.row {
		clear(t.cells)
	}
	t.seq++
	t.append(tailEntry{TailEvent: TailEvent{Begin: &TailBegin{Seq: t.seq, Slot: slot, Begin: b}}})
	if t.beat.Slot.Timeline != slot.Timeline { // the head was that of another timeline, or of none
		t.beat.Head = b.Key.Start
	}
	t.beat.Slot = slot
	t.trim()
	return t.seq
}

// chunk publishes a chunk unless it, or what follows it, was published before (R5). copyID and index say where its
// bytes can be read later.
func (t *tail) chunk(at place, seq uint64, c Chunk, copyID uint64, index int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if comparePlace(at, t.last) <= 0 {
		return false
	}
	// Chunk cells are counted modulo the turn (2^18 of them). In a later slot a track goes on in the chunk cell where it was cut, but never before it; and not even there when
	// what was published of the slot before was broken off, and may reach beyond this slot's start.
	if cell, ok := t.cells[c.PID]; ok && at.row == t.last.row && at.slot != t.last.slot {
		if d := int32((c.Cell-cell)<<14) >> 14; d < 0 || d == 0 && !t.ended {
			return false
		}
	}
	if at.slot != t.last.slot {
		t.ended = false
	}
	t.last, t.cells[c.PID] = at, c.Cell
	t.bytes += len(c.Data)
	t.append(tailEntry{TailEvent: TailEvent{Chunk: &TailChunk{Seq: seq, Chunk: c}}, copyID: copyID, index: index, at: t.clock.Mono()})
	t.beat.Slot, t.beat.Path = at.slot, c.Path
	t.beat.Head = timeline.Ticks(c.Cell+1) * timeline.ChunkTicks
	t.unload()
	return true
}

// sealing notes that the segment that was published last ended as it should: the next one goes on from there.
func (t *tail) sealing(slot segment.Slot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = t.ended || slot == t.last.slot
}

func (t *tail) sealed(e TailSeal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.append(tailEntry{TailEvent: TailEvent{Seal: &e}})
}

func (t *tail) changed(e TailChanged) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.append(tailEntry{TailEvent: TailEvent{Changed: &e}})
}

// alive notes whether media moves.
func (t *tail) alive(alive bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.beat.Alive = alive
}

func (t *tail) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.closed = true
		close(t.grown)
	}
}

// append adds to the log and wakes the followers. t.mu is held.
func (t *tail) append(e tailEntry) {
	if len(t.log) == tailEntries {
		t.cut(tailEntries / 2)
	}
	t.log = append(t.log, e)
	if !t.closed {
		close(t.grown)
		t.grown = make(chan struct{})
	}
}

// unload drops the oldest media from memory. t.mu is held.
func (t *tail) unload() {
	for t.bytes > tailBytes {
		e := &t.log[max(t.loaded, t.base)-t.base]
		if e.Chunk != nil {
			t.bytes -= len(e.Chunk.Data)
			dropped := *e.Chunk // followers may hold the old one
			dropped.Data = nil
			e.Chunk = &dropped
		}
		t.loaded = max(t.loaded, t.base) + 1
	}
}

// trim drops the oldest segments from the log. t.mu is held.
func (t *tail) trim() {
	begins := 0
	for i, e := range slices.Backward(t.log) {
		if e.Begin == nil {
			continue
		}
		if begins++; begins == tailSegments {
			t.cut(i)
			return
		}
	}
}

// cut drops the oldest n entries of the log. t.mu is held.
func (t *tail) cut(n int) {
	for _, old := range t.log[:n] {
		if old.Chunk != nil {
			t.bytes -= len(old.Chunk.Data)
		}
	}
	t.log = append([]tailEntry(nil), t.log[n:]...)
	t.base += uint64(n)
}

func comparePlace(a, b place) int {
	if a.row != b.row {
		return a.row - b.row
	}
	if a.slot != b.slot {
		return cmp.Or(cmp.Compare(a.start, b.start), a.slot.Compare(b.slot))
	}
	return cmp.Or(cmp.Compare(a.cell, b.cell), cmp.Compare(a.pid, b.pid))
}

// Follower reads the live tail. One goroutine uses it.
type Follower struct {
	t         *tail
	at        uint64 // position of the next event
	sealsOnly bool
	skipped   bool
	synced    bool   // it has seen the Begin of the segment it is in
	seq       uint64 // of that segment
	since     uint64 // it has seen everything from the Begin of this segment on

	why    stats.Purpose
	began  time.Duration  // what was published before is no measure of how far behind it is
	start  timeline.Ticks // T of the segment that it is in
	behind time.Duration  // how long a chunk of that waited for it at most
	from   stats.Source   // Disk: a chunk of it had left memory
	taken  bool           // it has taken a chunk of it
	told   bool           // it is counted
}

// follow starts a follower with the segment after the given slot, or with the open one.
func (t *tail) follow(after *segment.Slot, sealsOnly bool, why stats.Purpose) *Follower {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := &Follower{t: t, at: t.base + uint64(len(t.log)), sealsOnly: sealsOnly, why: why, began: t.clock.Mono()}
	if sealsOnly {
		return f
	}
	for i, e := range slices.Backward(t.log) {
		if e.Begin == nil {
			continue
		}
		if after != nil && (e.Begin.Slot.Timeline == after.Timeline && e.Begin.Slot.Compare(*after) <= 0) {
			break
		}
		f.at = t.base + uint64(i)
		if after == nil {
			break
		}
	}
	return f
}

// Beat tells how far the tail has come.
func (f *Follower) Beat() TailBeat {
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	return f.t.beat
}

// Next gives the next event. It blocks until there is one or ctx ends.
func (f *Follower) Next(ctx context.Context) (TailEvent, error) {
	for {
		e, wait, err := f.Poll()
		if err != nil || wait == nil {
			return e, err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return TailEvent{}, ctx.Err()
		}
	}
}

// Poll gives the next event, or a channel to wait on before asking again.
func (f *Follower) Poll() (TailEvent, <-chan struct{}, error) {
	for {
		e, wait, err := f.step()
		if wait != nil || err != nil {
			return TailEvent{}, wait, err
		}
		if ev, ok := f.load(e); ok {
			return ev, nil, nil
		}
	}
}

func (f *Follower) step() (tailEntry, <-chan struct{}, error) {
	t := f.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.at < t.base {
		f.at, f.skipped, f.synced = t.base, true, false
	}
	if f.at == t.base+uint64(len(t.log)) {
		if t.closed {
			return tailEntry{}, nil, errTailEnded
		}
		return tailEntry{}, t.grown, nil
	}
	e := t.log[f.at-t.base]
	if f.skipped && e.Begin != nil {
		f.skipped = false
		slot := e.Begin.Slot
		return tailEntry{TailEvent: TailEvent{Skip: &slot}}, nil, nil
	}
	f.at++
	return e, nil, nil
}

// load decides whether the follower gets the entry, and fetches its bytes when they have left memory.
func (f *Follower) load(e tailEntry) (TailEvent, bool) {
	switch {
	case e.Begin != nil:
		f.goOn(e.Begin)
		if f.seq = e.Begin.Seq; !f.synced {
			f.synced, f.since = true, f.seq
		}
		return e.TailEvent, !f.sealsOnly
	case e.Chunk != nil:
		if f.sealsOnly || !f.synced || e.Chunk.Seq != f.seq {
			return TailEvent{}, false
		}
		if e.Chunk.Data != nil {
			f.took(&e, stats.Memory, len(e.Chunk.Data))
			return e.TailEvent, true
		}
		data, err := f.t.read(e.copyID, e.index)
		if err != nil { // its file is gone or its disk fails: go on with the next segment
			f.skipped, f.synced = true, false
			return TailEvent{}, false
		}
		f.took(&e, stats.Disk, len(data))
		c := *e.Chunk
		c.Data = data
		return TailEvent{Chunk: &c}, true
	case e.Seal != nil && (!f.synced || e.Seal.Seq < f.since):
		s := *e.Seal
		s.Seq = 0 // this follower did not see all of it
		return TailEvent{Seal: &s}, true
	case e.Seal != nil && e.Seal.Seq == f.seq:
		f.count(e.Seal.Info.End - e.Seal.Info.Start)
	}
	return e.TailEvent, true
}

// took notes a chunk that the follower has.
func (f *Follower) took(e *tailEntry, from stats.Source, n int) {
	f.t.stats.ReadBytes(f.why, from, n)
	f.from, f.taken = max(f.from, from), true
	if e.at >= f.began {
		f.behind = max(f.behind, f.t.clock.Mono()-e.at)
	}
}

// count counts the segment that the follower is in, or leaves, unless that was done: by how far behind the tail it was.
func (f *Follower) count(duration timeline.Ticks) {
	if duration <= 0 || duration > maxCells*timeline.CellTicks {
		duration = timeline.CellTicks // it is not known: the next one is on another timeline
	}
	if f.taken && !f.told {
		f.t.stats.Read(f.from, stats.ClassOf(f.behind, duration.Duration()), 1)
	}
	f.told = f.told || f.taken
}

// goOn counts the segment that the follower leaves for the next, and those that it has missed between them. One that it was
// thrown out of is missed.
func (f *Follower) goOn(next *TailBegin) {
	if f.seq > 0 && !f.sealsOnly {
		missed := next.Seq - f.seq - 1
		if f.synced {
			f.count(next.Begin.Key.Start - f.start)
		} else if !f.told {
			missed++
		}
		f.t.stats.Read(stats.Memory, stats.Skipped, missed)
	}
	f.start, f.behind, f.from, f.taken, f.told = next.Begin.Key.Start, 0, stats.Memory, false, false
}
