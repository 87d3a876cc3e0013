package packager

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twinreel/twinreel/pkg/testkit"
)

// TestPixelsThatAreNotSquare: the init segment says how wide the pixels of a picture are, as ffprobe finds it in the source, and
// gives the track the size at which it is shown. Browsers go by these, and not by what the picture's own headers say.
func TestPixelsThatAreNotSquare(t *testing.T) {
	const x265 = "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=25"
	for _, c := range []struct{ name, size, video string }{
		{"H.264 SD", "180x144", "-c:v libx264 -preset ultrafast -g 25 -aspect 16:9"},
		{"H.264 HD", "144x108", "-c:v libx264 -preset ultrafast -g 25 -aspect 16:9"},
		{"H.264 square", "160x90", "-c:v libx264 -preset ultrafast -g 25"},
		{"H.264 of another ratio", "176x144", "-c:v libx264 -preset ultrafast -g 25 -vf setsar=59/54"},
		{"HEVC SD", "180x144", x265 + " -aspect 16:9"},
		{"HEVC with lists and long-term pictures", "144x108", x265 + ":scaling-list=default:bframes=4:b-pyramid=1:ref=5:temporal-layers=1 -aspect 16:9"},
		{"HEVC of another ratio", "176x144", x265 + " -vf setsar=59/54"},
		{"HEVC square", "160x90", x265},
		{"MPEG-2 wide", "180x144", "-c:v mpeg2video -g 12 -aspect 16:9"},
		{"MPEG-2 narrow", "136x144", "-c:v mpeg2video -g 12 -aspect 4:3"},
		{"MPEG-2 square", "160x120", "-c:v mpeg2video -g 12 -aspect 4:3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ts := source(t, testkit.Clip{Name: "shape-" + strings.ReplaceAll(c.name, " ", "-"), Seconds: 2, Rate: "25", Size: c.size, Video: c.video})
			path := filepath.Join(t.TempDir(), "in.ts")
			if err := os.WriteFile(path, ts, 0o644); err != nil {
				t.Fatal(err)
			}
			said, err := exec.CommandContext(t.Context(), "ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries",
				"stream=width,height,sample_aspect_ratio", "-of", "csv=p=0", path).Output()
			if err != nil {
				t.Fatal(err)
			}
			var width, height, h, v uint32
			line, _, _ := strings.Cut(string(said), "\n")
			if _, err := fmt.Sscanf(line, "%d,%d,%d:%d", &width, &height, &h, &v); err != nil {
				t.Fatalf("ffprobe says %q: %v", said, err)
			}
			init := record(t, ts, 1316).segs[0].inits[0].Data
			at := bytes.Index(init, []byte("tkhd"))
			shownWide, shownHigh := binary.BigEndian.Uint32(init[at+80:]), binary.BigEndian.Uint32(init[at+84:])
			if want := uint32(uint64(width) << 16 * uint64(h) / uint64(v)); shownWide != want || shownHigh != height<<16 {
				t.Errorf("shown at %.2f x %.2f, want %.2f x %d", float64(shownWide)/65536, float64(shownHigh)/65536, float64(want)/65536, height)
			}
			var gotH, gotV uint32 = 1, 1
			if at := bytes.Index(init, []byte("pasp")); at > 0 {
				gotH, gotV = binary.BigEndian.Uint32(init[at+4:]), binary.BigEndian.Uint32(init[at+8:])
			}
			if gotH != h || gotV != v {
				t.Errorf("pixels of %d:%d, want %d:%d", gotH, gotV, h, v)
			}
		})
	}
}
