package ring

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Begin is what is known of a segment before its first chunk.
type Begin struct {
	Key            segment.Key
	Inits          []segment.Init // by PID, with data
	Tracks         []segment.Track
	StartUncertain bool
	Independent    bool
}

// Chunk is one moof and mdat of one track, with what is known against its samples.
type Chunk struct {
	segment.Chunk
	Evidence segment.Evidence
	Data     []byte
}

// Segment is a sealed segment of the ring. It is immutable but for chunk data dropped with the segment.
type Segment struct {
	Begin
	Info   segment.Info
	Sealed time.Duration // monotonic
}

// Withdrawal is a segment that is no longer to be had here.
type Withdrawal struct {
	Seq    uint64
	Reason string
}

// Reasons of a withdrawal, as the protocol spells them.
const (
	ReasonOverrun = "RING_OVERRUN"
	ReasonGone    = "GONE"
)

// Stats counts since New; the sizes are of now.
type Stats struct {
	Segments      uint64 // sealed
	WholeSegments uint64 // of these, whole
	Overruns      uint64 // segments that left before they were released
	Sealed        int    // in the ring
	Bytes         int64  // in the ring, the open segment included
	Limit         int64
	Largest       int64 // bytes of a segment of the last minutes
	BytesPerSec   int64 // the most over one segment of the last minutes
}

// Need is what the ring must hold for a takeover and a restart of dvrsvc: source_timeout, two largest segments and 5 s
// (design: a standby must still have what the active input delivered before it stood still). 0: not known yet. The
// longest would not do: a segment with an outage in it may be long and small.
func (s Stats) Need(sourceTimeout time.Duration) int64 {
	return 2*s.Largest + int64((sourceTimeout+5*time.Second).Seconds()*float64(s.BytesPerSec))
}

// entry is one segment. While info is nil it is open, and then the last of the ring.
type entry struct {
	seq      uint64
	begin    Begin
	chunks   []Chunk
	info     *segment.Info
	sealed   time.Duration
	bytes    int64
	released bool // while it is open: to be dropped when it is sealed
	spoiled  bool // while it is open: it had to make room, the rest of it is not kept
}

// Ring holds the segments of one input.
type Ring struct {
	notify chan struct{} // capacity 1: something to read
	clock  clock.Clock

	mu        sync.Mutex // protects the fields below
	limit     int64
	entries   []*entry // by seq
	lastSeq   uint64
	stretch   uint32 // the newest one
	runs      uint32
	withdrawn []Withdrawal
	stats     Stats
	recent    [recentSegments]struct {
		span  time.Duration
		bytes int64
	}
}

// recentSegments is how many segments the need is computed from: about two minutes.
const recentSegments = 20

// New returns a ring that holds at most limit bytes.
func New(limit int64, clk clock.Clock) *Ring {
	return &Ring{limit: limit, clock: clk, notify: make(chan struct{}, 1)}
}

// Notify is ready whenever something was written, sealed or withdrawn since it was last received from.
func (r *Ring) Notify() <-chan struct{} { return r.notify }

func (r *Ring) wake() {
	select {
	case r.notify <- struct{}{}:
	default:
	}
}

// Stats returns the counts so far.
func (r *Ring) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Limit = r.limit
	for _, e := range r.entries {
		s.Bytes += e.bytes
		if e.info != nil {
			s.Sealed++
		}
	}
	for _, x := range r.recent {
		s.Largest = max(s.Largest, x.bytes)
		// A picture alone between two changes of configuration would be a rate of megabytes.
		s.BytesPerSec = max(s.BytesPerSec, int64(float64(x.bytes)/max(x.span, time.Second).Seconds()))
	}
	return s
}

// Sealed returns the sealed segments with a sequence number of from or more, oldest first.
func (r *Ring) Sealed(from uint64) []Segment {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Segment
	for _, e := range r.entries[r.search(from):] {
		if e.info != nil {
			out = append(out, Segment{Begin: e.begin, Info: *e.info, Sealed: e.sealed})
		}
	}
	return out
}

// Release drops a segment: dvrsvc has it, or will never take it. An open one is dropped when it is sealed.
func (r *Ring) Release(seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.search(seq)
	if i == len(r.entries) || r.entries[i].seq != seq {
		return
	}
	if r.entries[i].info == nil {
		r.entries[i].released = true
		return
	}
	r.entries = slices.Delete(r.entries, i, i+1)
}

// Withdrawals returns the segments that left unreleased since it was last called.
func (r *Ring) Withdrawals() []Withdrawal {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.withdrawn
	r.withdrawn = nil
	return w
}

// Empty reports whether nothing is left to hand over.
func (r *Ring) Empty() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.entries) == 0
}

// Contains reports whether a segment can be had, open or sealed.
func (r *Ring) Contains(seq uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.search(seq)
	return i < len(r.entries) && r.entries[i].seq == seq && r.entries[i].readable()
}

// Newest returns the number of the open segment, or else of the one that comes next.
func (r *Ring) Newest() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.entries); n > 0 && r.entries[n-1].info == nil {
		return r.entries[n-1].seq
	}
	return r.lastSeq + 1
}

// FindFrom returns the number of the first segment that contains or follows a point of the source's clock; where none
// does yet, the number of the segment that comes next.
func (r *Ring) FindFrom(stretch uint32, at timeline.Ticks) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, e := range r.entries {
		k := e.begin.Key
		switch {
		case k.Stretch < stretch:
			continue
		case k.Stretch > stretch, timeline.Unwrap(k.Start, at) >= at:
			return e.seq
		}
		// It begins before the point; it contains it unless it ends before it, or the next one begins at or before it.
		if e.info != nil && timeline.Unwrap(k.Start, at)+(e.info.End-e.info.Start) > at ||
			e.info == nil && i == len(r.entries)-1 {
			return e.seq
		}
	}
	return r.lastSeq + 1
}

// search returns the index of the first entry with a number of seq or more. r.mu is held.
func (r *Ring) search(seq uint64) int {
	i, _ := slices.BinarySearchFunc(r.entries, seq, func(e *entry, seq uint64) int { return cmp.Compare(e.seq, seq) })
	return i
}

func (e *entry) readable() bool { return !e.released && !e.spoiled }
