package store

import (
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
