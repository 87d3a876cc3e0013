package packager

import (
	"bytes"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
)

// parted gives each random access point of the picture another first packet, one that ends so many bytes behind the last place
// where a pattern is in it; the rest of its payload goes into a packet of its own, or is lost. How often is told, and where the
// n-th of them begins.
func parted(ts, pattern []byte, behind, lost int) (out []byte, n int) {
	counter := byte(0)
	write := func(p, payload []byte) {
		const room = mpegts.PacketSize - 5
		field := slices.Clone(p[5 : 5+int(p[4])])
		for len(field) < room-len(payload) {
			field = append(field, 0xFF)
		}
		head := []byte{0x47, p[1], p[2], 0x30 | counter&0x0F, byte(len(field))}
		counter++
		out = slices.Concat(out, head, field, payload)
	}
	for p := range slices.Chunk(ts, mpegts.PacketSize) {
		if pidOf(p) != 256 {
			out = append(out, p...)
			continue
		}
		i := -1
		if isRAP(p) {
			i = bytes.LastIndex(p, pattern)
		}
		if i < 0 {
			p = slices.Clone(p)
			p[3] = p[3]&0xF0 | counter&0x0F
			counter++
			out = append(out, p...)
			continue
		}
		write(p, p[5+int(p[4]):i+len(pattern)+behind])
		if n++; n == lost {
			counter++
			continue
		}
		write([]byte{0x47, p[1] &^ 0x40, p[2], 0, 1, 0}, p[i+len(pattern)+behind:])
	}
	return out, n
}

// TestTornParameterSets: where packets are lost within the last parameter set of a picture, what is left of it, with bytes of a
// slice behind it, is no configuration: neither of a segment nor of the pictures up to the next random access point.
func TestTornParameterSets(t *testing.T) {
	const slices4 = "keyint=25:min-keyint=25:bframes=2:scenecut=0:slices=4"
	for _, c := range []struct {
		name    string
		clip    testkit.Clip
		pattern []byte
		behind  int
	}{
		{"H.264", testkit.Clip{Name: "torn", Seconds: 20, Rate: "25", X264: slices4}, []byte{0, 0, 1, 0x68}, 2},
		{"HEVC", clips[slices.IndexFunc(clips, func(c testkit.Clip) bool { return c.Name == "hevc" })], []byte{0, 0, 1, 0x44, 0x01}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			ts := source(t, c.clip)
			whole, n := parted(ts, c.pattern, c.behind, 0)
			if n < 5 {
				t.Fatalf("%d random access points have the pattern", n)
			}
			want := record(t, whole, 1316)
			config := want.segs[0].inits[0].Hash
			for lost := 1; lost <= n; lost += 3 {
				torn, _ := parted(ts, c.pattern, c.behind, lost)
				got := record(t, torn, 1316)
				compare(t, want, got)
				for _, s := range got.segs {
					if s.inits[0].Hash != config {
						t.Errorf("%d of %d lost: segment %d, from %d on, has another configuration", lost, n, s.key.Seq, s.key.Start)
					}
					if i := slices.IndexFunc(s.info.Evidence.Faulty, func(f segment.FaultySample) bool {
						return f.Reason&segment.ReasonConfiguration != 0
					}); i >= 0 {
						t.Errorf("%d of %d lost: in segment %d a picture is said to be under another configuration", lost, n, s.key.Seq)
					}
				}
			}
		})
	}
}
