package mpegts

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// ffmpegTool returns the path of ffmpeg or ffprobe, or skips.
func ffmpegTool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

// clip is a TS made by ffmpeg.
type clip struct {
	name string
	args string
}

func clips() []clip {
	return []clip{
		{"open GOP, AAC 44.1k and MP2", "-f lavfi -i testsrc2=s=640x360:r=25:d=6 -f lavfi -i sine=440:d=6:r=44100 -f lavfi -i sine=880:d=6:r=48000" +
			" -map 0 -map 1 -map 2 -c:v libx264 -preset veryfast -x264-params open-gop=1:keyint=24:bframes=3:b-pyramid=normal -c:a:0 aac -c:a:1 mp2"},
		{"closed GOP 29.97, AAC 48k", "-f lavfi -i testsrc2=s=640x360:r=30000/1001:d=6 -f lavfi -i sine=440:d=6:r=48000" +
			" -map 0 -map 1 -c:v libx264 -preset veryfast -x264-params keyint=30:slices=4 -c:a aac"},
		{"four audio tracks", "-f lavfi -i testsrc2=s=320x180:r=50:d=4 -f lavfi -i sine=440:d=4:r=48000 -f lavfi -i sine=880:d=4:r=44100" +
			" -map 0 -map 1 -map 2 -map 1 -map 2 -c:v libx264 -preset veryfast -g 25 -c:a:0 aac -c:a:1 mp2 -c:a:2 libmp3lame -c:a:3 aac -metadata:s:a:0 language=eng -metadata:s:a:1 language=fra"},
		{"interlaced, no delimiters, small PES", "-f lavfi -i testsrc2=s=640x360:r=25:d=4 -f lavfi -i sine=440:d=4:r=48000" +
			" -map 0 -map 1 -c:v libx264 -preset veryfast -flags +ildct+ilme -x264-params interlaced=1:aud=0:keyint=12 -c:a aac -pes_payload_size 300"},
		{"HEVC open GOP, slices", "-f lavfi -i testsrc2=s=416x240:r=25:d=5 -f lavfi -i sine=440:d=5:r=48000" +
			" -map 0 -map 1 -c:v libx265 -preset ultrafast -x265-params log-level=error:open-gop=1:keyint=24:min-keyint=12:bframes=3:slices=3 -c:a aac"},
		{"HEVC closed GOP 29.97, small PES", "-f lavfi -i testsrc2=s=416x240:r=30000/1001:d=4 -f lavfi -i sine=440:d=4:r=48000" +
			" -map 0 -map 1 -c:v libx265 -preset ultrafast -x265-params log-level=error:open-gop=0:keyint=30 -c:a mp2 -pes_payload_size 300"},
		{"MPEG-2 interlaced 29.97, MP2", "-f lavfi -i testsrc2=s=416x240:r=30000/1001:d=5 -f lavfi -i sine=440:d=5:r=48000" +
			" -map 0 -map 1 -c:v mpeg2video -flags +ildct+ilme -top 1 -b:v 1M -g 15 -bf 2 -c:a mp2"},
		{"MPEG-1, small PES", "-f lavfi -i testsrc2=s=416x240:r=25:d=5 -f lavfi -i sine=440:d=5:r=48000" +
			" -map 0 -map 1 -c:v mpeg1video -b:v 1M -g 12 -bf 2 -c:a mp2 -pes_payload_size 300"},
		{"intra refresh, video PES with length", "-f lavfi -i testsrc2=s=320x180:r=25:d=4 -f lavfi -i sine=440:d=4:r=32000" +
			" -map 0 -map 1 -c:v libx264 -preset veryfast -x264-params intra-refresh=1:keyint=12 -c:a mp2 -omit_video_pes_length 0"},
		{"AC-3 and E-AC-3, 29.97", "-f lavfi -i testsrc2=s=320x180:r=30000/1001:d=4 -f lavfi -i sine=440:d=4:r=48000 -f lavfi -i sine=880:d=4:r=44100" +
			" -map 0 -map 1 -map 2 -map 1 -map 2 -c:v libx264 -preset veryfast -g 25 -c:a:0 ac3 -ac:a:0 6 -c:a:1 ac3 -c:a:2 eac3 -ac:a:2 6 -c:a:3 eac3"},
		{"LATM", "-f lavfi -i testsrc2=s=320x180:r=25:d=6 -f lavfi -i sine=440:d=6:r=48000 -f lavfi -i sine=880:d=6:r=44100" +
			" -map 0 -map 1 -map 2 -c:v libx264 -preset veryfast -g 25 -c:a aac -ac:a:0 6 -mpegts_flags latm"},
		{"Opus", "-f lavfi -i testsrc2=s=320x180:r=25:d=6 -f lavfi -i sine=440:d=6:r=48000" +
			" -map 0 -map 1 -map 1 -c:v libx264 -preset veryfast -g 25 -c:a libopus -ac:a:0 6 -frame_duration:a:1 5"},
	}
}

