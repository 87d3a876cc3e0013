package join

import (
	"bytes"
	"hash/maphash"
	"slices"

	"github.com/twinreel/twinreel/pkg/timeline"
)

const (
	// leastBytes and leastKinds are what a payload has to hold at least, and of unlike bytes, to be taken for a part of one picture alone:
	// stuffing, and what an encoder says again and again, has less.
	leastBytes = 100
	leastKinds = 64
	// pieceBytes and pieceStep: a payload that tells has all of one of the pieces of which pictures are known.
	pieceBytes = 32
	pieceStep  = leastBytes - pieceBytes + 1
	// maxAlike is in how many places a piece may be; what is said again and again tells nothing.
	maxAlike = 16
	// maxTold bounds the chains of a set that are looked for in pictures.
	maxTold = 32
)

// teller tells of which picture packets are that followed each other.
type teller func(chain []item) (dts timeline.Ticks, ok bool)

// contents gives the teller of a track: what one copy received in pieces is of the picture that another one has whole, where its bytes are.
func contents(lanes []*lane) teller {
	var in *pieces
	return func(chain []item) (dts timeline.Ticks, ok bool) {
		if in == nil { // few joins ask
			in = piecesOf(lanes)
		}
		for i := range chain {
			b := chain[i].Data
			if chain[i].Start || !telling(b) {
				continue
			}
			switch at, n := in.find(b); {
			case n < 0:
				continue
			case n != 1 || ok && at != dts:
				return 0, false
			default:
				dts, ok = at, true
			}
		}
		return dts, ok
	}
}

// pieces finds bytes in intact pictures, in time that does not grow with these: each piece that begins at a multiple of pieceStep is known by its hash.
type pieces struct {
	of   []*sample
	at   map[uint64][]piece
	seed maphash.Seed
}

type piece struct{ of, from int32 }

func piecesOf(lanes []*lane) *pieces {
	p := &pieces{at: map[uint64][]piece{}, seed: maphash.MakeSeed()}
	seen := map[timeline.Ticks][]byte{}
	for _, l := range lanes {
		for i := range l.samples {
			s := &l.samples[i]
			if s.reason != 0 || bytes.Equal(seen[s.dts], s.data) {
				continue
			}
			seen[s.dts] = s.data
			p.of = append(p.of, s)
			for k := 0; k+pieceBytes <= len(s.data); k += pieceStep {
				h := maphash.Bytes(p.seed, s.data[k:k+pieceBytes])
				if alike := p.at[h]; len(alike) <= maxAlike {
					p.at[h] = append(alike, piece{int32(len(p.of) - 1), int32(k)})
				}
			}
		}
	}
	return p
}

// find counts the pictures in which b is, and gives the time of one. Less than none: a part of it is in too many places.
func (p *pieces) find(b []byte) (dts timeline.Ticks, n int) {
	for k := range pieceStep {
		alike := p.at[maphash.Bytes(p.seed, b[k:k+pieceBytes])]
		if len(alike) > maxAlike {
			return 0, -1
		}
		for _, x := range alike {
			s, from := p.of[x.of], int(x.from)-k
			switch {
			case from < 0 || from+len(b) > len(s.data) || !bytes.Equal(s.data[from:from+len(b)], b):
			case n == 0:
				dts, n = s.dts, 1
			case s.dts != dts:
				n = 2
			}
		}
	}
	return dts, n
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
