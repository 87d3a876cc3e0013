package join

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// sent are the packets of a PID in a multiplex: where each lies, and with which of them a PES begins.
type sent struct {
	mux   []int // place in the multiplex: seven are a datagram
	start []bool
}

func anySent(rnd *rand.Rand) (s sent) {
	every := []int{1, 1, 2, 9, 40}[rnd.IntN(5)]
	at := 7<<16 - rnd.IntN(2000) // numbers of datagrams wrap in many
	for i := range 60 + rnd.IntN(120) {
		at += 1 + rnd.IntN(every)
		s.mux = append(s.mux, at)
		s.start = append(s.start, i == 0 || rnd.IntN(45) == 0)
	}
	return s
}

// loss is what a recorder did not get.
type loss struct {
	packets   []bool
	datagrams map[int]bool
}

// anyLoss loses datagrams, or packets of the PID. Holes of a multiple of 16 and a few more are those that a counter measures wrong.
func (s *sent) anyLoss(rnd *rand.Rand, numbered bool, most int) loss {
	l := loss{make([]bool, len(s.mux)), map[int]bool{}}
	long := []int{1, 2, 4, 7, 12, 15, 16, 17, 18, 20, 23, 32, 36}
	for range 1 + rnd.IntN(6) {
		from, n := 1+rnd.IntN(len(s.mux)-1), min(long[rnd.IntN(len(long))], most)
		for i := range l.packets {
			if numbered {
				l.datagrams[s.mux[from]/7+i] = i < n || l.datagrams[s.mux[from]/7+i]
			} else {
				l.packets[i] = l.packets[i] || i >= from && i < from+n
			}
		}
	}
	delete(l.datagrams, s.mux[0]/7)
	delete(l.datagrams, s.mux[len(s.mux)-1]/7)
	for i := range l.packets {
		l.packets[i] = i > 0 && i < len(s.mux)-1 && (l.packets[i] || l.datagrams[s.mux[i]/7])
	}
	return l
}

// holes gives one that shows in no counter, and the longest of all.
func (l *loss) holes() (hidden, longest int) {
	for i := 0; i < len(l.packets); i++ {
		n := 0
		for ; l.packets[i]; i++ {
			n++
		}
		if longest = max(longest, n); n > 0 && n%16 == 0 {
			hidden = n
		}
	}
	return hidden, longest
}

// kept gives the packets that a recorder keeps: from the PES in which it lost something to the first of the next.
func (s *sent) kept(l *loss) []bool {
	keep := make([]bool, len(s.mux))
	last, pes := -1, 0
	until := -1 // the tape is on up to the next PES behind this
	for i := range s.mux {
		if l.packets[i] {
			continue
		}
		if last >= 0 && s.lostBetween(l, last, i) {
			for k := pes; k < i; k++ {
				keep[k] = !l.packets[k]
			}
			until = i
		}
		if until >= 0 {
			if keep[i] = true; s.start[i] && i >= until {
				until = -1
			}
		}
		if last = i; s.start[i] {
			pes = i
		}
	}
	return keep
}

// lostBetween reports whether packets, or datagrams, are missing between two packets.
func (s *sent) lostBetween(l *loss, x, y int) bool {
	for d := s.mux[x]/7 + 1; d < s.mux[y]/7; d++ {
		if l.datagrams[d] {
			return true
		}
	}
	return y > x+1
}

// receive makes runs of what a recorder keeps (mpegts, tape).
func (s *sent) receive(l *loss, numbered bool, keep []bool) (runs []segment.Run) {
	runs = s.receiveAll(l, numbered)
	for i := range runs {
		runs[i].Packets = slices.DeleteFunc(runs[i].Packets, func(p segment.Packet) bool {
			return !keep[number(p)]
		})
		for k := range runs[i].Packets {
			p := &runs[i].Packets[k]
			if n := number(*p); p.Follows && !keep[n-1] { // a tape begins
				if p.Follows = false; numbered {
					p.Before = uint16(max(s.mux[n]/7-s.mux[n-1]/7-1, 0))
				}
			}
		}
	}
	return slices.DeleteFunc(runs, func(r segment.Run) bool { return len(r.Packets) == 0 })
}

func (s *sent) receiveAll(l *loss, numbered bool) (runs []segment.Run) {
	last, size, whole, sure := -1, 0, true, true
	for i := range s.mux {
		if l.packets[i] {
			continue
		}
		p := segment.Packet{Counter: uint8(i & 0x0F), Start: s.start[i], Data: fmt.Appendf(nil, "packet %d", i)}
		gap, missing, cut := 0, 0, false
		if last >= 0 {
			gap = (i - last - 1) & 0x0F
			for d := s.mux[last]/7 + 1; d < s.mux[i]/7; d++ {
				if p.Before++; l.datagrams[d] {
					if missing++; missing == 1 {
						o := &runs[len(runs)-1]
						o.Packets[len(o.Packets)-1].After = uint16(d - s.mux[last]/7 - 1)
					}
					p.Before = 0
				}
			}
			cut, p.Follows = missing*7 > surePackets, gap == 0 && missing*7 <= surePackets
		}
		if p.Follows || !numbered {
			p.Before = 0
		}
		certain := gap == 0 || numbered
		r := segment.Run{PID: video, DTS: begin + frame*timeline.Ticks(i)}
		if numbered {
			r.Sender, p.Seq = 8, segment.PlaceSeq(uint16(s.mux[i]/7), s.mux[i]%7)
		}
		hole := func(to int) {
			if o := &runs[len(runs)-1]; !p.Follows {
				o.Holes = append(o.Holes, segment.Hole{From: o.Packets[len(o.Packets)-1].At, To: uint32(to), Sure: certain})
			}
		}
		if last >= 0 && !cut {
			size, whole, sure = size+gap, whole && gap == 0, sure && certain
		}
		switch n := len(runs); {
		case s.start[i]:
			if n > 0 && !cut && runs[n-1].Cut == 0 {
				r.Links = []segment.Link{{DTS: runs[n-1].DTS, At: uint32(size), Whole: whole, Sure: sure}}
				hole(size)
			}
			runs, size, whole, sure = append(runs, r), 0, true, true
		case cut:
			r.DTS, r.Cut = runs[n-1].DTS, p.Seq
			runs, size, whole, sure = append(runs, r), 0, false, false
		default:
			hole(size)
		}
		o := &runs[len(runs)-1]
		p.At = uint32(size)
		o.Packets = append(o.Packets, p)
		size, last = size+1, i
	}
	return runs
}

