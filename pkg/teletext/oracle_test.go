package teletext_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/teletext"
)

// TestAgainstLibzvbi compares texts and times of a recorded stream with those of ffmpeg's decoder, which wants a PCR: the
// stream has none, and is given those of its teletext.
func TestAgainstLibzvbi(t *testing.T) {
	ts, err := os.ReadFile(filepath.Join(samplesDir(t), "tsduck+tsduck-test/input/test-012.ts"))
	if err != nil {
		t.Skip(err)
	}
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("no ffmpeg")
	}
	if out, err := exec.Command(ffmpeg, "-hide_banner", "-decoders").Output(); err != nil || !bytes.Contains(out, []byte("libzvbi_teletextdec")) {
		t.Skip("ffmpeg has no libzvbi")
	}
	const pid, page = 1068, 889
	p := &pages{decoders: map[string]*teletext.Decoder{}, pids: map[string]uint16{}}
	d := mpegts.NewDemuxer(p, mpegts.Options{})
	d.Write(ts)
	d.Flush()
	shown := p.decoders["1068/889 fra hearing false"].Shown()

	var withPCR []byte
	pcrPID := uint16(0x424)
	for i := 0; i+mpegts.PacketSize <= len(ts); i += mpegts.PacketSize {
		packet := ts[i : i+mpegts.PacketSize]
		if uint16(packet[1]&0x1F)<<8|uint16(packet[2]) == pid && packet[1]&0x40 != 0 {
			b := packet[4:]
			if packet[3]&0x20 != 0 {
				b = packet[5+packet[4]:]
			}
			b = b[9:14]
			pts := uint64(b[0]>>1&7)<<30 | uint64(b[1])<<22 | uint64(b[2]>>1)<<15 | uint64(b[3])<<7 | uint64(b[4]>>1)
			clock := []byte{
				0x47, byte(pcrPID >> 8), byte(pcrPID), 0x20, 183, 0x10,
				byte(pts >> 25), byte(pts >> 17), byte(pts >> 9), byte(pts >> 1), byte(pts&1)<<7 | 0x7E, 0,
			}
			withPCR = append(append(withPCR, clock...), bytes.Repeat([]byte{0xFF}, mpegts.PacketSize-len(clock))...)
		}
		withPCR = append(withPCR, packet...)
	}
	file := filepath.Join(t.TempDir(), "in.ts")
	if err := os.WriteFile(file, withPCR, 0o644); err != nil {
		t.Fatal(err)
	}
	want, err := exec.CommandContext(context.Background(), ffmpeg, "-v", "error", "-copyts", "-fix_sub_duration", "-txt_format", "text",
		"-txt_page", "889", "-i", file, "-map", "0:s:0", "-f", "webvtt", "-").Output()
	if err != nil {
		t.Fatal(err)
	}
	cues := teletext.Cues(shown, 0, shown[len(shown)-1].At) // how long the last stands is not known
	got := string(teletext.AppendCues([]byte("WEBVTT\n"), cues, 0))
	ourTimes, ourText := apart(t, got)
	times, text := apart(t, string(want))
	if len(cues) < 8 || ourText != text || len(ourTimes) != len(times) {
		t.Fatalf("page %d, got\n%s\nwant\n%s", page, got, want)
	}
	for i := range times { // it shows a page when it is complete, which may be a PES later
		if d := times[i] - ourTimes[i]; d < 0 || d > 50*time.Millisecond {
			t.Errorf("time %d is %v, libzvbi's %v", i, ourTimes[i], times[i])
		}
	}
}

// apart takes times and text of WebVTT apart.
func apart(t *testing.T, vtt string) (times []time.Duration, text string) {
	t.Helper()
	var b strings.Builder
	for _, line := range strings.Split(strings.TrimSpace(vtt), "\n") {
		from, to, ok := strings.Cut(line, " --> ")
		if !ok {
			b.WriteString(line + "\n")
			continue
		}
		for _, s := range []string{from, to} {
			at, err := time.Parse("15:04:05.000", s)
			if err != nil {
				t.Fatal(err)
			}
			times = append(times, at.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)))
		}
	}
	return times, b.String()
}
