package mpegts

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// tolerantProbe is what ffprobe makes of the streams of some types in a file, by PID, whatever it complains of.
func tolerantProbe(t *testing.T, path string, types ...string) map[uint16][]string {
	t.Helper()
	var out struct {
		Packets []struct {
			StreamIndex int    `json:"stream_index"`
			Hash        string `json:"data_hash"`
		} `json:"packets"`
		Streams []struct {
			Index int    `json:"index"`
			ID    string `json:"id"`
			Type  string `json:"codec_type"`
		} `json:"streams"`
	}
	b, err := exec.CommandContext(t.Context(), ffmpegTool(t, "ffprobe"), "-v", "quiet", "-show_packets", "-show_streams",
		"-show_data_hash", "md5", "-of", "json", path).Output()
	if err != nil || json.Unmarshal(b, &out) != nil {
		return nil
	}
	pids := map[int]uint16{}
	for _, s := range out.Streams {
		if slices.Contains(types, s.Type) {
			id, err := strconv.ParseUint(s.ID, 0, 16)
			if err != nil {
				t.Fatal(err)
			}
			pids[s.Index] = uint16(id)
		}
	}
	got := map[uint16][]string{}
	for _, p := range out.Packets {
		if pid, ok := pids[p.StreamIndex]; ok {
			got[pid] = append(got[pid], strings.TrimPrefix(p.Hash, "MD5:"))
		}
	}
	return got
}

// unlike says why ffprobe has more packets of a recorded stream than we deliver, where it is more than the cut-off last one.
var unlike = map[string]string{
	"test-middle-pat-pmt.ts": "ffprobe takes what came before the program map",
	"test-108.ts":            "ffprobe takes what came before the program map",
	"sample_ac3.ts":          "ffprobe makes a packet of the rest of a frame at the beginning, and one of the piece at the end",
	"audio.ts":               "one of that name has two frames, which are no chain",
}

// Recorded streams: each frame that is delivered as good is one of the packets that ffprobe finds, in their order.
func TestAudioOfSamples(t *testing.T) {
	if testing.Short() {
		t.Skip("ffprobe reads a hundred files")
	}
	streams := 0
	err := filepath.WalkDir(samplesDir(t), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".ts" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rec := demux(data, Options{})
		if len(rec.programs) == 0 {
			return nil
		}
		probed := tolerantProbe(t, path, "audio")
		for _, s := range rec.programs[len(rec.programs)-1].Streams {
			if s.Codec == CodecNone || s.Codec.Video() || s.Codec.Data() || s.Codec == CodecLATM {
				continue
			}
			streams++
			want, units := probed[s.PID], rec.of(s.PID)
			at, good, strange := 0, 0, 0
			for _, u := range units {
				if u.Damage != 0 {
					continue
				}
				sum := md5.Sum(u.Data)
				i := slices.Index(want[at:], hex.EncodeToString(sum[:]))
				if i < 0 {
					strange++
					continue
				}
				at += i + 1
				good++
			}
			if strange > 0 || good < len(want)-1 && unlike[filepath.Base(path)] == "" {
				t.Errorf("%s PID %d, %s: %d units, %d packets, %d alike, %d strange",
					path, s.PID, s.Name, len(units), len(want), good, strange)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d streams", streams)
}
