package timeline

import (
	"slices"
	"sort"
)

// Range is the half-open stretch [From, To) of one timeline. It is empty unless From < To.
type Range struct {
	From, To Ticks
}

// Len is its length, 0 when it is empty.
func (r Range) Len() Ticks { return max(0, r.To-r.From) }

// Overlaps reports whether the two have a tick in common.
func (r Range) Overlaps(o Range) bool { return max(r.From, o.From) < min(r.To, o.To) }

// Set is a set of ticks: ranges in order that neither overlap nor touch. The zero value is empty.
// Methods never change the receiver.
type Set []Range

// Add returns the set with r.
func (s Set) Add(r Range) Set {
	if r.Len() == 0 {
		return s
	}
	i := sort.Search(len(s), func(i int) bool { return s[i].To >= r.From })
	j := i
	for ; j < len(s) && s[j].From <= r.To; j++ {
		r.From, r.To = min(r.From, s[j].From), max(r.To, s[j].To)
	}
	return slices.Concat(s[:i], Set{r}, s[j:])
}

// Without returns the set without r.
func (s Set) Without(r Range) Set {
	var out Set
	for _, x := range s {
		if !x.Overlaps(r) {
			out = append(out, x)
			continue
		}
		for _, rest := range []Range{{x.From, r.From}, {r.To, x.To}} {
			if rest.Len() > 0 {
				out = append(out, rest)
			}
		}
	}
	return out
}

// Covers reports whether every tick of r is in the set.
func (s Set) Covers(r Range) bool {
	if r.Len() == 0 {
		return true
	}
	i := sort.Search(len(s), func(i int) bool { return s[i].To > r.From })
	return i < len(s) && s[i].From <= r.From && s[i].To >= r.To
}

// Gaps returns what of r is not in the set.
func (s Set) Gaps(r Range) Set {
	gaps := Set{}.Add(r)
	for _, x := range s {
		gaps = gaps.Without(x)
	}
	return gaps
}

// Len is how many ticks are in the set.
func (s Set) Len() Ticks {
	var n Ticks
	for _, r := range s {
		n += r.Len()
	}
	return n
}
