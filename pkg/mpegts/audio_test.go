package mpegts

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// syncframe describes a syncframe of E-AC-3 for tests.
type syncframe struct {
	kind, id uint32 // strmtyp, substreamid
	code     uint32 // numblkscod
	convsync bool
	size     int
	fill     byte
}

func (s syncframe) bytes() []byte {
	w := (&bitWriter{}).bits(16, 0x0B77).bits(2, s.kind).bits(3, s.id).bits(11, uint32(s.size/2-1)).bits(2, 0).bits(2, s.code)
	w.bits(4, 4).bits(5, 16).bits(5, 31).bits(1, 0) // stereo, bsid, dialnorm, no compr
	if s.kind == 1 {
		w.bits(1, 0)
	}
	w.bits(2, 0)
	if s.kind != 1 && s.code != 3 {
		v := uint32(0)
		if s.convsync {
			v = 1
		}
		w.bits(1, v)
	}
	for len(w.b) < s.size {
		w.b = append(w.b, s.fill)
	}
	return w.b
}

// ac3Frame makes an AC-3 frame of 32 kbit/s at 48 kHz: 128 bytes.
func ac3Frame(fill byte) []byte {
	f := []byte{0x0B, 0x77, 0, 0, 0, 8 << 3, 2 << 5}
	return append(f, bytes.Repeat([]byte{fill}, 128-len(f))...)
}

