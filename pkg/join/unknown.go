package join

import (
	"cmp"
	"math/bits"
	"slices"
	"sort"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// stretch is a half-open time of a track of which a copy does not know all, and why. A list of them is by time, none over
// another.
type stretch struct {
	from, to timeline.Ticks
	why      segment.Reason
}

// uncertain is the reason beyond a cut that is not certain. It is told by the cut.
const uncertain segment.Reason = 1 << 31

// flatten makes a list of stretches that may lie over each other: where they do, both reasons hold.
func flatten(all []stretch) (out []stretch) {
	type edge struct {
		at  timeline.Ticks
		why segment.Reason
		by  int
	}
	edges := make([]edge, 0, 2*len(all))
	for _, s := range all {
		if s.from < s.to {
			edges = append(edges, edge{s.from, s.why, 1}, edge{s.to, s.why, -1})
		}
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Compare(a.at, b.at) })
	var counts [32]int
	var now segment.Reason
	for i, e := range edges {
		if i > 0 && now != 0 && e.at > edges[i-1].at {
			out = add(out, stretch{edges[i-1].at, e.at, now})
		}
		for w := uint32(e.why); w != 0; w &= w - 1 {
			b := bits.TrailingZeros32(w)
			if counts[b] += e.by; counts[b] > 0 {
				now |= 1 << b
			} else {
				now &^= 1 << b
			}
		}
	}
	return out
}

// add appends s, as a part of the last one where it goes on from that.
func add(list []stretch, s stretch) []stretch {
	if n := len(list); n > 0 && list[n-1].to == s.from && list[n-1].why == s.why {
		list[n-1].to = s.to
		return list
	}
	return append(list, s)
}

// meet gives what neither knows all of.
func meet(a, b []stretch) (out []stretch) {
	for len(a) > 0 && len(b) > 0 {
		if s := (stretch{max(a[0].from, b[0].from), min(a[0].to, b[0].to), a[0].why | b[0].why}); s.from < s.to {
			out = add(out, s)
		}
		if a[0].to < b[0].to {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}

// within gives the part of a list from one time to another.
func within(list []stretch, from, to timeline.Ticks) (out []stretch) {
	i := sort.Search(len(list), func(i int) bool { return list[i].to > from })
	for ; i < len(list) && list[i].from < to; i++ {
		out = append(out, stretch{max(list[i].from, from), min(list[i].to, to), list[i].why})
	}
	return out
}

// without takes the stretches of known, by time, out of a list.
func without(list, known []stretch) (out []stretch) {
	for _, s := range list {
		for _, k := range known {
			if k.to <= s.from || k.from >= s.to {
				continue
			}
			if s.from < k.from {
				out = add(out, stretch{s.from, k.from, s.why})
			}
			s.from = min(k.to, s.to)
		}
		if s.from < s.to {
			out = add(out, s)
		}
	}
	return out
}

// damage gives the stretches of damaged samples, each up to the next sample.
func damage(samples []sample, end timeline.Ticks) (out []stretch) {
	for i := range samples {
		if s := &samples[i]; s.reason != 0 {
			to := end
			if i+1 < len(samples) {
				to = samples[i+1].dts
			}
			out = append(out, stretch{s.dts, to, s.reason})
		}
	}
	return out
}

// edges gives what uncertain cuts leave open beside the samples of a track.
func edges(samples []sample, start, end bool) (out []stretch) {
	n := len(samples)
	switch {
	case n == 0 && (start || end):
		return []stretch{{never, ever, uncertain}}
	case n == 0:
		return nil
	}
	if start {
		out = append(out, stretch{never, samples[0].dts, uncertain})
	}
	if end {
		out = append(out, stretch{samples[n-1].dts + 1, ever, uncertain})
	}
	return out
}
