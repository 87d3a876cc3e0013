package recorder

import (
	"context"
	"testing"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
)

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
			off := c.off
			d := newDiskBench(t)
			d.unsure.Store(true)
			right := d.clock.Now()
			d.clock.wall = d.clock.wall.Add(off)
			a, err := d.store.Stream("tv")
			if err != nil {
				t.Fatal(err)
			}
			a.SetRetention(store.Rule{Age: 3 * days})
			d.cfg.Retention = store.Rule{Age: 3 * days}
			d.p = d.producer(udp, content{name: "tv", base: base}, d.clock.mono, "here")
			d.p.progress()
			for k := range 20 {
				if k == 2 && c.restart {
					d.s.putKept()
					d.s.close(context.Canceled)
					d.run()
					d.cfg.Retention = store.Rule{Age: 3 * days}
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
