package mpegts

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
)

// cat joins byte strings.
func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// line says a unit in a line.
func line(u AccessUnit) string {
	s := fmt.Sprintf("%d: %d bytes", u.PID-0x100, len(u.Data))
	if u.HasPTS {
		s += fmt.Sprintf(", %d/%d", u.PTS, u.DTS)
	}
	if u.Samples > 0 {
		s += fmt.Sprintf(", %d@%d", u.Samples, u.Rate)
	}
	if u.Damage != 0 {
		s += fmt.Sprintf(", damage %b", u.Damage)
	}
	if u.Lost {
		s += fmt.Sprintf(", lost %b", u.LostReason)
	}
	if u.Discontinuity {
		s += ", discontinuity"
	}
	return s
}

// streamCase is a golden table entry: a stream, and what comes of it. The fuzz target starts from the same streams.
type streamCase struct {
	name  string
	build func(b *tsBuilder)
	want  []string
}

func streamCases() []streamCase {
	frame := func(nal byte, num uint32, size int) []byte {
		return sliceOf{nal: nal, frameNum: num, size: size, fill: byte(num)}.bytes()
	}
	field := func(nal byte, num uint32, bottom bool, size int) []byte {
		return sliceOf{nal: nal, frameNum: num, interlaced: true, field: true, bottom: bottom, size: size}.bytes()
	}
	video := func(b *tsBuilder, pts int64, parts ...[]byte) {
		b.payload(0x100, pesUnit(0xE0, pts, noTime, false, cat(parts...)))
	}
	audio := func(b *tsBuilder, pts int64, parts ...[]byte) {
		b.payload(0x100, pesUnit(0xC0, pts, noTime, true, cat(parts...)))
	}
	return append(videoCases(), []streamCase{
		{"a picture a PES, with delimiters", func(b *tsBuilder) {
			b.program(0x1B)
			b.payload(0x100, pesUnit(0xE0, 7200, 3600, false, cat(delimiter(), paramSets(false), frame(0x65, 0, 300))))
			b.payload(0x100, pesUnit(0xE0, 10800, 7200, false, cat(delimiter(), frame(0x41, 1, 100))))
			video(b, 14400, delimiter(), frame(0x41, 2, 10))
		}, []string{"0: 334 bytes, 7200/3600", "0: 114 bytes, 10800/7200", "0: 24 bytes, 14400/14400, damage 1000"}},

		{"a PES header over several packets, wherever it is cut", func(b *tsBuilder) {
			b.program(0x1B)
			pts := int64(0)
			for cut := 1; cut < 19; cut += 3 {
				pes := pesUnit(0xE0, pts+3600, pts, false, cat(delimiter(), paramSets(false), frame(0x65, 0, 20)))
				b.packet(0x100, true, pes[:cut])
				b.packet(0x100, false, pes[cut:cut+2])
				b.packet(0x100, false, pes[cut+2:])
				pts += 3600
			}
		}, []string{"0: 54 bytes, 3600/0", "0: 54 bytes, 7200/3600", "0: 54 bytes, 10800/7200", "0: 54 bytes, 14400/10800",
			"0: 54 bytes, 18000/14400", "0: 54 bytes, 21600/18000, damage 1000"}},

		{"no delimiters: parameter sets, SEI and first slices begin a picture", func(b *tsBuilder) {
			b.program(0x1B)
			video(b, 0, paramSets(false), frame(0x65, 0, 50))
			video(b, 3600, sei(), frame(0x41, 1, 50), sliceOf{nal: 0x41, mb: 40, frameNum: 1, size: 20}.bytes())
			video(b, 7200, frame(0x41, 2, 50))
			video(b, 10800, frame(0x41, 3, 50))
		}, []string{"0: 78 bytes, 0/0", "0: 96 bytes, 3600/3600", "0: 58 bytes, 7200/7200", "0: 58 bytes, 10800/10800, damage 1000"}},

		{"several pictures a PES: the first has its time", func(b *tsBuilder) {
			b.program(0x1B)
			video(b, 0, delimiter(), paramSets(false), frame(0x65, 0, 50), delimiter(), frame(0x41, 1, 50))
			video(b, 7200, delimiter(), frame(0x41, 2, 50))
		}, []string{"0: 84 bytes, 0/0", "0: 64 bytes", "0: 64 bytes, 7200/7200, damage 1000"}},

		{"a picture over several PES, and one that begins within", func(b *tsBuilder) {
			b.program(0x1B)
			whole := cat(delimiter(), paramSets(false), frame(0x65, 0, 400))
			video(b, 0, whole[:200])
			video(b, noTime, whole[200:])
			second := cat(delimiter(), frame(0x41, 1, 100))
			video(b, 3600, second, delimiter()[:3])
			video(b, 7200, delimiter()[3:], frame(0x41, 2, 10))
			video(b, 10800, delimiter(), frame(0x41, 3, 10))
		}, []string{"0: 434 bytes, 0/0", "0: 114 bytes, 3600/3600", "0: 24 bytes", "0: 24 bytes, 10800/10800, damage 1000"}},

		{"two fields in one PES, and in one each, are one unit", func(b *tsBuilder) {
			b.program(0x1B)
			video(b, 0, delimiter(), paramSets(true), field(0x65, 0, false, 50), field(0x41, 0, true, 50))
			video(b, 3600, delimiter(), field(0x41, 1, false, 50))
			video(b, 5400, delimiter(), field(0x41, 1, true, 50))
			// Fields that are not references share a frame_num with their neighbours.
			video(b, 7200, delimiter(), field(0x01, 2, false, 30))
			video(b, 9000, delimiter(), field(0x01, 2, true, 30))
			video(b, 10800, delimiter(), field(0x01, 2, false, 31))
			video(b, 12600, delimiter(), field(0x01, 2, true, 31))
			video(b, 14400, delimiter(), sliceOf{nal: 0x41, frameNum: 2, interlaced: true, size: 40}.bytes())
			video(b, 18000, delimiter(), field(0x41, 3, false, 50))
		}, []string{"0: 142 bytes, 0/0", "0: 128 bytes, 3600/3600", "0: 88 bytes, 7200/7200", "0: 90 bytes, 10800/10800",
			"0: 54 bytes, 14400/14400", "0: 64 bytes, 18000/18000, damage 1000"}},

		{"a join at a second field waits for a unit that is surely a first", func(b *tsBuilder) {
			b.program(0x1B)
			video(b, 9000, delimiter(), paramSets(true), field(0x01, 2, true, 30))
			video(b, 10800, delimiter(), field(0x01, 2, false, 31))
			video(b, 12600, delimiter(), field(0x01, 2, true, 31))
			video(b, 14400, delimiter(), field(0x41, 3, false, 50))
			video(b, 16200, delimiter(), field(0x41, 3, true, 50))
			video(b, 18000, delimiter(), field(0x41, 4, false, 50))
		}, []string{"0: 128 bytes, 14400/14400", "0: 64 bytes, 18000/18000, damage 1000"}},

		{"a join at the first field of a reference frame is told by the second, as frame_num steps behind them", func(b *tsBuilder) {
			b.program(0x1B)
			video(b, 1800, delimiter(), field(0x41, 7, true, 30)) // its parameter sets are not known yet
			video(b, 3600, delimiter(), paramSets(true), sei(), field(0x41, 8, false, 50))
			video(b, 5400, delimiter(), sei(), field(0x41, 8, true, 50))
			video(b, 7200, delimiter(), field(0x01, 9, false, 30))
			video(b, 9000, delimiter(), field(0x01, 9, true, 30))
			video(b, 10800, delimiter(), field(0x41, 9, false, 50))
		}, []string{"0: 166 bytes, 3600/3600", "0: 88 bytes, 7200/7200", "0: 64 bytes, 10800/10800, damage 1000"}},

		{"a join at the second field of a reference frame", func(b *tsBuilder) {
			b.program(0x1B)
			video(b, 1800, delimiter(), paramSets(true), field(0x41, 7, true, 30))
			video(b, 3600, delimiter(), field(0x41, 8, false, 50))
			video(b, 5400, delimiter(), field(0x41, 8, true, 50))
			video(b, 7200, delimiter(), field(0x01, 9, false, 30))
		}, []string{"0: 128 bytes, 3600/3600", "0: 44 bytes, 7200/7200, damage 1000"}},

		{"a PES that begins with a second field has that field's time", func(b *tsBuilder) {
			b.program(0x1B)
			video(b, 0, paramSets(true), field(0x65, 0, false, 50))
			video(b, 1800, field(0x41, 0, true, 50), field(0x41, 1, false, 50), field(0x41, 1, true, 50))
			video(b, 7200, field(0x41, 2, false, 50))
		}, []string{"0: 136 bytes, 0/0", "0: 116 bytes", "0: 58 bytes, 7200/7200, damage 1000"}},

		{"fields of one parity are no pair", func(b *tsBuilder) {
			b.program(0x1B)
			video(b, 0, delimiter(), paramSets(true), field(0x65, 0, false, 50))
			video(b, 3600, delimiter(), field(0x41, 0, false, 50))
			video(b, 7200, delimiter(), field(0x41, 1, false, 50))
		}, []string{"0: 84 bytes, 0/0", "0: 64 bytes, 3600/3600", "0: 64 bytes, 7200/7200, damage 1000"}},

		{"a join within a PES waits for the next that has a beginning of its own", func(b *tsBuilder) {
			b.program(0x1B)
			video(b, 0, paramSets(false), frame(0x65, 0, 50))
			b.data = b.data[:len(b.data)-PacketSize]
			video(b, 0, []byte{5, 5, 5}, paramSets(false), sei(), frame(0x41, 1, 31), frame(0x41, 2, 32))
			video(b, 7200, []byte{5, 5, 5}, sei(), frame(0x41, 3, 33), frame(0x41, 4, 34))
			video(b, 14400, sei(), frame(0x41, 5, 35))
		}, []string{"0: 50 bytes, 7200/7200", "0: 42 bytes", "0: 52 bytes, 14400/14400, damage 1000"}},

		{"a join behind a delimiter waits for the next", func(b *tsBuilder) {
			b.program(0x1B)
			video(b, 0, []byte{0xF0}, sei(), paramSets(false), frame(0x65, 0, 50))
			video(b, 3600, delimiter(), frame(0x41, 1, 50))
			video(b, 7200, delimiter(), frame(0x41, 2, 50))
		}, []string{"0: 64 bytes, 3600/3600", "0: 64 bytes, 7200/7200, damage 1000"}},

		{"a join waits for a PES with a time", func(b *tsBuilder) {
			b.program(0x04)
			audio(b, noTime, mp2(1), mp2(2), mp2(3))
			audio(b, 6480, mp2(4), mp2(5), mp2(6))
			audio(b, noTime, mp2(7))
		}, []string{"0: 384 bytes, 6480/6480, 1152@48000", "0: 384 bytes, 8640/8640, 1152@48000", "0: 384 bytes, 10800/10800, 1152@48000",
			"0: 384 bytes, 12960/12960, 1152@48000"}},

		{"AAC over PES, times counted from the first frame that begins", func(b *tsBuilder) {
			b.program(0x0F)
			chain := cat(adts(100, 1), adts(101, 2), adts(102, 3), adts(103, 4), adts(104, 5))
			audio(b, 1000, chain[:150])
			audio(b, 1000+2*1920, chain[150:400])
			audio(b, 1000+4*1920, chain[400:])
		}, []string{"0: 107 bytes, 1000/1000, 1024@48000", "0: 108 bytes, 2920/2920, 1024@48000", "0: 109 bytes, 4840/4840, 1024@48000",
			"0: 110 bytes, 6760/6760, 1024@48000", "0: 111 bytes, 8680/8680, 1024@48000"}},

		{"a join within a frame, with a header's pattern in its rest", func(b *tsBuilder) {
			b.program(0x0F)
			rest := adts(60, 9)
			audio(b, 500, rest[20:], adts(20, 1)[:7], []byte{1, 2, 3}, adts(100, 1), adts(100, 2), adts(100, 3))
		}, []string{"0: 107 bytes, 500/500, 1024@48000", "0: 107 bytes, 2420/2420, 1024@48000", "0: 107 bytes, 4340/4340, 1024@48000"}},

		{"MP2 over the wrap of the clock", func(b *tsBuilder) {
			b.program(0x04)
			audio(b, 1<<33-1000, mp2(1), mp2(2), mp2(3))
			audio(b, 1<<33-1000+3*2160-1<<33, mp2(4))
		}, []string{"0: 384 bytes, 8589933592/8589933592, 1152@48000", "0: 384 bytes, 1160/1160, 1152@48000",
			"0: 384 bytes, 3320/3320, 1152@48000", "0: 384 bytes, 5480/5480, 1152@48000"}},

		{"44.1 kHz: each time is rounded down from the PES's", func(b *tsBuilder) {
			b.program(0x0F)
			f := func() []byte { a := adts(50, 1); a[2] = a[2]&^0x3C | 4<<2; return a }
			audio(b, 0, f(), f(), f(), f())
		}, []string{"0: 57 bytes, 0/0, 1024@44100", "0: 57 bytes, 2089/2089, 1024@44100", "0: 57 bytes, 4179/4179, 1024@44100",
			"0: 57 bytes, 6269/6269, 1024@44100"}},

		{"a lost packet damages its frame, and all waits for the next PES", func(b *tsBuilder) {
			b.program(0x04)
			audio(b, 0, mp2(1), mp2(2), mp2(3))
			at := len(b.data)
			audio(b, 6480, mp2(4), mp2(5), mp2(6))
			b.data = append(b.data[:at+3*PacketSize:at+3*PacketSize], b.data[at+4*PacketSize:]...)
			audio(b, 12960, mp2(7), mp2(8), mp2(9))
		}, []string{"0: 384 bytes, 0/0, 1152@48000", "0: 384 bytes, 2160/2160, 1152@48000", "0: 384 bytes, 4320/4320, 1152@48000",
			"0: 384 bytes, 6480/6480, 1152@48000", "0: 154 bytes, 8640/8640, 1152@48000, damage 1",
			"0: 384 bytes, 12960/12960, 1152@48000, lost 1", "0: 384 bytes, 15120/15120, 1152@48000", "0: 384 bytes, 17280/17280, 1152@48000"}},

		{"a PES that is short of its length", func(b *tsBuilder) {
			b.program(0x04)
			audio(b, 0, mp2(1), mp2(2), mp2(3))
			cut := pesUnit(0xC0, 6480, noTime, true, cat(mp2(4), mp2(5)))
			b.payload(0x100, cut[:500])
			audio(b, 12960, mp2(7), mp2(8), mp2(9))
		}, []string{"0: 384 bytes, 0/0, 1152@48000", "0: 384 bytes, 2160/2160, 1152@48000", "0: 384 bytes, 4320/4320, 1152@48000",
			"0: 384 bytes, 6480/6480, 1152@48000", "0: 102 bytes, 8640/8640, 1152@48000, damage 1000",
			"0: 384 bytes, 12960/12960, 1152@48000, lost 1000", "0: 384 bytes, 15120/15120, 1152@48000", "0: 384 bytes, 17280/17280, 1152@48000"}},

		{"sixteen lost packets show by a chain that does not hold, before the frame is delivered", func(b *tsBuilder) {
			b.program(0x04)
			audio(b, 0, mp2(1), mp2(2), mp2(3))
			b.payload(0x100, pesUnit(0xC0, 6480, noTime, true, bytes.Repeat(mp2(4), 12)))
			end := len(b.data)
			b.data = append(b.data[:end-20*PacketSize:end-20*PacketSize], b.data[end-4*PacketSize:]...)
			audio(b, 40000, mp2(7), mp2(8), mp2(9))
		}, []string{"0: 384 bytes, 0/0, 1152@48000", "0: 384 bytes, 2160/2160, 1152@48000", "0: 384 bytes, 4320/4320, 1152@48000",
			"0: 384 bytes, 6480/6480, 1152@48000", "0: 384 bytes, 8640/8640, 1152@48000", "0: 384 bytes, 10800/10800, 1152@48000, damage 10000",
			"0: 384 bytes, 40000/40000, 1152@48000, lost 11000", "0: 384 bytes, 42160/42160, 1152@48000", "0: 384 bytes, 44320/44320, 1152@48000"}},

		{"the same counter with other content is a loss of fifteen; the same content is legal once", func(b *tsBuilder) {
			b.program(0x1B)
			at := len(b.data)
			video(b, 0, delimiter(), paramSets(false), frame(0x65, 0, 184*20))
			b.data[at+17*PacketSize+100] = 0x55
			b.data = append(b.data[:at+2*PacketSize:at+2*PacketSize], b.data[at+17*PacketSize:]...)
			at = len(b.data)
			video(b, 3600, delimiter(), frame(0x41, 1, 10))
			b.data = append(b.data, b.data[at:at+PacketSize]...)
			at = len(b.data)
			video(b, 7200, delimiter(), frame(0x41, 2, 10))
			b.data = append(b.data, b.data[at:at+PacketSize]...)
			b.data = append(b.data, b.data[at:at+PacketSize]...)
			video(b, 10800, delimiter(), frame(0x41, 3, 10))
		}, []string{"0: 954 bytes, 0/0, damage 1", "0: 24 bytes, 3600/3600, lost 1", "0: 24 bytes, 7200/7200, damage 1",
			"0: 24 bytes, 7200/7200, lost 1", "0: 24 bytes, 10800/10800, damage 1000"}},

		{"scrambled packets are a loss", func(b *tsBuilder) {
			b.program(0x1B)
			video(b, 0, delimiter(), paramSets(false), frame(0x65, 0, 300))
			at := len(b.data)
			video(b, 3600, delimiter(), frame(0x41, 1, 300))
			b.data[at+PacketSize+3] |= 0x80
			video(b, 7200, delimiter(), frame(0x41, 2, 10))
			video(b, 10800, delimiter(), frame(0x41, 3, 10))
		}, []string{"0: 334 bytes, 0/0", "0: 170 bytes, 3600/3600, damage 100", "0: 24 bytes, 7200/7200, lost 100",
			"0: 24 bytes, 10800/10800, damage 1000"}},

		{"adaptation-only packets do not count, and an announced jump is none", func(b *tsBuilder) {
			b.program(0x1B)
			video(b, 0, delimiter(), paramSets(false), frame(0x65, 0, 30))
			b.adaptation(0x100, 0, 9)
			video(b, 3600, delimiter(), frame(0x41, 1, 10))
			b.adaptation(0x100, 0x80, 12)
			b.counter[0x100] = 13
			video(b, 7200, delimiter(), frame(0x41, 2, 10))
		}, []string{"0: 64 bytes, 0/0", "0: 24 bytes, 3600/3600", "0: 24 bytes, 7200/7200, damage 1000, discontinuity"}},

		{"a jump of the counter that is announced at the start of a PES is none", func(b *tsBuilder) {
			b.program(0x1B)
			video(b, 0, delimiter(), paramSets(false), frame(0x65, 0, 30))
			b.counter[0x100] = 9
			at := len(b.data)
			video(b, 3600, delimiter(), frame(0x41, 1, 10))
			b.data[at+5] = 0x80
			video(b, 7200, delimiter(), frame(0x41, 2, 10))
		}, []string{"0: 64 bytes, 0/0", "0: 24 bytes, 3600/3600, discontinuity", "0: 24 bytes, 7200/7200, damage 1000"}},

		{"a zero before a PES that begins with a short start code is not its own", func(b *tsBuilder) {
			b.program(0x1B)
			video(b, 0, delimiter(), paramSets(false), frame(0x65, 0, 30), []byte{0})
			video(b, 3600, delimiter()[1:], frame(0x41, 1, 10))
			video(b, 7200, delimiter(), frame(0x41, 2, 10))
		}, []string{"0: 65 bytes, 0/0", "0: 23 bytes, 3600/3600", "0: 24 bytes, 7200/7200, damage 1000"}},
	}...)
}

