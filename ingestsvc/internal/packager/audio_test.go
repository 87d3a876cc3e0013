package packager

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twinreel/twinreel/pkg/ac3"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// sameAudio holds the recording's audio tracks to what ffprobe says of the source's.
func sameAudio(t *testing.T, in, out string) {
	t.Helper()
	want, _ := testkit.AudioStreams(t, in)
	for i := range want {
		switch want[i].Codec {
		case "aac_latm":
			want[i].Codec = "aac"
		case "mp2": // one object type in MP4 for all layers
			want[i].Codec = "mp3"
		}
	}
	got, warnings := testkit.AudioStreams(t, out)
	for i := range 8 { // a data track is nothing to it
		warnings = strings.Replace(warnings, fmt.Sprintf("Unsupported codec with id 0 for input stream %d\n", i), "", 1)
	}
	if !slices.Equal(got, want) || warnings != "" {
		t.Errorf("ffprobe finds %+v, in the source %+v, and says %q", got, want, warnings)
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
			rnd := testkit.Rand(t)
			for range rounds(6) {
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

// TestChangedAudio: where the sound becomes another, the next segment has another init segment, and every recorder agrees.
func TestChangedAudio(t *testing.T) {
	for _, c := range []struct{ name, before, after string }{
		{"ac3", "-c:a:0 ac3 -ac:a:0 2", "-c:a:0 ac3 -ac:a:0 6"},
		{"eac3", "-c:a:0 eac3 -ac:a:0 2", "-c:a:0 eac3 -ac:a:0 6"},
		{"latm", "-c:a:0 aac -ac:a:0 2 -mpegts_flags latm", "-c:a:0 aac -ac:a:0 1 -mpegts_flags latm"},
		{"adts", "-c:a:0 aac -ac:a:0 2", "-c:a:0 aac -ac:a:0 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			half := func(name, audio string) []byte {
				return source(t, testkit.Clip{
					Name: "changed-" + c.name + name, Seconds: 20, Rate: "25", X264: "keyint=50:bframes=2:scenecut=0", Audio: []string{audio},
				})
			}
			first, second := half("-before", c.before), half("-after", c.after)
			ts := append(slices.Clone(first), shift(second, 20*int64(timeline.TicksPerSecond))...)
			want := record(t, ts, 1316)
			inits := map[string]int{} // of the sound, and how many segments have it
			var order []string
			for _, s := range want.segs {
				h := fmt.Sprint(s.inits[1].Hash)
				if inits[h] == 0 {
					order = append(order, h)
				}
				inits[h]++
			}
			if len(order) != 2 || inits[order[0]] < 3 || inits[order[1]] < 3 {
				t.Errorf("segments by init segment of the sound: %v", inits)
			}
			rnd := testkit.Rand(t)
			whole := 0
			for range rounds(8) {
				whole += compare(t, want, record(t, ts[rnd.IntN(len(ts)*3/4):], 1+rnd.IntN(4000)))
			}
			if whole == 0 {
				t.Error("not one segment was whole: the test shows nothing")
			}
		})
	}
}

// syncframe makes a syncframe of E-AC-3, 48 kHz, stereo, six blocks, of 64 bytes: independent, or dependent with two
// channels behind.
func syncframe(dependent bool) []byte {
	b := make([]byte, 64)
	copy(b, []byte{0x0B, 0x77, 0, 31, 0x34, 16<<3 | 7, 0xC0})
	if dependent {
		// dialnorm ends in byte 6, then no compr, chanmape, chanmap with Lrs/Rrs: bit 6 of 16.
		b[2] |= 1 << 6
		b[6] |= 1 << 4
		b[7] = 1 << 5
	}
	return b
}

// TestAudioConfig: what each unit makes of the track's configuration.
func TestAudioConfig(t *testing.T) {
	adts := func(channels byte) []byte { return []byte{0xFF, 0xF1, 0x4C, channels << 6, 1, 0x1F, 0xFC, 1} }
	// pce is a frame that begins with a program_config_element of so many channels in front.
	pce := func(channels byte) []byte {
		return append(adts(0)[:7], 5<<5, 0x98|channels>>1, channels<<7, 0, 0, 0, 0, 0, 0, 0)
	}
	mp2 := []byte{0xFF, 0xFD, 0x84, 0, 1, 2, 3, 4}
	stereo, both := syncframe(false), append(syncframe(false), syncframe(true)...)
	specific := func(channels byte) []byte { return []byte{0x11, 0x80 | channels<<3} }
	type unit struct {
		u    mpegts.AccessUnit
		want string // the codec; "": it is no sample
		as   int    // so many units before have the same configuration; 0: it is new
	}
	bad := mpegts.DamageContinuity
	for _, c := range []struct {
		name   string
		stream mpegts.Stream
		units  []unit
	}{
		{"AAC and MPEG audio in turns", mpegts.Stream{Codec: mpegts.CodecAAC}, []unit{
			{u: mpegts.AccessUnit{Data: adts(2)}, want: "mp4a.40.2"},
			{u: mpegts.AccessUnit{Data: mp2}, want: "mp4a.6B"},
			{u: mpegts.AccessUnit{Data: adts(2)}, want: "mp4a.40.2", as: 2},
			{u: mpegts.AccessUnit{Data: mp2}, want: "mp4a.6B", as: 2},
			{u: mpegts.AccessUnit{Data: adts(1)}, want: "mp4a.40.2"},
		}},
		{"AAC that tells its channels itself, or does not", mpegts.Stream{Codec: mpegts.CodecAAC}, []unit{
			{u: mpegts.AccessUnit{Data: adts(0)}, want: "mp4a.40.2"}, // two of one channel
			{u: mpegts.AccessUnit{Data: pce(1)}, want: "mp4a.40.2"},
			{u: mpegts.AccessUnit{Data: adts(0)}, want: "mp4a.40.2", as: 1},
			{u: mpegts.AccessUnit{Data: pce(2), Damage: bad}, want: "mp4a.40.2", as: 2},
			{u: mpegts.AccessUnit{Data: pce(2)}, want: "mp4a.40.2"},
			{u: mpegts.AccessUnit{Data: adts(2)}, want: "mp4a.40.2"},
			{u: mpegts.AccessUnit{Data: pce(2)}, want: "mp4a.40.2", as: 2},
		}},
		{"E-AC-3 that loses a substream", mpegts.Stream{Codec: mpegts.CodecEAC3}, []unit{
			{u: mpegts.AccessUnit{Data: stereo, Damage: bad}},
			{u: mpegts.AccessUnit{Data: both}, want: "ec-3"},
			{u: mpegts.AccessUnit{Data: stereo, Damage: bad}, want: "ec-3", as: 1},
			{u: mpegts.AccessUnit{Data: stereo[:30], Damage: bad}, want: "ec-3", as: 1},
			{u: mpegts.AccessUnit{Data: stereo[:30]}},
			{u: mpegts.AccessUnit{Data: stereo}, want: "ec-3"},
		}},
		{"LATM behind a hole", mpegts.Stream{Codec: mpegts.CodecLATM}, []unit{
			{u: mpegts.AccessUnit{Data: mp2, Config: specific(2), Damage: bad}},
			{u: mpegts.AccessUnit{Data: mp2, Config: specific(2)}, want: "mp4a.40.2"},
			{u: mpegts.AccessUnit{Data: mp2, Config: specific(1), Damage: bad}, want: "mp4a.40.2", as: 1},
			{u: mpegts.AccessUnit{Data: mp2, Config: specific(1)}, want: "mp4a.40.2"},
			{u: mpegts.AccessUnit{Data: mp2, Config: nil}},
		}},
		{"Opus", mpegts.Stream{Codec: mpegts.CodecOpus, Channels: 2}, []unit{{u: mpegts.AccessUnit{Data: mp2}, want: "opus"}}},
	} {
		tr := newTrack(c.stream)
		var hashes []segment.Digest
		for i, x := range c.units {
			x.u.Samples, x.u.Rate = 1024, 48000
			var s sample
			ok := tr.convert(&x.u, &s)
			if ok != (x.want != "") || ok && s.cfg.Codec != x.want {
				t.Errorf("%s, unit %d: %v, %+v, want %q", c.name, i, ok, s.cfg, x.want)
			}
			var h segment.Digest
			if ok {
				h = s.cfg.Init.Hash
			}
			if known := slices.Contains(hashes, h); ok && (known != (x.as > 0) || known && hashes[i-x.as] != h) {
				t.Errorf("%s, unit %d: the configuration is not that of unit %d", c.name, i, i-x.as)
			}
			hashes = append(hashes, h)
		}
	}
}

// TestOpusChannels: other channels in the program map are another track.
func TestOpusChannels(t *testing.T) {
	p := New(Options{}, nothing{})
	p.Program(program(videoStream, mpegts.Stream{PID: 300, Codec: mpegts.CodecOpus, Channels: 2}))
	stereo := p.byPID[300]
	p.Program(program(videoStream, mpegts.Stream{PID: 300, Codec: mpegts.CodecOpus, Channels: 6}))
	if got := p.byPID[300]; got == stereo || got.channels != 6 {
		t.Errorf("%+v", got)
	}
}

// TestRecordedSound: streams of broadcasters and of packagers, with substreams, objects and several programs, are recorded
// as what they are, and each sample is a packet of theirs.
func TestRecordedSound(t *testing.T) {
	testkit.RequireFFmpeg(t)
	const samples = "../../../../shared/samples/"
	for path, config := range map[string]*ac3.Config{
		"androidx+media/libraries/test_data/src/test/assets/media/ts/sample_eac3joc.ts": {
			Enhanced: true, Rate: 48000, Count: 1, JOC: 16, Substreams: [8]ac3.Substream{{BSID: 16, Mode: 7, LFE: true}}},
		"shaka-project+shaka-player/test/test/assets/hls-ts-ec3/ChID_voices_6ch_256kbps_ddp_sub_0000.ts": {
			Enhanced: true, Rate: 48000, Count: 1, Substreams: [8]ac3.Substream{{BSID: 16, Mode: 7, LFE: true}}},
		"shaka-project+shaka-player/test/test/assets/hls-ts-ac3/ChID_voices_6ch_640kbps_dd_sub_0000.ts": {
			Rate: 48000, BitRate: 18, Count: 1, Substreams: [8]ac3.Substream{{BSID: 6, Mode: 7, LFE: true}}},
		// HE-AAC v2 that does not say so: 24 kHz mono, and a decoder finds 48 kHz stereo.
		"shaka-project+shaka-player/test/test/assets/id3-metadata.ts": nil,
	} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			ts, err := os.ReadFile(samples + path)
			if err != nil {
				t.Skip("no recorded samples beside the repository")
			}
			r := record(t, ts, 1316)
			if len(r.segs) == 0 {
				t.Fatal("nothing is recorded")
			}
			var inits [][]byte
			for _, i := range r.segs[0].inits {
				inits = append(inits, i.Data)
			}
			file, err := fmp4.ComposeMoov(inits...)
			if err != nil {
				t.Fatal(err)
			}
			if config != nil {
				want, _, err := fmp4.AC3Init(r.segs[0].inits[0].PID, r.segs[0].info.Tracks[0].Language, *config)
				if err != nil || !bytes.Equal(want, file) {
					t.Errorf("init segment\n%x, want\n%x, %v", file, want, err)
				}
			}
			count := 0
			for _, s := range r.segs {
				file = append(file, s.data...)
				count += int(s.info.Tracks[0].Samples)
			}
			out := filepath.Join(t.TempDir(), "out.mp4")
			if err := os.WriteFile(out, file, 0o644); err != nil {
				t.Fatal(err)
			}
			sameAudio(t, samples+path, out)
			packets := testkit.AudioPackets(t, out, 0)
			if _, err := testkit.Contiguous(testkit.AudioPackets(t, samples+path, 0), packets); err != nil || len(packets) != count {
				t.Errorf("%d packets of %d samples: %v", len(packets), count, err)
			}
		})
	}
}
