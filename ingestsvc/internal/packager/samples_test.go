package packager

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/testkit"
)

// recordProgram is record for one of several programs.
func recordProgram(t testing.TB, ts []byte, program uint16) *recorder {
	t.Helper()
	return recordTaking(t, ts, mpegts.Options{Program: program})
}

// recordTaking is record of what is chosen of a stream.
func recordTaking(t testing.TB, ts []byte, take mpegts.Options) *recorder {
	t.Helper()
	r := &recorder{t: t}
	p := New(Options{}, r)
	d := mpegts.NewDemuxer(p, take)
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
	codec   string
	samples int
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
		{path: duck + "test-108.ts", program: 3401, codec: "mp4v.61", samples: 15},
		{path: duck + "test-108.ts", program: 3402, codec: "mp4v.61", samples: 20},
		{path: duck + "test-108.ts", program: 3403, codec: "mp4v.61", samples: 5},
		{path: duck + "test-108.ts", program: 3411, codec: "mp4v.61", samples: 25},
		{path: duck + "test-108.ts", program: 3410, codec: "hvc1.2.4.L153.B0", samples: 18},
		// H.264 in field pictures with open GOPs.
		{path: duck + "test-026.ts", codec: "avc1.640028", samples: 12},
		// Each PES_packet_length of its pictures is one short, or wraps. (The sound has the lower PID.)
		{path: duck + "test-072.ts", codec: "mp4a.40.2", samples: 559},
		// Its sequence parameter set is damaged, behind what an init segment needs.
		{path: duck + "test-146.ts", codec: "hvc1.1.6.L123.B0", samples: 1},
		{path: duck + "test-018.ts"}, // tables alone
		{path: duck + "test-101.ts"}, // scrambled
		{path: duck + "test-103.ts"}, // tables alone
		{path: "SubtitleEdit+subtitleedit/tests/libse/Files/sample_TS_dvbsub_rs204.ts", codec: "mp4v.61", samples: 30}, // packets of 204 bytes
	}
}

// TestSamples: recorded streams of HEVC, MPEG-2 and H.264 in fields. Recorders that join anywhere do not
// contradict (I1); whether what is recorded is what was sent is for the test of package manifest.
func TestSamples(t *testing.T) {
	if _, err := os.Stat(samplesRoot); err != nil {
		t.Skip("no recorded samples beside the repository")
	}
	for _, c := range sampleCases() {
		t.Run(filepath.Base(c.path), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(samplesRoot, c.path)
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
			rnd := testkit.Rand(t)
			for range rounds(8) {
				compare(t, r, recordProgram(t, ts[rnd.IntN(len(ts)):], c.program))
			}
		})
	}
}

// TestLengthsThatAreOff: where a multiplexer counts PES lengths wrongly, segments are whole all the same, once that is known.
func TestLengthsThatAreOff(t *testing.T) {
	ts, err := os.ReadFile(filepath.Join(samplesRoot, "tsduck+tsduck-test/input/test-072.ts"))
	if err != nil {
		t.Skip("no recorded samples beside the repository")
	}
	r := recordProgram(t, ts, 0)
	if len(r.segs) != 3 || r.segs[0].info.Evidence.Whole() || !r.segs[1].info.Evidence.Whole() {
		for _, s := range r.segs {
			t.Errorf("%d to %d: %+v", s.info.Start, s.info.End, s.info.Evidence)
		}
	}
	pictures := uint32(0)
	for _, s := range r.segs {
		pictures += s.info.Track(0x65).Samples
	}
	if pictures != 300 {
		t.Errorf("%d pictures, want 300", pictures)
	}
}
