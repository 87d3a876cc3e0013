package packager

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twinreel/twinreel/pkg/ac3"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/testkit"
)

// sameAudio holds the recording's audio tracks to what ffprobe says of the source's.
func sameAudio(t *testing.T, in, out string) {
	t.Helper()
	want := testkit.AudioStreams(t, in)
	for i := range want {
		switch want[i].Codec {
		case "aac_latm":
			want[i].Codec = "aac"
		case "mp2": // one object type in MP4 for all layers
			want[i].Codec = "mp3"
		}
	}
	if got := testkit.AudioStreams(t, out); !slices.Equal(got, want) {
		t.Errorf("ffprobe finds %+v, in the source %+v", got, want)
	}
}

// sourcePackets are the packets of a clip's n-th audio track. Of LATM, which ffmpeg takes nothing out of without decoding
// it, they are those of the same clip in ADTS: the encoder is the same.
func sourcePackets(t *testing.T, clip testkit.Clip, in string, n int) []string {
	t.Helper()
	const flag = " -mpegts_flags latm"
	if !strings.Contains(strings.Join(clip.Audio, " "), flag) {
		return testkit.AudioPackets(t, in, n)
	}
	adts := clip
	adts.Name += "-adts"
	adts.Audio = slices.Clone(clip.Audio)
	for i := range adts.Audio {
		adts.Audio[i] = strings.ReplaceAll(adts.Audio[i], flag, "")
	}
	path := filepath.Join(t.TempDir(), "adts.ts")
	if err := os.WriteFile(path, source(t, adts), 0o644); err != nil {
		t.Fatal(err)
	}
	return testkit.AudioPackets(t, path, n)
}

// TestShortSyncframes: E-AC-3 of one, two and three blocks a syncframe is recorded in samples of six, alike wherever a
// recorder joins, and byte for byte.
func TestShortSyncframes(t *testing.T) {
	for kbit, blocks := range map[int]int{4000: 1, 3072: 2, 2048: 3} {
		t.Run(strconv.Itoa(blocks), func(t *testing.T) {
			ts := source(t, testkit.Clip{
				Name: fmt.Sprintf("blocks%d", blocks), Seconds: 20, Rate: "25", X264: "keyint=50:bframes=2:scenecut=0",
				Audio: []string{fmt.Sprintf("-c:a:0 eac3 -ar:a:0 48000 -b:a:0 %dk", kbit)},
			})
			want := record(t, ts, 1316)
			allWhole(t, "from the start", want)
			var media []byte
			for _, s := range want.segs[1 : len(want.segs)-1] {
				for data, err := range fmp4.Split(s.data) {
					if err != nil {
						t.Fatal(err)
					}
					c, err := fmp4.ParseChunk(data)
					if err != nil {
						t.Fatal(err)
					}
					if c.Kind != fmp4.Audio {
						continue
					}
					media = append(media, c.Payload...)
					for smp := range c.All() {
						if n := countBlocks(smp.Data, blocks); n != ac3.UnitBlocks || smp.Duration != 2880 {
							t.Fatalf("a sample of %d blocks and %d ticks", n, smp.Duration)
						}
					}
				}
			}
			if stream := elementaryStream(t, ts); len(media) == 0 || !bytes.Contains(stream, media) {
				t.Errorf("%d bytes are no part of the source's %d", len(media), len(stream))
			}
			rnd := seeded(t, rand.Uint64())
			for range rounds(12) {
				at := rnd.IntN(len(ts) / 2)
				got := record(t, ts[at:], 1+rnd.IntN(4000))
				compare(t, want, got)
				allWhole(t, fmt.Sprintf("joined at byte %d", at), got)
			}
		})
	}
}

// countBlocks walks syncframes of so many blocks each; 0: that is not what is here.
func countBlocks(data []byte, each int) (n int) {
	for len(data) > 0 {
		h, ok := ac3.ParseHeader(data)
		if !ok || h.Blocks != each || h.Size > len(data) {
			return 0
		}
		n, data = n+each, data[h.Size:]
	}
	return n
}

// elementaryStream is the first audio track of a transport stream as ffmpeg writes it out.
func elementaryStream(t *testing.T, ts []byte) []byte {
	t.Helper()
	testkit.RequireFFmpeg(t)
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.ts"), filepath.Join(dir, "out.eac3")
	if err := os.WriteFile(in, ts, 0o644); err != nil {
		t.Fatal(err)
	}
	args := strings.Fields("-v error -nostdin -i " + in + " -map 0:a:0 -c copy " + out)
	if said, err := exec.CommandContext(t.Context(), "ffmpeg", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
