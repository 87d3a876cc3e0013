package tsplay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// ClipGrain is what a clip's length must be a multiple of, so that each track is whole in frames: 24 frames of video at
// 25 fps, 45 of AAC and 40 of MP2 at 48 kHz, and three times the 0.32 s that video and AAC alone would need.
const ClipGrain = 960 * time.Millisecond

// Errors of MakeClip.
var (
	ErrNoFFmpeg   = errors.New("ffmpeg is not installed")
	ErrClipLength = errors.New("the clip's length must be a multiple of 0.96 s, so that each track is whole in frames")
)

// ClipOptions describe the clip. The zero value is 19.2 s of 640x360 at 1.5 Mbit/s.
type ClipOptions struct {
	Length time.Duration
	Width  int
	Height int
	// VideoKbit is the video bitrate in kbit/s.
	VideoKbit int
	// FFmpeg is the program to run, "ffmpeg" if empty.
	FFmpeg string
}

const (
	clipRate    = 25
	clipGOP     = 24 // one grain: a clip is whole in GOPs too
	clipSamples = 48000
)

// MakeClip has ffmpeg write a transport stream to the path that can be looped without a seam: a moving picture with
// its running time and frame number, a tone in AAC and another in MP2, all of exactly the same length.
//
// More is encoded than is needed, and each track is cut after its last whole frame in the stream itself: encoder delay
// then shifts a track by a part of a frame but leaves none short. Each audio frame has a PES of its own, which makes
// PES starts a count of frames.
func MakeClip(ctx context.Context, path string, o ClipOptions) error {
	if o.Length == 0 {
		o.Length = 19200 * time.Millisecond
	}
	if o.Width == 0 || o.Height == 0 {
		o.Width, o.Height = 640, 360
	}
	if o.VideoKbit == 0 {
		o.VideoKbit = 1500
	}
	if o.FFmpeg == "" {
		o.FFmpeg = "ffmpeg"
	}
	if o.Length < 0 || o.Length%ClipGrain != 0 {
		return fmt.Errorf("%v: %w", o.Length, ErrClipLength)
	}
	program, err := exec.LookPath(o.FFmpeg)
	if err != nil {
		return fmt.Errorf("make clip: %s: %w", o.FFmpeg, ErrNoFFmpeg)
	}
	cmd := exec.CommandContext(ctx, program, o.arguments(path)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("make clip: %s: %w: %s", o.FFmpeg, err, lastLine(said.String()))
	}
	if err := trim(path, o.frames()); err != nil {
		return fmt.Errorf("make clip: %w", err)
	}
	return nil
}

// PIDs of the clip's tracks.
const (
	clipVideo = 0x100
	clipAAC   = 0x101
	clipMP2   = 0x102
)

// frames is how many each track is to have.
func (o ClipOptions) frames() map[uint16]int {
	grains := int(o.Length / ClipGrain)
	return map[uint16]int{clipVideo: 24 * grains, clipAAC: 45 * grains, clipMP2: 40 * grains}
}

// trim drops what each PID has behind its wanted number of PES, and what follows the last of them all.
func trim(path string, want map[uint16]int) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	begun := make(map[uint16]int)
	kept := data[:0]
	end := 0
	for ; len(data) >= packetSize; data = data[packetSize:] {
		p := packet(data[:packetSize])
		pid := p.pid()
		limit, track := want[pid]
		if track && p.unitStart() {
			begun[pid]++
		}
		if track && begun[pid] > limit {
			continue
		}
		kept = append(kept, p...)
		if track {
			end = len(kept)
		}
	}
	for pid, n := range want {
		if begun[pid] <= n {
			return fmt.Errorf("PID %d has %d frames, and more than %d are needed", pid, begun[pid], n)
		}
	}
	return os.WriteFile(path, kept[:end], 0o644)
}

func (o ClipOptions) arguments(path string) []string {
	seconds := o.Length.Seconds() + 1 // encoders hold frames back at the end
	kbit := strconv.Itoa(o.VideoKbit) + "k"
	return []string{
		"-y", "-v", "error", "-nostdin", "-fflags", "+bitexact",
		"-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=%dx%d:rate=%d:duration=%g", o.Width, o.Height, clipRate, seconds),
		"-f", "lavfi", "-i", fmt.Sprintf("sine=frequency=440:beep_factor=4:sample_rate=%d:duration=%g", clipSamples, seconds),
		"-f", "lavfi", "-i", fmt.Sprintf("sine=frequency=660:sample_rate=%d:duration=%g", clipSamples, seconds),
		"-map", "0", "-map", "1", "-map", "2",
		"-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-b:v", kbit, "-maxrate", kbit, "-bufsize", kbit,
		"-g", strconv.Itoa(clipGOP), "-keyint_min", strconv.Itoa(clipGOP), "-sc_threshold", "0", "-bf", "2",
		"-c:a:0", "aac", "-b:a:0", "96k", "-ac:a:0", "2",
		"-c:a:1", "mp2", "-b:a:1", "128k", "-ac:a:1", "2",
		"-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra",
		"-flags:v", "+bitexact", "-flags:a", "+bitexact",
		"-streamid", fmt.Sprintf("0:%d", clipVideo), "-streamid", fmt.Sprintf("1:%d", clipAAC), "-streamid", fmt.Sprintf("2:%d", clipMP2),
		"-f", "mpegts", "-mpegts_flags", "+pat_pmt_at_frames", "-pes_payload_size", "0", "-muxdelay", "0.4", "-muxpreload", "0",
		path,
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