// audioCases are streams of audio that is not its own frames' chain alone.
func audioCases() []streamCase {
	audio := func(b *tsBuilder, pts int64, parts ...[]byte) {
		b.payload(0x100, pesUnit(0xBD, pts, noTime, true, cat(parts...)))
	}
	six := func(fill byte) []byte { return syncframe{code: 3, size: 100, fill: fill}.bytes() }
	dependent := func(fill byte) []byte { return syncframe{kind: 1, code: 3, size: 50, fill: fill}.bytes() }
	other := func(fill byte) []byte { return syncframe{id: 1, code: 3, size: 60, fill: fill}.bytes() }
	three := func(first bool, fill byte) []byte {
		return syncframe{code: 2, convsync: first, size: 80, fill: fill}.bytes()
	}
	return []streamCase{
		{"AC-3, several frames a PES, and over PES", func(b *tsBuilder) {
			b.program(0x81)
			chain := cat(ac3Frame(1), ac3Frame(2), ac3Frame(3), ac3Frame(4), ac3Frame(5))
			audio(b, 1000, chain[:200])
			audio(b, 1000+2*2880, chain[200:])
		}, []string{"0: 128 bytes, 1000/1000, 1536@48000", "0: 128 bytes, 3880/3880, 1536@48000", "0: 128 bytes, 6760/6760, 1536@48000",
			"0: 128 bytes, 9640/9640, 1536@48000", "0: 128 bytes, 12520/12520, 1536@48000"}},

		{"E-AC-3: a unit has all substreams; a join waits for its first", func(b *tsBuilder) {
			b.program(0x87)
			audio(b, 1000, dependent(1), other(1), six(2), dependent(2), other(2))
			audio(b, 1000+2880, six(3), dependent(3), other(3))
			audio(b, 1000+2*2880, six(4))
		}, []string{"0: 210 bytes, 1000/1000, 1536@48000", "0: 210 bytes, 3880/3880, 1536@48000", "0: 100 bytes, 6760/6760, 1536@48000, damage 1000"}},

		{"E-AC-3: a PES that begins within a unit has the time of the next", func(b *tsBuilder) {
			b.program(0x87)
			audio(b, 1000, six(2), dependent(2), six(3))
			audio(b, 1000+2*2880, dependent(3), other(3), six(4), six(5))
		}, []string{"0: 150 bytes, 1000/1000, 1536@48000", "0: 210 bytes, 3880/3880, 1536@48000", "0: 100 bytes, 6760/6760, 1536@48000",
			"0: 100 bytes, 9640/9640, 1536@48000, damage 1000"}},

		{"E-AC-3: three blocks each, joined at the second half", func(b *tsBuilder) {
			b.program(0x87)
			audio(b, 1000, three(false, 1), three(true, 2), three(false, 3), three(true, 4), three(false, 5), three(false, 6), three(false, 7))
			audio(b, 11080, three(true, 8))
		}, []string{"0: 160 bytes, 2440/2440, 1536@48000", "0: 160 bytes, 5320/5320, 1536@48000", "0: 160 bytes, 8200/8200, 1536@48000",
			"0: 80 bytes, 11080/11080, 768@48000, damage 1000"}},

		{"E-AC-3: convsync in the middle of a unit ends it", func(b *tsBuilder) {
			b.program(0x87)
			audio(b, 1000, three(true, 1), three(true, 2), three(false, 3), six(4))
		}, []string{"0: 80 bytes, 1000/1000, 768@48000", "0: 160 bytes, 2440/2440, 1536@48000", "0: 100 bytes, 5320/5320, 1536@48000, damage 1000"}},

		{"E-AC-3 that never has convsync", func(b *tsBuilder) {
			b.program(0x87)
			audio(b, 1000, three(false, 1), three(false, 2), three(false, 3), three(false, 4))
		}, nil},

		{"E-AC-3: a chain of further substreams alone, that breaks", func(b *tsBuilder) {
			b.program(0x87)
			small := syncframe{id: 1, code: 3, size: 20, fill: 1}.bytes()
			audio(b, 1000, small, small, small, make([]byte, 20), six(1), six(2), six(3))
			audio(b, 9640, six(4), six(5), six(6))
		}, []string{"0: 100 bytes, 9640/9640, 1536@48000, lost 10000", "0: 100 bytes, 12520/12520, 1536@48000",
			"0: 100 bytes, 15400/15400, 1536@48000, damage 1000"}},

		{"E-AC-3 around AC-3", func(b *tsBuilder) {
			b.program(0x87)
			audio(b, 1000, ac3Frame(1), dependent(1), ac3Frame(2), dependent(2), ac3Frame(3))
		}, []string{"0: 178 bytes, 1000/1000, 1536@48000", "0: 178 bytes, 3880/3880, 1536@48000", "0: 128 bytes, 6760/6760, 1536@48000, damage 1000"}},

		{"a packet lost within a unit, and one between two", func(b *tsBuilder) {
			b.program(0x87)
			audio(b, 1000, six(1), dependent(1), other(1))
			at := len(b.data)
			audio(b, 3880, six(2), dependent(2), other(2)) // two packets
			b.data = b.data[:at+PacketSize]
			audio(b, 6760, six(3), dependent(3), other(3))
			at = len(b.data)
			audio(b, 9640, six(4), other(4))
			b.data = b.data[:at]
			audio(b, 12520, six(5), six(6), six(7))
		}, []string{"0: 210 bytes, 1000/1000, 1536@48000", "0: 170 bytes, 3880/3880, 1536@48000, damage 1",
			"0: 210 bytes, 6760/6760, 1536@48000, damage 1, lost 1", "0: 100 bytes, 12520/12520, 1536@48000, lost 1",
			"0: 100 bytes, 15400/15400, 1536@48000", "0: 100 bytes, 18280/18280, 1536@48000, damage 1000"}},
	}
}

// I4: a unit whose substreams never end is cut at the limit.
func TestUnitOfSubstreamsIsBounded(t *testing.T) {
	b := newBuilder()
	b.program(0x87)
	first := syncframe{code: 3, size: 1000}.bytes()
	more := syncframe{kind: 1, code: 3, size: 1000}.bytes()
	for i := range 30 {
		b.payload(0x100, pesUnit(0xBD, int64(i)*2880, noTime, true, cat(first, bytes.Repeat(more, 9))))
	}
	rec := demux(b.data, Options{MaxUnitBytes: 5000})
	if len(rec.units) != 30 {
		t.Fatalf("%d units, want 30", len(rec.units))
	}
	for i, u := range rec.units {
		if len(u.Data) != 5000 || u.Damage != DamageSyntax || u.Lost != (i > 0) {
			t.Errorf("unit %d: %s", i, line(u))
		}
	}
}

