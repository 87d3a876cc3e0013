package witness_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/twinreel/twinreel/deploy/twinreel/witness"
)

// packets gives, by PID, the decode times of a transport stream as ffprobe sees them: a judge that is not ours.
func packets(t *testing.T, file string) map[uint16][]int64 {
	t.Helper()
	out, err := exec.Command("ffprobe", "-v", "error", "-show_entries", "stream=index,id:packet=stream_index,dts", "-of", "json", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	var probed struct {
		Streams []struct {
			Index int
			ID    string
		}
		Packets []struct {
			Index int   `json:"stream_index"`
			DTS   int64 `json:"dts"`
		}
	}
	if err := json.Unmarshal(out, &probed); err != nil {
		t.Fatal(err)
	}
	pid := make(map[int]uint16)
	for _, s := range probed.Streams {
		n, err := strconv.ParseUint(s.ID, 0, 16)
		if err != nil {
			t.Fatal(err)
		}
		pid[s.Index] = uint16(n)
	}
	dts := make(map[uint16][]int64)
	for _, p := range probed.Packets {
		dts[pid[p.Index]] = append(dts[pid[p.Index]], p.DTS)
	}
	return dts
}

func TestCountsAsFFprobe(t *testing.T) {
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("ffmpeg is not installed")
	}
	const all = "[PID 256 H.264 PID 257 AAC PID 258 MPEG-1 audio]"
	for _, tc := range []struct {
		name    string
		args    []string
		streams string
	}{
		{"closed GOP, AAC 48k, MP2", []string{"-r", "30000/1001", "-c:v", "libx264", "-g", "30", "-c:a:0", "aac", "-c:a:1", "mp2"}, all},
		{"open GOP, AAC 44.1k, MP2", []string{"-r", "25", "-ar", "44100", "-c:v", "libx264", "-x264-params", "open-gop=1:keyint=25", "-c:a:0", "aac", "-c:a:1", "mp2"}, all},
		{"interlaced in one access unit", []string{"-r", "25", "-c:v", "libx264", "-x264-params", "tff=1:keyint=25", "-c:a:0", "aac", "-c:a:1", "mp2"}, all},
		{"AC-3 is named, not counted", []string{"-r", "25", "-c:v", "libx264", "-c:a:0", "aac", "-c:a:1", "ac3"}, "[PID 256 H.264 PID 257 AAC PID 258 AC-3]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "clip.ts")
			args := []string{
				"-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=50", "-f", "lavfi", "-i", "sine=frequency=440",
				"-map", "0:v", "-map", "1:a", "-map", "1:a", "-t", "6", "-preset", "ultrafast", "-pix_fmt", "yuv420p",
			}
			args = append(append(args, tc.args...), file)
			if out, err := exec.Command("ffmpeg", args...).CombinedOutput(); err != nil {
				t.Fatalf("ffmpeg: %v\n%s", err, out)
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := witness.New()
			for d := range slices.Chunk(b, 7*188) {
				w.Datagram(d)
			}
			log := w.Log()
			if log.Missed != 0 || log.Untimed != 0 {
				t.Errorf("missed %d, untimed %d", log.Missed, log.Untimed)
			}
			if s := fmt.Sprint(log.Streams); s != tc.streams {
				t.Errorf("streams %s, want %s", s, tc.streams)
			}
			got := make(map[uint16][]int64)
			hashes := make(map[witness.Hash]bool)
			for _, u := range log.Units {
				got[u.PID] = append(got[u.PID], u.DTS)
				hashes[u.Hash] = true
			}
			want := packets(t, file)
			for _, s := range log.Streams {
				if !s.Counted {
					delete(want, s.PID)
				}
			}
			if len(got) != len(want) {
				t.Errorf("units of %d PIDs, want %d", len(got), len(want))
			}
			for pid, w := range want {
				g := got[pid]
				if len(g) < len(w)-1 || len(g) > len(w) { // the last picture has no end
					t.Errorf("PID %d: %d units, want %d", pid, len(g), len(w))
					continue
				}
				for i := range g {
					if d := g[i] - w[i]; d < -1 || d > 1 { // ffprobe rounds a frame's time up or down
						t.Fatalf("PID %d, unit %d: DTS %d, want %d", pid, i, g[i], w[i])
					}
				}
			}
			if len(hashes) < len(got[0x100]) {
				t.Errorf("%d hashes of %d units, want one for each picture", len(hashes), len(log.Units))
			}
		})
	}
}

func TestSaysThatItMissedPackets(t *testing.T) {
	packet := func(cc byte) []byte {
		return append([]byte{0x47, 0x40, 0, 0x10 | cc}, bytes.Repeat([]byte{0xFF}, 184)...)
	}
	w := witness.New()
	for _, cc := range []byte{14, 15, 15, 0, 2} {
		w.Datagram(packet(cc))
	}
	if n := w.Log().Missed; n != 1 {
		t.Errorf("missed %d packets, want 1: a duplicate is none, a jump is one", n)
	}
}
