package plan

import (
	"slices"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
)

// Holdings is what is here of a stream.
type Holdings struct {
	slots   map[segment.Slot][]inventory.Copy
	places  map[segment.Slot][]inventory.Copy // by slots without init set
	digests map[segment.Digest][]held         // in whatever slot
}

// held is a copy that is here, with its slot.
type held struct {
	slot segment.Slot
	inventory.Copy
}

// sameMoment is how far apart in UTC equal bytes in two slots are one segment, which dvrsvc keeps once. Farther apart the
// source has repeated itself, and each slot is to have its copy (FORMAT.md, "One digest in two slots").
const sameMoment = 5 * time.Second

// Hold makes holdings of slots with their copies.
func Hold(slots map[segment.Slot][]inventory.Copy) Holdings {
	h := Holdings{slots: slots, places: map[segment.Slot][]inventory.Copy{}, digests: map[segment.Digest][]held{}}
	for slot, copies := range slots {
		for _, c := range copies {
			h.digests[c.Info.Digest] = append(h.digests[c.Info.Digest], held{slot, c})
		}
		slot.InitSet = segment.InitSet{}
		h.places[slot] = append(h.places[slot], copies...)
	}
	return h
}

// against gives what is known against the bytes of a copy where they are here of the same moment.
func (h Holdings) against(slot segment.Slot, c inventory.Copy) (least segment.Evidence, ok bool) {
	for _, o := range h.digests[c.Info.Digest] {
		if o.slot != slot && o.StartUTC.Sub(c.StartUTC).Abs() >= sameMoment {
			continue
		}
		if !ok || o.Info.Evidence.Less(&least) {
			least, ok = o.Info.Evidence, true
		}
	}
	return least, ok
}

// Wants says why a peer's copy is wanted here, or "". there is all that the peer has in the slot. dvrsvc has the last word on
// what it keeps; this only spares the transfer of what it would certainly not keep.
func (h Holdings) Wants(slot segment.Slot, c inventory.Copy, there []inventory.Copy) Why {
	here := h.slots[slot]
	if against, ok := h.against(slot, c); ok {
		if c.Info.Evidence.Less(&against) {
			return Evidence
		}
		return ""
	}
	covered := segment.Covers(around(h.slots, slot, c), &c.Info) && !slices.ContainsFunc(here, func(h inventory.Copy) bool { return yields(&h.Info, &c.Info) })
	if covered && !unlike(here, c, there) {
		return ""
	}
	if len(here) == 0 {
		return Missing
	}
	return Faulty
}

// unlike reports whether a copy that by the evidence is contained in one that is here is not by its bytes: the peer has both, has
// compared them, and keeps both. So it is where a loss left no trace on one site.
func unlike(here []inventory.Copy, c inventory.Copy, there []inventory.Copy) bool {
	var both []*segment.Info
	for i := range here {
		if slices.ContainsFunc(there, func(o inventory.Copy) bool { return o.Info.Digest == here[i].Info.Digest }) {
			both = append(both, &here[i].Info)
		}
	}
	return len(both) > 0 && segment.Covers(both, &c.Info)
}

// free reports whether nothing is here of the time that a copy covers, with whatever init segments.
func (h Holdings) free(slot segment.Slot, c inventory.Copy) bool {
	slot.InitSet = segment.InitSet{}
	return !slices.ContainsFunc(around(h.places, slot, c), func(i *segment.Info) bool {
		return i.Start < c.Info.End && c.Info.Start < i.End
	})
}

// yields reports whether h gives way to c although it contains it: two copies with the same intact media, of which both sites are
// to keep the same one. They differ in their damage, or in how long the last sample is before a loss.
func yields(h, c *segment.Info) bool {
	return segment.Rank(c, h) < 0 && (segment.Covers([]*segment.Info{c}, h) || segment.Covers([]*segment.Info{h}, c))
}

// around is what is here of the slots whose segments can overlap c, with the times of c's turn: an uncertain end reaches
// into the next slot, and a lost RAP makes one segment of two.
func around(mine map[segment.Slot][]inventory.Copy, slot segment.Slot, c inventory.Copy) []*segment.Info {
	const before = 3 // a segment spans at most two cells and the rest of a third
	after := min(int64((c.Info.End-c.Info.Start)/timeline.CellTicks)+1, 8)
	var infos []*segment.Info
	for k := slot.AbsCell() - before; k <= slot.AbsCell()+after; k++ {
		s := slot
		s.Turn, s.Cell = int32(floorDiv(k, timeline.CellsPerTurn)), uint16(mod(k, timeline.CellsPerTurn))
		for i := range mine[s] {
			info := &mine[s][i].Info
			if s.Turn != slot.Turn {
				info = info.Shift(timeline.Ticks(s.Turn-slot.Turn) * timeline.Wrap)
			}
			infos = append(infos, info)
		}
	}
	return infos
}

func floorDiv(a, b int64) int64 { return (a - mod(a, b)) / b }

func mod(a, b int64) int64 { return ((a % b) + b) % b }