func TestStreams(t *testing.T) {
	for _, c := range slices.Concat(streamCases(), audioCases(), latmCases(), opusCases()) {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder()
			c.build(b)
			rec := demux(b.data, Options{})
			var got []string
			for _, u := range rec.units {
				got = append(got, line(u))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n%q\nwant\n%q", got, c.want)
			}
			for _, u := range rec.units {
				if u.Samples > 0 || u.Damage != 0 {
					continue
				}
				if !bytes.HasPrefix(u.Data, []byte{0, 0}) {
					t.Errorf("DTS %d begins with % x", u.DTS, u.Data[:4])
				}
			}
		})
	}
}

// I1: sixteen packets are lost so that the frame over the hole ends two bytes before its packet: too few to see that no
// header follows. It must not be delivered yet.
func TestHoleOfSixteenAtAPacketsEnd(t *testing.T) {
	b := newBuilder()
	b.program(0x04)
	var frames []byte
	for i := range 30 {
		frames = append(frames, mp2(byte(i+1))...)
	}
	at := len(b.data)
	b.payload(0x100, pesUnit(0xC0, 0, noTime, true, frames))
	b.data = append(b.data[:at+44*PacketSize:at+44*PacketSize], b.data[at+60*PacketSize:]...)
	rec := demux(b.data, Options{})
	if rec.stats.ContinuityErrors != 0 {
		t.Fatalf("the loss shows in the counters: %+v", rec.stats)
	}
	for i, u := range rec.units {
		if u.Damage == 0 && !bytes.Equal(u.Data, mp2(byte(i+1))) {
			t.Errorf("frame %d is not what was sent, and has no damage", i)
		}
	}
	if last := rec.units[len(rec.units)-1]; last.Damage == 0 {
		t.Errorf("the last is %s, want damage", line(last))
	}
}