// The frames that come out of LATM are those that the same encoder puts into ADTS, at the same times.
func TestLATMEqualsADTS(t *testing.T) {
	i := slices.IndexFunc(clips(), func(c clip) bool { return c.name == "LATM" })
	latm := clips()[i]
	adts := clip{args: strings.ReplaceAll(latm.args, " -mpegts_flags latm", "")}
	got, want := demux(clipData(t, latm), Options{}), demux(clipData(t, adts), Options{})
	for _, s := range got.programs[0].Streams {
		if s.Codec != CodecLATM {
			continue
		}
		g, w := got.of(s.PID), want.of(s.PID)
		if len(g) != len(w) || len(g) == 0 {
			t.Fatalf("PID %d: %d units, want %d", s.PID, len(g), len(w))
		}
		for i := range g {
			// The two multiplexers fill PES unlike, so times are counted from others.
			d := g[i].PTS - w[i].PTS
			if !bytes.Equal(g[i].Data, w[i].Data[7:]) || d < -1 || d > 1 || g[i].Samples != w[i].Samples || g[i].Rate != w[i].Rate {
				t.Fatalf("PID %d unit %d: %s, in ADTS %s", s.PID, i, line(g[i]), line(w[i]))
			}
		}
	}
}

// What the program map says of audio.
func TestAudioDescriptors(t *testing.T) {
	registration := func(s string) []byte { return append([]byte{tagRegistration, byte(len(s))}, s...) }
	for _, c := range []struct {
		streamType  uint8
		descriptors []byte
		want        Stream
	}{
		{0x81, nil, Stream{Codec: CodecAC3, Name: "AC-3"}},
		{0x87, nil, Stream{Codec: CodecEAC3, Name: "E-AC-3"}},
		{0x06, []byte{tagAC3, 1, 0}, Stream{Codec: CodecAC3, Name: "AC-3"}},
		{0x06, []byte{tagEAC3, 1, 0}, Stream{Codec: CodecEAC3, Name: "E-AC-3"}},
		{0x06, registration("AC-3"), Stream{Codec: CodecAC3, Name: "AC-3"}},
		{0x06, cat(registration("EAC3"), []byte{tagLanguage, 4, 'd', 'e', 'u', 3}),
			Stream{Codec: CodecEAC3, Name: "E-AC-3", Language: "deu", AudioType: 3, Role: RoleDescription}},
		{0x06, cat(registration("AC-3"), []byte{tagEAC3, 1, 0}), Stream{Codec: CodecAC3, Name: "AC-3"}},
		{0x84, nil, Stream{Name: "stream type 0x84"}},
		{0x84, registration("EAC3"), Stream{Codec: CodecEAC3, Name: "E-AC-3"}},
		{0x06, []byte{tagDTS, 0}, Stream{Name: "DTS"}},
		{0x06, []byte{tagExtension, 1, extensionDTSHD}, Stream{Name: "DTS-HD"}},
		{0x06, []byte{tagExtension, 1, extensionAC4}, Stream{Name: "AC-4"}},
		{0x06, registration("BSSD"), Stream{Name: "SMPTE 302M"}},
		{0x06, opusDescriptors(6), Stream{Codec: CodecOpus, Name: "Opus", Channels: 6}},
		{0x06, opusDescriptors(0x82), Stream{Name: "Opus, channel configuration 0x82", Channels: 0x82}},
		{0x06, opusDescriptors(6)[6:], Stream{Name: "private PES"}},
		{0x06, []byte{tagExtension, 0, tagRegistration, 2, 'A', 'C', tagLanguage, 1, 'x'}, Stream{Name: "private PES"}},
		{0x1B, []byte{tagAC3, 0}, Stream{Codec: CodecH264, Name: "H.264"}},
	} {
		c.want.PID, c.want.StreamType = 0x100, c.streamType
		if got := newStream(c.streamType, 0x100, c.descriptors); got != c.want {
			t.Errorf("type %#x, % x: got %+v, want %+v", c.streamType, c.descriptors, got, c.want)
		}
	}
}

