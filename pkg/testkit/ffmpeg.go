package testkit

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Clip is what ffmpeg is to make: a picture that counts and one tone for each audio track.
type Clip struct {
	Name    string
	Seconds int
	Rate    string   // frames a second, as ffmpeg reads it
	X264    string   // -x264-params
	Video   string   // arguments of another video encoder than x264, such as "-c:v mpeg2video -g 15"
	Audio   []string // arguments of each audio track's encoder, such as "-c:a:0 aac -ar:a:0 44100"
	Size    string   // default 320x180
}

// RequireFFmpeg skips the test where there is no ffmpeg.
func RequireFFmpeg(t testing.TB) {
	t.Helper()
	for _, tool := range []string{"ffmpeg", "ffprobe"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
}

// Make encodes the clip as a transport stream and returns its path.
func (c Clip) Make(t testing.TB) string {
	t.Helper()
	RequireFFmpeg(t)
	size := c.Size
	if size == "" {
		size = "320x180"
	}
	path := filepath.Join(t.TempDir(), c.Name+".ts")
	args := []string{"-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=%s:rate=%s", size, c.Rate)}
	for i := range c.Audio {
		args = append(args, "-f", "lavfi", "-i", fmt.Sprintf("sine=frequency=%d:sample_rate=48000", 440*(i+1)))
	}
	for i := range len(c.Audio) + 1 {
		args = append(args, "-map", fmt.Sprint(i))
	}
	args = append(args, "-t", fmt.Sprint(c.Seconds), "-pix_fmt", "yuv420p", "-b:v", "400k")
	if c.Video != "" {
		args = append(args, strings.Fields(c.Video)...)
	} else {
		args = append(args, "-c:v", "libx264", "-preset", "ultrafast", "-x264-params", c.X264)
	}
	for _, a := range c.Audio {
		args = append(args, strings.Fields(a)...)
	}
	run(t, "ffmpeg", append(args, "-f", "mpegts", path)...)
	return path
}

// Frames returns the hash of each decoded picture, in the order in which they are shown. source is a file or the URL of
// a playlist.
func Frames(t testing.TB, source string) []string {
	t.Helper()
	return Hashes(run(t, "ffmpeg", append(input(source), "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framemd5", "-")...))
}

// AllFrames is Frames of one video stream, as -map names it, with the pictures that lack a reference, of a source in which
// not all is right. Where ffmpeg can make nothing of it there are none.
func AllFrames(t testing.TB, source, stream string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ffmpeg", "-v", "quiet", "-nostdin", "-flags", "+output_corrupt", "-i", source,
		"-map", "0:"+stream, "-fps_mode", "passthrough", "-f", "framemd5", "-")
	out, err := cmd.Output()
	if err != nil {
		return nil
	}
	return Hashes(string(out))
}

// input reads a playlist from its beginning, though it may still grow, and until it ends.
func input(source string) []string {
	if strings.HasSuffix(source, ".m3u8") {
		return []string{"-live_start_index", "0", "-i", source}
	}
	return []string{"-i", source}
}

// AudioPackets returns the hash of each packet of the n-th audio track, undecoded: decoded audio depends on the state of
// the decoder at the head.
func AudioPackets(t testing.TB, source string, n int) []string {
	t.Helper()
	args := append(input(source), "-map", fmt.Sprintf("0:a:%d", n), "-c", "copy")
	codec := run(t, "ffprobe", "-select_streams", fmt.Sprintf("a:%d", n), "-show_entries", "stream=codec_name",
		"-of", "default=nw=1:nk=1", source)
	if strings.HasPrefix(codec, "aac") {
		args = append(args, "-bsf:a", "aac_adtstoasc")
	}
	return Hashes(run(t, "ffmpeg", append(args, "-f", "framemd5", "-")...))
}

// AudioStream is what ffprobe says of an audio track.
type AudioStream struct{ Codec, Profile, Rate, Channels string }

// AudioStreams asks ffprobe for the audio tracks of a file, and gives its warnings.
func AudioStreams(t testing.TB, source string) (out []AudioStream, warnings string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ffprobe", "-v", "warning", "-select_streams", "a",
		"-show_entries", "stream=index,codec_name,profile,sample_rate,channels", "-of", "compact=p=0:nk=0", source)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("ffprobe %s: %v\n%s", source, err, stderr.String())
	}
	seen := map[string]bool{}
	for line := range strings.Lines(stdout.String()) {
		v := map[string]string{}
		for _, f := range strings.Split(strings.TrimSpace(line), "|") {
			key, value, _ := strings.Cut(f, "=")
			v[key] = value
		}
		if index := v["index"]; index != "" && !seen[index] { // a program's streams are listed twice
			seen[index] = true
			out = append(out, AudioStream{v["codec_name"], v["profile"], v["sample_rate"], v["channels"]})
		}
	}
	return out, stderr.String()
}

// Hashes reads the column of framemd5 that is of the data; those of side data may follow it.
func Hashes(out string) []string {
	var h []string
	for line := range strings.Lines(out) {
		const column = 5
		if fields := strings.Split(line, ","); line[0] != '#' && len(fields) > column {
			h = append(h, strings.TrimSpace(fields[column]))
		}
	}
	return h
}

// run returns what a tool prints, and fails the test with what it complains of.
func run(t testing.TB, tool string, args ...string) string {
	t.Helper()
	quiet := []string{"-v", "error"}
	if tool == "ffmpeg" {
		quiet = append(quiet, "-nostdin", "-y")
	}
	cmd := exec.CommandContext(t.Context(), tool, append(quiet, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", tool, strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String()
}
