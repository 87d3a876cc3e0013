package store

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/pkg/vfs"
)

func (x *site) sweep() {
	x.t.Helper()
	if err := x.s.Sweep(context.Background()); err != nil {
		x.t.Fatal(err)
	}
}

func TestRetention(t *testing.T) { // N8
	x := newSite(t)
	var all []*made
	for cell := range 20 {
		all = append(all, x.whole(cell))
		x.store(all[cell], cell%2 == 0)
		x.clock.move(5825 * time.Millisecond)
	}
	x.st.SetRetention(Rule{Age: time.Hour})
	sweep := x.sweep
	left := func() int { return int(x.st.Summary().Segments) }
	sweep()
	if left() != 20 {
		t.Fatalf("%d left before anything has expired", left())
	}
	x.clock.move(time.Hour - 10*5825*time.Millisecond)
	sweep()
	if n := left(); n < 9 || n > 11 {
		t.Fatalf("%d left", n)
	}
	n := left()
	if _, err := x.begin(all[2], false); !errors.Is(err, errs.ErrExpired) {
		t.Errorf("backfill of what has expired: %v", err)
	}
	x.powerCut(nil)
	x.st.SetRetention(Rule{Age: time.Hour})
	if _, err := x.begin(all[2], false); !errors.Is(err, errs.ErrExpired) {
		t.Errorf("backfill of what has expired, after a restart: %v", err)
	}
	x.clock.wall = x.clock.wall.Add(1000 * time.Hour) // the wall clock leaps
	sweep()
	if left() != n {
		t.Errorf("a leap of the clock took %d", n-left())
	}
	x.clock.wall = x.clock.wall.Add(-1000 * time.Hour)
	x.clock.move(2 * time.Minute)
	sweep()
	if left() != 0 {
		t.Errorf("%d left at the end", left())
	}
	x.commit()
	x.clock.move(3 * time.Minute)
	x.commit()
	x.commit()
	entries, _ := x.disk.ReadDir("/storage/cam")
	for _, e := range entries {
		if _, ok := fileNumber(e.Name()); ok {
			t.Errorf("%s is still there", e.Name())
		}
	}
}

// TestClockRanAhead begins a stream under a clock that is years ahead, which is then put right: what is recorded
// afterwards stays, whatever happens (N8).
func TestClockRanAhead(t *testing.T) {
	for name, then := range map[string]func(*site){
		"nothing":            func(*site) {},
		"power cut":          func(x *site) { x.powerCut(nil) },
		"the index is lost":  func(x *site) { x.down(true); x.open() },
		"so is the state":    func(x *site) { x.down(true); _ = x.disk.Remove("/storage/cam/state"); x.open() },
		"the clock is right": func(x *site) { clockIsRight(x.s) },
	} {
		t.Run(name, func(t *testing.T) {
			x := &site{t: t, disk: vfs.NewMem(), index: newIndexFS(), row: segment.TimelineID{1, 2, 3},
				clock: &testClock{wall: testEpoch.AddDate(4, 0, 0), mono: time.Hour}}
			x.start()
			x.st.SetRetention(Rule{Age: 72 * time.Hour})
			x.sweep()
			x.clock.wall = testEpoch
			m := x.whole(0)
			x.store(m, true)
			for range 3 {
				x.clock.move(time.Minute)
				x.sweep()
				then(x)
				x.st.SetRetention(Rule{Age: 72 * time.Hour})
			}
			if _, err := x.read(m.info.Digest); err != nil {
				t.Error(err)
			}
			clockIsRight(x.s)
			x.sweep()
			if _, err := x.begin(x.whole(1), false); err != nil {
				t.Errorf("backfill when the clock is known to be right: %v", err)
			}
			x.clock.move(73 * time.Hour)
			x.sweep()
			if _, err := x.read(m.info.Digest); err == nil {
				t.Error("it never expires")
			}
		})
	}
}

// TestClockInDoubt: of a stream that nothing is taken of by age a leap of the clock holds nothing back.
func TestClockInDoubt(t *testing.T) {
	for age, want := range map[time.Duration]bool{0: false, 72 * time.Hour: true} {
		x := newSite(t)
		x.st.SetRetention(Rule{Age: age})
		clockIsRight(x.s)
		x.sweep()
		x.store(x.whole(0), true)
		x.clock.wall = x.clock.wall.Add(24 * time.Hour)
		x.sweep()
		if got := x.st.ClockInDoubt(); got != want {
			t.Errorf("retention %v: in doubt %v", age, got)
		}
	}
}

