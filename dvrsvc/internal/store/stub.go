package store

import (
	"context"
	"iter"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Store is the archive under one dvr path. Its methods are safe for concurrent use.
type Store struct{}

// Open takes the storage for this process, recovers what the last one left, and is ready to record.
// It locks PATH/.twinreel/lock: ErrInUse when another process holds it.
func Open(ctx context.Context, o Options) (*Store, error) { panic("unbuilt") }

// Run commits every Options.CommitEvery and applies retention until ctx ends, then commits once more.
func (s *Store) Run(ctx context.Context) error { panic("unbuilt") }

// Commit makes durable what has come so far; Run does it on its own.
func (s *Store) Commit(ctx context.Context) error { panic("unbuilt") }

// Close breaks off what is open, commits, and gives the storage free. Idempotent.
func (s *Store) Close() error { panic("unbuilt") }

// ID is the random id of this store; a store that was wiped has another.
func (s *Store) ID() [16]byte { panic("unbuilt") }

// Names gives the streams that have an archive here, sorted.
func (s *Store) Names() []string { panic("unbuilt") }

// Stream opens the archive of a stream and makes it when there is none.
func (s *Store) Stream(name string) (*Stream, error) { panic("unbuilt") }

// Check walks the invariants of doc.go over the whole store and returns every breach.
func (s *Store) Check(ctx context.Context) error { panic("unbuilt") }

// Stream is the archive of one stream.
type Stream struct{}

// Begin opens a copy in a slot. Errors: errs.ErrFull; errs.ErrExpired for a copy that is not live and lies before the
// mark; errs.ErrUnknown for a row that was not put.
func (st *Stream) Begin(slot segment.Slot, inits []segment.Init, tracks []segment.Track, o BeginOptions) (*Copy, error) {
	panic("unbuilt")
}

// Copy is a copy of a segment on its way into the archive. One goroutine uses it.
type Copy struct{}

// Slot is where it goes.
func (c *Copy) Slot() segment.Slot { panic("unbuilt") }

// Append adds a chunk: ch.PID, Cell, Size, CRC and TfdtOffset must be set, Offset is the store's own count.
// data belongs to the store from here on, and is never changed. Errors: errs.ErrCorrupt when data does not have
// ch.CRC or is no chunk (nothing is added, the copy goes on); ErrCopyLost; errs.ErrFull.
func (c *Copy) Append(ch segment.Chunk, data []byte, ev segment.Evidence) error { panic("unbuilt") }

// Chunks gives what has been added so far.
func (c *Copy) Chunks() []segment.Chunk { panic("unbuilt") }

// Seal ends the copy. It fails at once with errs.ErrCorrupt when info's digest, bytes or chunk table is not that of
// what was added; the caller then uses Break or Drop. Otherwise done is called exactly once, when the copy (or what
// contains it) is durable, or with the reason why it will not be: errs.ErrConflictLimit, errs.ErrExpired,
// ErrCopyLost, ErrClosed. done runs on the commit goroutine and must not block. info.Chunks may be empty.
func (c *Copy) Seal(info segment.Info, done func(Outcome, error)) error { panic("unbuilt") }

// Break ends a copy whose producer is gone: what is here of it is sealed with an uncertain end, as durably as by Seal.
// A copy without chunks leaves no trace: done gets Kept false and no By. done may be nil.
func (c *Copy) Break(done func(Outcome, error)) { panic("unbuilt") }

// Drop gives the copy up. What a live copy had written becomes dead bytes. Idempotent, also after Seal (then it does nothing).
func (c *Copy) Drop() { panic("unbuilt") }

// Find gives a copy by its digest. Errors: errs.ErrUnknown, errs.ErrExpired, errs.ErrQuarantined, and *SupersededError.
func (st *Stream) Find(d segment.Digest) (CopyInfo, error) { panic("unbuilt") }

// Copies gives what a slot holds, the presented copy first, quarantined ones last.
func (st *Stream) Copies(slot segment.Slot) ([]CopyInfo, error) { panic("unbuilt") }

// Segments gives the presented copies that overlap [from, to) by row and media time, rows by UTC of their first
// segment; with all also the other ones. Zero times: no bound.
func (st *Stream) Segments(from, to time.Time, all bool) iter.Seq2[CopyInfo, error] { panic("unbuilt") }

// Slots gives the copies of each slot of some blocks, by cell, the presented one first, without quarantined ones.
func (st *Stream) Slots(row segment.TimelineID, fromBlock, toBlock int64) iter.Seq2[[]CopyInfo, error] {
	panic("unbuilt")
}

// Digests gives the blocks of [fromBlock, toBlock) that hold anything; both 0: all.
func (st *Stream) Digests(row segment.TimelineID, fromBlock, toBlock int64) []BlockDigest {
	panic("unbuilt")
}

// Spread gives up to n whole presented copies of a row, spread over it, the newest included.
func (st *Stream) Spread(row segment.TimelineID, n int) ([]CopyInfo, error) { panic("unbuilt") }

// Ranges gives what is covered in [from, to), coalesced. Zero times: no bound.
func (st *Stream) Ranges(from, to time.Time) []Range { panic("unbuilt") }

// Gaps gives what is not covered between the first and the last segment of [from, to).
func (st *Stream) Gaps(from, to time.Time) []Gap { panic("unbuilt") }

// Summary gives the archive in a line.
func (st *Stream) Summary() Summary { panic("unbuilt") }

// Timelines gives the rows, oldest first.
func (st *Stream) Timelines() []Row { panic("unbuilt") }

// Timeline gives one row.
func (st *Stream) Timeline(id segment.TimelineID) (Row, bool) { panic("unbuilt") }

// PutTimeline makes a row, or replaces its mapping and bindings. It is durable when PutTimeline returns.
func (st *Stream) PutTimeline(r Row) error { panic("unbuilt") }

// At gives the UTC of a place by this node's mapping.
func (st *Stream) At(row segment.TimelineID, u timeline.Ticks) time.Time { panic("unbuilt") }

// Contains reports whether durable copies contain what info describes in slot, judged by evidence alone.
func (st *Stream) Contains(slot segment.Slot, info *segment.Info) bool { panic("unbuilt") }

// Absorb is Contains, and where it holds notes that the offered copy is contained, so that its digest stays traceable;
// done is called once that is durable (at once where nothing needed noting). When Absorb returns false done is not called.
func (st *Stream) Absorb(slot segment.Slot, info *segment.Info, done func(error)) bool {
	panic("unbuilt")
}

// Init gives an init segment by its hash. Errors: errs.ErrUnknown.
func (st *Stream) Init(hash segment.Digest) (segment.Init, error) { panic("unbuilt") }

// Inits gives the init segments of a copy's tracks.
func (st *Stream) Inits(info *segment.Info) ([]segment.Init, error) { panic("unbuilt") }

// NewReader reads a copy from its chunk that contains offset on. Errors as Find.
func (st *Stream) NewReader(d segment.Digest, offset uint64) (*Reader, error) { panic("unbuilt") }

// Reader gives the chunks of a copy, each checked against its checksum.
type Reader struct{}

// Copy is what is read.
func (r *Reader) Copy() CopyInfo { panic("unbuilt") }

// Next gives the next chunk, io.EOF after the last. data is valid until the next call. errs.ErrCorrupt: the copy has been quarantined.
func (r *Reader) Next() (ch segment.Chunk, data []byte, err error) { panic("unbuilt") }

// Close gives the file free.
func (r *Reader) Close() error { panic("unbuilt") }

// OpenParts gives the live copies that are open now.
func (st *Stream) OpenParts() []OpenPart { panic("unbuilt") }

// ReadOpen gives chunk number i of an open copy, also one that was sealed within the last minute. Errors: errs.ErrUnknown.
func (st *Stream) ReadOpen(id uint64, i int) ([]byte, error) { panic("unbuilt") }

// Verify reads every stored byte again and compares it with its digest; report is called for each bad copy, which is
// quarantined.
func (st *Stream) Verify(ctx context.Context, report func(BadCopy)) (VerifyTotal, error) {
	panic("unbuilt")
}

// SetRetention says how long segments are kept; 0: for ever. Run applies it.
func (st *Stream) SetRetention(d time.Duration) { panic("unbuilt") }

// Mark is the moment before which nothing is accepted from backfill any more.
func (st *Stream) Mark() time.Time { panic("unbuilt") }

// Watch tells what changes from now on. A watcher that is slower than its buffer of 256 loses the oldest events.
// stop ends it and closes the channel.
func (st *Stream) Watch() (events <-chan Event, stop func()) { panic("unbuilt") }

// SupersededError says that another copy took the place of the one asked for.
type SupersededError struct {
	Digest, By segment.Digest
}

// Error implements error.
func (e *SupersededError) Error() string {
	return "copy " + e.Digest.String() + " was superseded by " + e.By.String()
}
