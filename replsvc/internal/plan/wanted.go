package plan

import (
	"cmp"
	"slices"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
)

// wanted says why a peer's copy is wanted here, or "". dvrsvc has the last word on what it keeps; this only spares the
// transfer of what it would certainly not.
func wanted(mine map[segment.Slot][]inventory.Copy, slot segment.Slot, c inventory.Copy) Why {
	here := mine[slot]
	if slices.ContainsFunc(here, func(h inventory.Copy) bool { return h.Info.Digest == c.Info.Digest }) {
		return ""
	}
	if contained(mine, slot, c) {
		if !slices.ContainsFunc(here, func(h inventory.Copy) bool { return equalButBetter(slot, c, h) }) {
			return ""
		}
		return Faulty
	}
	if len(here) == 0 {
		return Missing
	}
	return Faulty
}

// equalButBetter reports whether c and h hold the same intact media in different bytes, and both sites keep c: two whole
// ones are a conflict in which both are kept, else the order of FORMAT.md decides, alike on both sites.
func equalButBetter(slot segment.Slot, c, h inventory.Copy) bool {
	only := map[segment.Slot][]inventory.Copy{slot: {c}}
	if !contained(only, slot, h) {
		return false // then h has more, and c is held by h and its neighbours together
	}
	cw, hw := c.Info.Evidence.Whole(), h.Info.Evidence.Whole()
	if cw && hw {
		return true
	}
	return cmp.Or(
		compareBool(cw, hw),
		cmp.Compare(len(h.Info.Evidence.Faulty), len(c.Info.Evidence.Faulty)),
		cmp.Compare(samples(c.Info), samples(h.Info)),
		cmp.Compare(c.Info.Bytes, h.Info.Bytes),
		h.Info.Digest.Compare(c.Info.Digest),
	) > 0
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func samples(i segment.Info) (n uint64) {
	for _, t := range i.Tracks {
		n += uint64(t.Samples)
	}
	return n
}

// span is a half-open stretch of U in which a track is intact.
type span struct{ from, to timeline.Ticks }

// contained reports whether everything intact in c is intact in what is here of its slot and of the slots around it: an
// uncertain end reaches into the next slot, and a lost RAP makes one segment of two.
func contained(mine map[segment.Slot][]inventory.Copy, slot segment.Slot, c inventory.Copy) bool {
	have := make(map[uint16][]span)
	for _, s := range around(slot, c) {
		for i := range mine[s] {
			for _, t := range mine[s][i].Info.Tracks {
				have[t.PID] = append(have[t.PID], intact(s, &mine[s][i].Info, t)...)
			}
		}
	}
	for _, t := range c.Info.Tracks {
		union := merge(have[t.PID])
		for _, sp := range intact(slot, &c.Info, t) {
			if !slices.ContainsFunc(union, func(u span) bool { return u.from <= sp.from && sp.to <= u.to }) {
				return false
			}
		}
	}
	return true
}

// around lists the slots of the same configuration whose segments can overlap c.
func around(slot segment.Slot, c inventory.Copy) []segment.Slot {
	const before = 3 // a segment spans at most two cells and the rest of a third
	after := int64((c.Info.End-c.Info.Start)/timeline.CellTicks) + 1
	slots := make([]segment.Slot, 0, before+after+1)
	for k := slot.AbsCell() - before; k <= slot.AbsCell()+min(after, 8); k++ {
		s := slot
		s.Turn, s.Cell = int32(k>>14), uint16(k&(timeline.CellsPerTurn-1))
		slots = append(slots, s)
	}
	return slots
}

// intact is where a track has neither damaged nor missing samples. A damaged sample is cut out as the tick of its DTS:
// enough, since samples are compared by their DTS alone.
func intact(slot segment.Slot, info *segment.Info, t segment.Track) []span {
	var holes []span
	for _, f := range info.Evidence.Faulty {
		if f.PID == t.PID {
			holes = append(holes, span{f.DTS, f.DTS + 1})
		}
	}
	for _, m := range info.Evidence.Missing {
		if m.PID == t.PID {
			holes = append(holes, span{m.From, m.To})
		}
	}
	slices.SortFunc(holes, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var out []span
	at := t.Start
	add := func(to timeline.Ticks) {
		if to > at {
			out = append(out, span{inventory.U(slot, at), inventory.U(slot, to)})
		}
	}
	for _, h := range holes {
		add(min(h.from, t.End))
		at = max(at, h.to)
	}
	add(t.End)
	return out
}

// merge joins spans that touch or overlap.
func merge(s []span) []span {
	slices.SortFunc(s, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var out []span
	for _, x := range s {
		if n := len(out); n > 0 && x.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, x.to)
			continue
		}
		out = append(out, x)
	}
	return out
}
