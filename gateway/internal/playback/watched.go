package playback

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const (
	// maxWindows is how many windows are watched at once, and maxMarks of how much; the one that nobody asked for longest
	// is forgotten.
	maxWindows, maxMarks = 4096, 1 << 20
	// forgetAfter is for how long a window that nobody asks for is known: longer than a player waits to load it again.
	forgetAfter = 5 * time.Minute
	// lateMarks is how much is known of what a window has lost, for listings that are counted after a later one.
	lateMarks = 8
)

// windows knows what numbers the segments have had in the windows that grow and are asked for again and again. It is
// needed where they do not come from the archive alone: when discontinuities have left a window, when two timelines
// meet in a cell, and where a GOP is longer than a cell.
type windows struct {
	mu      sync.Mutex // protects the fields below
	watched map[string]*watched
	marks   int // of all windows
	counts  uint64
}

// watched is a window that was listed.
type watched struct {
	count uint64 // of windows.counts, when it was listed last
	asked time.Duration
	first numbers // of the first entry, the highest that there were
	next  numbers // of what would follow the last on another timeline
	rows  map[segment.TimelineID]*row
}

// row is what is known of a timeline: marks by time, each good until the next.
type row struct {
	count uint64 // of windows.counts, when it was listed last
	marks []mark
	to    timeline.Ticks // where the last that was listed begins, U
}

type mark struct {
	from   timeline.Ticks // U
	offset int64          // from the cell of a segment to its number
	cuts   uint64
}

// count numbers a listing of a window; now is by the monotonic clock. It shortens a list that has grown at its front.
func (c *windows) count(name string, win window, now time.Duration, l *playlist) *numbering {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.watched[name]
	if w != nil && now-w.asked > forgetAfter {
		c.forget(name)
		w = nil
	}
	if w == nil {
		w = &watched{}
	}
	n := l.count(w.place, w.anew(&l.segments[0]))
	l.from(n, w.first)
	if !win.live {
		return n
	}
	if !win.sliding {
		n.lead = min(int(lead(&l.segments[0], win.From)), int(max(n.list[0].segment-w.first.segment, 0)))
		n.leadCut = n.lead > 0 && n.list[0].cuts > w.first.cuts
	}
	c.forget(name)
	c.counts++
	w.note(c.counts, now, l, n)
	c.keep(name, w)
	return n
}

func (c *windows) keep(name string, w *watched) {
	if c.watched == nil {
		c.watched = make(map[string]*watched)
	}
	size := w.size()
	for len(c.watched) > 0 && (len(c.watched) >= maxWindows || c.marks+size > maxMarks) {
		oldest := ""
		for other, o := range c.watched {
			if oldest == "" || o.count < c.watched[oldest].count {
				oldest = other
			}
		}
		c.forget(oldest)
	}
	c.watched[name] = w
	c.marks += size
}

func (c *windows) forget(name string) {
	if w := c.watched[name]; w != nil {
		c.marks -= w.size()
		delete(c.watched, name)
	}
}

func (w *watched) size() int {
	n := 0
	for _, r := range w.rows {
		n += len(r.marks)
	}
	return n
}

// place implements place.
func (w *watched) place(s *archive.Segment) (n numbers, listed, ok bool) {
	r := w.rows[s.Slot.Timeline]
	if r == nil {
		return numbers{}, false, false
	}
	u := s.U(s.Info.Start)
	i := r.behind(u + 1)
	if i == 0 {
		return numbers{}, false, false
	}
	m := r.marks[i-1]
	return numbers{s.Slot.AbsCell() + m.offset, m.cuts}, u <= r.to, true
}

// anew gives the numbers of the head of a list of which nothing is known: it does not go on before what was listed, but
// for the segments of a timeline that are older than that.
func (w *watched) anew(head *archive.Segment) numbers {
	if r := w.rows[head.Slot.Timeline]; r != nil {
		return numbers{head.Slot.AbsCell() + r.marks[0].offset, r.marks[0].cuts}
	}
	return numbers{number(head), firstCut}.max(w.next)
}

// behind gives the first mark at or after u.
func (r *row) behind(u timeline.Ticks) int {
	i, _ := slices.BinarySearchFunc(r.marks, u, func(m mark, u timeline.Ticks) int { return cmp.Compare(m.from, u) })
	return i
}

// note takes in a listing: there may have been a later one.
func (w *watched) note(count uint64, now time.Duration, l *playlist, n *numbering) {
	listed := make(map[segment.TimelineID]*row)
	for i := range l.segments {
		s := &l.segments[i]
		u, r := s.U(s.Info.Start), listed[s.Slot.Timeline]
		if r == nil {
			r = &row{count: count}
			if old := w.rows[s.Slot.Timeline]; old != nil {
				end := old.behind(u)
				r.marks = slices.Clone(old.marks[max(end-lateMarks, 0):end])
			}
			listed[s.Slot.Timeline] = r
		}
		m := mark{u, n.list[i].segment - s.Slot.AbsCell(), n.list[i].cuts}
		if k := len(r.marks); k == 0 || r.marks[k-1].offset != m.offset || r.marks[k-1].cuts != m.cuts {
			r.marks = append(r.marks, m)
		}
		r.to = u
	}
	var gone []segment.TimelineID
	for id, old := range w.rows {
		if r := listed[id]; r == nil {
			gone = append(gone, id)
		} else if old.to > r.to {
			r.marks = append(r.marks, old.marks[old.behind(r.to+1):]...)
			r.to = old.to
		}
	}
	slices.SortFunc(gone, func(a, b segment.TimelineID) int { return cmp.Compare(w.rows[b].count, w.rows[a].count) })
	for _, id := range gone[:min(len(gone), lateMarks)] {
		r := w.rows[id]
		listed[id] = &row{count: r.count, to: r.to, marks: r.marks[max(len(r.marks)-lateMarks, 0):]}
	}
	last := len(l.segments) - 1
	w.count, w.asked, w.rows = count, now, listed
	w.first, w.next = w.first.max(n.first()), w.next.max(numbers{n.list[last].segment + 1, n.list[last].cuts + 1})
}