// TestClockSteps steps the clock ahead by more than retention may be out (N8), and says that it is right.
func TestClockSteps(t *testing.T) {
	for _, c := range []struct{ rule, step time.Duration }{
		{30 * time.Minute, 50 * time.Minute}, {30 * time.Minute, 4 * time.Minute}, {72 * time.Hour, 73 * time.Hour}, {time.Minute, 10 * time.Second},
	} {
		x := newSite(t)
		x.st.SetRetention(Rule{Age: c.rule})
		x.sweep()
		m := x.whole(0)
		x.store(m, true)
		x.clock.move(c.rule - time.Second)
		x.clock.wall = x.clock.wall.Add(c.step)
		x.sweep()
		if _, err := x.read(m.info.Digest); err != nil {
			t.Errorf("retention %v, step %v: %v", c.rule, c.step, err)
		}
		clockIsRight(x.s)
		x.sweep()
		if _, err := x.read(m.info.Digest); err == nil && c.step > 10*time.Second {
			t.Errorf("retention %v, step %v: it goes on waiting", c.rule, c.step)
		}
		x.clock.wall = x.clock.wall.Add(100 * c.rule)
		n := x.whole(200)
		x.store(n, true)
		x.sweep()
		if _, err := x.read(n.info.Digest); err != nil {
			t.Errorf("retention %v: what was said of the clock holds for another leap: %v", c.rule, err)
		}
	}
}

// TestLateRule gives a stream that was kept for ever a retention while the clock is years ahead.
func TestLateRule(t *testing.T) {
	x := newSite(t)
	x.st.SetRetention(Rule{Age: 0})
	m := x.whole(0)
	x.store(m, true)
	x.sweep()
	x.powerCut(nil)
	x.clock.wall = x.clock.wall.AddDate(4, 0, 0)
	x.st.SetRetention(Rule{Age: 72 * time.Hour})
	x.sweep()
	if _, err := x.read(m.info.Digest); err != nil {
		t.Error(err)
	}
}

// TestSweepInPieces expires a backlog: a commit waits for a piece of it alone.
func TestSweepInPieces(t *testing.T) {
	x := newSite(t)
	m := x.whole(0)
	x.store(m, true)
	full := must(x.s.db.Get("cam", m.slot, m.info.Digest))
	const n = 2*sweepBatch + 10
	tx := x.s.db.Begin()
	for i := 1; i < n; i++ {
		c := full
		c.Slot.Cell = uint16(i)
		c.Info.Tracks = slices.Clone(c.Info.Tracks)
		shift := timeline.Ticks(i) * timeline.CellTicks
		c.Info.Start, c.Info.End = c.Info.Start+shift, c.Info.End+shift
		for k := range c.Info.Tracks {
			c.Info.Tracks[k].Start, c.Info.Tracks[k].End = c.Info.Start, c.Info.End
		}
		c.Info.Digest = segment.Sum([]byte{byte(i), byte(i >> 8)})
		if err := tx.Put("cam", &c); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	x.st.SetRetention(Rule{Age: time.Hour})
	x.sweep()
	x.clock.move(30 * 24 * time.Hour)
	for left, more := n, true; more; {
		var err error
		if more, err = x.s.sweep(context.Background()); err != nil {
			t.Fatal(err)
		}
		now := int(x.st.Summary().Copies)
		if want := max(0, left-sweepBatch); now != want || more != (now < left) {
			t.Fatalf("%d copies are left of %d, want %d; more %v", now, left, want, more)
		}
		left = now
	}
	x.s = nil // its rows led to bytes that were never there
}

// TestRowGoesBeforeTheSeal: retention takes a row that holds nothing while a copy for it is gathered. The copy is not too
// old, so it can be asked for again, and its row put anew.
func TestRowGoesBeforeTheSeal(t *testing.T) {
	x := newSite(t)
	x.st.SetRetention(Rule{Age: time.Hour})
	x.sweep()
	m := x.whole(1000) // 97 min behind the only point of its row
	x.clock.move(100 * time.Minute)
	x.again(m, 0) // a younger row
	c, err := x.feed(m, false, -1)
	if err != nil {
		t.Fatal(err)
	}
	x.sweep()
	if _, ok := x.st.Timeline(m.slot.Timeline); ok {
		t.Fatal("the row is still there")
	}
	var r result
	if err := c.Seal(m.info, func(o Outcome, err error) { r = result{o, err, r.told + 1} }); err != nil {
		t.Fatal(err)
	}
	x.commit()
	if r.told != 1 || !errors.Is(r.err, errs.ErrUnknown) || errors.Is(r.err, errs.ErrExpired) {
		t.Errorf("told %d times: %v", r.told, r.err)
	}
}
