package store

import (
	"log/slog"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// Options of Open. Only Path is needed.
type Options struct {
	Path        string         // the dvr PATH of the config, absolute; it is created
	FS          vfs.FS         // nil: the machine's
	IndexFS     pebblevfs.FS   // nil: the machine's
	Clock       clock.Clock    // nil: clock.System
	Node        string         // id of this node: media whose path begins elsewhere is replicated
	Logger      *slog.Logger   // nil: none
	Reserve     uint64         // bytes of the file system that data never takes; 0: 256 MB and 1 %
	Rebuild     bool           // make the index anew from the data files
	CommitEvery time.Duration  // 0: 500 ms
	ScrubRate   int64          // bytes a second that the scrub reads; 0: Run does not scrub
	ReclaimRate int64          // bytes a second that are read to free what is dead in data files; 0: Run does not
	ClockAgrees func() bool    // whether the wall clock may be believed after a leap; nil: what the kernel says
	Stats       *stats.Storage // what it does is counted there; nil: nowhere to be seen
	Rand        func([]byte)   // fills with random bytes; nil: crypto/rand
	Exit        func(int)      // ends the process when the index is damaged or cannot be written; nil: os.Exit
}

// BeginOptions say where a copy comes from.
type BeginOptions struct {
	// Live: from the active producer, in order, streamed to disk as it comes. Otherwise (backfill, a wanted offer) the
	// copy is gathered in memory, checked, and written only if something in it is not here yet.
	Live           bool
	Path           []string // node ids, the node that ingested it first
	Independent    bool
	StartUncertain bool
	Format         uint32 // 0: segment.Format
}

// Outcome is what became of a sealed copy. Whatever it says is durable.
type Outcome struct {
	Copy CopyInfo
	// Kept: the copy is in the archive. Otherwise By contains every intact access unit of it.
	Kept bool
	By   segment.Digest
	// Replaced are the copies that gave way to this one.
	Replaced []segment.Digest
}

// CopyInfo is one stored, durable copy of a segment.
type CopyInfo struct {
	Slot        segment.Slot
	Info        segment.Info
	UTC, UTCEnd time.Time // by the mapping of this node's row
	Live        bool      // recorded as the live stream, or in the place of what was; false: backfilled
	Presented   bool      // the one of its slot that is played
	Quarantined bool      // its bytes were found rotten: it is listed with All only, and never read
	Replaces    []segment.Digest
}

// Row is one timeline row of a stream.
type Row struct {
	ID       segment.TimelineID
	Mapping  timeline.Mapping
	Bindings []Binding // rows of peers that are the same timeline
	Unsure   bool      `json:",omitempty"` // it began when nobody could say that the wall clock is right
	// First and Last are U of the oldest segment's start and the newest one's end; the store fills them in.
	First, Last timeline.Ticks `json:"-"`
}

// Binding says that a row of a peer's store is the row that holds it.
type Binding struct {
	PeerStore      [16]byte
	PeerTimeline   segment.TimelineID
	TurnDifference int32 // add to the peer's turn to have the local one
}

// Range is a covered stretch of one state, half-open.
type Range struct {
	From, To        time.Time
	Damaged         bool
	DamagedTicks    timeline.Ticks // faulty or missing media in it
	ReplicatedTicks timeline.Ticks // media in it that came from a peer
	LateTicks       timeline.Ticks // of that, what came later than live: to fill a gap, or to repair
}

// Gap is a stretch without media, half-open.
type Gap struct {
	From, To time.Time
	Reason   string         // deleted; timeline_change between two rows; disk_full, index_full; else unknown: the caller may know more
	Ticks    timeline.Ticks // on the media timeline, or on UTC between two rows
}

// BlockDigest is the digest over one block of a row.
type BlockDigest struct {
	Block  int64
	Digest segment.Digest
	Slots  uint32
}

// Summary is the archive of a stream in a line. The zero value: nothing is stored.
type Summary struct {
	First, Last time.Time
	Segments    uint64 // presented
	Copies      uint64
	Bytes       uint64 // of all copies
	Quarantined uint64 // of Copies: rotten, and nothing whole is in their slot yet
}

// OpenPart is a live copy that is not in the index yet.
type OpenPart struct {
	ID      uint64 // for ReadOpen
	Slot    segment.Slot
	Info    segment.Info // end uncertain, no digest; all chunks that have come
	Durable int          // how many of Info.Chunks would survive a power cut
	UTC     time.Time
	UTCEnd  time.Time
}

// EventKind says what happened.
type EventKind string

// Kinds of events.
const (
	EventSealed      EventKind = "sealed"      // a copy is durable
	EventReplaced    EventKind = "replaced"    // the same, and other copies gave way to it
	EventExpired     EventKind = "expired"     // retention took it
	EventDeleted     EventKind = "deleted"     // an operator deleted it
	EventQuarantined EventKind = "quarantined" // its bytes are rotten
)

// Event is one change of the archive, told after it is durable.
type Event struct {
	Time time.Time
	Kind EventKind
	Copy CopyInfo
	// Digests are all that the slot holds now, the presented one first (not for expired and deleted).
	Digests []segment.Digest
}

// BadCopy is a copy that Verify found rotten.
type BadCopy struct {
	Digest  segment.Digest
	Problem error
}

// VerifyTotal counts what Verify read.
type VerifyTotal struct {
	Copies, Bytes, Bad uint64
}

// SupersededError says that another copy took the place of the one asked for.
type SupersededError struct {
	Digest, By segment.Digest
}

// Error implements error.
func (e *SupersededError) Error() string {
	return "copy " + e.Digest.String() + " was superseded by " + e.By.String()
}
