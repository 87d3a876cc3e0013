package packager

import "github.com/twinreel/twinreel/pkg/timeline"

// reorder is how much later than its DTS a lost picture may have been presented: more than 16 frames of 25 a second,
// the longest delay that H.264 allows.
const reorder = timeline.TicksPerSecond

// cutter decides where segments begin (FORMAT.md, rule 3) and whether every other recorder must have decided the same
// (rule 9). It sees the reference track alone and has no other memory than the fields below.
type cutter struct {
	margin timeline.Ticks // a loss less than this before a cell may have hidden the cell's first RAP

	seen    bool
	first   timeline.Ticks // DTS of the first access unit
	intact  timeline.Ticks // DTS of the first access unit since which nothing was lost
	damaged bool           // the access unit before was damaged: nothing is intact until the next

	hasRAP  bool
	rapCell int64          // cell of the last RAP's PTS
	rapDTS  timeline.Ticks // its DTS

	follows   bool // the first access unit goes on from one before a jump: a segment begins with it, whatever it is
	hasStart  bool
	startCell int64 // cell of the last start's PTS
}

// unit is what the cutter needs to know of an access unit.
type unit struct {
	dts, pts timeline.Ticks
	rap      bool
	bare     bool // no configuration is known for it: nothing can start here
	lost     bool // others before it may be missing
	damaged  bool
	newSet   bool // codec configuration or set of tracks differ from those of the open segment
	ownSet   bool // and the reference track's configuration does
}

// start says that a segment begins.
type start struct {
	cell        int64
	independent bool
	certain     bool
	ends        bool // and so is that the segment before ends here: none of a cell between can have been lost
	sameCell    bool // only because of the new configuration
}

func (c *cutter) reset(ref *track) {
	*c = cutter{}
	c.margin = maxBack
	if ref != nil && ref.video {
		c.margin = reorder
	}
}

// next takes the next access unit and reports whether a segment begins with it.
func (c *cutter) next(u unit) (s start, ok bool) {
	if u.lost || u.damaged || c.damaged || !c.seen {
		c.intact = u.dts
	}
	c.damaged = u.damaged
	if !c.seen {
		c.seen, c.first = true, u.dts
	}
	switch {
	case u.rap:
		s, ok = c.atRAP(u)
		c.hasRAP, c.rapCell, c.rapDTS = true, cellOf(u.pts), u.dts
	case c.follows && !u.bare:
		s, ok = start{cell: cellOf(u.pts)}, true
	default:
		s, ok = c.forced(u)
	}
	c.follows = false
	if ok {
		s.certain = s.certain && c.hasStart && !u.damaged
		s.ends = s.certain && (s.cell <= c.startCell+1 || c.intactBefore(c.startCell+1))
		c.hasStart, c.startCell = true, s.cell
	}
	return s, ok
}

func (c *cutter) atRAP(u unit) (s start, ok bool) {
	cell := cellOf(u.pts)
	s = start{cell: cell, independent: true}
	switch {
	case !c.hasStart:
		return s, true
	case cell > c.startCell:
		// The first RAP of a cell is a cut whatever was before, unless a forced cut came first in this cell. That one
		// needs an even cell behind two without a RAP, so those must be known.
		s.certain = c.intactBefore(cell) && (cell&1 == 1 || c.rapCell >= cell-2 || c.intactBefore(cell-2))
		return s, true
	case u.newSet:
		s.sameCell = true
		s.certain = u.ownSet && c.hasRAP && c.intact <= c.rapDTS
		return s, true
	}
	return s, false
}

// forced is the rule for streams without RAPs: after two whole cells without one, the first access unit of an even cell.
func (c *cutter) forced(u unit) (s start, ok bool) {
	cell := cellOf(u.dts)
	if u.bare {
		return s, false
	}
	if cell&1 == 1 || c.hasStart && cell <= c.startCell || c.hasRAP && c.rapCell >= cell-2 {
		return s, false
	}
	if c.first > timeline.Ticks(cell-2)*timeline.CellTicks {
		return s, false
	}
	return start{cell: cellOf(u.pts), certain: c.intactBefore(cell - 2)}, true
}

// intactBefore reports whether nothing that could belong to the cell was lost before what is intact began.
func (c *cutter) intactBefore(cell int64) bool {
	return c.intact <= timeline.Ticks(cell)*timeline.CellTicks-c.margin
}

// cellOf counts cells over all turns.
func cellOf(t timeline.Ticks) int64 { return int64(floor(t, timeline.CellTicks) / timeline.CellTicks) }

// floor rounds down to a multiple of a power of two, also below zero, where jumps back may lead.
func floor(t, n timeline.Ticks) timeline.Ticks { return t &^ (n - 1) }
