package plan

import (
	"fmt"
	"slices"
	"strings"
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

// Listed tells which copies are in a list.
func Listed(slots []inventory.Slot) func(segment.Digest) bool {
	all := map[segment.Digest]bool{}
	for i := range slots {
		for k := range slots[i].Copies {
			all[slots[i].Copies[k].Info.Digest] = true
		}
	}
	return func(d segment.Digest) bool { return all[d] }
}

// Wants says why a peer's copy is wanted here, or "". there tells what the peer has. dvrsvc has the last word on what it keeps, and
// gets all that is not certain: so two sites of which neither wants anything of the other hold the same (doc.go, I5).
func (h Holdings) Wants(slot segment.Slot, c inventory.Copy, there func(segment.Digest) bool) Why {
	here := h.slots[slot]
	if against, ok := h.against(slot, c); ok {
		if c.Info.Evidence.Less(&against) {
			return Evidence
		}
		return ""
	}
	if h.covers(slot, c, there) {
		return ""
	}
	if len(here) == 0 {
		return Missing
	}
	return Faulty
}

// covers reports whether better copies here contain a peer's by the evidence, and the peer lacks one of them: else it has compared them, and
// keeps it beside them. So it is where a loss left no trace on one site, or where what contains it is not played.
func (h Holdings) covers(slot segment.Slot, c inventory.Copy, there func(segment.Digest) bool) bool {
	better := h.better(slot, c)
	return segment.Covers(better, &c.Info) && slices.ContainsFunc(better, func(o *segment.Info) bool { return !there(o.Digest) })
}

// better gives the copies here that share time with a peer's, or its slot, and are better.
func (h Holdings) better(slot segment.Slot, c inventory.Copy) []*segment.Info {
	return slices.DeleteFunc(around(h.slots, slot, c), func(o *segment.Info) bool {
		return segment.Rank(o, &c.Info) > 0 || o.Start/timeline.CellTicks != c.Info.Start/timeline.CellTicks && !segment.Overlap(o, &c.Info)
	})
}

// maxBound bounds the copies by which one may be judged.
const maxBound = 64

// state stands for the better copies here by which dvrsvc judges a peer's, and for what is known of them: as long as it is the same, so is the
// judgement. A copy is judged with all that share media time with it, or its slot, directly or through others.
func (h Holdings) state(slot segment.Slot, c inventory.Copy) segment.Digest {
	type member struct {
		cell int64
		info *segment.Info // in the times of the turn of c
	}
	members := []member{{slot.AbsCell(), &c.Info}}
	seen := map[*segment.Info]bool{}
	for i := 0; i < len(members) && len(members) < maxBound; i++ {
		m := members[i]
		from, to := reach(m.cell, m.info)
		for k := from; k <= to; k++ {
			at := cellAt(slot, k)
			for n := range h.slots[at] {
				info := &h.slots[at][n].Info
				if seen[info] {
					continue
				}
				moved := info.Shift(timeline.Ticks(at.Turn-slot.Turn) * timeline.Wrap)
				if k == m.cell || segment.Overlap(moved, m.info) {
					seen[info] = true
					members = append(members, member{k, moved})
				}
			}
		}
	}
	var lines []string
	for _, m := range members[1:] {
		if e := &m.info.Evidence; segment.Rank(m.info, &c.Info) < 0 {
			lines = append(lines, fmt.Sprint(m.cell, m.info.Digest, e.StartUncertain, e.EndUncertain, len(e.Faulty), len(e.Missing)))
		}
	}
	slices.Sort(lines)
	return segment.Sum([]byte(strings.Join(lines, "\n")))
}

// free reports whether nothing is here of the time that a copy covers, with whatever init segments.
func (h Holdings) free(slot segment.Slot, c inventory.Copy) bool {
	slot.InitSet = segment.InitSet{}
	return !slices.ContainsFunc(around(h.places, slot, c), func(i *segment.Info) bool {
		return i.Start < c.Info.End && c.Info.Start < i.End
	})
}

// around is what is here of the slots whose segments can overlap c, with the times of c's turn: an uncertain end reaches
// into the next slot, and a lost RAP makes one segment of two.
func around(mine map[segment.Slot][]inventory.Copy, slot segment.Slot, c inventory.Copy) []*segment.Info {
	var infos []*segment.Info
	from, to := reach(slot.AbsCell(), &c.Info)
	for k := from; k <= to; k++ {
		s := cellAt(slot, k)
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

// reach is in which cells the segments begin that can overlap one of a cell.
func reach(cell int64, i *segment.Info) (from, to int64) {
	const before = 8 // where random access points were lost one may span that many
	return cell - before, cell + min(int64((i.End-i.Start)/timeline.CellTicks)+1, 8)
}

// cellAt is a slot in another cell.
func cellAt(s segment.Slot, cell int64) segment.Slot {
	s.Turn, s.Cell = int32(floorDiv(cell, timeline.CellsPerTurn)), uint16(mod(cell, timeline.CellsPerTurn))
	return s
}

func floorDiv(a, b int64) int64 { return (a - mod(a, b)) / b }

func mod(a, b int64) int64 { return ((a % b) + b) % b }
