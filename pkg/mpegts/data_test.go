package mpegts

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func metadataDescriptor(format string) []byte {
	return cat([]byte{tagMetadata, 13, 0xFF, 0xFF}, []byte(format), []byte{0xFF}, []byte(format), []byte{0, 0x0F})
}

func TestDataDescriptors(t *testing.T) {
	subtitling := []byte{tagSubtitles, 8, 'd', 'e', 'u', 0x10, 0, 1, 0, 2}
	teletext := []byte{tagTeletext, 5, 'n', 'l', 'd', 0x11, 0x50}
	language := []byte{tagLanguage, 4, 's', 'w', 'e', 0}
	component := []byte{0x52, 1, 7}
	klv, id3 := []byte{tagRegistration, 4, 'K', 'L', 'V', 'A'}, []byte{tagRegistration, 4, 'I', 'D', '3', ' '}
	for i, c := range []struct {
		streamType  uint8
		descriptors []byte
		want        Stream
	}{
		{0x06, subtitling, Stream{Codec: CodecDVBSubtitles, Name: "DVB subtitles", Language: "deu", Descriptors: string(subtitling)}},
		{0x06, cat(component, teletext), Stream{Codec: CodecTeletext, Name: "DVB teletext", Language: "nld", Descriptors: string(teletext)}},
		{0x06, cat(language, teletext), Stream{Codec: CodecTeletext, Name: "DVB teletext", Language: "swe", Descriptors: string(cat(language, teletext))}},
		{0x06, klv, Stream{Codec: CodecKLV, Name: "KLV", Descriptors: string(klv)}},
		{0x06, id3, Stream{Codec: CodecID3, Name: "ID3", Descriptors: string(id3)}},
		{0x06, cat([]byte{tagAC3, 1, 0}, subtitling), Stream{Codec: CodecAC3, Name: "AC-3"}},
		{0x06, []byte{tagTeletext, 0}, Stream{Codec: CodecTeletext, Name: "DVB teletext", Descriptors: "\x56\x00"}},
		{0x06, component, Stream{Name: "private PES"}},
		{0x15, metadataDescriptor("ID3 "), Stream{Codec: CodecID3, Name: "ID3", Descriptors: string(metadataDescriptor("ID3 "))}},
		{0x15, metadataDescriptor("KLVA"), Stream{Codec: CodecKLV, Name: "KLV", Descriptors: string(metadataDescriptor("KLVA"))}},
		{0x15, []byte{tagMetadata, 1, 0}, Stream{Codec: CodecMetadata, Name: "timed metadata", Descriptors: "\x26\x01\x00"}},
		{0x86, []byte{tagCue, 1, 0, 0xFF}, Stream{Codec: CodecSCTE35, Name: "SCTE-35", Descriptors: "\x8A\x01\x00"}},
	} {
		c.want.StreamType, c.want.PID = c.streamType, 0x100
		if got := newStream(c.streamType, 0x100, c.descriptors); got != c.want {
			t.Errorf("case %d: got %+v, want %+v", i, got, c.want)
		}
	}
}

// cueOf is a splice_info_section with so many bytes in it.
func cueOf(n int, fill byte) []byte {
	s := cat([]byte{cueTable, 0x30, 0}, bytes.Repeat([]byte{fill}, n))
	binary.BigEndian.PutUint16(s[1:], 0x3000|uint16(n+crcLength))
	return binary.BigEndian.AppendUint32(s, crc32(s))
}

// dataProgram writes a program of video, DVB subtitles and SCTE-35 (PIDs 0x100 to 0x102).
func dataProgram(b *tsBuilder) {
	b.section(patPID, patSection(0, 0, 0, programAt{1, 0x1000}))
	b.section(0x1000, pmtSection(1, 0, 0x100, streamAt{0x1B, 0x100, nil},
		streamAt{0x06, 0x101, []byte{tagSubtitles, 8, 'd', 'e', 'u', 0x10, 0, 1, 0, 2}}, streamAt{0x86, 0x102, nil}))
}