// I1: what was cut out with the grid may have been anything, even where each counter goes on.
func TestGarbageIsALoss(t *testing.T) {
	b := newBuilder()
	b.program(0x04)
	audio := func(pts int64) {
		b.payload(0x100, pesUnit(0xC0, pts, noTime, true, cat(mp2(1), mp2(2), mp2(3))))
	}
	audio(0)
	at := len(b.data)
	audio(6480)
	rec := &recorder{}
	d := NewDemuxer(rec, Options{})
	d.Write(b.data[:at])
	d.Write([]byte("not a packet"))
	d.Write(b.data[at:])
	d.Flush()
	if len(rec.units) != 6 || !rec.units[3].Lost || rec.units[2].Damage != 0 {
		for _, u := range rec.units {
			t.Error(line(u))
		}
	}
}

// A datagram lost by the kernel damages what is open on each PID and is told with the next unit of each.
func TestKernelDrop(t *testing.T) {
	b := newBuilder()
	b.program(0x1B, 0x04)
	key := cat(delimiter(), paramSets(false), sliceOf{nal: 0x65, size: 300}.bytes())
	b.payload(0x100, pesUnit(0xE0, 0, noTime, false, key))
	b.payload(0x101, pesUnit(0xC0, 0, noTime, true, cat(mp2(1), mp2(2), mp2(3))))
	rec := &recorder{}
	d := NewDemuxer(rec, Options{})
	d.Write(b.data)
	d.KernelDrop(3)
	at := len(b.data)
	b.payload(0x100, pesUnit(0xE0, 3600, noTime, false, key))
	b.payload(0x101, pesUnit(0xC0, 6480, noTime, true, cat(mp2(1), mp2(2), mp2(3))))
	b.payload(0x100, pesUnit(0xE0, 7200, noTime, false, key))
	d.Write(b.data[at:])
	d.Flush()
	var got []string
	for _, u := range rec.units[3:] { // the audio of the beginning was complete
		got = append(got, line(u))
	}
	want := []string{"0: 334 bytes, 0/0, damage 100000", "1: 384 bytes, 6480/6480, 1152@48000, lost 100000",
		"1: 384 bytes, 8640/8640, 1152@48000", "1: 384 bytes, 10800/10800, 1152@48000",
		"0: 334 bytes, 3600/3600, lost 100000", "0: 334 bytes, 7200/7200, damage 1000"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	if s := d.Stats(); s.KernelDrops != 3 || s.DamagedUnits != 2 || s.LostBefore != 2 {
		t.Errorf("stats %+v", s)
	}
}

// A PES header may be longer than a packet.
func TestHeaderOverPackets(t *testing.T) {
	b := newBuilder()
	b.program(0x04)
	pes := pesUnit(0xC0, 1000, noTime, true, cat(mp2(1), mp2(2), mp2(3)))
	const stuffing = 230
	long := cat(pes[:14], bytes.Repeat([]byte{0xFF}, stuffing), pes[14:])
	binary.BigEndian.PutUint16(long[4:], uint16(len(long)-6))
	long[8] += stuffing
	b.payload(0x100, long)
	rec := demux(b.data, Options{})
	if len(rec.units) != 3 || rec.units[0].PTS != 1000 || rec.stats.PESErrors != 0 {
		t.Errorf("%d units, %+v", len(rec.units), rec.stats)
	}
}

func FuzzDemuxer(f *testing.F) {
	for _, c := range slices.Concat(streamCases(), audioCases(), latmCases(), opusCases()) {
		b := newBuilder()
		c.build(b)
		f.Add(b.data)
	}
	for _, c := range dataCases() {
		b := newBuilder()
		dataProgram(b)
		c.build(b)
		f.Add(b.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		bounded(t, "fuzz", data)
	})
}
