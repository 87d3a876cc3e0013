package reconcile

import (
	"slices"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
	"github.com/twinreel/twinreel/replsvc/internal/plan"
)

// A block can differ for good: the peer lacks what we hold, or holds what ours contains. Each round would list the same
// blocks then, and where they are many never come to those from which something can be had. So a block that was listed
// and yielded nothing is left out for as long as both its digests stay what they were, and those of the blocks beside: what reaches
// over their ends decides what is wanted of it.

// blockRef is a block of a row of the peer's, in our numbering.
type blockRef struct {
	peer segment.TimelineID
	n    int64
}

// barren is what is remembered of a block that yielded nothing.
type barren struct {
	digests   string // of both sides
	conflicts int
}

func (s span) ref() blockRef { return blockRef{s.peer, s.from} }

// deletedHere takes note of what of the peer's we have deleted. The times of its copies are by our clock.
func (d *difference) deletedHere(deleted inventory.Spans) {
	d.gone = map[segment.Slot]bool{}
	for _, s := range d.theirs {
		kept := func(c inventory.Copy) bool {
			return !deleted.Contain(c.StartUTC, c.StartUTC.Add((c.Info.End - c.Info.Start).Duration()))
		}
		if len(d.ours[s.Slot]) == 0 && !slices.ContainsFunc(s.Copies, kept) {
			d.gone[s.Slot] = true
		}
	}
}

// yieldedNothing gives all blocks that differ and of which nothing is to be had, those that were left out among them.
func (d *difference) yieldedNothing() map[blockRef]barren {
	type block struct {
		row segment.TimelineID // ours
		n   int64
	}
	mine, wanted, conflicts := plan.Hold(d.ours), map[block]bool{}, map[block]int{}
	there := plan.Listed(d.theirs)
	for _, s := range d.theirs {
		at := block{s.Slot.Timeline, s.Slot.Block()}
		for _, c := range s.Copies {
			wanted[at] = wanted[at] || !d.gone[s.Slot] && mine.Wants(s.Slot, c, there) != ""
		}
		if d.conflict(s) {
			conflicts[at]++
		}
	}
	all := d.barren
	for _, s := range d.spans {
		if at := (block{s.binding.Row, s.from}); s.digests != "" && !wanted[at] {
			all[s.ref()] = barren{s.digests, conflicts[at]}
		}
	}
	return all
}
