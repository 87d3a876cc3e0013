package join

import (
	"fmt"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// run makes a run of packets at the given places.
func run(dts timeline.Ticks, places ...int) segment.Run {
	r := segment.Run{PID: video, DTS: begin + frame*dts}
	for i, at := range places {
		follows := i > 0 && places[i-1] == at-1
		r.Packets = append(r.Packets, segment.Packet{At: uint32(at), Counter: uint8(at & 0x0F), Start: at == 0, Follows: follows, Data: fmt.Appendf(nil, "%d/%d", dts, at)})
		if i > 0 && !follows {
			r.Holes = append(r.Holes, segment.Hole{From: uint32(places[i-1]), To: uint32(at)})
		}
	}
	return r
}

// TestAssemble: packets follow each other where copies agree on their place.
func TestAssemble(t *testing.T) {
	linked := func(r segment.Run, links ...segment.Link) segment.Run { r.Links = links; return r }
	one := segment.Link{DTS: begin, At: 4, Whole: true}
	next := run(1, 0, 1)
	next.Packets[0].Counter, next.Packets[1].Counter, next.Packets[0].Follows = 4, 5, true
	other := run(0, 2)
	other.Packets[0].Data = []byte("another")
	late := run(0, 3)
	late.Packets[0].Counter = 9
	for _, c := range []struct {
		name   string
		runs   []segment.Run
		parts  []int // packets of each
		unlike int
	}{
		{"each has what the other lost", segment.UniteRuns([]segment.Run{run(0, 0, 1, 3)}, []segment.Run{run(0, 0, 2, 3)}), []int{4}, 0},
		{"both lost one", segment.UniteRuns([]segment.Run{run(0, 0, 1, 3)}, []segment.Run{run(0, 0, 1, 3)}), []int{2}, 0},
		{"across a PES", []segment.Run{run(0, 0, 1, 2, 3), linked(next, one)}, []int{6}, 0},
		{"across a PES of which one knows more", []segment.Run{run(0, 0, 1, 2, 3), linked(next, one, segment.Link{DTS: begin - frame, At: 9})}, []int{6}, 0},
		{"by the PES behind", []segment.Run{run(0, 0, 1), {PID: video, DTS: begin + frame, Packets: next.Packets},
			linked(run(2, 0), segment.Link{DTS: begin, At: 6}, segment.Link{DTS: begin + frame, At: 2})}, []int{2, 2}, 0},
		{"across a PES, where they differ", []segment.Run{run(0, 0, 1, 2, 3), linked(next, one, segment.Link{DTS: begin, At: 20})}, []int{4, 2}, 2},
		{"unlike packets in one place", segment.UniteRuns([]segment.Run{run(0, 0, 1, 2, 3)}, []segment.Run{other}), nil, 1},
		{"holes that touch", segment.UniteRuns([]segment.Run{run(0, 0, 1, 4, 5)}, []segment.Run{run(0, 0, 1, 2, 3, 5)}), []int{6}, 0},
		{"each may lie before the other", segment.UniteRuns([]segment.Run{run(0, 0, 2, 4)}, []segment.Run{run(0, 0, 1, 3, 4)}), []int{5}, 0},
		{"each may lie before the other", segment.UniteRuns([]segment.Run{run(0, 0, 2, 3, 6, 7)}, []segment.Run{run(0, 0, 1, 4, 5, 7)}), []int{2}, 0},
		{"the counter does not go on", segment.UniteRuns([]segment.Run{run(0, 0, 1, 2)}, []segment.Run{late}), []int{3}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			parts, unlike := assemble(c.runs, nil)
			var got []int
			for _, p := range parts {
				got = append(got, len(p))
			}
			if fmt.Sprint(got) != fmt.Sprint(c.parts) || unlike != c.unlike {
				t.Errorf("parts of %v, %d unlike, want %v, %d", got, unlike, c.parts, c.unlike)
			}
		})
	}
}

// TestClosedBounded holds I6: between how many units nothing belongs, by what a peer makes up, takes no longer to look at.
func TestClosedBounded(t *testing.T) {
	const units = 400_000
	m := &mended{}
	for i := range timeline.Ticks(units) {
		m.closed = append(m.closed, stretch{from: begin + 7*i, to: begin + 7*i + 3})
	}
	m.order()
	g := gaps{j: &joiner{}, lanes: []*lane{{open: []bool{true}}}, mended: m, limit: limit{from: never, to: ever}}
	for i := range timeline.Ticks(units / 4) {
		g.intact = append(g.intact, sample{dts: begin + 7*i + 7*(i&1)/3})
	}
	done := time.Now()
	g.find(false)
	if d := time.Since(done); d > 10*time.Second {
		t.Errorf("it took %v", d)
	}
}

// TestCloses: what packets say that nothing is between.
func TestCloses(t *testing.T) {
	m := &mended{closed: []stretch{{from: 50, to: 60}, {from: 10, to: 40}, {from: 20, to: 30}, {from: 70, to: 80}}}
	m.order()
	for _, c := range []struct {
		from, to timeline.Ticks
		last     bool
		want     bool
	}{
		{10, 40, false, true}, {10, 41, false, false}, {9, 40, false, false}, {25, 35, false, true}, {30, 40, false, true}, {40, 50, false, false},
		{50, 70, false, false}, {70, ever, true, true}, {75, ever, true, false}, {20, 60, true, true}, {60, ever, true, false},
		{never, 40, false, true}, {never, 30, false, true}, {never, 35, false, false}, {never, 10, false, false}, {never, ever, true, false},
	} {
		if got := m.closes(c.from, c.to, c.last); got != c.want {
			t.Errorf("(%d, %d), last %t: %t", c.from, c.to, c.last, got)
		}
	}
	if (*mended)(nil).closes(10, 20, false) {
		t.Error("nothing closes")
	}
}
