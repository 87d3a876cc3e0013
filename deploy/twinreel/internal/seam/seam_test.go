package seam

import (
	"bytes"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twinreel/twinreel/deploy/twinreel/witness"
)

// pictures makes n pictures of 25 a second in groups of 8, each in the order I P B B P B B P.
func pictures(n int) *video {
	v := &video{}
	for i := range n {
		at := i/8*8 + []int{0, 3, 1, 2, 6, 4, 5, 7}[i%8]
		v.dts, v.pts = append(v.dts, int64(i)*3600), append(v.pts, int64(at)*3600)
	}
	return v
}

func frames(n int, samples, rate float64) *sound {
	return &sound{ticks: samples * 90000 / rate, ends: make([]int, n)}
}

func TestChoose(t *testing.T) {
	for _, tc := range []struct {
		name     string
		v        *video
		sounds   []*sound
		pictures int
		frames   []int
		gap      float64
	}{
		{"AAC 48k: 8 pictures are 15 frames, and B pictures stay with theirs", pictures(500), []*sound{frames(940, 1024, 48000)}, 496, []int{930}, 0},
		{"498 pictures would do, but some of them are shown after the next", pictures(500), []*sound{frames(840, 1152, 48000)}, 495, []int{825}, 0},
		{"two sounds", pictures(500), []*sound{frames(940, 1024, 48000), frames(840, 1152, 48000)}, 480, []int{900, 800}, 0},
		{"AAC 44.1k: 10.24 s", pictures(500), []*sound{frames(870, 1024, 44100)}, 256, []int{441}, 0},
		{"a sound that ends early", pictures(500), []*sound{frames(600, 1024, 48000)}, 320, []int{600}, 0},
		{"no sound", pictures(499), nil, 499, nil, 0},
	} {
		got, ok := choose(tc.v, tc.sounds)
		if !ok || got.pictures != tc.pictures || !slices.Equal(got.frames, tc.frames) || math.Abs(got.gap-tc.gap) > 0.5 {
			t.Errorf("%s: %+v, want %d pictures, %v frames, a gap of %g", tc.name, got, tc.pictures, tc.frames, tc.gap)
		}
	}
	if _, ok := choose(nil, nil); ok {
		t.Error("there is a turn of nothing")
	}
}

func TestStuff(t *testing.T) {
	body := func(p []byte) []byte { return p[payload(p):] }
	for _, adaptation := range []int{-1, 0, 1, 7} { // length of the field; -1: none
		p := bytes.Repeat([]byte{0xEE}, packetSize)
		copy(p, []byte{0x47, 0x01, 0x01, 0x10})
		if adaptation >= 0 {
			p[3], p[4] = 0x30, byte(adaptation)
			copy(p[5:5+adaptation], make([]byte, adaptation))
		}
		for i := payload(p); i < packetSize; i++ {
			p[i] = byte(i)
		}
		want := slices.Clone(body(p))
		for _, n := range []int{len(want) - 1, 100, 1} {
			stuff(p, payload(p)+n)
			if want = want[:n]; !bytes.Equal(body(p), want) {
				t.Errorf("field of %d, payload of %d: got % x", adaptation, n, p)
			}
			if p[4] > 0 && p[5] != 0 {
				t.Errorf("field of %d, payload of %d: flags %02x", adaptation, n, p[5])
			}
		}
	}
}

// TestTrim cuts what ffmpeg wrote, and counts what is left as the witness does; ffmpeg judges that nothing is broken.
func TestTrim(t *testing.T) {
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("ffmpeg is not installed")
	}
	for _, tc := range []struct {
		name   string
		args   []string
		length time.Duration
	}{
		{"frames of a sound share a PES", []string{"-c:a", "aac"}, 5760 * time.Millisecond},
		{"each has its own", []string{"-c:a", "aac", "-pes_payload_size", "0"}, 5760 * time.Millisecond},
		{"MP2", []string{"-c:a", "mp2"}, 6 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			src, dst := filepath.Join(dir, "src.ts"), filepath.Join(dir, "dst.ts")
			args := []string{
				"-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
				"-t", "6", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-pix_fmt", "yuv420p",
			}
			if out, err := exec.Command("ffmpeg", append(append(args, tc.args...), src)...).CombinedOutput(); err != nil {
				t.Fatalf("ffmpeg: %v\n%s", err, out)
			}
			cut, err := Trim(src, dst)
			if err != nil || cut.Gap != 0 || cut.Length.Round(time.Millisecond) != tc.length {
				t.Fatalf("Trim: %+v, %v; want %s without a gap", cut, err, tc.length)
			}
			b, err := os.ReadFile(dst)
			if err != nil {
				t.Fatal(err)
			}
			w := witness.New()
			for d := range slices.Chunk(slices.Concat(b, b), 7*packetSize) { // the seam ends the last units of the first turn
				w.Datagram(d)
			}
			until := make(map[uint16]int64) // the end of the first turn by PID
			from := make(map[uint16]int64)
			for _, u := range w.Log().Units {
				if _, ok := from[u.PID]; !ok {
					from[u.PID] = u.DTS
				}
				until[u.PID] = max(until[u.PID], u.DTS)
			}
			for pid, step := range map[uint16]int64{0x100: 3600, 0x101: 1920} {
				if tc.name == "MP2" && pid == 0x101 {
					step = 2160
				}
				if got := until[pid] + step - from[pid]; got != tc.length.Milliseconds()*90 {
					t.Errorf("PID %d has %d ticks, want %d", pid, got, tc.length.Milliseconds()*90)
				}
			}
			if out, err := exec.Command("ffmpeg", "-v", "warning", "-i", dst, "-f", "null", "-").CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("ffmpeg says of it: %v\n%s", err, out)
			}
		})
	}
}

func TestTrimRefuses(t *testing.T) {
	src := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(src, []byte("no transport stream"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Trim(src, src+".ts"); !errors.Is(err, ErrNotTS) {
		t.Errorf("Trim of text: %v", err)
	}
}

// TestSoundsOfOtherKinds: AC-3 has its frames in the elementary stream; those of LATM are not there, and it is no track whose
// frames could be counted.
func TestSoundsOfOtherKinds(t *testing.T) {
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("ffmpeg is not installed")
	}
	for _, tc := range []struct {
		name   string
		args   []string
		frames int
	}{
		{"AC-3", []string{"-c:a", "ac3"}, 63},
		{"LATM", []string{"-c:a", "aac", "-mpegts_flags", "latm"}, 0},
	} {
		path := filepath.Join(t.TempDir(), "src.ts")
		args := append([]string{"-v", "error", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", "2"}, tc.args...)
		if out, err := exec.Command("ffmpeg", append(args, path)...).CombinedOutput(); err != nil {
			t.Fatalf("ffmpeg: %v\n%s", err, out)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := read(data)
		if err != nil {
			t.Fatal(err)
		}
		if tc.frames == 0 && len(f.sounds) > 0 || tc.frames > 0 && (len(f.sounds) != 1 || len(f.sounds[0].ends) != tc.frames) {
			t.Errorf("%s: %d sounds", tc.name, len(f.sounds))
		}
	}
}
