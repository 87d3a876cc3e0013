package playback

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/timeline"
)

var began = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

// cells of a timeline, and of UTC since the tests began.
func segmentAt(row byte, cell, utc int64) archive.Segment {
	var s archive.Segment
	s.Slot.Timeline[0], s.Slot.Turn, s.Slot.Cell = row, int32(cell/timeline.CellsPerTurn), uint16(cell%timeline.CellsPerTurn)
	s.Info.Start = timeline.Wrap + timeline.Ticks(s.Slot.Cell)*timeline.CellTicks
	s.Start = began.Add((timeline.Ticks(utc) * timeline.CellTicks).Duration())
	return withLength(s, timeline.CellTicks)
}

func withLength(s archive.Segment, length timeline.Ticks) archive.Segment {
	s.Info.End, s.End = s.Info.Start+length, s.Start.Add(length.Duration())
	return s
}

// watching is a window that several viewers load, and what numbers they saw.
type watching struct {
	windows windows
	win     window
	seen    map[string]numbers
	first   numbers
}

// load lists segments and reports what has another number than in an earlier listing.
func (w *watching) load(segments []archive.Segment) (problems []string) {
	l := &playlist{segments: slices.Clone(segments)}
	n := w.windows.count("window", w.win, 0, l)
	if len(n.list) != len(l.segments) {
		return []string{"numbers and segments are not as many"}
	}
	if w.seen == nil {
		w.seen = make(map[string]numbers)
	}
	for i := range l.segments {
		name := fmt.Sprint(l.segments[i].Slot)
		got := n.list[i]
		if want, ok := w.seen[name]; ok && want != got {
			problems = append(problems, fmt.Sprintf("%s has number and discontinuities %v, before %v", name, got, want))
		}
		w.seen[name] = got
		if i > 0 && n.list[i].segment <= n.list[i-1].segment {
			problems = append(problems, fmt.Sprintf("numbers do not grow: %d", n.list))
		}
	}
	first := n.first()
	if first.segment < w.first.segment || first.cuts < w.first.cuts {
		problems = append(problems, fmt.Sprintf("MEDIA-SEQUENCE and DISCONTINUITY-SEQUENCE went from %d to %d", w.first, first))
	}
	w.first = first
	return problems
}

// TestListingIsOvertaken: of two viewers, the one who asked first is answered last (I4).
func TestListingIsOvertaken(t *testing.T) {
	w := &watching{win: window{live: true, sliding: true}}
	older := []archive.Segment{segmentAt(1, 0, 0), segmentAt(2, 101, 1), segmentAt(2, 102, 2)}
	newer := []archive.Segment{segmentAt(2, 101, 1), segmentAt(2, 102, 2), segmentAt(2, 103, 3), segmentAt(3, 204, 4)}
	problems := w.load(older)
	for range 3 {
		problems = slices.Concat(problems, w.load(newer), w.load(older))
	}
	problems = append(problems, w.load(newer[3:])...)
	for _, p := range problems {
		t.Error(p)
	}
	if got := w.seen[fmt.Sprint(newer[3].Slot)].cuts - w.seen[fmt.Sprint(older[0].Slot)].cuts; got != 2 {
		t.Errorf("%d discontinuities are counted, want 2", got)
	}
}

// TestGapIsFilledWithFewerSegments than it has entries: what follows keeps its number, though an older listing without
// it was counted meanwhile.
func TestGapIsFilledWithFewerSegments(t *testing.T) {
	w := &watching{win: window{live: true, sliding: true}}
	head, filled, tail := segmentAt(1, 5, 5), withLength(segmentAt(1, 6, 6), 2*timeline.CellTicks), segmentAt(1, 8, 8)
	for _, listing := range [][]archive.Segment{{head, tail}, {head}, {head, filled, tail}, {tail}} {
		for _, p := range w.load(listing) {
			t.Error(p)
		}
	}
}

// TestOvertakenListingBringsNothingBack lists again what has expired, and then what is before the head.
func TestOvertakenListingBringsNothingBack(t *testing.T) {
	w := &watching{win: window{live: true, sliding: true}}
	older, newer := segmentAt(1, 5, 5), segmentAt(1, 8, 8)
	w.load([]archive.Segment{newer})
	w.load([]archive.Segment{older})
	l := &playlist{segments: []archive.Segment{segmentAt(1, 7, 7), newer}}
	if n := w.windows.count("window", w.win, 0, l); len(l.segments) != 1 || n.list[0] != w.seen[fmt.Sprint(newer.Slot)] {
		t.Errorf("%d segments from numbers %v, want the one from before", len(l.segments), n.list[0])
	}
}

