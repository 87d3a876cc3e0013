package store

import (
	"testing"

	"github.com/twinreel/twinreel/pkg/segment"
)

// TestPiecesGiveWay: a recorder that died over and over within a cell left pieces of a segment. A copy of all of it takes the place of them, though it is
// not certain of its end: no piece ends with a cut that it may have run over. Else it is they that fill the slot, and it is refused.
func TestPiecesGiveWay(t *testing.T) {
	x := newSite(t)
	from, to := cellFrames(4)
	for k := range segment.MaxCopies {
		piece := x.make(from+30*k, from+30*k+20, nil, nil)
		piece.info.Evidence = segment.Evidence{StartUncertain: true, EndUncertain: true}
		if r := x.store(piece, true); r.err != nil || !r.out.Kept {
			t.Fatalf("piece %d: %+v", k, r)
		}
	}
	all := x.make(from, to+1, nil, nil)
	all.info.Evidence.EndUncertain = true
	r := x.store(all, false)
	if r.err != nil || !r.out.Kept {
		t.Fatalf("all of it: %+v", r)
	}
	copies, err := x.st.Copies(all.slot)
	if err != nil || len(copies) != 1 {
		t.Errorf("%d copies, %v", len(copies), err)
	}
}
