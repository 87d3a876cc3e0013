package packager

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/testkit"
)

// clips are what the property tests record. They differ in everything that cuts and durations depend on.
var clips = []testkit.Clip{
	{
		Name: "open", Seconds: 30, Rate: "25", X264: "open-gop=1:keyint=30:min-keyint=10:bframes=3:scenecut=0",
		Audio: []string{"-c:a:0 aac -ar:a:0 44100 -b:a:0 96k", "-c:a:1 mp2 -ar:a:1 48000 -b:a:1 128k"},
	},
	{
		Name: "closed", Seconds: 30, Rate: "30000/1001", X264: "keyint=45:bframes=2:scenecut=0",
		Audio: []string{"-c:a:0 aac -ar:a:0 48000 -b:a:0 96k"},
	},
	{
		Name: "many", Seconds: 24, Rate: "50", X264: "keyint=100:bframes=2:scenecut=0",
		Audio: []string{"-c:a:0 aac -ar:a:0 48000", "-c:a:1 aac -ar:a:1 44100", "-c:a:2 mp2 -ar:a:2 44100"},
	},
	{
		Name: "dolby", Seconds: 24, Rate: "30000/1001", X264: "keyint=45:bframes=2:scenecut=0",
		Audio: []string{
			"-c:a:0 ac3 -ar:a:0 48000 -ac:a:0 6", "-c:a:1 ac3 -ar:a:1 44100 -b:a:1 96k",
			"-c:a:2 eac3 -ar:a:2 48000 -ac:a:2 6 -b:a:2 192k", "-c:a:3 eac3 -ar:a:3 44100 -b:a:3 96k",
		},
	},
	{
		Name: "latm", Seconds: 24, Rate: "25", X264: "keyint=50:bframes=2:scenecut=0",
		Audio: []string{
			"-c:a:0 aac -ar:a:0 48000 -ac:a:0 2", "-c:a:1 aac -ar:a:1 44100 -ac:a:1 6", "-c:a:2 mp2 -ar:a:2 32000 -mpegts_flags latm",
		},
	},
	{
		Name: "opus", Seconds: 24, Rate: "25", X264: "keyint=50:bframes=2:scenecut=0",
		Audio: []string{
			"-c:a:0 libopus -ac:a:0 2", "-c:a:1 libopus -ac:a:1 6 -frame_duration:a:1 60", "-c:a:2 libopus -frame_duration:a:2 2.5",
			"-c:a:3 libmp3lame -ar:a:3 44100",
		},
	},
	{
		Name: "hevc", Seconds: 30, Rate: "25", Size: "192x128",
		Video: "-c:v libx265 -preset ultrafast -x265-params log-level=error:open-gop=1:keyint=40:min-keyint=40:bframes=3:b-adapt=0:scenecut=0",
		Audio: []string{"-c:a:0 aac -ar:a:0 48000 -b:a:0 96k"},
	},
	{ // each field a picture
		Name: "hevc-fields", Seconds: 30, Rate: "25", Size: "192x192",
		Video: "-vf separatefields -c:v libx265 -preset ultrafast -x265-params log-level=error:interlace=tff:keyint=60:bframes=2:scenecut=0",
		Audio: []string{"-c:a:0 mp2 -ar:a:0 48000 -b:a:0 96k"},
	},
	{
		Name: "mpeg2", Seconds: 30, Rate: "30000/1001", Size: "352x240",
		Video: "-c:v mpeg2video -flags +ildct+ilme -top 1 -g 18 -bf 2 -b:v 1M",
		Audio: []string{"-c:a:0 mp2 -ar:a:0 48000 -b:a:0 128k"},
	},
	{
		Name: "mpeg2" + aPESaGroup, Seconds: 30, Rate: "30000/1001", Size: "352x240",
		Video: "-c:v mpeg2video -flags +ildct+ilme -top 1 -g 18 -bf 2 -b:v 1M",
		Audio: []string{"-c:a:0 mp2 -ar:a:0 48000 -b:a:0 128k"},
	},
	{
		Name: "refresh", Seconds: 75, Rate: "25", X264: "intra-refresh=1:keyint=50:bframes=0",
		Audio: []string{"-c:a:0 aac -ar:a:0 48000 -b:a:0 96k"},
	},
}

// aPESaGroup at the end of a clip's name: each PES of its video carries a group of pictures, and one time.
const aPESaGroup = "-grouped"

// unseen is how many pictures of a clip ffmpeg may leave out at the head of a recording: leading pictures of an open GOP
// need the one before, which only the source has, and without random access points it waits for the refresh.
func unseen(c testkit.Clip) int {
	if c.Name == "refresh" {
		return 100
	}
	return 3
}

// made are the clips so far, each with what makes it once.
var made sync.Map

// source returns the bytes of a clip, made once for all tests.
func source(t testing.TB, c testkit.Clip) []byte {
	t.Helper()
	once, _ := made.LoadOrStore(fmt.Sprintf("%+v", c), sync.OnceValue(func() []byte {
		b, err := os.ReadFile(c.Make(t))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(c.Name, aPESaGroup) {
			b = grouped(b, 256)
		}
		return b
	}))
	return once.(func() []byte)()
}

