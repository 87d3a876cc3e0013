package join

import (
	"cmp"
	"slices"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// set is what lies side by side, each packet at its place.
type set struct {
	items  []item
	holes  []gap
	alone  bool // other runs say something else of where these lie
	chains []chain
	edges  [][2]int // chains of which the first certainly comes before the second
}

// gap is a hole in the places of a set.
type gap struct {
	from, to int
	sure     bool
	across   bool // it may end at a run's first packet alone
}

// laid are the runs of a PID, side by side.
type laid struct {
	sets   []set
	unlike int
}

// node is where runs begin: at a PES with a time, whoever has received it, or behind a hole that nobody can count.
type node struct {
	dts    timeline.Ticks
	sender uint64
	cut    uint32
}

// side says that node b lies at places behind node a.
type side struct {
	a, b, at int
	sure     bool
}

// forest joins nodes that lie side by side.
type forest struct {
	up  []int
	at  []int // from up
	bad []bool
}

func newForest(n int) *forest {
	f := &forest{up: make([]int, n), at: make([]int, n), bad: make([]bool, n)}
	for i := range f.up {
		f.up[i] = i
	}
	return f
}

func (f *forest) find(i int) (root, at int) {
	for f.up[i] != i {
		up := f.up[i]
		f.at[i], f.up[i] = f.at[i]+f.at[up], f.up[up] // half as far the next time
		at += f.at[i]
		i = f.up[i]
	}
	return i, at
}

func (f *forest) join(e side) {
	a, atA := f.find(e.a)
	b, atB := f.find(e.b)
	if at := atA + e.at - atB; a != b {
		f.up[b], f.at[b] = a, at
		f.bad[a] = f.bad[a] || f.bad[b]
	} else if at != 0 {
		f.bad[a] = true
	}
}

// lay lays runs side by side: by links, and by the numbers of datagrams. What is certain goes before a link over holes that the
// counter alone measures. Where links contradict each other, what they would hold together lies apart.
func lay(runs []segment.Run) laid {
	nodes := map[node]int{}
	number := func(n node) int {
		i, ok := nodes[n]
		if !ok {
			i = len(nodes)
			nodes[n] = i
		}
		return i
	}
	of := make([]int, len(runs))
	var sides []side
	for i := range runs {
		r := &runs[i]
		if r.Cut != 0 {
			of[i] = number(node{r.DTS, r.Sender, r.Cut})
			continue
		}
		of[i] = number(node{dts: r.DTS})
		for _, l := range r.Links {
			if l.DTS < r.DTS {
				sides = append(sides, side{number(node{dts: l.DTS}), of[i], int(l.At), l.Sure})
			}
		}
	}
	near := nearby(runs, of)
	for _, n := range near {
		sides = append(sides, side{n.a, n.b, n.atA + n.step - n.atB, true})
	}
	sure, all := newForest(len(nodes)), newForest(len(nodes))
	for _, e := range sides {
		if e.sure {
			sure.join(e)
			all.join(e)
		}
	}
	for _, e := range sides {
		a, _ := sure.find(e.a)
		if b, _ := sure.find(e.b); a != b && !e.sure {
			all.join(e)
		}
	}
	return collect(runs, of, near, sure, all)
}

// collect makes the sets.
func collect(runs []segment.Run, of []int, near []pair, sure, all *forest) (out laid) {
	index := map[[2]int]int{}
	at := make([]spot, len(runs))
	place := func(n int) spot {
		a, atAll := all.find(n)
		b, atSure := sure.find(n)
		key, pos, alone := [2]int{0, a}, atAll, false
		switch {
		case sure.bad[b]:
			key, pos, alone = [2]int{2, n}, 0, true
		case all.bad[a]:
			key, pos, alone = [2]int{1, b}, atSure, true
		}
		i, ok := index[key]
		if !ok {
			i = len(out.sets)
			index[key] = i
			out.sets = append(out.sets, set{alone: alone})
		}
		return spot{i, pos}
	}
	for i := range runs {
		at[i] = place(of[i])
		s := &out.sets[at[i].set]
		for k := range runs[i].Packets {
			s.items = append(s.items, item{Packet: &runs[i].Packets[k], at: at[i].at + int(runs[i].Packets[k].At), sender: runs[i].Sender, first: k == 0 && runs[i].Cut == 0, dts: runs[i].DTS})
		}
		last := uint32(0)
		if n := len(runs[i].Packets); n > 0 {
			last = runs[i].Packets[n-1].At
		}
		for _, h := range runs[i].Holes {
			s.holes = append(s.holes, gap{at[i].at + int(h.From), at[i].at + int(h.To), h.Sure, h.To > last})
		}
	}
	for _, n := range near {
		a, b := place(n.a), place(n.b)
		if a.set == b.set {
			out.sets[a.set].holes = append(out.sets[a.set].holes, gap{a.at + n.atA, b.at + n.atB, true, false})
		}
	}
	for i := range out.sets {
		if out.sets[i].alone {
			out.unlike++
		}
	}
	return out
}

// spot is where a run lies.
type spot struct{ set, at int }

// pair are two packets of which the numbers of their datagrams tell how far they are apart.
type pair struct{ a, atA, b, atB, step int }

// nearby finds the packets that two recorders have of one datagram, and those between which too few datagrams lie, by the numbers
// of their sender, for the counter to be wrong.
func nearby(runs []segment.Run, of []int) (out []pair) {
	type numbered struct {
		p             *segment.Packet
		sender        uint64
		seq           int64
		node          int
		before, after int64 // the most that any has received in a row beside it
		head, tail    int   // packets of its datagram before and behind it that may have come, and of which nothing is kept
		follows       bool
	}
	var all []numbered
	seqs := unwrapped(runs)
	most := mostPackets
	for i := range runs {
		for k := range runs[i].Packets {
			if runs[i].Sender != 0 && runs[i].Packets[k].Seq != 0 {
				most = max(most, int(seqs[i][k]&segment.MaxPlace)+1)
			}
		}
	}
	for i := range runs {
		for k := range runs[i].Packets {
			p := &runs[i].Packets[k]
			if runs[i].Sender == 0 || p.Seq == 0 {
				continue
			}
			x := numbered{p: p, sender: runs[i].Sender, seq: seqs[i][k], node: of[i], before: int64(p.Before), after: int64(p.After), follows: p.Follows}
			place := int(x.seq & segment.MaxPlace)
			if k == 0 && runs[i].Cut == 0 {
				x.head = place
			}
			if k == len(runs[i].Packets)-1 && p.After == 0 {
				x.tail = most - 1 - place
			}
			all = append(all, x)
		}
	}
	slices.SortStableFunc(all, func(a, b numbered) int {
		return cmp.Or(cmp.Compare(a.sender, b.sender), cmp.Compare(a.seq, b.seq))
	})
	for i := 1; i < len(all); i++ { // what any knows of a packet
		if x, y := &all[i-1], &all[i]; x.sender == y.sender && x.seq == y.seq {
			y.after, y.tail = max(x.after, y.after), min(x.tail, y.tail)
		}
	}
	for i := len(all) - 2; i >= 0; i-- {
		if x, y := &all[i], &all[i+1]; x.sender == y.sender && x.seq == y.seq {
			x.before, x.head, x.follows = max(x.before, y.before), min(x.head, y.head), x.follows || y.follows
		}
	}
	for i := 1; i < len(all); i++ {
		x, y := &all[i-1], &all[i]
		if x.sender != y.sender {
			continue
		}
		between := (y.seq >> segment.PlaceBits) - (x.seq >> segment.PlaceBits) - 1 - x.after - y.before
		switch {
		case x.seq == y.seq:
			out = append(out, pair{x.node, int(x.p.At), y.node, int(y.p.At), 0})
		case y.follows || between*int64(most)+int64(x.tail+y.head) <= surePackets:
			out = append(out, pair{x.node, int(x.p.At), y.node, int(y.p.At), 1 + int((y.p.Counter-x.p.Counter-1)&0x0F)})
		}
	}
	return out
}

// unwrapped gives the numbers of packets without the wraps at 2^16 datagrams: runs are by time.
func unwrapped(runs []segment.Run) [][]int64 {
	out := make([][]int64, len(runs))
	last := map[uint64]int64{}
	for i := range runs {
		out[i] = make([]int64, len(runs[i].Packets))
		for k := range runs[i].Packets {
			p := &runs[i].Packets[k]
			if p.Seq == 0 {
				continue
			}
			was, ok := last[runs[i].Sender]
			if !ok {
				was = int64(p.Datagram())
			}
			was += int64(int16(p.Datagram() - uint16(was)))
			last[runs[i].Sender] = was
			out[i][k] = was<<segment.PlaceBits | int64(p.Seq-1)&segment.MaxPlace
		}
	}
	return out
}
