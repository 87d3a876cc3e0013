package recorder

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// newWrongClock is a stream whose source is seen first while the clock is off by as much, and nobody can say that it is. right is what it should
// show.
func newWrongClock(t *testing.T, off time.Duration, rule store.Rule) (d *diskBench, a *store.Stream, right time.Time) {
	t.Helper()
	d = newDiskBench(t)
	d.unsure.Store(true)
	right = d.clock.Now()
	d.clock.wall = d.clock.wall.Add(off)
	a, err := d.store.Stream("tv")
	if err != nil {
		t.Fatal(err)
	}
	a.SetRetention(rule)
	d.s.cfg.Retention = rule
	d.p = d.producer(udp, content{name: "tv", base: base}, d.clock.mono, "here")
	d.p.progress()
	return d, a, right
}

// TestClockThatWasWrongAtTheStart: a host comes up with its clock days off, and a timeline begins by it. Minutes later the clock is set
// and synchronised. Nothing that is recorded on the timeline is days old, or of the future: retention keeps it, and it has its time.
func TestClockThatWasWrongAtTheStart(t *testing.T) {
	const days = 24 * time.Hour
	for name, c := range map[string]struct {
		off     time.Duration
		restart bool // dvrsvc is started again before the clock is set
	}{
		"behind":          {-30 * days, false},
		"ahead":           {30 * days, false},
		"behind, restart": {-30 * days, true},
		"ahead, restart":  {30 * days, true},
	} {
		t.Run(name, func(t *testing.T) {
			off, rule := c.off, store.Rule{Age: 3 * days}
			d, a, right := newWrongClock(t, off, rule)
			for k := range 20 {
				if k == 2 && c.restart {
					d.s.putKept()
					d.s.close(context.Canceled)
					d.run()
					d.s.cfg.Retention = rule
					a.SetRetention(rule)
					d.p.connect()
					d.p.progress()
				}
				if k == 3 {
					d.clock.wall = d.clock.wall.Add(-off)
					d.unsure.Store(false)
				}
				d.pass(segTime)
				d.send(k)
				d.commit()
				if err := d.store.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			d.s.putKept()
			if n := a.Summary().Segments; n != 20 {
				t.Errorf("%d of 20 segments of the last two minutes are here, with a retention of 3 days; they are of %s, and it is %s", n, a.Summary().Last, d.clock.Now())
			}
			k := 0
			for c, err := range a.Segments(time.Time{}, time.Time{}, false) {
				if err != nil {
					t.Fatal(err)
				}
				if at := right.Add(time.Duration(k) * segTime); c.UTC.Sub(at).Abs() > segTime {
					t.Errorf("segment %d is of %s, want %s", k, c.UTC, at)
				}
				k++
			}
		})
	}
}

// TestClockThatGoesWrong: a timeline that began by a right clock follows none that leaps, whatever the kernel says of that.
func TestClockThatGoesWrong(t *testing.T) {
	d := newDiskBench(t)
	began := d.clock.Now()
	a, err := d.store.Stream("tv")
	if err != nil {
		t.Fatal(err)
	}
	d.p = d.producer(udp, content{name: "tv", base: base}, d.clock.mono, "here")
	d.p.progress()
	for k := range 6 {
		if k == 3 {
			d.clock.wall = d.clock.wall.Add(30 * 24 * time.Hour)
		}
		d.pass(segTime)
		d.send(k)
		d.commit()
	}
	d.s.putKept()
	if s := a.Summary(); s.First.Sub(began).Abs() > segTime || s.Last.Sub(began) > 8*segTime {
		t.Errorf("recorded from %s on: %s to %s", began, s.First, s.Last)
	}
}

// TestRecordedByAWrongClock: what was recorded before the clock was set stays, and has about its time: also where retention looks first, where
// the source went away or jumped before anything could be told of it, and where dvrsvc was restarted then.
func TestRecordedByAWrongClock(t *testing.T) {
	const days = 24 * time.Hour
	for _, off := range []time.Duration{-30 * days, 30 * days} {
		for name, c := range map[string]struct {
			jump, gone, restart bool
		}{
			"retention looks first": {},
			"source jumped":         {jump: true},
			"source is gone":        {gone: true},
			"gone, and restart":     {gone: true, restart: true},
			"jumped, and restart":   {jump: true, restart: true},
		} {
			t.Run(fmt.Sprint(name, off < 0), func(t *testing.T) {
				rule := store.Rule{Age: 3 * days}
				d, a, right := newWrongClock(t, off, rule)
				for k := range 3 {
					d.pass(segTime)
					d.send(k)
					d.commit()
				}
				if c.jump {
					d.p.stretch++
					d.p.began -= 7 * time.Hour
					d.pass(segTime)
				}
				if c.restart {
					d.s.putKept()
					d.s.close(context.Canceled)
					d.run()
					d.s.cfg.Retention = rule
					a.SetRetention(rule)
				}
				if c.gone {
					d.bench.pass(time.Minute)
				}
				d.clock.wall = d.clock.wall.Add(-off)
				d.unsure.Store(false)
				if err := d.store.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
				if !c.gone {
					if c.restart {
						d.p.connect()
					}
					d.pass(segTime)
				}
				d.bench.pass(time.Minute)
				d.s.putKept()
				if err := d.store.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
				n, restarted := 0, c.restart
				for c, err := range a.Segments(time.Time{}, time.Time{}, false) {
					if err != nil {
						t.Fatal(err)
					}
					slack := time.Second
					if restarted {
						slack = 2 * time.Minute
					}
					if at := right.Add(time.Duration(n) * segTime); c.UTC.Sub(at).Abs() > slack {
						t.Errorf("segment %d is of %s, want %s", n, c.UTC, at)
					}
					n++
				}
				if n != 3 {
					t.Errorf("%d of 3 segments are here", n)
				}
				for _, r := range a.Timelines() {
					if r.Unsure {
						t.Errorf("timeline %s is not told right", r.ID)
					}
				}
			})
		}
	}
}

// TestWrongBy: a row is moved by what another one of that time was wrong by, or so that it ends now, and only where its own times cannot be.
func TestWrongBy(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Unix(1_800_000_000, 0)
	for name, c := range map[string]struct {
		end, known, keep, want time.Duration // end: from now
	}{
		"true times":                                  {end: -time.Hour, keep: 3 * day},
		"true times, another row was behind":          {end: -time.Hour, known: 30 * day, keep: 3 * day},
		"true times, another row was ahead":           {end: -time.Hour, known: -30 * day, keep: 3 * day},
		"behind, as another":                          {end: -30*day - time.Hour, known: 30 * day, keep: 3 * day, want: 30 * day},
		"behind, as another, and would not expire":    {end: -30*day - time.Hour, known: 30 * day, want: 30 * day},
		"behind, and nothing known":                   {end: -30*day - time.Hour, keep: 3 * day, want: 30*day + time.Hour},
		"behind, nothing known, and would not expire": {end: -30 * day},
		"behind, another less":                        {end: -30*day - time.Hour, known: 40 * day, keep: 3 * day, want: 30*day + time.Hour},
		"ahead, as another":                           {end: 30*day - time.Hour, known: -30 * day, keep: 3 * day, want: -30 * day},
		"ahead, and nothing known":                    {end: 30*day - time.Hour, keep: 3 * day, want: -30*day + time.Hour},
		"ahead by more than another":                  {end: 30 * day, known: -10 * day, want: -30 * day},
		"of the future, where another row was behind": {end: day, known: 30 * day, want: -day},
	} {
		r := row{Row: store.Row{Mapping: timeline.Mapping{{U: timeline.Wrap, UTC: now.Add(c.end).UnixNano()}}}}
		if got := r.wrongBy(timeline.Wrap, c.known, now, c.keep); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
