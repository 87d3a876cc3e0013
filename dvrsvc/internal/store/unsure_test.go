package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// TestUnsureTimeline: what was recorded when nobody could say that the clock is right does not go by age as soon as somebody can, since who
// records it sets it right first. It goes by age where nobody ever can, as on a host that asks no other clock, and where nobody records it.
func TestUnsureTimeline(t *testing.T) {
	rule := Rule{Age: time.Hour}
	for name, c := range map[string]struct {
		right, unsure bool
		leave         bool
		want          string
	}{
		"the clock is right":              {right: true, unsure: true, want: "xx"},
		"and the times were set right":    {right: true, want: "--"},
		"nobody can say":                  {unsure: true, want: "--"},
		"nobody records it":               {right: true, unsure: true, leave: true, want: "--"},
		"nobody can say, or records it":   {unsure: true, leave: true, want: "--"},
		"set right, and nobody does more": {right: true, leave: true, want: "--"},
	} {
		for how, restart := range map[string]func(*site){"at once": func(*site) {}, "restart": func(x *site) { x.powerCut(nil) }} {
			t.Run(name+", "+how, func(t *testing.T) {
				x := newSite(t)
				r := must2(x.st.Timeline(x.row))
				r.Unsure = c.unsure
				if err := x.st.PutTimeline(r); err != nil {
					t.Fatal(err)
				}
				all := []*made{x.whole(0), x.whole(1)}
				for _, m := range all {
					x.store(m, true)
				}
				x.st.SetRetention(rule)
				restart(x)
				if c.leave {
					x.st.Leave(Limit{})
				} else {
					x.st.SetRetention(rule)
				}
				x.sweep()
				x.clock.move(2 * time.Hour)
				if c.right {
					clockIsRight(x.s)
				}
				x.sweep()
				restart(x)
				if c.right {
					clockIsRight(x.s)
				}
				if c.leave {
					x.st.Leave(Limit{})
				} else {
					x.st.SetRetention(rule)
				}
				x.sweep()
				if got := x.held(all); got != c.want {
					t.Errorf("held %s, want %s", got, c.want)
				}
			})
		}
	}
}

// TestLockOfATimelineSetRight: what an operator locked or deleted by the times that a timeline had stays so when its times are set right, and
// what he locked of another one too.
func TestLockOfATimelineSetRight(t *testing.T) {
	for _, off := range []time.Duration{-2 * time.Hour, 2 * time.Hour, -30 * 24 * time.Hour} {
		for name, restart := range restarts {
			t.Run(fmt.Sprint(off, " ", name), func(t *testing.T) {
				x := newSite(t)
				wrong := Row{ID: segment.TimelineID{9}, Mapping: timeline.Mapping{{U: timeline.Wrap, UTC: testEpoch.Add(off).UnixNano()}}}
				if err := x.st.PutTimeline(wrong); err != nil {
					t.Fatal(err)
				}
				later := x.whole(700) // of another timeline
				x.store(later, true)
				x.row = wrong.ID
				all := []*made{x.whole(0), x.whole(1), x.whole(2), x.whole(3)}
				for _, m := range all {
					m.slot.Timeline = wrong.ID
					x.store(m, true)
				}
				x.clock.move(2 * time.Minute)
				x.clock.wall = x.clock.wall.Add(off)
				x.lock("news", x.at(0).Add(off), x.at(1).Add(off))
				x.lock("other", x.at(700), x.at(701))
				x.lock("more", x.at(2).Add(off+time.Second), x.at(2).Add(off+2*time.Second))
				x.delete(x.at(3).Add(off), x.at(5).Add(off))
				wrong.Mapping = timeline.Mapping{{U: timeline.Wrap, UTC: testEpoch.UnixNano()}, {U: timeline.Wrap + 1, UTC: testEpoch.UnixNano() + 11111}}
				x.clock.wall = x.clock.wall.Add(-off)
				for range 2 { // the second time it is where it is
					if err := x.st.PutTimeline(wrong); err != nil {
						t.Fatal(err)
					}
				}
				restart(x)
				var got []string
				for _, l := range x.st.Locks() {
					got = append(got, fmt.Sprint(l.ID, " ", l.From.Sub(testEpoch).Round(time.Second), " ", l.To.Sub(l.From).Round(time.Second), " ", l.Owner))
				}
				if want := []string{"news 0s 6s news", "more 13s 1s news", "other 1h7m58s 6s news"}; !slices.Equal(got, want) {
					t.Errorf("locks %q, want %q", got, want)
				}
				if r := x.store(all[3], false); !errors.Is(r.err, errs.ErrDeleted) {
					t.Errorf("what was deleted came back: %v", r.err)
				}
				x.st.SetRetention(Rule{Age: time.Hour})
				clockIsRight(x.s)
				x.sweep()
				x.clock.move(24 * time.Hour)
				clockIsRight(x.s)
				x.sweep()
				if got := x.held(all) + x.held([]*made{later}); got != "x-x-x" {
					t.Errorf("held %s", got)
				}
			})
		}
	}
}

// TestLockOfTwoTimelines: a lock that is also of media of a timeline that stays where it is, stays too; and media of such a timeline is not
// deleted by what was said of another one.
func TestLockOfTwoTimelines(t *testing.T) {
	for _, delete := range []bool{false, true} {
		x := newSite(t)
		wrong := Row{ID: segment.TimelineID{9}, Mapping: timeline.Mapping{{U: timeline.Wrap, UTC: testEpoch.Add(-2 * time.Hour).UnixNano()}}}
		if err := x.st.PutTimeline(wrong); err != nil {
			t.Fatal(err)
		}
		stays := x.whole(3)
		x.store(stays, true)
		x.row = wrong.ID
		for _, m := range []*made{x.whole(2), x.whole(3)} {
			m.slot.Timeline = wrong.ID
			x.store(m, true)
		}
		x.clock.move(2 * time.Minute)
		if delete {
			x.delete(x.at(3).Add(-2*time.Hour), x.at(5).Add(-2*time.Hour))
		} else {
			x.lock("wide", x.at(0).Add(-2*time.Hour), x.at(3).Add(time.Second))
		}
		wrong.Mapping = timeline.Mapping{{U: timeline.Wrap, UTC: testEpoch.UnixNano()}, {U: timeline.Wrap + 1, UTC: testEpoch.UnixNano() + 11111}}
		if err := x.st.PutTimeline(wrong); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, l := range x.st.Locks() {
			got += fmt.Sprint(l.From.Sub(testEpoch).Round(time.Second), " ", l.To.Sub(l.From).Round(time.Second), " ", l.Owner, "; ")
		}
		if want := "-2h0m0s 2h0m18s news; 0s 2h0m18s news; "; !delete && got != want {
			t.Errorf("locks %q, want %q", got, want)
		}
		x.powerCut(nil)
		if got := x.held([]*made{stays}); got != "x" {
			t.Errorf("held %s of the other timeline", got)
		}
	}
}