// grouped puts the pictures of a PID from one random access point to the next into one PES, with the times of the first.
func grouped(ts []byte, pid uint16) []byte {
	var out, waiting []byte
	counter := byte(0)
	write := func(payload []byte, pusi bool) {
		const room = mpegts.PacketSize - 6
		n := min(len(payload), room)
		p := []byte{0x47, byte(pid >> 8), byte(pid), 0x30 | counter&0x0F, byte(1 + room - n), 0}
		if counter++; pusi {
			p[1] |= 0x40
			p[5] |= 0x40
		}
		p = append(append(p, bytes.Repeat([]byte{0xFF}, room-n)...), payload[:n]...)
		out = append(out, p...)
	}
	pusi := false
	for packet := range slices.Chunk(ts, mpegts.PacketSize) {
		if pidOf(packet) != pid {
			out = append(out, packet...)
			continue
		}
		payload := packet[4:]
		if packet[3]&0x20 != 0 {
			payload = packet[5+int(packet[4]):]
		}
		if packet[1]&0x40 != 0 {
			if isRAP(packet) {
				for ; len(waiting) > 0; pusi = false {
					write(waiting, pusi)
					waiting = waiting[min(len(waiting), mpegts.PacketSize-6):]
				}
				pusi = true
			} else {
				payload = payload[9+int(payload[8]):]
			}
		}
		waiting = append(waiting, payload...)
		if len(waiting) >= mpegts.PacketSize-6 {
			write(waiting, pusi)
			waiting, pusi = waiting[mpegts.PacketSize-6:], false
		}
	}
	write(waiting, pusi)
	return out
}

func pidOf(packet []byte) uint16 { return uint16(packet[1]&0x1F)<<8 | uint16(packet[2]) }

// jitter moves packets of different PIDs against each other, by up to span places, as another multiplexer would have
// put them. The order within a PID stays.
func jitter(ts []byte, span int, rnd *rand.Rand) []byte {
	type moved struct {
		at     int
		packet []byte
	}
	delay := map[uint16]int{}
	last := map[uint16]int{}
	var out []moved
	for i, packet := range slices.Collect(slices.Chunk(ts, mpegts.PacketSize)) {
		pid := pidOf(packet)
		if rnd.IntN(40) == 0 {
			delay[pid] = rnd.IntN(span)
		}
		last[pid] = max(last[pid], i+delay[pid])
		out = append(out, moved{last[pid], packet})
	}
	slices.SortStableFunc(out, func(a, b moved) int { return a.at - b.at })
	var b []byte
	for _, m := range out {
		b = append(b, m.packet...)
	}
	return b
}

// shift adds to every PTS, DTS and PCR of a transport stream.
func shift(ts []byte, by int64) []byte {
	out := slices.Clone(ts)
	for packet := range slices.Chunk(out, mpegts.PacketSize) {
		payload := packet[4:]
		if packet[3]&0x20 != 0 {
			if packet[4] >= 7 && packet[5]&0x10 != 0 {
				b := packet[6:]
				base := int64(b[0])<<25 | int64(b[1])<<17 | int64(b[2])<<9 | int64(b[3])<<1 | int64(b[4])>>7
				base = (base + by) & (1<<33 - 1)
				b[0], b[1], b[2], b[3] = byte(base>>25), byte(base>>17), byte(base>>9), byte(base>>1)
				b[4] = b[4]&0x7F | byte(base<<7)
			}
			payload = packet[5+int(packet[4]):]
		}
		if packet[1]&0x40 == 0 || len(payload) < 19 || payload[0] != 0 || payload[1] != 0 || payload[2] != 1 {
			continue
		}
		if payload[7]&0x80 != 0 {
			shiftStamp(payload[9:14], by)
		}
		if payload[7]&0xC0 == 0xC0 {
			shiftStamp(payload[14:19], by)
		}
	}
	return out
}

func readStamp(b []byte) int64 {
	return int64(b[0]>>1&7)<<30 | int64(b[1])<<22 | int64(b[2]>>1)<<15 | int64(b[3])<<7 | int64(b[4]>>1)
}

func shiftStamp(b []byte, by int64) {
	v := (readStamp(b) + by) & (1<<33 - 1)
	b[0] = b[0]&0xF1 | byte(v>>29)&0x0E
	b[1] = byte(v >> 22)
	b[2] = byte(v>>14) | 1
	b[3] = byte(v >> 7)
	b[4] = byte(v<<1) | 1
}

// firstStamp is the first PTS or, where there is one, DTS of a PID, and stamps are all of them.
func stamps(ts []byte, pid uint16) []int64 {
	var out []int64
	for packet := range slices.Chunk(ts, mpegts.PacketSize) {
		payload := packet[4:]
		if packet[3]&0x20 != 0 {
			payload = packet[5+int(packet[4]):]
		}
		if pidOf(packet) != pid || packet[1]&0x40 == 0 || len(payload) < 19 {
			continue
		}
		switch payload[7] & 0xC0 {
		case 0xC0:
			out = append(out, readStamp(payload[14:19]))
		case 0x80:
			out = append(out, readStamp(payload[9:14]))
		}
	}
	return out
}

// isRAP reports whether a packet begins a PES of video with a random access point, as ffmpeg marks it.
func isRAP(packet []byte) bool {
	return packet[1]&0x40 != 0 && packet[3]&0x20 != 0 && packet[4] > 0 && packet[5]&0x40 != 0 && pidOf(packet) == 256
}