// A stream whose units cannot end themselves has a last one that is damaged.
func endsWithDamage(s Stream) bool { return s.Codec.Video() || s.Codec == CodecEAC3 }

func streamOf(p Program, pid uint16) Stream {
	return p.Streams[slices.IndexFunc(p.Streams, func(s Stream) bool { return s.PID == pid })]
}

// loas makes a LOAS frame of AAC LC, 48 kHz, stereo: with a StreamMuxConfig for so many frames an element, or without.
func loas(config bool, samples960 bool, frames ...[]byte) []byte {
	w := &bitWriter{}
	if config {
		w.bits(1, 0).bits(1, 0).bits(1, 1).bits(6, uint32(len(frames)-1)).bits(7, 0).bits(5, 2).bits(4, 3).bits(4, 2)
		if samples960 {
			w.bits(3, 4)
		} else {
			w.bits(3, 0)
		}
		w.bits(3, 0).bits(8, 255).bits(2, 0)
	} else {
		w.bits(1, 1)
	}
	for _, f := range frames {
		w.bits(8, uint32(len(f)))
		for _, c := range f {
			w.bits(8, uint32(c))
		}
	}
	return append([]byte{0x56, 0xE0 | byte(len(w.b)>>8), byte(len(w.b))}, w.b...)
}

