package store

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// again gives m in a row that was at the same place of the source's clock so much later.
func (x *site) again(m *made, later time.Duration) *made {
	x.t.Helper()
	row := Row{ID: segment.TimelineID{9}, Mapping: timeline.Mapping{{U: timeline.Wrap, UTC: testEpoch.Add(later).UnixNano()}}}
	if err := x.st.PutTimeline(row); err != nil {
		x.t.Fatal(err)
	}
	again := *m
	again.slot.Timeline = row.ID
	return &again
}

func (x *site) loseIndex() {
	x.t.Helper()
	if err := x.s.Close(); err != nil {
		x.t.Fatal(err)
	}
	x.index = newIndexFS()
	x.open()
}

// holds gives how many good copies a slot has.
func (x *site) holds(m *made) (n int) {
	x.t.Helper()
	copies, err := x.st.Copies(m.slot)
	if err != nil {
		x.t.Fatal(err)
	}
	for _, c := range copies {
		if !c.Quarantined {
			n++
		}
	}
	return n
}

// TestHeldInAnotherSlot: one site came to have two rows of one timeline, by a clock that was a little wrong at a restart.
// What is held in the one is durable in the other.
func TestHeldInAnotherSlot(t *testing.T) {
	for _, off := range []time.Duration{0, 4900 * time.Millisecond, -4900 * time.Millisecond} {
		x := newSite(t)
		m := x.whole(3)
		x.store(m, true)
		again := x.again(m, off)
		for _, live := range []bool{false, true} {
			r := x.store(again, live)
			if r.err != nil || r.out.Kept || r.out.By != m.info.Digest || r.out.Copy.Slot != m.slot {
				t.Errorf("%s, live %t: %v, kept %t, in %s", off, live, r.err, r.out.Kept, r.out.Copy.Slot)
			}
		}
		x.loseIndex()
		if c, err := x.st.find(m.info.Digest); err != nil || c.Slot != m.slot || x.holds(again) > 0 {
			t.Errorf("%s, with the index lost: in %s, %v", off, c.Slot, err)
		}
	}
}

// TestRepetition plays the same media twice, with the source's clock set back: each showing is a copy of its own slot.
func TestRepetition(t *testing.T) {
	for _, live := range []bool{false, true} {
		x := newSite(t)
		m := x.whole(0)
		x.store(m, true)
		again := x.again(m, 5*time.Second)
		x.clock.move(time.Minute)
		if r := x.store(again, live); r.err != nil || !r.out.Kept || r.out.Copy.Slot != again.slot {
			t.Errorf("live %t, the second showing: %v, kept %t, in %s", live, r.err, r.out.Kept, r.out.Copy.Slot)
		}
		if r := x.store(again, false); r.err != nil || r.out.Kept || r.out.Copy.Slot != again.slot {
			t.Errorf("live %t, the second showing, brought again: %v, kept %t, in %s", live, r.err, r.out.Kept, r.out.Copy.Slot)
		}
		for _, how := range []string{"as it is", "after a power cut", "with the index lost"} {
			switch how {
			case "after a power cut":
				x.powerCut(nil)
			case "with the index lost":
				x.loseIndex()
			}
			if x.holds(m) != 1 || x.holds(again) != 1 {
				t.Errorf("live %t, %s: %d copies and %d", live, how, x.holds(m), x.holds(again))
			}
			if r := x.st.Ranges(time.Time{}, time.Time{}); len(r) != 2 || r[0].Damaged || r[1].Damaged {
				t.Errorf("live %t, %s: %+v", live, how, r)
			}
			a, b := x.st.Digests(m.slot.Timeline, 0, 0), x.st.Digests(again.slot.Timeline, 0, 0)
			if len(a) != 1 || len(b) != 1 || a[0] != b[0] {
				t.Errorf("live %t, %s: block digests %+v and %+v", live, how, a, b)
			}
		}
	}
}

// TestRetentionOfOnePlace takes the first of two showings.
func TestRetentionOfOnePlace(t *testing.T) { // N8
	x := newSite(t)
	x.st.SetRetention(Rule{Age: time.Hour})
	m := x.whole(0)
	x.store(m, true)
	x.sweep()
	x.clock.move(30 * time.Minute)
	again := x.again(m, 30*time.Minute)
	x.store(again, true)
	x.clock.move(31 * time.Minute)
	x.sweep()
	if x.holds(m) != 0 || x.holds(again) != 1 {
		t.Errorf("%d copies and %d", x.holds(m), x.holds(again))
	}
	x.commit()
	x.loseIndex()
	if _, err := x.read(m.info.Digest); err != nil || x.holds(m) != 0 || x.holds(again) != 1 {
		t.Errorf("with the index lost: %d copies and %d, read: %v", x.holds(m), x.holds(again), err)
	}
}

