package store

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// TestClaimsAreNotBelieved: what a copy says of its tracks and its span is what its chunks say.
func TestClaimsAreNotBelieved(t *testing.T) {
	for name, claim := range map[string]func(*segment.Info){
		"samples":  func(i *segment.Info) { i.Tracks[0].Samples += 1000 },
		"bytes":    func(i *segment.Info) { i.Tracks[1].Bytes++ },
		"spans":    func(i *segment.Info) { i.Tracks[0].Start -= timeline.CellTicks; i.Tracks[1].End += timeline.Wrap },
		"the end":  func(i *segment.Info) { i.End += 100 * timeline.CellTicks },
		"no track": func(i *segment.Info) { i.Tracks = i.Tracks[:0] },
		"the start": func(i *segment.Info) {
			i.Start -= 3 * timeline.CellTicks
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newSite(t)
			m := x.whole(5)
			lie := *m
			lie.info.Tracks = append([]segment.Track(nil), m.info.Tracks...)
			claim(&lie.info)
			c, err := x.feed(m, false, -1)
			if err != nil {
				t.Fatal(err)
			}
			err = c.Seal(lie.info, func(Outcome, error) {})
			x.commit()
			if name == "no track" || name == "the start" {
				if err == nil {
					t.Error("it is taken")
				}
				return
			}
			got, find := x.st.find(m.info.Digest)
			if err != nil || find != nil {
				t.Fatal(err, find)
			}
			for k, want := range m.info.Tracks {
				if got.Info.Tracks[k] != want {
					t.Errorf("track %+v, want %+v", got.Info.Tracks[k], want)
				}
			}
			if got.Info.Start != m.info.Start || got.Info.End > m.info.End+slack {
				t.Errorf("from %d to %d, want %d to %d", got.Info.Start, got.Info.End, m.info.Start, m.info.End)
			}
		})
	}
}

// TestFullSlotKeepsTheBest: a slot that is full gives up the worst of what did not come live from here, whatever came
// first; what comes live is never refused.
func TestFullSlotKeepsTheBest(t *testing.T) {
	x := newSite(t)
	from, to := cellFrames(4)
	lacks := func(n, at int) *made { // n frames, each copy others
		var lost []int
		for k := range n {
			lost = append(lost, from+at+k)
		}
		return x.make(from, to, lost, nil)
	}
	var all []*made
	for k := range segment.MaxCopies {
		all = append(all, lacks(10-k, 10+20*k))
		if r := x.store(all[k], false); r.err != nil {
			t.Fatal(r.err)
		}
	}
	if r := x.store(lacks(20, 110), false); !errors.Is(r.err, errs.ErrConflictLimit) {
		t.Errorf("the worst of all: %v", r.err)
	}
	best, live := lacks(1, 140), lacks(30, 160)
	for _, m := range []*made{best, live} {
		if r := x.store(m, m == live); r.err != nil || !r.out.Kept {
			t.Errorf("%v, kept %t", r.err, r.out.Kept)
		}
	}
	copies, err := x.st.Copies(best.slot)
	if err != nil {
		t.Fatal(err)
	}
	var kept []segment.Digest
	for _, c := range copies {
		kept = append(kept, c.Info.Digest)
	}
	if !sameSet(kept, []*made{best, live, all[2], all[3]}) || kept[0] != best.info.Digest {
		t.Errorf("the slot keeps %v", kept)
	}
}

// TestFullSlotGivesUpWhatRanOver: of copies of which each ends later than the one before, at cuts that some may have lost, the one that ends first holds the least, and is the
// last that a full slot gives up.
func TestFullSlotGivesUpWhatRanOver(t *testing.T) {
	x := newSite(t)
	from, to := cellFrames(4)
	first := x.make(from, to+1, nil, nil).uncertain(true, true)
	var over []*made
	for k := range segment.MaxCopies {
		over = append(over, x.make(from, to+20*(k+1), []int{from + 10*(k+1)}, nil).uncertain(true, true))
	}
	for _, m := range append(over, first) {
		if r := x.store(m, false); r.err != nil {
			t.Fatal(r.err)
		}
	}
	copies, err := x.st.Copies(first.slot)
	if err != nil {
		t.Fatal(err)
	}
	var kept []segment.Digest
	for _, c := range copies {
		kept = append(kept, c.Info.Digest)
	}
	if !sameSet(kept, []*made{first, over[0], over[1], over[2]}) {
		t.Errorf("the slot keeps %v", kept)
	}
}

// TestBackfillOfTheFuture: retention would never take it.
func TestBackfillOfTheFuture(t *testing.T) {
	x := newSite(t)
	ahead := x.whole(int(time.Hour / timeline.CellTicks.Duration()))
	if _, err := x.begin(ahead, false); !errors.Is(err, errs.ErrInvalid) {
		t.Errorf("an hour ahead: %v", err)
	}
	if _, err := x.begin(ahead, true); err != nil {
		t.Errorf("live: %v", err)
	}
	if _, err := x.begin(x.whole(5), false); err != nil {
		t.Errorf("half a minute ahead: %v", err)
	}
	x.clock.wall = x.clock.wall.Add(-3 * time.Hour) // it jumps back, and the row goes on
	row, _ := x.st.Timeline(x.row)
	u := timeline.Wrap + 9*timeline.CellTicks
	row.Mapping, _ = row.Mapping.With(timeline.Point{U: u, UTC: row.Mapping.UTC(u).UnixNano()})
	if err := x.st.PutTimeline(row); err != nil {
		t.Fatal(err)
	}
	if _, err := x.begin(x.whole(9), false); err != nil {
		t.Errorf("where the row is: %v", err)
	}
}

// TestFullSlotKeepsTheBestFromMadeUpOnes: copies of a frame each, made up by a peer, that end just behind the cell take nothing of what is played.
func TestFullSlotKeepsTheBestFromMadeUpOnes(t *testing.T) {
	x := newSite(t)
	from, to := cellFrames(4)
	best := x.make(from, to+20, []int{from + 5}, nil).uncertain(false, true)
	if r := x.store(best, false); r.err != nil {
		t.Fatal(r.err)
	}
	for k := range segment.MaxCopies {
		var lost []int
		for f := from + 1; f < to+1; f++ {
			if f != from+10*(k+1) {
				lost = append(lost, f)
			}
		}
		m := x.make(from, to+1, lost, []int{from + 10*(k+1)})
		m.info.Evidence.Faulty = nil // it says that it is intact
		x.store(m, false)
	}
	copies, err := x.st.Copies(best.slot)
	if err != nil {
		t.Fatal(err)
	}
	var kept []segment.Digest
	for _, c := range copies {
		kept = append(kept, c.Info.Digest)
	}
	if !slices.Contains(kept, best.info.Digest) {
		t.Errorf("of %d frames %d are kept: %v", to+20-from-1, segment.MaxCopies, kept)
	}
}