// latmCases are streams of LATM. Frames have as many bytes as their number.
func latmCases() []streamCase {
	audio := func(b *tsBuilder, pts int64, parts ...[]byte) {
		b.payload(0x100, pesUnit(0xC0, pts, noTime, true, cat(parts...)))
	}
	f := func(n int) []byte { return bytes.Repeat([]byte{byte(n)}, n) }
	with := func(n ...int) []byte {
		var frames [][]byte
		for _, n := range n {
			frames = append(frames, f(n))
		}
		return loas(true, false, frames...)
	}
	without := func(n int) []byte { return loas(false, false, f(n)) }
	return []streamCase{
		{"LATM, each with its configuration", func(b *tsBuilder) {
			b.program(0x11)
			audio(b, 1000, with(10), with(11), with(12))
		}, []string{"0: 10 bytes, 1000/1000, 1024@48000", "0: 11 bytes, 2920/2920, 1024@48000", "0: 12 bytes, 4840/4840, 1024@48000"}},

		{"LATM of several frames an element, of 960 samples", func(b *tsBuilder) {
			b.program(0x11)
			audio(b, 1000, loas(true, true, f(10), f(11)), loas(false, true, f(12), f(13)), loas(false, true, f(14), f(15)))
		}, []string{"0: 10 bytes, 1000/1000, 960@48000", "0: 11 bytes, 2800/2800, 960@48000", "0: 12 bytes, 4600/4600, 960@48000",
			"0: 13 bytes, 6400/6400, 960@48000", "0: 14 bytes, 8200/8200, 960@48000", "0: 15 bytes, 10000/10000, 960@48000"}},

		{"a join waits for a configuration, and for a PES whose frames it can count", func(b *tsBuilder) {
			b.program(0x11)
			audio(b, 1000, without(10), without(11), without(12))
			audio(b, 6760, without(13), with(14), without(15))
			audio(b, 12520, without(16), without(17), without(18))
		}, []string{"0: 16 bytes, 12520/12520, 1024@48000", "0: 17 bytes, 14440/14440, 1024@48000", "0: 18 bytes, 16360/16360, 1024@48000"}},

		{"behind a hole the configuration before it is not trusted", func(b *tsBuilder) {
			b.program(0x11)
			audio(b, 1000, with(10), without(11), without(12))
			at := len(b.data)
			audio(b, 6760, without(13))
			b.data = b.data[:at]
			audio(b, 8680, without(14), without(15), with(16), without(17))
		}, []string{"0: 10 bytes, 1000/1000, 1024@48000", "0: 11 bytes, 2920/2920, 1024@48000", "0: 12 bytes, 4840/4840, 1024@48000",
			"0: 14 bytes, 8680/8680, 1024@48000, damage 1, lost 1", "0: 15 bytes, 10600/10600, 1024@48000, damage 1",
			"0: 16 bytes, 12520/12520, 1024@48000", "0: 17 bytes, 14440/14440, 1024@48000"}},

		{"behind a hole another configuration: the frames of its PES cannot be counted", func(b *tsBuilder) {
			b.program(0x11)
			audio(b, 1000, with(10), without(11), without(12))
			at := len(b.data)
			audio(b, 6760, without(13))
			b.data = b.data[:at]
			audio(b, 8680, loas(false, true, f(14)), loas(true, true, f(15)), loas(false, true, f(16)))
			audio(b, 14080, loas(false, true, f(17)), loas(false, true, f(18)))
		}, []string{"0: 10 bytes, 1000/1000, 1024@48000", "0: 11 bytes, 2920/2920, 1024@48000", "0: 12 bytes, 4840/4840, 1024@48000",
			"0: 14 bytes, 8680/8680, 1024@48000, damage 1, lost 1", "0: 17 bytes, 14080/14080, 960@48000, lost 10000",
			"0: 18 bytes, 15880/15880, 960@48000"}},

		{"LATM that does not parse within its length", func(b *tsBuilder) {
			b.program(0x11)
			broken := without(30)
			broken[3] |= 0x7F // it says that it is longer
			audio(b, 1000, with(10), with(11), with(12), broken, with(13))
			audio(b, 10600, with(14))
		}, []string{"0: 10 bytes, 1000/1000, 1024@48000", "0: 11 bytes, 2920/2920, 1024@48000", "0: 12 bytes, 4840/4840, 1024@48000",
			"0: 14 bytes, 10600/10600, 1024@48000, lost 10000"}},
	}
}

// What is not supported is named, and does no harm to the rest.
func TestLATMRefused(t *testing.T) {
	b := newBuilder()
	b.program(0x11, 0x04)
	two := (&bitWriter{}).bits(2, 0).bits(1, 1).bits(6, 0).bits(4, 1).bits(80, 0).b
	for i := range 5 {
		frame := append([]byte{0x56, 0xE0, byte(len(two))}, two...)
		b.payload(0x100, pesUnit(0xC0, int64(i)*6480, noTime, true, cat(frame, frame, frame)))
		b.payload(0x101, pesUnit(0xC0, int64(i)*6480, noTime, true, cat(mp2(1), mp2(2), mp2(3))))
	}
	rec := demux(b.data, Options{})
	if n := len(rec.units); n != 15 {
		t.Errorf("%d units, want 15 of MPEG audio", n)
	}
	for _, p := range rec.stats.PIDs {
		if named := strings.Contains(p.Refused, "2 programs"); named != (p.PID == 0x100) {
			t.Errorf("PID %d: refused for %q", p.PID, p.Refused)
		}
	}
}

// opusUnit makes an access unit of Opus of 20 ms with the flags of its control header, and what they announce.
func opusUnit(flags byte, extra []byte, size int, fill byte) []byte {
	b := []byte{0x7F, 0xE0 | flags}
	n := size
	for ; n >= 255; n -= 255 {
		b = append(b, 255)
	}
	b = append(append(b, byte(n)), extra...)
	b = append(b, 31<<3)
	return append(b, bytes.Repeat([]byte{fill}, size-1)...)
}

