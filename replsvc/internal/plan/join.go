package plan

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
)

// joins gives the copies in a slot here with which a peer's is to be joined: all of them, where none is whole, nor it.
func (h Holdings) joins(slot segment.Slot, c *segment.Info) (with []segment.Digest) {
	if c.Evidence.Whole() {
		return nil
	}
	for i := range h.slots[slot] {
		o := &h.slots[slot][i].Info
		if o.Evidence.Whole() {
			return nil
		}
		with = append(with, o.Digest)
	}
	slices.SortFunc(with, segment.Digest.Compare)
	return with
}

// wholeInstead leaves out what would be joined in slots of which a whole copy is fetched.
func wholeInstead(items map[segment.Digest]Item) {
	whole := map[segment.Slot]bool{}
	for _, it := range items {
		whole[it.Slot] = whole[it.Slot] || it.Copy.Info.Evidence.Whole() && (it.WhyNot == "" || it.WhyNot == InFlight)
	}
	maps.DeleteFunc(items, func(_ segment.Digest, it Item) bool { return len(it.With) > 0 && whole[it.Slot] })
}

// nextSlots is how many cells on a slot may be that follows another (FORMAT.md, "Joining copies").
const nextSlots = 4

// beside gives what is here of the slots before and behind one that holds these copies, where one of either side is not certain of
// the cut between them.
func beside(mine map[segment.Slot][]inventory.Copy, slot segment.Slot, copies []inventory.Copy) (before, behind Beside) {
	start := func(c inventory.Copy) bool { return c.Info.Evidence.StartUncertain }
	end := func(c inventory.Copy) bool { return c.Info.Evidence.EndUncertain }
	find := func(side int64, here, there func(inventory.Copy) bool) (b Beside) {
		for k := side; k >= -nextSlots && k <= nextSlots; k += side {
			at := cellAt(slot, slot.AbsCell()+k)
			if len(mine[at]) == 0 {
				continue
			}
			if !slices.ContainsFunc(copies, here) && !slices.ContainsFunc(mine[at], there) {
				return b
			}
			b.Slot = at
			for _, c := range mine[at] {
				b.Copies = append(b.Copies, c.Info.Digest)
			}
			slices.SortFunc(b.Copies, segment.Digest.Compare)
			return b
		}
		return b
	}
	return find(-1, start, end), find(1, end, start)
}

// far gives what is here beyond the slots beside the one that holds these copies, and has something of that, or tells where it ends.
func far(mine map[segment.Slot][]inventory.Copy, slot segment.Slot, before, behind Beside, copies []inventory.Copy) (out []Place) {
	if !impaired(copies) {
		return nil
	}
	first := inventory.U(slot, copies[0].Info.Start)
	for _, c := range copies[1:] {
		first = min(first, inventory.U(slot, c.Info.Start))
	}
	for k := int64(2); k <= nextSlots; k++ {
		at := cellAt(slot, slot.AbsCell()-k)
		for _, c := range mine[at] {
			if at != before.Slot && c.Info.Evidence.EndUncertain && inventory.U(at, c.Info.End) > first {
				out = append(out, Place{at, c.Info.Digest})
			}
		}
	}
	if len(behind.Copies) > 0 && !slices.ContainsFunc(mine[behind.Slot], func(c inventory.Copy) bool { return !c.Info.Evidence.StartUncertain }) {
		for k := behind.Slot.AbsCell() + 1; k <= slot.AbsCell()+nextSlots; k++ {
			at := cellAt(slot, k)
			for _, c := range mine[at] {
				out = append(out, Place{at, c.Info.Digest})
			}
			if len(mine[at]) > 0 {
				break
			}
		}
	}
	slices.SortFunc(out, func(a, b Place) int { return cmp.Or(a.Slot.Compare(b.Slot), a.Digest.Compare(b.Digest)) })
	return out
}

// impaired reports whether a slot has a copy that is not whole.
func impaired(copies []inventory.Copy) bool {
	return slices.ContainsFunc(copies, func(c inventory.Copy) bool { return !c.Info.Evidence.Whole() })
}

// joinsHere gives the slots here that hold several copies and none that is whole: they came live from several inputs, or
// before they could be joined; or one, beside another slot that may have more of it. Where a peer's copy is to be joined with them, that does it.
func joinsHere(now time.Time, s *Stream, fetched map[segment.Digest]Item) (out []Item) {
	if len(s.Peers) == 0 {
		return nil
	}
	busy := map[segment.Slot]bool{}
	for _, it := range fetched {
		busy[it.Slot] = busy[it.Slot] || it.Why != Evidence && (it.WhyNot == "" || it.WhyNot == InFlight)
	}
	for slot, copies := range s.Mine {
		before, behind := beside(s.Mine, slot, copies)
		far := far(s.Mine, slot, before, behind, copies)
		alone := len(copies) < 2 && len(far) == 0 && !impaired(s.Mine[before.Slot]) && !impaired(s.Mine[behind.Slot])
		if alone || busy[slot] || slices.ContainsFunc(copies, func(c inventory.Copy) bool { return c.Info.Evidence.Whole() }) {
			continue
		}
		copies = slices.SortedStableFunc(slices.Values(copies), func(a, b inventory.Copy) int { return segment.Rank(&a.Info, &b.Info) })
		it := Item{Stream: s.Name, Peer: s.Peers[0].ID, Slot: slot, Copy: copies[0], Here: true, Why: Join, Before: before, Behind: behind, Far: far}
		for _, c := range copies[1:] {
			it.With = append(it.With, c.Info.Digest)
		}
		if _, done := s.holds(&s.Peers[0], Place{slot, it.Key()}); done {
			continue
		}
		it.WhyNot = whyNot(now, s, &s.Peers[0], &it)
		out = append(out, it)
	}
	return out
}
