package join

import (
	"cmp"
	"slices"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// part is a stretch of packets that follow each other.
type part []segment.Packet

const (
	// surePackets are as many as the continuity counter can count.
	surePackets = 15
	// mostPackets are those of a datagram, where none had more.
	mostPackets = 7
	// maxChains bounds the chains of which the order is looked for.
	maxChains = 512
)

// item is a packet at its place in a set.
type item struct {
	*segment.Packet
	at     int
	sender uint64
	chain  int
	first  bool           // of a PES with a time
	dts    timeline.Ticks // of that
}

// chain is a stretch of packets of which a recorder received each right behind the one before it.
type chain struct {
	from, to int // items
	group    int // chains of one group are exactly where they are
}

// assemble puts the packets of a PID together; unlike counts the places where those of copies differ.
//
// What one recorder received in a row is a chain. Two chains are put together where one ends at the place before the other. Where
// holes that the counter alone measures lie between them, these may be larger by multiples of 16; so it must be certain
// of every other chain of the set that it lies before both of them or behind them. Then what is missing between the two, if
// anything, is a multiple of 16 that nobody has: one recorder of all that came would see no hole either.
//
// of, if it is not nil, tells what nothing of that kind does.
func assemble(runs []segment.Run, of teller) (parts []part, unlike int) {
	l := lay(runs)
	unlike = l.unlike
	for i := range l.sets {
		set := l.sets[i]
		slices.SortStableFunc(set.items, func(a, b item) int {
			return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(b.Seq, a.Seq))
		})
		if set.items = unite(set.items); set.items == nil {
			unlike++
			continue
		}
		parts = append(parts, set.parts(of)...)
	}
	parts = slices.DeleteFunc(parts, func(p part) bool {
		return len(p) < 2 || !slices.ContainsFunc(p, func(x segment.Packet) bool { return x.Start })
	})
	return parts[:min(len(parts), maxParts)], unlike
}

// unite leaves one item of each place; nil: unlike packets are in one, so that at least one lies where it does not belong.
func unite(all []item) []item {
	out := all[:0]
	for i := range all {
		x := &all[i]
		n := len(out)
		if n == 0 || out[n-1].at != x.at {
			out = append(out, *x)
			continue
		}
		o := &out[n-1]
		if !o.Same(x.Packet) {
			return nil
		}
		if x.Follows && !o.Follows {
			p := *o.Packet
			p.Follows = true
			o.Packet = &p
		}
		if x.first {
			o.first, o.dts = true, x.dts
		}
	}
	return out
}

// find gives the item of a place, or -1.
func (s *set) find(at int) int {
	i, ok := slices.BinarySearchFunc(s.items, at, func(x item, at int) int { return cmp.Compare(x.at, at) })
	if !ok {
		return -1
	}
	return i
}

// parts puts the chains of the set together.
func (s *set) parts(of teller) (out []part) {
	s.link()
	var now part
	var before order
	if !s.alone && len(s.chains) <= maxChains {
		before = s.order()
		if of != nil && s.ask(before, of) {
			before = s.order()
		}
	}
	for i := range s.chains {
		c := &s.chains[i]
		if i > 0 && !s.meet(i-1, before) {
			out, now = append(out, now), nil
		}
		for k := c.from; k < c.to; k++ {
			now = append(now, *s.items[k].Packet)
		}
	}
	return append(out, now)
}

// meet reports whether chain u and the next one follow each other.
func (s *set) meet(u int, before order) bool {
	return s.sure(u) || s.mayMeet(u, before) && !before.anyUnsure(u)
}

// next reports whether the places and counters of chain u and the next one follow each other.
func (s *set) next(u int) bool {
	x, y := &s.items[s.chains[u].to-1], &s.items[s.chains[u+1].from]
	return y.at == x.at+1 && y.Counter == (x.Counter+1)&0x0F
}

// sure reports whether chain u and the next one follow each other by their places alone.
func (s *set) sure(u int) bool { return s.next(u) && s.chains[u].group == s.chains[u+1].group }

// mayMeet reports whether they do if every other chain lies before both or behind both.
func (s *set) mayMeet(u int, before order) bool {
	x, y := &s.items[s.chains[u].to-1], &s.items[s.chains[u+1].from]
	return s.next(u) && before != nil && before.has(u, u+1) &&
		(x.sender == 0 || x.sender != y.sender || x.Seq == 0 || y.Seq == 0) // numbers of datagrams would tell that it is so
}

// link finds the chains, and which of them belong to one group.
func (s *set) link() {
	for i := range s.items {
		x := &s.items[i]
		if i == 0 || x.at != s.items[i-1].at+1 || !x.Follows || x.Counter != (s.items[i-1].Counter+1)&0x0F {
			s.chains = append(s.chains, chain{from: i, to: i})
		}
		x.chain = len(s.chains) - 1
		s.chains[x.chain].to = i + 1
	}
	s.edges = s.times()
	groups := newForest(len(s.chains))
	for _, h := range s.holes {
		a, b := s.find(h.from), s.find(h.to)
		if a < 0 || b < 0 || h.across && !s.items[b].first || s.items[a].chain == s.items[b].chain {
			continue
		}
		s.edges = append(s.edges, [2]int{s.items[a].chain, s.items[b].chain})
		if h.sure {
			groups.join(side{a: s.items[a].chain, b: s.items[b].chain})
		}
	}
	for i := range s.chains {
		s.chains[i].group, _ = groups.find(i)
	}
}

// times gives the order of chains with PES of which the times are known. Nothing, where these do not grow.
func (s *set) times() (out [][2]int) {
	last := -1
	for i := range s.items {
		if !s.items[i].first {
			continue
		}
		if last >= 0 {
			if s.items[i].dts <= s.items[last].dts {
				return nil
			}
			if a, b := s.items[last].chain, s.items[i].chain; a != b {
				out = append(out, [2]int{a, b})
			}
		}
		last = i
	}
	return out
}

// order says of each chain which others certainly come behind it.
type order [][]uint64

func (o order) has(a, b int) bool { return o[a][b/64]&(1<<(b%64)) != 0 }

// unsure reports whether chain w may lie between chain u and the next one.
func (o order) unsure(u, w int) bool { return w != u && w != u+1 && !o.has(w, u) && !o.has(u+1, w) }

func (o order) anyUnsure(u int) bool {
	for w := range o {
		if o.unsure(u, w) {
			return true
		}
	}
	return false
}

// order follows what recorders know of the order of the chains.
func (s *set) order() order {
	n := len(s.chains)
	next := make([][]int, n)
	for _, e := range s.edges {
		next[e[0]] = append(next[e[0]], e[1])
	}
	newest := map[int]int{} // of each group
	for i := range s.chains {
		if last, ok := newest[s.chains[i].group]; ok {
			next[last] = append(next[last], i)
		}
		newest[s.chains[i].group] = i
	}
	out := make(order, n)
	var open []int
	for i := range out {
		out[i] = make([]uint64, (n+63)/64)
		for open = append(open[:0], i); len(open) > 0; {
			k := open[len(open)-1]
			open = open[:len(open)-1]
			for _, x := range next[k] {
				if !out.has(i, x) {
					out[i][x/64] |= 1 << (x % 64)
					open = append(open, x)
				}
			}
		}
	}
	return out
}