// opusProgram writes PAT and PMT of one Opus stream, stereo.
func opusProgram(b *tsBuilder) {
	b.section(patPID, patSection(0, 0, 0, programAt{1, 0x1000}))
	b.section(0x1000, pmtSection(1, 0, 0x100, streamAt{0x06, 0x100, opusDescriptors(2)}))
}

func opusDescriptors(code byte) []byte {
	return []byte{tagRegistration, 4, 'O', 'p', 'u', 's', tagExtension, 2, extensionOpus, code}
}

func opusCases() []streamCase {
	audio := func(b *tsBuilder, pts int64, parts ...[]byte) {
		b.payload(0x100, pesUnit(0xBD, pts, noTime, true, cat(parts...)))
	}
	return []streamCase{
		{"Opus, one packet a PES", func(b *tsBuilder) {
			opusProgram(b)
			for i := range 4 {
				audio(b, 1000+int64(i)*1800, opusUnit(0, nil, 300+i, byte(i)))
			}
		}, []string{"0: 300 bytes, 1000/1000, 960@48000", "0: 301 bytes, 2800/2800, 960@48000", "0: 302 bytes, 4600/4600, 960@48000",
			"0: 303 bytes, 6400/6400, 960@48000"}},

		{"Opus with trims and extension, over PES", func(b *tsBuilder) {
			opusProgram(b)
			chain := cat(opusUnit(0x10, []byte{1, 56}, 255, 1), opusUnit(0x1C, []byte{0, 1, 0, 2, 3, 7, 7, 7}, 100, 2),
				opusUnit(4, []byte{0}, 510, 3), opusUnit(0, nil, 4, 4), opusUnit(0, nil, 5, 5))
			audio(b, 1000, chain[:262])
			audio(b, 2800+1800, chain[262:600])
			audio(b, 1000+3*1800, chain[600:])
		}, []string{"0: 255 bytes, 1000/1000, 960@48000", "0: 100 bytes, 2800/2800, 960@48000", "0: 510 bytes, 4600/4600, 960@48000",
			"0: 4 bytes, 6400/6400, 960@48000", "0: 5 bytes, 8200/8200, 960@48000"}},
	}
}

func TestOpusSamples(t *testing.T) {
	for _, c := range []struct {
		toc  []byte
		want int
	}{
		{[]byte{0}, 480}, {[]byte{3 << 3}, 2880}, {[]byte{11<<3 | 1}, 5760}, {[]byte{12 << 3}, 480}, {[]byte{15 << 3}, 960},
		{[]byte{16 << 3}, 120}, {[]byte{17<<3 | 2}, 480}, {[]byte{31 << 3}, 960}, {[]byte{31<<3 | 3, 6}, 5760},
		{[]byte{31<<3 | 3, 7}, 0}, {[]byte{31<<3 | 3, 0}, 0}, {[]byte{31<<3 | 3}, 0},
	} {
		if got := opusSamples(c.toc); got != c.want {
			t.Errorf("% x: %d samples, want %d", c.toc, got, c.want)
		}
	}
}

// FuzzAudioHeader: what any header says can be followed: a frame is longer than nothing, and no longer than what is held.
func FuzzAudioHeader(f *testing.F) {
	parsers := []func([]byte) (frameHeader, bool){parseADTS, parseMPEGAudio, parseAC3, parseLOAS, parseOpus}
	for _, b := range [][]byte{
		adts(20, 1), mp2(1), ac3Frame(1), syncframe{code: 2, size: 80}.bytes(), loas(true, false, []byte("frame")),
		opusUnit(0x1C, []byte{0, 1, 0, 2, 3, 7, 7, 7}, 300, 2),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < audioHeader {
			return
		}
		for i, parse := range parsers {
			h, ok := parse(b)
			if !ok || h.more {
				continue
			}
			if h.length <= h.skip || h.length > 8192+loasHeader || h.rate <= 0 || h.samples < 0 || h.samples > maxOpusSamples {
				t.Errorf("parser %d: %+v", i, h)
			}
		}
	})
}

