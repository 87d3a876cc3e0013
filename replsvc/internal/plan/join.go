package plan

import (
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

// joinsHere gives the slots here that hold several copies and none that is whole: they came live from several inputs, or
// before they could be joined. Where a peer's copy is to be joined with them, that does it.
func joinsHere(now time.Time, s *Stream, fetched map[segment.Digest]Item) (out []Item) {
	if len(s.Peers) == 0 {
		return nil
	}
	busy := map[segment.Slot]bool{}
	for _, it := range fetched {
		busy[it.Slot] = busy[it.Slot] || it.Why != Evidence && (it.WhyNot == "" || it.WhyNot == InFlight)
	}
	for slot, copies := range s.Mine {
		if len(copies) < 2 || busy[slot] || slices.ContainsFunc(copies, func(c inventory.Copy) bool { return c.Info.Evidence.Whole() }) {
			continue
		}
		copies = slices.SortedStableFunc(slices.Values(copies), func(a, b inventory.Copy) int { return segment.Rank(&a.Info, &b.Info) })
		it := Item{Stream: s.Name, Peer: s.Peers[0].ID, Slot: slot, Copy: copies[0], Here: true, Why: Join}
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
