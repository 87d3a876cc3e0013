package join

import (
	"testing"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const slow = 9000 // ticks between pictures

// sentPictures writes a copy of pictures alone, of those with from <= DTS < to but what is lost; rap says which are random access points, offset how much
// later than its DTS each is presented.
func sentPictures(from, to timeline.Ticks, e segment.Evidence, offset uint32, rap, lost func(timeline.Ticks) bool) Copy {
	c := Copy{Info: segment.Info{End: to, Format: segment.Format, Evidence: e, Tracks: []segment.Track{{PID: video, Codec: "avc1.64001f"}}}}
	var at []timeline.Ticks
	for dts := (from + slow - 1) / slow * slow; dts < to; dts += slow {
		if lost == nil || !lost(dts) {
			at = append(at, dts)
		}
	}
	for i, dts := range at {
		next := (to + slow - 1) / slow * slow
		if i+1 < len(at) {
			next = at[i+1]
		}
		s := fmp4.Sample{Duration: uint32(next - dts), Size: 8, Offset: offset, Flags: fmp4.FlagsNonSync}
		if rap(dts) {
			s.Flags = fmp4.FlagsSync
		}
		if i == 0 {
			c.Info.Start, c.Info.Independent = dts+timeline.Ticks(offset), rap(dts)
		}
		data := []byte("pictures")
		data[0], data[1] = byte(dts/slow), byte(dts/slow>>8)
		c.Data = append(c.Data, fmp4.AppendChunk(nil, fmp4.Video, video, dts, []fmp4.Sample{s}, data)...)
		c.Info.End = next + timeline.Ticks(offset)
	}
	c.Info.Digest, c.Info.Bytes = segment.Sum(c.Data), uint64(len(c.Data))
	return c
}

func cellStart(n int64) timeline.Ticks { return timeline.Ticks(n) * timeline.CellTicks }

const evenCell = 16384 + 10 // of timeline.Wrap

// TestForcedCutTellsNoEndFourCellsBefore: a slot begins without a random access point, for certain: since a second before the two cells before it nothing was lost. In the cell before
// these all have lost a stretch, and a slot may have begun in it: that of the lower slot is not certain.
func TestForcedCutTellsNoEndFourCellsBefore(t *testing.T) {
	p, q := int64(evenCell), int64(evenCell+4)
	first := (cellStart(p) + slow - 1) / slow * slow
	second := (cellStart(p+1) + 20*slow) / slow * slow // where a segment begins
	rap := func(d timeline.Ticks) bool { return d == first || d == second }
	lost := func(d timeline.Ticks) bool { return d >= second-5*slow && d <= second+5*slow }
	gap := segment.Evidence{EndUncertain: true, Missing: []segment.MissingSpan{{PID: video, From: second - 5*slow, To: second + 6*slow, Reason: 1}}}
	own := sentPictures(cellStart(p), cellStart(q), gap, 0, rap, lost)
	behind := sentPictures(cellStart(q), cellStart(q+1), segment.Evidence{}, 0, rap, nil)
	r, err := JoinBeside(nil, []Copy{own}, []Copy{behind})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Info.Evidence.EndUncertain {
		t.Errorf("it is certain that it ends at %d, and the segment that was sent did at %d", r.Info.End, second)
	}
	// Another site comes, which has the cut, and lost a picture.
	third := segment.Evidence{Missing: []segment.MissingSpan{{PID: video, From: first + 3*slow, To: first + 4*slow, Reason: 1}}}
	other := sentPictures(cellStart(p), second, third, 0, rap, func(d timeline.Ticks) bool { return d == first+3*slow })
	if _, err := Join(own, other); err != nil {
		t.Fatalf("the copies as they came: %v", err)
	}
	if j, err := Join(r.Copy, other); err != nil || !j.Info.Evidence.Whole() {
		t.Errorf("joined with one that has the cut: %+v, %v", j.Info.Evidence, err)
	}
}

// TestForcedCutBehindALostSlot: the random access point of the cell between is intact in what all have, as of packets of two copies. So the lower slot does not end four cells on.
func TestForcedCutBehindALostSlot(t *testing.T) {
	p, q := int64(evenCell), int64(evenCell+4)
	first := (cellStart(p) + slow - 1) / slow * slow
	second := (cellStart(p+1) + 20*slow) / slow * slow
	rap := func(d timeline.Ticks) bool { return d == first || d == second }
	own := sentPictures(cellStart(p), cellStart(q), segment.Evidence{EndUncertain: true}, 0, rap, nil)
	behind := sentPictures(cellStart(q), cellStart(q+1), segment.Evidence{}, 0, rap, nil)
	r, err := JoinBeside(nil, []Copy{own}, []Copy{behind})
	if err != nil {
		t.Fatal(err)
	}
	if r.Info.Evidence.Whole() {
		t.Errorf("[%d, %d) is whole, and a segment began at %d", r.Info.Start, r.Info.End, second)
	}
}

// TestForcedCutPresentedLater: a random access point more than a second before the blind cells by its DTS, and in them by its PTS.
func TestForcedCutPresentedLater(t *testing.T) {
	p, q := int64(evenCell), int64(evenCell+2)
	const offset = 15 * slow
	first := (cellStart(p) - 11*slow) / slow * slow
	rap := func(d timeline.Ticks) bool { return d == first }
	own := sentPictures(first, cellStart(q)+30*slow, segment.Evidence{EndUncertain: true}, offset, rap, nil)
	behind := sentPictures(cellStart(q), cellStart(q+1), segment.Evidence{StartUncertain: true}, offset, rap, nil)
	r, err := JoinBeside(nil, []Copy{own}, []Copy{behind})
	if err != nil {
		t.Fatal(err)
	}
	if r.Info.Evidence.Whole() {
		t.Errorf("[%d, %d) is whole, and no segment begins behind it", r.Info.Start, r.Info.End)
	}
}
