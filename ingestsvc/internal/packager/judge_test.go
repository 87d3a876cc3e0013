package packager

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// TestJudge: ffmpeg decodes what was recorded to the pictures, and finds in it the audio packets, of the source between
// the first and the last cut: none missing, none twice, none changed.
func TestJudge(t *testing.T) {
	testkit.RequireFFmpeg(t)
	for _, clip := range clips {
		t.Run(clip.Name, func(t *testing.T) {
			t.Parallel()
			ts := source(t, clip)
			dir := t.TempDir()
			in, out := filepath.Join(dir, "in.ts"), filepath.Join(dir, "out.mp4")
			r := record(t, ts, 1316)
			segs := r.segs[1 : len(r.segs)-1] // the whole ones
			var inits [][]byte
			for _, i := range segs[0].inits {
				inits = append(inits, i.Data)
			}
			file, err := fmp4.ComposeMoov(inits...)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range segs {
				file = append(file, s.data...)
			}
			for path, data := range map[string][]byte{in: ts, out: file} {
				if err := os.WriteFile(path, data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want := make([]int, len(segs[0].info.Tracks))
			for _, s := range segs {
				for i, tr := range s.info.Tracks {
					want[i] += int(tr.Samples)
				}
			}
			frames := testkit.Frames(t, out)
			if _, err := testkit.Contiguous(testkit.Frames(t, in), frames[3:]); err != nil { // three may be shown otherwise
				t.Errorf("video: %v", err)
			}
			if len(frames) > want[0] || len(frames) < want[0]-unseen(clip) {
				t.Errorf("video: %d pictures of %d samples", len(frames), want[0])
			}
			sameAudio(t, in, out)
			for i := range clip.Audio {
				packets := testkit.AudioPackets(t, out, i)
				if _, err := testkit.Contiguous(sourcePackets(t, clip, in, i), packets); err != nil {
					t.Errorf("audio %d: %v", i, err)
				}
				if len(packets) != want[i+1] {
					t.Errorf("audio %d: %d packets of %d samples", i, len(packets), want[i+1])
				}
			}
		})
	}
}

// nothing is a Sink that does nothing.
type nothing struct{}

func (nothing) Begin(segment.Key, []segment.Init, []segment.Track, bool, bool) {}
func (nothing) Chunk(uint64, segment.Chunk, []byte, segment.Evidence)          {}
func (nothing) Seal(uint64, segment.Info)                                      {}
func (nothing) Head(uint32, timeline.Ticks)                                    {}

// BenchmarkPackage is the way of a byte from the transport packet to the hashed chunk.
func BenchmarkPackage(b *testing.B) {
	ts := source(b, testkit.Clip{
		Name: "bench", Seconds: 20, Rate: "25", X264: "keyint=50:bframes=2:nal-hrd=cbr:filler=1:bitrate=8000:vbv-maxrate=8000:vbv-bufsize=8000",
		Audio: []string{"-c:a:0 aac -ar:a:0 48000 -b:a:0 128k"},
	})
	b.SetBytes(int64(len(ts)))
	b.ReportAllocs()
	for b.Loop() {
		p := New(Options{}, nothing{})
		d := mpegts.NewDemuxer(p, mpegts.Options{})
		for c := range slices.Chunk(ts, 64*1316) {
			d.Write(c)
		}
	}
}
