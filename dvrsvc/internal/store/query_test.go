package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// TestGaps looks for gaps through windows that begin, end or lie in one.
func TestGaps(t *testing.T) {
	x := newSite(t)
	for _, cell := range []int{0, 1, 5, 6} {
		x.store(x.whole(cell), true)
	}
	second := segment.TimelineID{9}
	later := testEpoch.Add(time.Minute)
	if err := x.st.PutTimeline(Row{ID: second, Mapping: timeline.Mapping{{U: timeline.Wrap, UTC: later.UnixNano()}}}); err != nil {
		t.Fatal(err)
	}
	last := x.make(1, 200, nil, nil) // of other bytes, as the same ones would be in another slot
	last.slot.Timeline = second
	x.store(last, true)

	frame := func(n int) time.Time { return testEpoch.Add(timeline.Ticks(n * testFrame).Duration()) }
	_, a := cellFrames(1)
	b, _ := cellFrames(5)
	_, c := cellFrames(6)
	near := func(a, b time.Time) bool { return a.Sub(b).Abs() < 20*time.Microsecond } // a tick
	type gap struct {
		from, to time.Time
		reason   string
	}
	hole := gap{frame(a), frame(b), "unknown"}
	change := gap{frame(c), later.Add(timeline.Ticks(testFrame).Duration()), "timeline_change"}
	for name, w := range map[string]struct {
		from, to time.Time
		want     []gap
	}{
		"all":             {time.Time{}, time.Time{}, []gap{hole, change}},
		"inside a hole":   {frame(a + 10), frame(b - 10), []gap{{frame(a + 10), frame(b - 10), "unknown"}}},
		"begins in one":   {frame(a + 10), frame(b + 10), []gap{{frame(a + 10), frame(b), "unknown"}}},
		"ends in one":     {frame(a - 10), frame(b - 10), []gap{{frame(a), frame(b - 10), "unknown"}}},
		"beside one":      {frame(0), frame(a), nil},
		"between the two": {frame(c + 10), frame(c + 20), []gap{{frame(c + 10), frame(c + 20), "timeline_change"}}},
		"behind all":      {later.Add(time.Hour), time.Time{}, nil},
		"before all":      {time.Time{}, testEpoch.Add(-time.Hour), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := x.st.Gaps(w.from, w.to)
			if len(got) != len(w.want) {
				t.Fatalf("%+v, want %+v", got, w.want)
			}
			for i, g := range got {
				want := w.want[i]
				if !near(g.From, want.from) || !near(g.To, want.to) || g.Reason != want.reason {
					t.Errorf("%+v, want %+v", g, want)
				}
				if d := g.Ticks.Duration() - g.To.Sub(g.From); d.Abs() > time.Millisecond {
					t.Errorf("%d ticks in %v", g.Ticks, g.To.Sub(g.From))
				}
			}
		})
	}
}

// TestLate: what a peer repairs is told apart from what came live, its own or a peer's, also where it takes the place of that, in
// another data file, and after a rebuild.
func TestLate(t *testing.T) {
	x := newSite(t)
	from := func(m *made, path ...string) *made { m.info.Path = path; return m }
	from2, to2 := cellFrames(2)
	x.store(x.whole(0), true)
	x.store(from(x.whole(1), "b"), true)                     // a peer's live
	x.store(x.make(from2, to2, []int{from2 + 5}, nil), true) // lacks one frame
	x.store(from(x.whole(2), "b"), false)                    // which a peer has
	x.store(from(x.whole(3), "a", "b"), false)               // our own, which a peer kept
	x.store(x.whole(4), false)                               // from the ring of our own input
	x.store(x.whole(5), true)
	check := func(when string) {
		t.Helper()
		var late []int
		for _, r := range x.st.Parts(time.Time{}, time.Time{}) {
			cells := int((r.To.Sub(r.From) + time.Second) / timeline.CellTicks.Duration())
			if r.LateTicks > 0 && (r.LateTicks.Duration()-r.To.Sub(r.From)).Abs() > time.Millisecond {
				t.Errorf("%s: %s of %+v is late", when, r.LateTicks.Duration(), r)
			}
			if r.LateTicks > 0 {
				cells = -cells
			}
			late = append(late, cells)
		}
		if len(late) != 3 || late[0] != 2 || late[1] != -2 || late[2] != 2 {
			t.Errorf("%s: cells by whether they are late: %v", when, late)
		}
		if all := x.st.Ranges(time.Time{}, time.Time{}); len(all) != 1 || (all[0].LateTicks.Duration()-2*timeline.CellTicks.Duration()).Abs() > 100*time.Millisecond {
			t.Errorf("%s: ranges %+v", when, all)
		}
	}
	check("as it came")
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	x.index = newIndexFS()
	x.open()
	check("after a rebuild")
}

