package plan

import (
	"slices"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
)

// Holdings is what is here of a stream.
type Holdings struct {
	slots  map[segment.Slot][]inventory.Copy
	places map[segment.Slot][]inventory.Copy // by slots without init set
	// against is what is known against each digest, in whatever slot: the same bytes are kept once.
	against map[segment.Digest]segment.Evidence
}

// Hold makes holdings of slots with their copies.
func Hold(slots map[segment.Slot][]inventory.Copy) Holdings {
	h := Holdings{slots: slots, places: map[segment.Slot][]inventory.Copy{}, against: map[segment.Digest]segment.Evidence{}}
	for slot, copies := range slots {
		slot.InitSet = segment.InitSet{}
		h.places[slot] = append(h.places[slot], copies...)
		for i := range copies {
			info := &copies[i].Info
			if was, ok := h.against[info.Digest]; !ok || info.Evidence.Less(&was) {
				h.against[info.Digest] = info.Evidence
			}
		}
	}
	return h
}

// Wants says why a peer's copy is wanted here, or "". dvrsvc has the last word on what it keeps; this only spares the
// transfer of what it would certainly not keep.
func (h Holdings) Wants(slot segment.Slot, c inventory.Copy) Why {
	here := h.slots[slot]
	if against, ok := h.against[c.Info.Digest]; ok {
		if c.Info.Evidence.Less(&against) {
			return Evidence
		}
		return ""
	}
	if segment.Covers(around(h.slots, slot, c), &c.Info) && !slices.ContainsFunc(here, func(h inventory.Copy) bool { return yields(&h.Info, &c.Info) }) {
		return ""
	}
	if len(here) == 0 {
		return Missing
	}
	return Faulty
}

// free reports whether nothing is here of the time that a copy covers, with whatever init segments.
func (h Holdings) free(slot segment.Slot, c inventory.Copy) bool {
	slot.InitSet = segment.InitSet{}
	return !slices.ContainsFunc(around(h.places, slot, c), func(i *segment.Info) bool {
		return i.Start < c.Info.End && c.Info.Start < i.End
	})
}

// yields reports whether h gives way to c although it contains it: two copies with the same intact media and different
// damage, of which both sites are to keep the same one.
func yields(h, c *segment.Info) bool {
	return segment.Covers([]*segment.Info{c}, h) && segment.Rank(c, h) < 0
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