// dataCases are streams of data, and what is to come of them: bytes, PTS, damage, and "?" where some may be missing.
func dataCases() []struct {
	name  string
	build func(b *tsBuilder)
	want  []string
} {
	long := bytes.Repeat([]byte{7}, 500)
	drop := func(b *tsBuilder, from int) { b.data = append(b.data[:from], b.data[from+PacketSize:]...) }
	return []struct {
		name  string
		build func(b *tsBuilder)
		want  []string
	}{
		{"PES of several packets, and without a time", func(b *tsBuilder) {
			b.payload(0x101, pesUnit(0xBD, 900, noTime, true, long))
			b.payload(0x101, pesUnit(0xBD, noTime, noTime, true, long[:3]))
		}, []string{"514 at 900", "12"}},
		{"PES without length end with the next", func(b *tsBuilder) {
			b.payload(0x101, pesUnit(0xBD, 900, noTime, false, long))
			b.payload(0x101, pesUnit(0xBD, 990, noTime, true, long))
		}, []string{"514 at 900", "514 at 990"}},
		{"joined within a PES", func(b *tsBuilder) {
			at := len(b.data)
			b.payload(0x101, pesUnit(0xBD, 900, noTime, true, long))
			drop(b, at)
			b.payload(0x101, pesUnit(0xBD, 990, noTime, true, long))
		}, []string{"?", "?", "514 at 990"}},
		{"a packet in the middle is lost", func(b *tsBuilder) {
			at := len(b.data)
			b.payload(0x101, pesUnit(0xBD, 900, noTime, true, long))
			drop(b, at+PacketSize)
			b.payload(0x101, pesUnit(0xBD, 990, noTime, true, long))
		}, []string{"184 at 900, damage 1", "?", "?", "514 at 990"}},
		{"a whole PES is lost", func(b *tsBuilder) {
			b.payload(0x101, pesUnit(0xBD, 900, noTime, true, long[:9]))
			at := len(b.data)
			b.payload(0x101, pesUnit(0xBD, 990, noTime, true, long[:9]))
			drop(b, at)
			b.payload(0x101, pesUnit(0xBD, 999, noTime, true, long[:9]))
		}, []string{"23 at 900", "?", "23 at 999"}},
		{"sections: several in a packet, one over packets", func(b *tsBuilder) {
			b.section(0x102, cat(cueOf(20, 1), cueOf(30, 2)))
			b.section(0x102, cueOf(600, 3))
		}, []string{"27", "37", "607"}},
		{"a section ends where the pointer says", func(b *tsBuilder) {
			s := cueOf(250, 3)
			b.packet(0x102, true, cat([]byte{0}, s[:183]))
			b.packet(0x102, true, cat([]byte{byte(len(s) - 183)}, s[183:], cueOf(9, 4), bytes.Repeat([]byte{0xFF}, 20)))
		}, []string{"257", "16"}},
		{"a section with a wrong CRC", func(b *tsBuilder) {
			s := cueOf(20, 1)
			s[10]++
			b.section(0x102, s)
		}, []string{"27, damage 10000"}},
		{"a section that is not complete", func(b *tsBuilder) {
			b.section(0x102, cueOf(20, 1)[:15])
			b.section(0x102, cueOf(20, 1))
		}, []string{"15, damage 10000", "?", "27"}},
		{"joined within a section", func(b *tsBuilder) {
			at := len(b.data)
			b.section(0x102, cueOf(300, 1))
			drop(b, at)
			b.section(0x102, cueOf(20, 1))
		}, []string{"?", "27"}},
		{"scrambled", func(b *tsBuilder) {
			at := len(b.data)
			b.payload(0x101, pesUnit(0xBD, 900, noTime, true, long[:9]))
			b.data[at+3] |= 0x80
			b.payload(0x101, pesUnit(0xBD, 990, noTime, true, long[:9]))
		}, []string{"23 at 990"}},
	}
}

