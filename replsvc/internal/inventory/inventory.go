package inventory

import (
	"context"
	"slices"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Row is a timeline row of an archive. U is T + turn*2^33 in the turns of that archive.
type Row struct {
	ID          segment.TimelineID
	AtTicks     timeline.Ticks // U of the newest point of the UTC mapping
	AtUTC       time.Time      // UTC of that point by the clock of that node
	First, Last timeline.Ticks // U: start of the oldest segment, end of the newest
	Samples     []Sample       // a spread of whole presented segments
}

// Empty reports whether nothing is stored on the row.
func (r *Row) Empty() bool { return r.Last <= r.First }

// UTC is when u was, by the row's mapping.
func (r *Row) UTC(u timeline.Ticks) time.Time { return r.AtUTC.Add((u - r.AtTicks).Duration()) }

// At is U at a moment, by the row's mapping.
func (r *Row) At(t time.Time) timeline.Ticks {
	return r.AtTicks + timeline.FromDuration(t.Sub(r.AtUTC))
}

// Blocks is the half-open range of digest blocks in which the row has segments.
func (r *Row) Blocks() (from, to int64) {
	if r.Empty() {
		return 0, 0
	}
	return BlockOf(r.First), BlockOf(r.Last) + 1
}

// BlockOf is the digest block in which U lies: T starts at 2^33, so turn 0 begins with block 0 there.
func BlockOf(u timeline.Ticks) int64 {
	return floorDiv(int64(u-timeline.Wrap), int64(timeline.CellTicks)*segment.BlockCells)
}

// TurnBlocks is how many blocks one turn has.
const TurnBlocks = timeline.CellsPerTurn / segment.BlockCells

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

// Sample is one whole segment of a row.
type Sample struct {
	AbsCell int64
	Start   timeline.Ticks // T
	Digest  segment.Digest
}

// U is its start with the turn of its cell.
func (s Sample) U() timeline.Ticks {
	return s.Start + timeline.Ticks(floorDiv(s.AbsCell, timeline.CellsPerTurn))*timeline.Wrap
}

// Block is the digest of one block of a row.
type Block struct {
	N      int64
	Digest string
	Slots  uint32
}

// Copy is one copy in a slot; Info has no chunk table.
type Copy struct {
	Info     segment.Info
	StartUTC time.Time // by the mapping of the archive that holds it
}

// EndUTC is its end by the same mapping.
func (c *Copy) EndUTC() time.Time { return c.StartUTC.Add((c.Info.End - c.Info.Start).Duration()) }

// Slot is a slot with all copies it holds, the presented one first.
type Slot struct {
	Slot   segment.Slot
	Copies []Copy
}

// U is t, a time in the bytes of this slot's segments, with the turn of the slot (FORMAT.md, rule 1).
func U(s segment.Slot, t timeline.Ticks) timeline.Ticks {
	return t + timeline.Ticks(s.Turn)*timeline.Wrap
}

// Spans are half-open ranges of UTC.
type Spans []Span

// Span is one of them.
type Span struct{ From, To time.Time }

// Touch reports whether [from, to) overlaps one of them.
func (s Spans) Touch(from, to time.Time) bool {
	return slices.ContainsFunc(s, func(x Span) bool { return x.From.Before(to) && from.Before(x.To) })
}

// Contain reports whether [from, to) lies wholly within one of them.
func (s Spans) Contain(from, to time.Time) bool {
	return slices.ContainsFunc(s, func(x Span) bool { return !from.Before(x.From) && !to.After(x.To) })
}

// Rows is all rows of a stream in one store.
type Rows struct {
	StoreID string // raw bytes; another one means that all knowledge of the archive is void
	Rows    []Row  // oldest first
	// LowWater is the UTC before which it takes nothing any more. What a peer says of it, by its own clock, shows why something
	// is not there and decides nothing.
	LowWater time.Time
	// Locked is wanted also below it: only ours says so. Deleted is not taken at all; of a peer's, see LowWater.
	Locked, Deleted Spans
	// ClockInDoubt: retention waits for somebody to say that the clock is right. Only ours says so.
	ClockInDoubt bool
}

// Archive is what can be asked of ours and of a peer's alike. Blocks are half-open ranges.
type Archive interface {
	// Rows gives the rows without Samples, and Sampled with them: for a row of which it is not known which it is on the other side.
	Rows(ctx context.Context, stream string) (Rows, error)
	Sampled(ctx context.Context, stream string) (Rows, error)
	Digests(ctx context.Context, stream string, row segment.TimelineID, from, to int64) ([]Block, error)
	Slots(ctx context.Context, stream string, row segment.TimelineID, from, to int64) ([]Slot, error)
}