// TestNeverPlacedWrongly: whatever is lost where, packets that are put together follow each other in what came to all recorders
// together, however much a counter was wrong; and by the numbers of datagrams all are that do.
func TestNeverPlacedWrongly(t *testing.T) {
	rnd := testkit.Rand(t)
	for _, c := range []struct {
		numbered bool
		most     int     // packets or datagrams of a hole
		all      bool    // each keeps all that came, not only what is around its losses
		least    float64 // share of what follows each other that is put together
	}{{false, 5, true, 0.9}, {false, 100, true, 0}, {true, 100, true, 1}, {false, 5, false, 0.9}, {true, 100, false, 0.99}} {
		put, could, numbered := 0, 0, c.numbered
		for range 400 {
			s := anySent(rnd)
			var runs [][]segment.Run
			got := make([]bool, len(s.mux))
			for len(runs) < 2+rnd.IntN(2) {
				l := s.anyLoss(rnd, numbered, c.most)
				if hidden, longest := l.holes(); !numbered && (hidden > 0 || c.most < 16 && longest > 15) {
					continue
				}
				keep := s.kept(&l)
				for i := range keep {
					keep[i] = keep[i] || c.all && !l.packets[i]
					got[i] = got[i] || keep[i]
				}
				runs = append(runs, s.receive(&l, numbered, keep))
			}
			parts, unlike := assemble(segment.UniteRuns(runs...), nil)
			if numbered && unlike > 0 {
				t.Fatalf("%+v: %d places are unlike, of\n%s", c, unlike, told(runs))
			}
			follows := make([]bool, len(s.mux))
			for _, p := range parts {
				for k := 1; k < len(p); k++ {
					x, y := number(p[k-1]), number(p[k])
					if y <= x || slices.Contains(got[x+1:y], true) || numbered && y != x+1 {
						t.Fatalf("%+v: %d behind %d, where %v came, of\n%s", c, y, x, got, told(runs))
					}
					follows[y] = true
				}
			}
			for i := 1; i < len(got); i++ {
				if !got[i] || !got[i-1] || !reachable(&s, got, i) {
					continue
				}
				if could++; follows[i] {
					put++
				} else if c.least == 1 {
					t.Fatalf("%d does not follow %d, of\n%s", i, i-1, told(runs))
				}
			}
		}
		t.Logf("%+v: %d of %d are put together", c, put, could)
		if float64(put) < c.least*float64(could) {
			t.Errorf("%+v: %d of %d are put together", c, put, could)
		}
	}
}

// TestAssembleBounded: what a peer makes up is put together as fast as what a recorder kept.
func TestAssembleBounded(t *testing.T) {
	const n = 30_000
	hostile := map[string][]segment.Run{"nothing": {{PID: video, Holes: []segment.Hole{{From: 0, To: 1}}}}}
	one := segment.Run{PID: video, Sender: 1}
	for i := range n {
		p := segment.Packet{At: uint32(2 * i), Counter: uint8(2 * i & 0x0F), Seq: 1, Data: []byte("x")}
		one.Packets = append(one.Packets, p)
		one.Holes = append(one.Holes, segment.Hole{From: uint32(2 * (n - 1 - i)), To: uint32(2 * (n - i)), Sure: true})
		hostile["many runs"] = append(hostile["many runs"], segment.Run{
			PID: video, DTS: begin + timeline.Ticks(n-i), Packets: []segment.Packet{p}, Links: []segment.Link{{DTS: begin + timeline.Ticks(n-i-1), At: uint32(i), Sure: i%2 == 0}},
		})
	}
	hostile["many holes"] = []segment.Run{one}
	for name, runs := range hostile {
		done := time.Now()
		assemble(segment.UniteRuns(runs), nil)
		if d := time.Since(done); d > 10*time.Second {
			t.Errorf("%s: it took %v", name, d)
		}
	}
}

// reachable reports whether packet i and the one before it lie in a row that has the start of a PES.
func reachable(s *sent, got []bool, i int) bool {
	from, to := i, i
	for from > 0 && got[from-1] {
		from--
	}
	for to < len(got) && got[to] {
		to++
	}
	return slices.Contains(s.start[from:to], true)
}

func number(p segment.Packet) (n int) {
	if _, err := fmt.Sscanf(string(p.Data), "packet %d", &n); err != nil {
		panic(err)
	}
	return n
}

// told says of runs what matters.
func told(copies [][]segment.Run) (out string) {
	for _, runs := range copies {
		for _, r := range runs {
			out += fmt.Sprintf("%d cut %d, links %v, holes %v:", r.DTS-begin, r.Cut, r.Links, r.Holes)
			for _, p := range r.Packets {
				out += fmt.Sprintf(" %s", strings.TrimPrefix(string(p.Data), "packet "))
				if p.Before+p.After > 0 {
					out += fmt.Sprintf("(%d,%d)", p.Before, p.After)
				}
			}
			out += "\n"
		}
		out += "\n"
	}
	return out
}
