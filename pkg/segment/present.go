package segment

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/twinreel/twinreel/pkg/timeline"
)

// maxChoices bounds the choices that are compared at once. Of copies as recorders make them there are a few.
const maxChoices = 256

// Present picks the copies that are played, so that no two are of one slot or share media time on a track: whole ones, the best by
// Rank first, and of all others those that have the most intact samples together. A copy that ran over a lost cut has
// more of them than either of the two in its place, and fewer than both. infos[i] lies in slots[i]; all are of one row, in U (see
// Info.Shift), and every copy that overlaps one of them is among them.
func Present(slots []Slot, infos []*Info) []bool {
	conflict := func(i, k int) bool { return slots[i] == slots[k] || Overlap(infos[i], infos[k]) }
	presented := make([]bool, len(infos))
	var whole, rest []int
	for i := range infos {
		if infos[i].Evidence.Whole() {
			whole = append(whole, i)
		}
	}
	slices.SortFunc(whole, func(a, b int) int { return Rank(infos[a], infos[b]) })
	free := func(i int) bool {
		return !slices.ContainsFunc(whole, func(k int) bool { return presented[k] && conflict(i, k) })
	}
	for _, i := range whole {
		presented[i] = free(i)
	}
	for i := range infos {
		if !infos[i].Evidence.Whole() && free(i) {
			rest = append(rest, i)
		}
	}
	slices.SortFunc(rest, func(a, b int) int {
		return cmp.Or(cmp.Compare(infos[a].Start, infos[b].Start), Rank(infos[a], infos[b]))
	})
	for _, i := range best(rest, infos, conflict) {
		presented[i] = true
	}
	slices.SortFunc(rest, func(a, b int) int { return Rank(infos[a], infos[b]) })
	for _, i := range rest { // what has no intact sample at all adds nothing to a choice
		if !presented[i] && !slices.ContainsFunc(rest, func(k int) bool { return presented[k] && conflict(i, k) }) {
			presented[i] = true
		}
	}
	return presented
}

// choice is a set of copies of which no two conflict, and what it is worth.
type choice struct {
	copies         []int
	intact, bytes  int64
	impaired, span timeline.Ticks
}

// with adds a copy.
func (c *choice) with(i int, info *Info) choice {
	return choice{
		copies: append(slices.Clip(c.copies), i), intact: c.intact + info.intactSamples(), bytes: c.bytes + int64(info.Bytes),
		impaired: c.impaired + info.ImpairedTicks(), span: c.span + info.ticks(),
	}
}

// order is negative when c is better than o, by what Rank goes by.
func (c *choice) order(o *choice, infos []*Info) int {
	if by := cmp.Or(
		cmp.Compare(o.intact, c.intact), cmp.Compare(c.impaired, o.impaired), cmp.Compare(o.bytes, c.bytes), cmp.Compare(c.span, o.span),
	); by != 0 {
		return by
	}
	return slices.CompareFunc(c.copies, o.copies, func(a, b int) int { return infos[a].Digest.Compare(infos[b].Digest) })
}

// best gives the best choice among copies that are in the order of their starts. It goes from one to the next and keeps, of the
// choices that leave the same room to those that follow, the best.
func best(copies []int, infos []*Info, conflict func(i, k int) bool) []int {
	last := map[int]int{} // the last one with which each conflicts, by its place
	for at, i := range copies {
		for k := range at {
			if conflict(i, copies[k]) {
				last[copies[k]] = at
			}
		}
	}
	choices := []choice{{}}
	for at, i := range copies {
		for _, c := range slices.Clone(choices) {
			if !slices.ContainsFunc(c.copies, func(k int) bool { return last[k] >= at && conflict(i, k) }) {
				choices = append(choices, c.with(i, infos[i]))
			}
		}
		slices.SortFunc(choices, func(a, b choice) int { return a.order(&b, infos) })
		seen := map[string]bool{}
		choices = slices.DeleteFunc(choices, func(c choice) bool {
			stand := fmt.Sprint(slices.DeleteFunc(slices.Clone(c.copies), func(k int) bool { return last[k] <= at })) // in the way of those that follow
			known := seen[stand]
			seen[stand] = true
			return known
		})
		choices = choices[:min(len(choices), maxChoices)]
	}
	return choices[0].copies
}