// TestRotOfOnePlace spoils one of two showings: the other goes on as it was, and the spoilt one is healed where it lies.
func TestRotOfOnePlace(t *testing.T) { // faults 11
	for _, first := range []bool{false, true} {
		x := newSite(t)
		m := x.whole(0)
		x.store(m, true)
		again := x.again(m, time.Minute)
		x.clock.move(time.Minute)
		x.store(again, true)
		bad, good := again, m
		if first {
			bad, good = m, again
		}
		x.rot(bad)
		total, err := x.st.Verify(context.Background(), func(BadCopy) {})
		if err != nil || total.Copies != 2 || total.Bad != 1 || x.holds(bad) != 0 || x.holds(good) != 1 {
			t.Errorf("first %t: %+v, %v; %d copies and %d", first, total, err, x.holds(bad), x.holds(good))
		}
		if _, err := x.read(m.info.Digest); err != nil {
			t.Errorf("first %t: %v", first, err)
		}
		if r := x.store(bad, false); r.err != nil || !r.out.Kept || r.out.Copy.Slot != bad.slot {
			t.Errorf("first %t, the spoilt one again: %v, kept %t, in %s", first, r.err, r.out.Kept, r.out.Copy.Slot)
		}
		for range 2 {
			if total, err := x.st.Verify(context.Background(), func(BadCopy) {}); err != nil || total.Copies != 2 || total.Bad != 0 {
				t.Errorf("first %t, healed: %+v, %v", first, total, err)
			}
			x.loseIndex()
		}
	}
}

// TestEvidenceOfOnePlace hears that one of two showings was whole: that says nothing of the other.
func TestEvidenceOfOnePlace(t *testing.T) {
	x := newSite(t)
	m := x.whole(0).uncertain(false, true)
	x.store(m, true)
	again := x.again(m, time.Minute)
	x.clock.move(time.Minute)
	x.store(again, true)
	again.info.Evidence = segment.Evidence{}
	x.store(again, false)
	for range 2 {
		a, b := must(x.s.db.Get("cam", m.slot, m.info.Digest)), must(x.s.db.Get("cam", again.slot, m.info.Digest))
		if a.Info.Evidence.Whole() || !b.Info.Evidence.Whole() {
			t.Errorf("%+v and %+v", a.Info.Evidence, b.Info.Evidence)
		}
		x.loseIndex()
	}
}

// TestReplacedInTwoPlaces: what replaced a copy in one slot goes; its digest still leads to what replaced it in the other.
func TestReplacedInTwoPlaces(t *testing.T) { // I2
	for _, first := range []bool{false, true} {
		x := newSite(t)
		from, to := cellFrames(0)
		part, whole := x.make(from, to-20, nil, nil).uncertain(false, true), x.whole(0)
		x.store(part, true)
		x.clock.move(time.Minute)
		x.store(x.again(part, time.Minute), true)
		x.store(whole, false)
		if c, err := x.st.find(part.info.Digest); err != nil || c.Slot == part.slot {
			t.Errorf("first %t, replaced in one: in %s, %v", first, c.Slot, err)
		}
		again := x.again(whole, time.Minute)
		x.store(again, false)
		gone := again
		if first {
			gone = whole
		}
		tx := x.s.db.Begin()
		if _, err := x.st.remove(tx, index.Row{Slot: gone.slot, Digest: gone.info.Digest}); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		var by *SupersededError
		if _, err := x.st.find(part.info.Digest); !errors.As(err, &by) || by.By != whole.info.Digest {
			t.Errorf("first %t: %v", first, err)
		}
	}
}

// TestDigestsKnowNoClock: two sites that hold the same see it by their digests, whatever the time is at each (interleaving 6).
func TestDigestsKnowNoClock(t *testing.T) {
	x, y := newSite(t), newSite(t)
	y.row = segment.TimelineID{4}
	if err := y.st.PutTimeline(Row{ID: y.row, Mapping: timeline.Mapping{{U: timeline.Wrap, UTC: testEpoch.Add(-time.Hour).UnixNano()}}}); err != nil {
		t.Fatal(err)
	}
	for cell := range 3 {
		x.store(x.whole(cell), true)
		y.store(y.whole(cell), true)
	}
	if a, b := x.st.Digests(x.row, 0, 0), y.st.Digests(y.row, 0, 0); len(a) != 1 || !slices.Equal(a, b) {
		t.Errorf("digests are %v and %v", a, b)
	}
}

// TestSentAgainIsWrittenOnce: what a producer that missed a release brings again is released, and takes no room (interleaving 13).
func TestSentAgainIsWrittenOnce(t *testing.T) {
	x := newSite(t)
	m := x.whole(0)
	x.store(m, true)
	size := func() (sum int64) {
		entries, err := x.disk.ReadDir("/storage/cam")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			f, err := x.disk.Open("/storage/cam/" + e.Name())
			if err != nil {
				t.Fatal(err)
			}
			n, err := f.Size()
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
		return sum
	}
	before := size()
	x.store(m, false)
	if after := size(); after != before {
		t.Errorf("%d bytes became %d", before, after)
	}
}