// TestNothingIsAsBefore lists another timeline, whose UTC lies behind, after all that was listed has gone.
func TestNothingIsAsBefore(t *testing.T) {
	w := &watching{win: window{live: true, sliding: true}}
	before, after := segmentAt(1, 100, 20), segmentAt(2, 300, 5)
	for _, p := range slices.Concat(w.load([]archive.Segment{before}), w.load([]archive.Segment{after})) {
		t.Error(p)
	}
	was := w.seen[fmt.Sprint(before.Slot)]
	if got, want := w.seen[fmt.Sprint(after.Slot)], (numbers{was.segment + 1, was.cuts + 1}); got != want {
		t.Errorf("number and discontinuities are %v, want %v", got, want)
	}
}

// TestRandomArchive loads a window of an archive in which segments come, expire and are fetched later, and listings
// overtake one another (I4).
func TestRandomArchive(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		w := &watching{win: window{live: true, sliding: seed%2 == 0}}
		if !w.win.sliding {
			w.win.From = began.Add(-time.Hour)
		}
		a := &changing{rnd: rnd, segments: []archive.Segment{segmentAt(1, 1000, 0)}, row: 1}
		var late []archive.Segment
		for step := range 200 {
			a.step()
			if late == nil && rnd.IntN(4) == 0 {
				late = slices.Clone(a.segments)
				continue
			}
			problems := w.load(a.segments)
			if late != nil && rnd.IntN(2) == 0 {
				problems = append(problems, w.load(late)...)
				late = nil
			}
			for _, p := range problems {
				t.Errorf("seed %d, step %d: %s", seed, step, p)
			}
			if len(problems) > 0 {
				break
			}
		}
	}
}

// changing is an archive of which something changes at each step.
type changing struct {
	rnd      *rand.Rand
	segments []archive.Segment
	row      byte
	init     byte
	long     bool
	expired  bool
}

func (a *changing) step() {
	last := a.segments[len(a.segments)-1]
	cell, utc := last.Slot.AbsCell(), int64(last.Start.Sub(began)/timeline.CellTicks.Duration())
	switch a.rnd.IntN(10) {
	case 0: // the encoder starts anew, at any place of its clock
		a.row++
		away := a.rnd.Int64N(20) - 2
		a.add(segmentAt(a.row, a.rnd.Int64N(10*timeline.CellsPerTurn), utc+away))
	case 1: // a gap
		if !a.long {
			n := 2 + a.rnd.Int64N(5)
			a.add(segmentAt(a.row, cell+n, utc+n))
		}
	case 2:
		a.init++
		fallthrough
	case 3, 4, 5:
		n := int64(1)
		if a.long {
			n = 2
		}
		a.add(segmentAt(a.row, cell+n, utc+n))
		a.long = a.rnd.IntN(10) == 0
		switch end := &a.segments[len(a.segments)-1]; {
		case a.long: // a GOP that is longer than a cell
			*end = withLength(*end, 2*timeline.CellTicks)
		case a.rnd.IntN(10) == 0: // it breaks off
			*end = withLength(*end, timeline.CellTicks/4)
		}
	case 6, 7:
		if len(a.segments) > 3 {
			a.segments, a.expired = slices.Clone(a.segments[1:]), true
		}
	case 8:
		a.fill()
	case 9:
		a.repair()
	}
}

func (a *changing) add(s archive.Segment) {
	s.Slot.InitSet[0] = a.init
	a.segments = append(slices.Clone(a.segments), s)
}

// fill fetches a segment of a gap, or what lies before the head.
func (a *changing) fill() {
	i := a.rnd.IntN(len(a.segments))
	if i == 0 && a.expired {
		return // what has expired does not come back
	}
	b := &a.segments[i]
	s := segmentAt(b.Slot.Timeline[0], b.Slot.AbsCell()-1, int64(b.Start.Sub(began)/timeline.CellTicks.Duration())-1)
	s.Slot.InitSet = b.Slot.InitSet
	if i > 0 {
		before := &a.segments[i-1]
		if before.Slot.Timeline != b.Slot.Timeline || before.Slot.InitSet != b.Slot.InitSet || before.U(before.Info.End) > s.U(s.Info.Start) ||
			before.Info.End-before.Info.Start != timeline.CellTicks {
			return
		}
	}
	a.segments = slices.Insert(slices.Clone(a.segments), i, s)
}

// repair puts whole segments in the place of those that broke off.
func (a *changing) repair() {
	a.segments = slices.Clone(a.segments)
	for i := range a.segments {
		s := &a.segments[i]
		*s = withLength(*s, max(s.Info.End-s.Info.Start, timeline.CellTicks))
	}
}
