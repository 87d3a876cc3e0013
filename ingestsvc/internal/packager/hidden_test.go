package packager

import (
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// TestHiddenBursts measures what plain UDP can lose unnoticed: bursts of datagrams in which every PID lost a multiple of 16
// packets, in a multiplex whose rate is not constant. It prints how often that is so, and holds the rest to what is
// promised: all other bursts are evidence, and of two copies of which one hides a loss the complete one is presented.
func TestHiddenBursts(t *testing.T) {
	t.Parallel()
	clip := testkit.Clip{Name: "bursts", Seconds: 14, Rate: "25", Size: "640x360",
		Video: "-c:v mpeg2video -qscale:v 2 -g 15 -bf 2", Audio: []string{"-c:a:0 mp2 -ar:a:0 48000 -b:a:0 192k"}}
	ts := source(t, clip)
	const datagram = 7 * mpegts.PacketSize
	datagrams := slices.Collect(slices.Chunk(ts, datagram))
	t.Logf("%.1f Mbit/s", float64(len(ts))*8/float64(clip.Seconds)/1e6)
	want := record(t, ts, datagram)
	clean := map[timeline.Ticks]*recorded{}
	for _, s := range want.segs {
		clean[s.info.Start] = s
	}
	rnd := testkit.Rand(t)
	for _, burst := range []int{1, 4, 8, 15, 16, 17, 32, 48} {
		hides, unseen, trials := 0, 0, rounds(8)
		places := len(datagrams) / 2
		hidden := func(from int) bool { // no counter shows it
			lost := map[uint16]int{}
			for _, d := range datagrams[from : from+burst] {
				for p := range slices.Chunk(d, mpegts.PacketSize) {
					if p[3]&0x10 != 0 {
						lost[pidOf(p)]++
					}
				}
			}
			for _, n := range lost {
				if n%16 != 0 {
					return false
				}
			}
			return true
		}
		var hiding []int
		for from := range places {
			if hidden(from + places/2) {
				hiding = append(hiding, from+places/2)
			}
		}
		for n := range trials {
			from := places/2 + rnd.IntN(places)
			if n%2 == 0 && len(hiding) > 0 {
				from = hiding[rnd.IntN(len(hiding))]
			}
			got := record(t, slices.Concat(slices.Concat(datagrams[:from]...), slices.Concat(datagrams[from+burst:]...)), datagram)
			missed := false
			for _, s := range got.segs {
				w := clean[s.info.Start]
				if !s.whole() || w != nil && w.info.Digest == s.info.Digest {
					continue
				}
				missed = true
				if w != nil && segment.Rank(&w.info, &s.info) >= 0 {
					t.Errorf("burst of %d at datagram %d: the copy that hides a loss would be presented, %d bytes of %d", burst, from, s.info.Bytes, w.info.Bytes)
				}
			}
			if hidden(from) {
				hides++
				if missed {
					unseen++
				}
			} else if missed {
				t.Errorf("a burst of %d datagrams from %d on shows in the counters, and a segment that lacks it passes for whole", burst, from)
			}
		}
		t.Logf("bursts of %2d datagrams: no counter shows %5.1f %% of %d; of %d of these, %d left a segment that passes for whole: only a comparison finds it",
			burst, 100*float64(len(hiding))/float64(places), places, hides, unseen)
	}
}
