package packager

import (
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/join"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
)

// TestMendedReachesIntoNoNeighbour: around a cut that is certain on neither site, what is put together of packets is of the segment
// that it belongs to alone. One sample of the next one, and that would not be shown.
func TestMendedReachesIntoNoNeighbour(t *testing.T) {
	ts := source(t, clips[0])
	packets := slices.Collect(slices.Chunk(ts, mpegts.PacketSize))
	rnd := testkit.Rand(t)
	mended, pairs := 0, 0
	for range rounds(4) {
		a, b := lose(len(packets), 200, 0.01, 7, rnd), lose(len(packets), 200, 0.01, 7, rnd)
		ra, rb := a.receive(t, packets), b.receive(t, packets)
		copies := map[int64][]join.Copy{}
		for _, r := range []*recorder{ra, rb} {
			for _, s := range r.segs {
				cell := s.info.Start.Cell()
				copies[cell] = append(copies[cell], join.Copy{Info: s.info, Data: s.data})
			}
		}
		results := map[int64]join.Result{}
		for cell, cs := range copies {
			if r, err := join.Join(cs...); err == nil {
				results[cell] = r
				mended += r.Mended
			}
		}
		for cell, r := range results {
			next, ok := results[cell+1]
			if !ok {
				continue
			}
			pairs++
			apart := true // as the recorders cut
			for _, x := range copies[cell] {
				for _, y := range copies[cell+1] {
					apart = apart && !segment.Overlap(&x.Info, &y.Info)
				}
			}
			if apart && segment.Overlap(&r.Info, &next.Info) {
				t.Errorf("the join of cell %d, [%d, %d), and the next one, [%d, %d), share media: %v and %v",
					cell, r.Info.Start, r.Info.End, next.Info.Start, next.Info.End, r.Info.Tracks, next.Info.Tracks)
			}
		}
	}
	t.Logf("%d pairs of neighbours, %d access units mended", pairs, mended)
	if mended == 0 || pairs < 5 {
		t.Error("it tests nothing")
	}
}