// make writes the clip to a temporary file and returns its path.
func (c clip) make(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "clip.ts")
	run(t, "ffmpeg", strings.Fields("-v error -nostdin "+c.args+" -threads 2 -f mpegts "+path)...)
	return path
}

func run(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	tool := ffmpegTool(t, name)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return out
}

// probed is a packet as ffprobe sees it.
type probed struct {
	PTS, DTS int64
	Size     int
	MD5      string
}

func probe(t testing.TB, path string) map[uint16][]probed {
	t.Helper()
	var out struct {
		Packets []struct {
			StreamIndex int    `json:"stream_index"`
			PTS         *int64 `json:"pts"`
			DTS         *int64 `json:"dts"`
			Size        string `json:"size"`
			Hash        string `json:"data_hash"`
		} `json:"packets"`
		Streams []struct {
			Index int    `json:"index"`
			ID    string `json:"id"`
		} `json:"streams"`
	}
	b := run(t, "ffprobe", "-v", "error", "-show_packets", "-show_streams", "-show_data_hash", "md5", "-of", "json",
		"-correct_ts_overflow", "0", path)
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	pids := make(map[int]uint16)
	for _, s := range out.Streams {
		id, err := strconv.ParseUint(s.ID, 0, 16)
		if err != nil {
			t.Fatal(err)
		}
		pids[s.Index] = uint16(id)
	}
	got := make(map[uint16][]probed)
	for _, p := range out.Packets {
		q := probed{PTS: -1, DTS: -1, MD5: strings.TrimPrefix(p.Hash, "MD5:")}
		if p.PTS != nil {
			q.PTS = *p.PTS
		}
		if p.DTS != nil {
			q.DTS = *p.DTS
		}
		q.Size, _ = strconv.Atoi(p.Size)
		pid := pids[p.StreamIndex]
		got[pid] = append(got[pid], q)
	}
	return got
}

// zerosBehind gives the zero before a start code to the unit that ends there, as ffprobe has it with HEVC alone.
func zerosBehind(units []AccessUnit) {
	for i := range units {
		if i > 0 {
			units[i].Data = units[i].Data[1:]
		}
		if i < len(units)-1 {
			units[i].Data = append(units[i].Data, 0)
		}
	}
}

func TestAgainstFFprobe(t *testing.T) {
	for _, c := range clips() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := c.make(t)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			rec := demux(data, Options{})
			want := probe(t, path)
			const drift = 8
			if len(rec.programs) != 1 || len(rec.programs[0].Streams) != len(want) {
				t.Fatalf("programs %+v, want one with %d streams", rec.programs, len(want))
			}
			for pid, packets := range want {
				units := rec.of(pid)
				if len(units) != len(packets) {
					t.Errorf("PID %d: %d units, ffprobe has %d", pid, len(units), len(packets))
				}
				stream := streamOf(rec.programs[0], pid)
				if stream.Codec == CodecHEVC {
					zerosBehind(units)
				}
				for i := range min(len(units), len(packets)) {
					u, p := units[i], packets[i]
					hash := md5.Sum(u.Data)
					if got := hex.EncodeToString(hash[:]); got != p.MD5 && stream.Codec != CodecLATM { // see TestLATMEqualsADTS
						t.Fatalf("PID %d unit %d: hash %s (%d bytes), ffprobe %s (%d bytes)", pid, i, got, len(u.Data), p.MD5, p.Size)
					}
					// ffprobe adds rounded frame durations, so it drifts by up to a tick a frame within a PES.
					if d := u.PTS - p.PTS; d < -drift || d > drift {
						t.Fatalf("PID %d unit %d: PTS %d, ffprobe %d", pid, i, u.PTS, p.PTS)
					}
					if d := u.DTS - p.DTS; d < -drift || d > drift {
						t.Fatalf("PID %d unit %d: DTS %d, ffprobe %d", pid, i, u.DTS, p.DTS)
					}
					last := i == len(units)-1
					if u.Lost || u.Damage != 0 && (!endsWithDamage(stream) || !last) {
						t.Errorf("PID %d unit %d: damage %b, lost %v on a clean stream", pid, i, u.Damage, u.Lost)
					}
				}
			}
			s := rec.stats
			if n := s.ContinuityErrors + s.PESErrors + s.SectionErrors + s.SyntaxErrors + s.GarbageBytes; n != 0 {
				t.Errorf("errors on a clean stream: %+v", s)
			}
		})
	}
}