// TestGapsOfTwoTimelines: inputs with clocks of their own have a row each, and the live stream goes from one to the other and back. What
// the one lacks and the other has is no gap; what neither has is one.
func TestGapsOfTwoTimelines(t *testing.T) {
	x := newSite(t)
	frame := func(n int) time.Time { return testEpoch.Add(timeline.Ticks(n * testFrame).Duration()) }
	second := segment.TimelineID{9}
	if err := x.st.PutTimeline(Row{ID: second, Mapping: timeline.Mapping{{U: timeline.Wrap, UTC: testEpoch.UnixNano()}}}); err != nil {
		t.Fatal(err)
	}
	store := func(row segment.TimelineID, from, to int) {
		m := x.make(from, to, nil, nil)
		m.slot.Timeline = row
		x.store(m, true)
	}
	gaps := func() (out []string) {
		for _, g := range x.st.Gaps(time.Time{}, time.Time{}) {
			out = append(out, fmt.Sprintf("%s+%s %s", g.From.Sub(testEpoch).Round(time.Millisecond), g.To.Sub(g.From).Round(time.Millisecond), g.Reason))
		}
		return out
	}
	store(x.row, 0, 273)
	store(x.row, 1000, 1200)
	if got, want := gaps(), []string{fmt.Sprintf("%s+%s unknown", frame(273).Sub(testEpoch).Round(time.Millisecond), frame(1000).Sub(frame(273)).Round(time.Millisecond))}; !slices.Equal(got, want) {
		t.Errorf("one row: %q, want %q", got, want)
	}
	store(second, 260, 546)
	store(second, 546, 819)
	store(second, 819, 980)
	want := []string{fmt.Sprintf("%s+%s timeline_change", frame(980).Sub(testEpoch).Round(time.Millisecond), frame(1000).Sub(frame(980)).Round(time.Millisecond))}
	if got := gaps(); !slices.Equal(got, want) {
		t.Errorf("two rows: %q, want %q", got, want)
	}
	store(second, 980, 1010)
	if got := gaps(); len(got) > 0 {
		t.Errorf("gaps %q where there is none", got)
	}
}

// TestSegmentsOfTwoTimelines: where the live stream went to an input with a clock of its own and came back, what that brought stands
// between what the first had before and after, and not behind all of it.
func TestSegmentsOfTwoTimelines(t *testing.T) {
	x := newSite(t)
	second := segment.TimelineID{9}
	if err := x.st.PutTimeline(Row{ID: second, Mapping: timeline.Mapping{{U: timeline.Wrap, UTC: testEpoch.UnixNano()}}}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		row   segment.TimelineID
		cells []int
	}{{x.row, []int{0, 1, 6, 7}}, {second, []int{2, 3, 5}}} {
		for _, cell := range s.cells {
			m := x.whole(cell)
			m.slot.Timeline = s.row
			x.store(m, true)
		}
	}
	list := func(from, to time.Time) (out []string) {
		for c, err := range x.st.Segments(from, to, false) {
			if err != nil {
				t.Fatal(err)
			}
			row := "first "
			if c.Slot.Timeline == second {
				row = "second "
			}
			out = append(out, row+fmt.Sprint(c.Slot.Cell))
		}
		return out
	}
	want := []string{"first 0", "first 1", "second 2", "second 3", "second 5", "first 6", "first 7"}
	if got := list(time.Time{}, time.Time{}); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := list(x.at(1).Add(time.Second), x.at(6).Add(time.Second)); !slices.Equal(got, want[1:6]) {
		t.Errorf("of a window %q, want %q", got, want[1:6])
	}
}
