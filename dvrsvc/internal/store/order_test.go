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
