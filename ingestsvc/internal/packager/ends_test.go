package packager

import (
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// rapPackets are the first packets of the random access points of a track, each with the DTS of what begins there.
func rapPackets(packets [][]byte, pid uint16) map[timeline.Ticks]int {
	at := map[timeline.Ticks]int{}
	for i, p := range packets {
		if pidOf(p) != pid || p[1]&0x40 == 0 || p[3]&0x30 != 0x30 {
			continue
		}
		if dts, ok := mpegts.StartDTS(p[5+p[4]:]); ok {
			at[timeline.Ticks(dts)&(timeline.Wrap-1)] = i
		}
	}
	return at
}

// TestCertainEnds: a recorder loses each random access point with which a segment begins in turn. Where it says that a segment
// ends for certain, that of a recorder which lost nothing ends there too.
func TestCertainEnds(t *testing.T) {
	long := testkit.Clip{Name: "long", Seconds: 60, Rate: "25", X264: "keyint=160:min-keyint=160:bframes=2:scenecut=0", Audio: []string{"-c:a:0 aac -ar:a:0 48000"}}
	for _, clip := range append(slices.Clip(clips), long) {
		if testing.Short() && clip.Name != long.Name {
			continue
		}
		t.Run(clip.Name, func(t *testing.T) {
			t.Parallel()
			ts := source(t, clip)
			want := record(t, ts, 1316)
			packets := slices.Collect(slices.Chunk(ts, mpegts.PacketSize))
			raps := rapPackets(packets, want.segs[0].info.Reference().PID)
			ends, lost := 0, 0
			for _, w := range want.segs[1:] {
				i, ok := raps[w.info.Reference().Start&(timeline.Wrap-1)]
				if !ok {
					continue
				}
				lost++
				d := make(drops, len(packets))
				d[i] = true
				got := d.receive(t, packets)
				for _, s := range got.segs {
					if s.info.Evidence.EndUncertain {
						continue
					}
					for _, x := range want.segs {
						if x.info.Start.Cell() != s.info.Start.Cell() || x.key.InitSet != s.key.InitSet || x.info.Evidence.EndUncertain {
							continue
						}
						if ends++; x.info.End != s.info.End {
							t.Errorf("without the random access point of segment %d segment %d ends at %d for certain, want %d", w.key.Seq, x.key.Seq, s.info.End, x.info.End)
						}
					}
				}
			}
			if t.Logf("%d random access points, %d certain ends", lost, ends); clip.Name != "refresh" && (lost == 0 || ends == 0) {
				t.Error("it tests nothing")
			}
		})
	}
}
