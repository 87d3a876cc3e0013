package playback

import (
	"time"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const (
	// firstCut is the discontinuity sequence number of the first stretch of a window, with 0 for what is missing before it.
	firstCut = 1
	// maxMissing is for how many cells a list marks what is missing at its beginning, or between two timelines: 6.6 h. A
	// gap of a timeline's own is bounded by maxEntries alone.
	maxMissing = 4096
)

// numbers of an entry: media sequence and discontinuity sequence.
type numbers struct {
	segment int64
	cuts    uint64
}

func (a numbers) max(b numbers) numbers {
	return numbers{max(a.segment, b.segment), max(a.cuts, b.cuts)}
}

// numbering is how the segments of a window count, in each rendition alike (RFC 8216, 3 and 6.2.2).
type numbering struct {
	list    []numbers // of each segment; what is free between two is that many gaps
	lead    int       // gaps that are listed before the first
	leadCut bool      // they end with a discontinuity: another timeline may come to lie there
}

// first gives EXT-X-MEDIA-SEQUENCE and EXT-X-DISCONTINUITY-SEQUENCE.
func (n *numbering) first() numbers {
	first := n.list[0]
	first.segment -= int64(n.lead)
	if n.leadCut {
		first.cuts--
	}
	return first
}

// place is what is known of the numbers of a segment: nothing, before its window was listed. listed: it, or what was
// missing in its place, had this very number; else the number follows from what was listed before it.
type place func(*archive.Segment) (n numbers, listed, ok bool)

// count numbers the segments of a list outwards from the first that is known, or else from its head.
func (l *playlist) count(known place, at numbers) *numbering {
	n := &numbering{list: make([]numbers, len(l.segments))}
	anchor := 0
	for i := range l.segments {
		if was, _, ok := known(&l.segments[i]); ok {
			anchor, at = i, was
			break
		}
	}
	n.list[anchor] = at
	for i := anchor - 1; i >= 0; i-- {
		a, b := &l.segments[i], &l.segments[i+1]
		at.segment -= 1 + between(a, b, at.segment-number(a)-1)
		if cut(a, b) {
			at.cuts = max(at.cuts, 1) - 1 // there is nothing below 0: then the discontinuities are counted anew
		}
		n.list[i] = at
	}
	for i := 1; i < len(l.segments); i++ {
		a, b := &l.segments[i-1], &l.segments[i]
		n.list[i].cuts = n.list[i-1].cuts
		if cut(a, b) {
			n.list[i].cuts++
		}
		if i <= anchor {
			continue
		}
		last := n.list[i-1].segment
		want, listed, ok := known(b)
		if !ok {
			want.segment = number(b)
		}
		gaps := want.segment - last - 1
		if natural := between(a, b, gaps); !listed || gaps < natural || gaps > maxMissing {
			gaps = natural
		}
		n.list[i].segment = last + 1 + gaps
	}
	return n
}

// number counts the cells of the segment's timeline, beginning where UTC has 0 on it: so it needs no memory, and on one
// timeline each cell is one, recorded or missing.
func number(s *archive.Segment) int64 {
	zero := timeline.FromDuration(time.Duration(s.Start.UnixNano())) - s.U(s.Info.Start)
	return int64((zero+timeline.CellTicks/2)/timeline.CellTicks) + s.Slot.AbsCell()
}

// between is how many gaps to list between two segments: of one timeline, one for each cell that is missing; of two, as
// many as the second wants for its number, if UTC leaves room for them and no years lie between.
//
// A segment that broke off lacks less than a cell, which is no entry of its own: there is none any more when the whole
// one takes its place.
func between(a, b *archive.Segment, want int64) int64 {
	switch gap := gapBetween(a, b); {
	case gap <= gapTicks.Duration():
		return 0
	case a.Slot.Timeline == b.Slot.Timeline:
		return max(b.Slot.AbsCell()-a.Slot.AbsCell()-1, 0)
	case want < 0 || want > maxMissing:
		return 0
	}
	return want
}

// lead is how many cells are missing between from and the head of a list. One more is for the segment that reaches from
// the cell before into the window.
func lead(head *archive.Segment, from time.Time) int64 {
	missing := head.Start.Sub(from)
	if missing <= 0 || missing > maxMissing*timeline.CellTicks.Duration() {
		return 0
	}
	before := timeline.FromDuration(missing) - head.Info.Start%timeline.CellTicks
	if before <= 0 {
		return 1
	}
	return int64((before+timeline.CellTicks-1)/timeline.CellTicks) + 1
}

// from makes a list begin at these numbers at the earliest: what has come to lie before is not listed any more.
func (l *playlist) from(n *numbering, first numbers) {
	for i, at := range n.list {
		if at.segment >= first.segment && at.cuts >= first.cuts {
			l.segments, n.list = l.segments[i:], n.list[i:]
			return
		}
	}
}
