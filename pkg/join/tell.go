package join

import (
	"bytes"
	"slices"

	"github.com/twinreel/twinreel/pkg/timeline"
)

const (
	// leastBytes and leastKinds are what a payload has to hold at least, and of unlike bytes, to be taken for a part of one picture alone:
	// stuffing, and what an encoder says again and again, has less.
	leastBytes = 100
	leastKinds = 64
	// maxTold bounds the chains of a set that are looked for in pictures.
	maxTold = 32
)

// teller tells of which picture packets are that followed each other.
type teller func(chain []item) (dts timeline.Ticks, ok bool)

// contents gives the teller of a track: what one copy received in pieces is of the picture that another one has whole, where its bytes are.
func contents(lanes []*lane) teller {
	return func(chain []item) (dts timeline.Ticks, ok bool) {
		for i := range chain {
			b := chain[i].Data
			if chain[i].Start || !telling(b) {
				continue
			}
			found := false
			for _, l := range lanes {
				for k := range l.samples {
					switch s := &l.samples[k]; {
					case s.reason != 0 || !bytes.Contains(s.data, b):
					case (ok || found) && s.dts != dts:
						return 0, false
					default:
						dts, found = s.dts, true
					}
				}
			}
			if ok = found; !ok {
				return 0, false
			}
		}
		return dts, ok
	}
}

// telling reports whether a payload is of one picture alone, and is in its sample as it came: start codes are not.
func telling(b []byte) bool {
	n := len(b)
	if n < leastBytes || b[n-1] == 0 || b[0] == 1 || b[0] == 0 && b[1] <= 1 || bytes.Contains(b, []byte{0, 0, 1}) {
		return false
	}
	var seen [256]bool
	kinds := 0
	for _, x := range b {
		if !seen[x] {
			seen[x] = true
			kinds++
		}
	}
	return kinds >= leastKinds
}

// ask lets of tell of which pictures those chains are of which alone it is not known where they lie, so that others cannot be put
// together. It reports whether it told anything new.
func (s *set) ask(before order, of teller) (more bool) {
	asked := map[int]bool{}
	for u := range len(s.chains) - 1 {
		if s.sure(u) || !s.mayMeet(u, before) {
			continue
		}
		for w := range s.chains {
			if asked[w] || len(asked) >= maxTold || !before.unsure(u, w) {
				continue
			}
			asked[w] = true
			c := s.items[s.chains[w].from:s.chains[w].to]
			if slices.ContainsFunc(c, func(x item) bool { return x.first }) {
				continue
			}
			if dts, ok := of(c); ok {
				more = s.within(before, w, dts) || more
			}
		}
	}
	return more
}

// within notes that a chain is of the picture of a time: between its PES and the next one. It does so only where that says something new
// and nothing else denies it.
func (s *set) within(before order, w int, dts timeline.Ticks) (more bool) {
	from := slices.IndexFunc(s.items, func(x item) bool { return x.first && x.dts == dts })
	if from < 0 {
		return false
	}
	edges := [][2]int{{s.items[from].chain, w}}
	if to := slices.IndexFunc(s.items[from+1:], func(x item) bool { return x.first }); to >= 0 {
		edges = append(edges, [2]int{w, s.items[from+1+to].chain})
	}
	for _, e := range edges {
		if e[0] == e[1] || before.has(e[1], e[0]) {
			return false
		}
		more = more || !before.has(e[0], e[1])
	}
	s.edges = append(s.edges, edges...)
	return more
}
