package packager

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/testkit"
)

// recordProgram is record for one of several programs.
func recordProgram(t testing.TB, ts []byte, program uint16) *recorder {
	t.Helper()
	r := &recorder{t: t}
	p := New(Options{}, r)
	d := mpegts.NewDemuxer(p, mpegts.Options{Program: program})
	for c := range slices.Chunk(ts, 1316) {
		d.Write(c)
	}
	d.Flush()
	p.Flush()
	return r
}

// sampleCase is a recorded stream, and what is to come of its video.
type sampleCase struct {
	path    string
	program uint16
	stream  string // as ffmpeg's -map names it; the first video
	codec   string
	samples int
	// leading of these cannot be shown right without the pictures before them.
	leading int
	// shown is how many of the rest ffmpeg shows, where that is not all.
	shown int
}

func sampleCases() []sampleCase {
	const media = "androidx+media/libraries/test_data/src/test/assets/media/ts/"
	const shaka = "shaka-project+shaka-player/test/test/assets/"
	const duck = "tsduck+tsduck-test/input/"
	return []sampleCase{
		{path: media + "sample_h265.ts", codec: "hvc1.1.6.L90.90", samples: 30},
		{path: media + "sample_h265_rps_pred.ts", codec: "hvc1.1.6.L63.90", samples: 16},
		{path: media + "bbb_2500ms.ts", codec: "mp4v.61", samples: 58},
		{path: media + "sample_scte35.ts", codec: "mp4v.61", samples: 3},
		{path: shaka + "hls-ts-h265/0.ts", codec: "hvc1.2.4.L123.B0", samples: 360},
		{path: shaka + "hls-ts-muxed-aac-h265/0.ts", codec: "hvc1.1.6.L93.90", samples: 150},
		{path: shaka + "hls-ts-muxed-aac-h265/1.ts", codec: "hvc1.1.6.L93.90", samples: 150},
		{path: "Eyevinn+mp2ts-tools/internal/testdata/obs_hevc_aac.ts", codec: "hvc1.1.6.L120.B0", samples: 60},
		{path: "SubtitleEdit+subtitleedit/tests/libse/Files/sample_TS_dvbsub_at_video_start.ts", codec: "mp4v.61", samples: 30},
		{path: duck + "test-108.ts", program: 3401, stream: "i:0x200", codec: "mp4v.61", samples: 15, leading: 2},
		{path: duck + "test-108.ts", program: 3402, stream: "i:0x201", codec: "mp4v.61", samples: 20, leading: 2},
		{path: duck + "test-108.ts", program: 3403, stream: "i:0x202", codec: "mp4v.61", samples: 5, leading: 2},
		{path: duck + "test-108.ts", program: 3411, stream: "i:0x208", codec: "mp4v.61", samples: 25, leading: 2},
		{path: duck + "test-108.ts", program: 3410, stream: "i:0x1f4", codec: "hvc1.2.4.L153.B0", samples: 18, leading: 7},
		// H.264 in field pictures with open GOPs.
		{path: duck + "test-026.ts", codec: "avc1.640028", samples: 12, leading: 7, shown: 4},
		// Its sequence parameter set is damaged, behind what an init segment needs: nothing can be shown.
		{path: duck + "test-146.ts", codec: "hvc1.1.6.L123.B0", samples: 1, shown: -1},
		{path: duck + "test-018.ts"}, // tables alone
		{path: duck + "test-101.ts"}, // scrambled
		{path: duck + "test-103.ts"}, // tables alone
		{path: "SubtitleEdit+subtitleedit/tests/libse/Files/sample_TS_dvbsub_rs204.ts", codec: "mp4v.61", samples: 30}, // packets of 204 bytes
	}
}

// TestSamples: recorded streams of HEVC, MPEG-2 and H.264 in fields. What is recorded decodes to the pictures of the source,
// and recorders that join anywhere do not contradict (I1).
func TestSamples(t *testing.T) {
	testkit.RequireFFmpeg(t)
	root := filepath.Join("..", "..", "..", "..", "shared", "samples")
	if _, err := os.Stat(root); err != nil {
		t.Skip("no recorded samples beside the repository")
	}
	for _, c := range sampleCases() {
		t.Run(filepath.Base(c.path), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(root, c.path)
			ts, err := os.ReadFile(path)
			if err != nil {
				t.Skip(err)
			}
			r := recordProgram(t, ts, c.program)
			samples := 0
			for _, s := range r.segs {
				samples += int(s.info.Tracks[0].Samples)
				if s.info.Tracks[0].Codec != c.codec {
					t.Errorf("codec %s, want %s", s.info.Tracks[0].Codec, c.codec)
				}
			}
			if samples != c.samples {
				t.Errorf("%d samples, want %d", samples, c.samples)
			}
			rnd := seeded(t, rand.Uint64())
			for range 20 {
				compare(t, r, recordProgram(t, ts[rnd.IntN(len(ts)):], c.program))
			}
			if c.shown < 0 || samples == 0 {
				return
			}
			got := shown(t, r)
			want := c.shown
			if want == 0 {
				want = c.samples - c.leading
			}
			if len(got) < want {
				t.Fatalf("%d pictures, want %d", len(got), want)
			}
			stream := c.stream
			if stream == "" {
				stream = "v:0"
			}
			if _, err := testkit.Contiguous(testkit.AllFrames(t, path, stream), got[len(got)-want:]); err != nil {
				t.Error(err)
			}
		})
	}
}

// shown is what ffmpeg decodes of the first track of everything recorded.
func shown(t *testing.T, r *recorder) []string {
	t.Helper()
	file := slices.Clone(r.segs[0].inits[0].Data)
	pid := r.segs[0].inits[0].PID
	for _, s := range r.segs {
		for data, err := range fmp4.Split(s.data) {
			if err != nil {
				t.Fatal(err)
			}
			if c, err := fmp4.ParseChunk(data); err == nil && c.PID == pid {
				file = append(file, data...)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "shown.mp4")
	if err := os.WriteFile(path, file, 0o644); err != nil {
		t.Fatal(err)
	}
	return testkit.AllFrames(t, path, "v:0")
}