// What cannot be recorded is named, and forgotten when the stream becomes something that can.
func TestAudioRefused(t *testing.T) {
	free := mp2(1)
	free[2] &= 0x0F
	blocks := adts(100, 1)
	blocks[6] |= 1
	short := syncframe{code: 1, size: 80}.bytes()
	for _, c := range []struct {
		streamType uint8
		frame      []byte
		want       error
		good       []byte
	}{
		{0x03, free, errFreeFormat, mp2(1)},
		{0x0F, blocks, errRawBlocks, adts(100, 1)},
		{0x87, short, errNoConvsync, syncframe{code: 1, convsync: true, size: 80}.bytes()},
	} {
		b := newBuilder()
		b.program(c.streamType)
		rec := &recorder{}
		d := NewDemuxer(rec, Options{})
		write := func(frame []byte) string {
			for i := range 20 {
				b.payload(0x100, pesUnit(0xC0, int64(i)*9000, noTime, true, cat(frame, frame, frame)))
			}
			d.Write(b.data)
			b.data = nil
			s := d.Stats()
			return s.PIDs[slices.IndexFunc(s.PIDs, func(p PIDStats) bool { return p.PID == 0x100 })].Refused
		}
		if got := write(c.frame); got != c.want.Error() || len(rec.units) > 0 {
			t.Errorf("type %#x: %d units, refused for %q, want %q", c.streamType, len(rec.units), got, c.want)
		}
		if got := write(c.good); got != "" || len(rec.units) == 0 {
			t.Errorf("type %#x, then good: %d units, refused for %q", c.streamType, len(rec.units), got)
		}
	}
}

// The frame tells AAC from MPEG audio, whatever the stream type is.
func TestAnnouncedAsTheOther(t *testing.T) {
	for _, c := range []struct {
		streamType uint8
		frame      []byte
	}{{0x04, adts(100, 1)}, {0x0F, mp2(1)}} {
		b := newBuilder()
		b.program(c.streamType)
		b.payload(0x100, pesUnit(0xC0, 1000, noTime, true, cat(c.frame, c.frame, c.frame)))
		if rec := demux(b.data, Options{}); len(rec.units) != 3 || !bytes.Equal(rec.units[2].Data, c.frame) {
			t.Errorf("type %#x: %d units", c.streamType, len(rec.units))
		}
	}
}

// MPEG audio of all versions and layers.
func TestMPEGAudioHeaders(t *testing.T) {
	for _, c := range []struct {
		name string
		b    [4]byte
		want frameHeader
	}{
		{"MPEG-1 layer I", [4]byte{0xFF, 0xFF, 0xA4, 0}, frameHeader{length: 320, samples: 384, rate: 48000}},
		{"MPEG-1 layer I with padding", [4]byte{0xFF, 0xFF, 0xA2, 0}, frameHeader{length: 352, samples: 384, rate: 44100}},
		{"MPEG-1 layer III", [4]byte{0xFF, 0xFB, 0x90, 0}, frameHeader{length: 417, samples: 1152, rate: 44100}},
		{"MPEG-2 layer II", [4]byte{0xFF, 0xF5, 0x84, 0}, frameHeader{length: 384, samples: 1152, rate: 24000}},
		{"MPEG-2 layer III", [4]byte{0xFF, 0xF3, 0x84, 0}, frameHeader{length: 192, samples: 576, rate: 24000}},
		{"MPEG-2.5 layer III", [4]byte{0xFF, 0xE3, 0x48, 0}, frameHeader{length: 288, samples: 576, rate: 8000}},
	} {
		got, ok := parseAudio(append(c.b[:], 0, 0, 0))
		got.kind = 0
		if !ok || got != c.want {
			t.Errorf("%s: got %+v, %v, want %+v", c.name, got, ok, c.want)
		}
	}
}
