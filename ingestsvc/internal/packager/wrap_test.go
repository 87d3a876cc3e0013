package packager

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// wrapClips are short: each is recorded once for every access unit in it.
var wrapClips = []testkit.Clip{
	{Name: "wrap-h264-aac", Seconds: 8, Rate: "10", Size: "64x48", X264: "keyint=10:bframes=2:scenecut=0",
		Audio: []string{"-c:a:0 aac -ar:a:0 24000"}},
	{Name: "wrap-mpeg2-mp2", Seconds: 8, Rate: "25", Size: "64x48", Video: "-c:v mpeg2video -g 12 -bf 2",
		Audio: []string{"-c:a:0 mp2 -ar:a:0 32000 -b:a:0 64k"}},
	{Name: "wrap-hevc-ac3", Seconds: 8, Rate: "10", Size: "64x64",
		Video: "-c:v libx265 -preset ultrafast -x265-params log-level=error:open-gop=1:keyint=10:min-keyint=10:bframes=2:scenecut=0",
		Audio: []string{"-c:a:0 ac3 -ar:a:0 32000 -b:a:0 64k"}},
	{Name: "wrap-h264-eac3", Seconds: 8, Rate: "10", Size: "64x48", X264: "keyint=10:bframes=2:scenecut=0:open-gop=1",
		Audio: []string{"-c:a:0 eac3 -ar:a:0 32000 -b:a:0 64k"}},
	{Name: "wrap-h264-latm", Seconds: 8, Rate: "10", Size: "64x48", X264: "keyint=10:bframes=2:scenecut=0",
		Audio: []string{"-c:a:0 aac -ar:a:0 24000 -mpegts_flags latm"}},
}

// unitTimes are the times, decode and presentation, of all access units of a stream.
type unitTimes struct{ all []int64 }

func (*unitTimes) Program(mpegts.Program) {}
func (u *unitTimes) AccessUnit(a *mpegts.AccessUnit) {
	if a.HasPTS {
		u.all = append(u.all, a.DTS, a.PTS)
	}
}

// TestWrapAtEachUnit: a stream is recorded across the 33-bit wrap as if there were none, the wrap placed at the decode time
// and at the presentation time of each access unit of each track in turn. It is compared with the same stream half a turn
// earlier, where the cells lie alike and no clock wraps: the bytes differ in T alone, so segments, samples, their places and
// their durations are the same.
func TestWrapAtEachUnit(t *testing.T) {
	for _, clip := range wrapClips {
		for _, audioOnly := range []bool{false, true} {
			name, take := clip.Name, mpegts.Options{}
			if audioOnly {
				name, take.PIDs = name+"-audio-only", []uint16{audioPID}
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				wrapAtEach(t, source(t, clip), take)
			})
		}
	}
}

func wrapAtEach(t *testing.T, ts []byte, take mpegts.Options) {
	units := &unitTimes{}
	d := mpegts.NewDemuxer(units, take)
	d.Write(ts)
	d.Flush()
	slices.Sort(units.all)
	times := slices.Compact(units.all)
	wraps, whole := 0, 0
	for _, at := range times {
		for _, by := range []int64{0, -1} { // it is the first of the new turn, or the last of the old
			wrapped := recordTaking(t, shift(ts, int64(timeline.Wrap)-at+by), take)
			// Without the wrap: the same place in the grid of cells, half a turn earlier. A cell is a divisor of it.
			plain := recordTaking(t, shift(ts, int64(timeline.Wrap)/2-at+by), take)
			what := fmt.Sprintf("wrap at %d%+d", at, by)
			if len(wrapped.segs) != len(plain.segs) {
				t.Fatalf("%s: %d segments, %d without", what, len(wrapped.segs), len(plain.segs))
			}
			for i, s := range wrapped.segs {
				p := plain.segs[i]
				if s.key.Stretch != 0 {
					t.Fatalf("%s: a jump", what)
				}
				if s.whole() != p.whole() {
					t.Fatalf("%s: segment %d: evidence %+v, without %+v", what, i, s.info.Evidence, p.info.Evidence)
				}
				if (s.info.Start-p.info.Start)%timeline.Wrap != timeline.Wrap/2 && (p.info.Start-s.info.Start)%timeline.Wrap != timeline.Wrap/2 {
					t.Fatalf("%s: segment %d starts at %d, without at %d", what, i, s.info.Start, p.info.Start)
				}
				sameSamples(t, what, s, p)
				if i > 0 {
					before := wrapped.segs[i-1]
					if d := s.info.Start - before.info.End; d != 0 && d != -timeline.Wrap && before.info.Tracks[0].Video() {
						t.Fatalf("%s: segment %d begins %d ticks from the end before", what, i, d)
					}
				}
				if s.whole() {
					whole++
				}
				// The wrap is a boundary of cells: sound is cut there, and pictures at their next random access point.
				if s.info.End > 2*timeline.Wrap || i > 0 && s.info.Start < wrapped.segs[i-1].info.Start {
					wraps++
				}
			}
		}
	}
	if wraps == 0 {
		t.Error("nothing was recorded across the wrap: the test shows nothing")
	}
	t.Logf("%d places, %d segments across a wrap or first behind it, %d whole", len(times), wraps, whole)
}

// sameSamples holds two segments to the same samples from their starts on.
func sameSamples(t *testing.T, what string, a, b *recorded) {
	t.Helper()
	if len(a.info.Tracks) != len(b.info.Tracks) {
		t.Fatalf("%s: %d tracks, without %d", what, len(a.info.Tracks), len(b.info.Tracks))
	}
	for _, tr := range a.info.Tracks {
		x, y := a.units(t, tr.PID), b.units(t, tr.PID)
		if len(x) != len(y) {
			t.Fatalf("%s: PID %d has %d samples, without %d", what, tr.PID, len(x), len(y))
		}
		for i := range x {
			if x[i].DTS-a.info.Start != y[i].DTS-b.info.Start || x[i].Duration != y[i].Duration || x[i].PTS()-x[i].DTS != y[i].PTS()-y[i].DTS ||
				x[i].Flags != y[i].Flags || !slices.Equal(x[i].Data, y[i].Data) {
				t.Fatalf("%s: PID %d sample %d: %d+%d, without %d+%d", what, tr.PID, i,
					x[i].DTS-a.info.Start, x[i].Duration, y[i].DTS-b.info.Start, y[i].Duration)
			}
		}
	}
}
