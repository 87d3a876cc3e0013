package stats

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
)

// Set is the storages of a process. The zero value is empty.
type Set struct {
	mu  sync.Mutex // protects the field below
	all map[string]*Storage
}

// Storage gives the counters of a dvr path, and makes them.
func (s *Set) Storage(path string) *Storage {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.all[path]
	if x == nil {
		if x = New(); s.all == nil {
			s.all = map[string]*Storage{}
		}
		s.all[path] = x
	}
	return x
}

// All gives the counters of every path.
func (s *Set) All() map[string]*Storage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.all)
}

// Storage counts for one dvr path.
type Storage struct {
	syncs   [syncKinds]latency
	commits atomic.Bool  // one runs
	began   atomic.Int64 // monotonic time at which it, or the last one, did

	mu      sync.Mutex // protects the field below
	streams map[string]*Stream
}

// New makes counters that stand at zero.
func New() *Storage { return &Storage{streams: map[string]*Stream{}} }

// Stream gives the counters of a stream, and makes them: whoever counts keeps them.
func (s *Storage) Stream(name string) *Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[name]
	if st == nil {
		st = &Stream{}
		s.streams[name] = st
	}
	return st
}

// Streams gives what was counted of every stream.
func (s *Storage) Streams() map[string]Counts {
	s.mu.Lock()
	all := maps.Clone(s.streams)
	s.mu.Unlock()
	out := make(map[string]Counts, len(all))
	for name, st := range all {
		out[name] = st.Counts()
	}
	return out
}

// recent is how many segments are known to be counted.
const recent = 64

// Stream counts for one stream.
type Stream struct {
	written   [classes]atomic.Uint64
	later     [2]atomic.Uint64
	bytes     [kinds]atomic.Uint64
	reads     [sources][classes]atomic.Uint64
	readBytes [purposes][sources]atomic.Uint64
	played    [ages]atomic.Uint64
	playedOf  [ages]atomic.Uint64

	mu   sync.Mutex // protects the fields below
	last [recent]segment.Slot
	next int
}

// Counts is what was counted.
type Counts struct {
	Written             [classes]uint64 // live segments
	Offered, Backfilled uint64          // segments that were made durable later: from a producer's ring, from another site
	Bytes               [kinds]uint64   // of media that were written
	Reads               [sources][classes]uint64
	ReadBytes           [purposes][sources]uint64
	Played, PlayedBytes [ages]uint64 // reads of the archive for viewers, and their bytes
}

// Counts gives what was counted so far.
func (s *Stream) Counts() (c Counts) {
	load(c.Written[:], s.written[:])
	load(c.Bytes[:], s.bytes[:])
	load(c.Played[:], s.played[:])
	load(c.PlayedBytes[:], s.playedOf[:])
	for i := range s.reads {
		load(c.Reads[i][:], s.reads[i][:])
	}
	for i := range s.readBytes {
		load(c.ReadBytes[i][:], s.readBytes[i][:])
	}
	c.Offered, c.Backfilled = s.later[0].Load(), s.later[1].Load()
	return c
}

func load(to []uint64, from []atomic.Uint64) {
	for i := range from {
		to[i] = from[i].Load()
	}
}

// Add adds what another stream has.
func (c *Counts) Add(o *Counts) {
	c.Offered, c.Backfilled = c.Offered+o.Offered, c.Backfilled+o.Backfilled
	add(c.Written[:], o.Written[:])
	add(c.Bytes[:], o.Bytes[:])
	add(c.Played[:], o.Played[:])
	add(c.PlayedBytes[:], o.PlayedBytes[:])
	for i := range o.Reads {
		add(c.Reads[i][:], o.Reads[i][:])
	}
	for i := range o.ReadBytes {
		add(c.ReadBytes[i][:], o.ReadBytes[i][:])
	}
}

func add(to, from []uint64) {
	for i := range from {
		to[i] += from[i]
	}
}

// Wrote counts a live segment that was sealed, unless it was one of the last that were counted: a storage that is opened again
// is sent again what it had not released.
func (s *Stream) Wrote(slot segment.Slot, c Class) bool {
	s.mu.Lock()
	known := slices.Contains(s.last[:], slot)
	if !known {
		s.last[s.next%recent] = slot
		s.next++
	}
	s.mu.Unlock()
	if !known {
		s.written[c].Add(1)
	}
	return !known
}

// Lost counts a live segment that did not even come: its producer could not hold it any longer.
func (s *Stream) Lost() { s.written[Skipped].Add(1) }

// Later counts a segment that was made durable and did not come as the live stream: from another site, or from a ring.
func (s *Stream) Later(backfill bool) {
	if backfill {
		s.later[1].Add(1)
	} else {
		s.later[0].Add(1)
	}
}

// Bytes counts media that is written.
func (s *Stream) Bytes(k Kind, n int) { s.bytes[k].Add(uint64(n)) }

// ReadBytes counts media that was read.
func (s *Stream) ReadBytes(why Purpose, from Source, n int) { s.readBytes[why][from].Add(uint64(n)) }

// Read counts the read of a segment, or n of them.
func (s *Stream) Read(from Source, c Class, n uint64) { s.reads[from][c].Add(n) }

// Played counts a read of the archive for a viewer, of media that ended so long ago.
func (s *Stream) Played(age time.Duration, bytes uint64) {
	a := AgeOf(age)
	s.played[a].Add(1)
	s.playedOf[a].Add(bytes)
}