// TestData: units of data are PES packets and sections as they came; what is lost is told at once, and in its place.
func TestData(t *testing.T) {
	for _, c := range dataCases() {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder()
			dataProgram(b)
			c.build(b)
			var got []string
			rec := demux(b.data, Options{})
			order := uint64(0)
			for _, u := range rec.units {
				s := "?"
				if u.Order < order || u.Order == 0 {
					t.Errorf("order %d behind %d", u.Order, order)
				}
				order = u.Order
				if len(u.Data) > 0 {
					s = fmt.Sprint(len(u.Data))
					if u.HasPTS {
						s += fmt.Sprint(" at ", u.PTS)
					}
					if u.Damage != 0 {
						s += fmt.Sprintf(", damage %b", u.Damage)
					}
				} else if !u.Lost {
					t.Error("a unit that says nothing")
				}
				got = append(got, s)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// TestOrder: a picture has the packet in which it begins, data the one in which it ends.
func TestOrder(t *testing.T) {
	b := newBuilder()
	dataProgram(b) // packets 1 and 2
	picture := func(n uint32, size int) []byte {
		return cat(delimiter(), paramSets(false), sliceOf{nal: 0x65, frameNum: n, size: size}.bytes())
	}
	b.payload(0x100, pesUnit(0xE0, 3600, noTime, false, picture(0, 300)))            // 3, 4
	b.payload(0x101, pesUnit(0xBD, 900, noTime, true, bytes.Repeat([]byte{1}, 300))) // 5, 6
	b.payload(0x100, pesUnit(0xE0, 7200, noTime, false, picture(1, 30)))             // 7
	b.section(0x102, cueOf(20, 1))                                                   // 8
	b.payload(0x100, pesUnit(0xE0, 10800, noTime, false, picture(2, 30)))            // 9
	want := map[uint16][]uint64{0x100: {3, 7, 9}, 0x101: {6}, 0x102: {8}}
	rec := demux(b.data, Options{})
	for pid, want := range want {
		var got []uint64
		for _, u := range rec.of(pid) {
			got = append(got, u.Order)
		}
		if !slices.Equal(got, want) {
			t.Errorf("PID %#x: %v, want %v", pid, got, want)
		}
	}
}

// TestDataLimit: data does not take the place of sound, and what is announced as recorded is framed.
func TestDataLimit(t *testing.T) {
	b := newBuilder()
	b.section(patPID, patSection(0, 0, 0, programAt{1, 0x1000}))
	streams := []streamAt{{0x04, 0x200, nil}}
	for i := range uint16(4) {
		streams = append(streams, streamAt{0x06, 0x100 + i, []byte{tagTeletext, 0}})
	}
	b.section(0x1000, pmtSection(1, 0, 0x200, streams...))
	for i := range uint16(4) {
		b.payload(0x100+i, pesUnit(0xBD, 900, noTime, true, []byte{1, 2, 3}))
	}
	b.payload(0x200, pesUnit(0xC0, 1000, noTime, true, cat(mp2(1), mp2(2), mp2(3))))
	rec := demux(b.data, Options{MaxStreams: 2})
	for _, s := range rec.programs[0].Streams {
		if n := len(rec.of(s.PID)); (n > 0) != (s.Codec != CodecNone) || (s.PID == 0x200) != (n == 3) {
			t.Errorf("PID %#x, %+v: %d units", s.PID, s, n)
		}
	}
}

// TestDataOfSamples: recorded streams of data come as ffprobe finds them. It has the payload of a PES, of stream_type 0x15 what is behind five bytes that it takes for a header.
func TestDataOfSamples(t *testing.T) {
	const shaka, duck = "shaka-project+shaka-player/test/test/assets/", "tsduck+tsduck-test/input/"
	root := samplesDir(t)
	for _, c := range []struct {
		path  string
		pid   uint16
		codec Codec
		lang  string
		more  int // packets of ffprobe's, from before the program map
	}{
		{duck + "test-012.ts", 1068, CodecTeletext, "fra", 8},
		{"androidx+media/libraries/test_data/src/test/assets/media/ts/sample_scte35.ts", 600, CodecSCTE35, "", 0},
		{shaka + "id3-metadata.ts", 257, CodecID3, "", 0},
		{shaka + "hls-ts-audio-muxed-in-video/main.ts", 259, CodecID3, "", 0},
		{"videojs+http-streaming/test/segments/id3.ts", 258, CodecID3, "", 0},
		{"SubtitleEdit+subtitleedit/tests/libse/Files/sample_TS_dvbsub_at_video_start.ts", 257, CodecDVBSubtitles, "und", 0},
	} {
		t.Run(filepath.Base(c.path), func(t *testing.T) {
			path := filepath.Join(root, c.path)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Skip(err)
			}
			rec := demux(data, Options{})
			if len(rec.programs) == 0 {
				t.Fatal("no program")
			}
			i := slices.IndexFunc(rec.programs[0].Streams, func(s Stream) bool { return s.PID == c.pid })
			if i < 0 || rec.programs[0].Streams[i].Codec != c.codec || rec.programs[0].Streams[i].Language != c.lang {
				t.Fatalf("%+v", rec.programs[0].Streams)
			}
			want := tolerantProbe(t, path, "data", "subtitle")[c.pid]
			good := 0
			for _, u := range rec.of(c.pid) {
				if len(u.Data) == 0 || u.Damage != 0 {
					continue
				}
				b := u.Data
				if c.codec != CodecSCTE35 {
					b = b[pesFixedHeader+int(b[8]):]
				}
				if c.codec == CodecID3 {
					b = b[5:]
				}
				sum := md5.Sum(b)
				if c.codec == CodecDVBSubtitles { // it puts those together that show one picture
					if !bytes.HasPrefix(b, []byte{0x20, 0}) {
						t.Errorf("a unit begins with %x", b[:2])
					}
				} else if !slices.Contains(want, hex.EncodeToString(sum[:])) {
					t.Errorf("unit of %d bytes is none of ffprobe's", len(u.Data))
				}
				good++
			}
			if good == 0 || good < len(want)-c.more {
				t.Errorf("%d units, ffprobe has %d packets", good, len(want))
			}
		})
	}
}

// TestCueOrDTSHD: stream_type 0x86 is SCTE-35 with or without the registration that SCTE 35 asks for, but for a disc's.
func TestCueOrDTSHD(t *testing.T) {
	for _, c := range []struct {
		program string
		want    Codec
		name    string
	}{
		{"", CodecSCTE35, "SCTE-35"}, {"CUEI", CodecSCTE35, "SCTE-35"}, {"GA94", CodecSCTE35, "SCTE-35"}, {"HDMV", CodecNone, "DTS-HD"},
	} {
		s := pmtSection(1, 0, 0x100, streamAt{0x1B, 0x100, nil}, streamAt{0x86, 0x101, []byte{tagCue, 1, 0}})
		if c.program != "" {
			d := append([]byte{tagRegistration, 4}, c.program...)
			body := slices.Concat(s[8:10], []byte{0xF0, byte(len(d))}, d, s[12:len(s)-crcLength])
			s = table(pmtTable, 1, 0, 0, 0, body)
		}
		p, ok := parseProgramMap(s)
		if !ok || len(p.Streams) != 2 || p.Streams[1].Codec != c.want || p.Streams[1].Name != c.name ||
			(p.Streams[1].Descriptors != "") != (c.want != CodecNone) {
			t.Errorf("%q: %+v", c.program, p.Streams)
		}
	}
}
