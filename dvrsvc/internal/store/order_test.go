package store

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/segment"
)

// keeps lists what is in slots.
func (x *site) keeps(slots ...segment.Slot) (out []string) {
	for _, slot := range slots {
		copies, err := x.st.Copies(slot)
		if err != nil {
			x.t.Fatal(err)
		}
		for _, c := range copies {
			out = append(out, fmt.Sprintf("%d %.8s", slot.Cell, c.Info.Digest))
		}
	}
	slices.Sort(out)
	return out
}

// TestKeptInAnyOrder: what stays depends on which copies were offered, and not on which came first: here one that begins late is played
// beside one that runs over the cut, though a third of its slot contains it.
func TestKeptInAnyOrder(t *testing.T) { // R2
	from, to := cellFrames(4)
	next, end := cellFrames(5)
	mid := (next + end) / 2
	var want []string
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		x := newSite(t)
		all := []*made{
			x.make(from, mid, nil, nil).uncertain(true, true),
			x.make(next, end, nil, nil).uncertain(true, true),
			x.make(mid, end, nil, nil).uncertain(true, true),
		}
		for range 2 { // a peer that has it offers it again
			for _, i := range order {
				x.store(all[i], false)
			}
		}
		got := x.keeps(all[0].slot, all[1].slot)
		if want == nil {
			want = got
		}
		if !slices.Equal(got, want) || len(got) != 3 {
			t.Errorf("offered as %v: %v, want %v", order, got, want)
		}
	}
	if to != next {
		t.Error("cells lie apart")
	}
}

// TestJudgedAnew: a copy gives way where less is known against the one that contains it, as it would have if that had come so.
func TestJudgedAnew(t *testing.T) { // R2
	from, to := cellFrames(4)
	next, end := cellFrames(5)
	x := newSite(t)
	over := x.make(from, next+10, nil, nil).uncertain(false, true)
	behind := x.make(next, end, nil, nil).uncertain(true, false)
	x.store(over, false)
	x.store(behind, false)
	x.store(x.make(from, to, nil, nil), false)
	if got := x.keeps(over.slot, behind.slot); len(got) != 3 {
		t.Fatalf("kept %v, want all", got)
	}
	x.store(x.make(next, end, nil, nil), false)
	if got := x.keeps(over.slot, behind.slot); len(got) != 2 {
		t.Errorf("kept %v, want the whole ones", got)
	}
}

// TestRanOverIsNoHeir: a copy does not give way to a better one of its slot that ran over the cut with which it ends: what lies behind that could
// not be played beside the other. Where the slot has a whole one, that is played in any case.
func TestRanOverIsNoHeir(t *testing.T) { // R2, R3
	from, to := cellFrames(4)
	next, end := cellFrames(5)
	x := newSite(t)
	m := x.make(from, to, []int{from + 10}, nil).uncertain(true, false)
	over := x.make(from, next+30, []int{from + 10}, nil).uncertain(true, true)
	certain := x.make(from, next+30, []int{from + 10}, nil).uncertain(true, false)
	head := x.make(from, from+50, []int{from + 10}, nil).uncertain(true, true)
	longer := x.make(from, from+60, []int{from + 10}, nil).uncertain(true, true)
	other := x.make(from, to, []int{from + 20}, nil).uncertain(true, false)
	worse := x.make(from, to, []int{from + 10, from + 11}, nil).uncertain(true, false)
	short := x.make(from, to-10, nil, nil)
	behind := x.make(next, end, []int{next + 40}, nil)
	for _, c := range []struct {
		name          string
		in            []*made
		kept, present []*made
	}{
		{"it stays, and is played with what lies behind", []*made{m, over, behind}, []*made{m, over, behind}, []*made{m, behind}},
		{"also where another of the slot is played", []*made{other, worse, over, behind}, []*made{other, worse, over, behind}, []*made{other, behind}},
		{"where nothing lies behind the longer one is played", []*made{m, over}, []*made{m, over}, []*made{over}},
		{"one that is certain of its end takes its place", []*made{m, certain}, []*made{certain}, []*made{certain}},
		{"as does one that broke off in the same cell", []*made{head, longer}, []*made{longer}, []*made{longer}},
		{"and any beside a whole one", []*made{m, over, short}, []*made{over, short}, []*made{short}},
	} {
		for _, backward := range []bool{false, true} {
			x := newSite(t)
			in := slices.Clone(c.in)
			if backward {
				slices.Reverse(in)
			}
			for range 2 { // a peer that has it offers it again
				for _, m := range in {
					x.store(m, false)
				}
			}
			kept, present := x.kept()
			if !sameSet(kept, c.kept) || !sameSet(present, c.present) {
				t.Errorf("%s, backward %t: kept %d, presented %d, want %d and %d", c.name, backward, len(kept), len(present), len(c.kept), len(c.present))
			}
		}
	}
}
