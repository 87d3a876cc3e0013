package mpegts

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/asticode/go-astits"
)

func TestProgramMap(t *testing.T) {
	b := newBuilder()
	b.section(patPID, patSection(0, 0, 0, programAt{0, 0x10}, programAt{7, 0x1007}, programAt{3, 0x1003}))
	b.section(0x1007, pmtSection(7, 0, 0x701, streamAt{0x1B, 0x701, nil}))
	b.section(0x1003, pmtSection(3, 5, 0x301,
		streamAt{0x06, 0x304, []byte{0x56, 0}},
		streamAt{0x0F, 0x303, []byte{0x0A, 4, 'f', 'r', 'a', 0}},
		streamAt{0x1B, 0x301, nil},
		streamAt{0x04, 0x302, []byte{0x0A, 4, 0, 1, 2, 0}},
		streamAt{0xEA, 0x305, nil},
		streamAt{0x0F, 0x303, nil}, // again: the first counts
	))
	want := Program{Number: 3, Version: 5, PMTPID: 0x1003, PCRPID: 0x301, Streams: []Stream{
		{PID: 0x301, StreamType: 0x1B, Codec: CodecH264, Name: "H.264"},
		{PID: 0x302, StreamType: 0x04, Codec: CodecMPEGAudio, Name: "MPEG-2 audio"},
		{PID: 0x303, StreamType: 0x0F, Codec: CodecAAC, Name: "AAC (ADTS)", Language: "fra"},
		{PID: 0x304, StreamType: 0x06, Codec: CodecTeletext, Name: "DVB teletext", Descriptors: "\x56\x00"},
		{PID: 0x305, StreamType: 0xEA, Name: "stream type 0xEA"},
	}}
	rec := demux(b.data, Options{})
	if len(rec.programs) != 1 || !equalProgram(rec.programs[0], want) {
		t.Errorf("got %+v, want the lowest program %+v", rec.programs, want)
	}
	rec = demux(b.data, Options{Program: 7})
	if len(rec.programs) != 1 || rec.programs[0].Number != 7 {
		t.Errorf("got %+v, want program 7", rec.programs)
	}
}

func equalProgram(a, b Program) bool {
	return a.Number == b.Number && a.Version == b.Version && a.PMTPID == b.PMTPID && a.PCRPID == b.PCRPID &&
		slices.Equal(a.Streams, b.Streams)
}

func TestTables(t *testing.T) {
	pmt := pmtSection(1, 0, 0x100, streamAt{0x04, 0x100, nil})
	long := func() []byte { // a PMT that takes three packets
		var streams []streamAt
		for i := range 100 {
			streams = append(streams, streamAt{0x04, 0x100 + uint16(i), nil})
		}
		return pmtSection(1, 0, 0x100, streams...)
	}()
	broken := bytes.Clone(pmt)
	broken[len(broken)-1] ^= 1
	later := bytes.Clone(pmt[:len(pmt)-crcLength])
	later[5] &^= 1
	crc := crc32(later)
	later = append(later, byte(crc>>24), byte(crc>>16), byte(crc>>8), byte(crc))

	for _, c := range []struct {
		name     string
		build    func(b *tsBuilder)
		versions []uint8
		errors   uint64
	}{
		{"the same again is no change", func(b *tsBuilder) {
			for range 3 {
				b.section(0x1000, pmt)
			}
		}, []uint8{0}, 0},
		{"a new version, and new content without one, are", func(b *tsBuilder) {
			b.section(0x1000, pmt)
			b.section(0x1000, pmtSection(1, 1, 0x100, streamAt{0x04, 0x100, nil}))
			b.section(0x1000, pmtSection(1, 1, 0x100, streamAt{0x0F, 0x100, nil}))
		}, []uint8{0, 1, 1}, 0},
		{"a wrong CRC", func(b *tsBuilder) { b.section(0x1000, broken) }, nil, 1},
		{"not yet in force", func(b *tsBuilder) { b.section(0x1000, later) }, nil, 0},
		{"another program's, on the same PID", func(b *tsBuilder) {
			b.payload(0x1000, cat([]byte{0}, pmtSection(2, 4, 0x100, streamAt{0x04, 0x100, nil}), pmt, []byte{0xFF, 0xFF}))
		}, []uint8{0}, 0},
		{"over packets", func(b *tsBuilder) { b.section(0x1000, long) }, []uint8{0}, 0},
		{"over packets, one of them lost", func(b *tsBuilder) {
			b.section(0x1000, long)
			b.data = b.data[:len(b.data)-PacketSize]
			b.section(0x1000, pmtSection(1, 9, 0x100, streamAt{0x04, 0x100, nil}))
		}, []uint8{9}, 0},
		{"the end of one and the beginning of the next in a packet", func(b *tsBuilder) {
			rest := long[2*184-1:]
			b.packet(0x1000, true, cat([]byte{0}, long[:183]))
			b.packet(0x1000, false, long[183:2*184-1])
			b.packet(0x1000, true, cat([]byte{byte(len(rest))}, rest, pmtSection(1, 1, 0x100, streamAt{0x04, 0x100, nil})))
		}, []uint8{0, 1}, 0},
		{"a pointer beyond the packet", func(b *tsBuilder) { b.packet(0x1000, true, []byte{200, 0}) }, nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder()
			b.section(patPID, patSection(0, 0, 0, programAt{1, 0x1000}))
			c.build(b)
			rec := demux(b.data, Options{})
			var got []uint8
			for _, p := range rec.programs {
				got = append(got, p.Version)
			}
			if !slices.Equal(got, c.versions) || rec.stats.SectionErrors != c.errors {
				t.Errorf("versions %v with %d errors, want %v with %d", got, rec.stats.SectionErrors, c.versions, c.errors)
			}
		})
	}
}

// A PAT in two sections is used when both are here, whichever comes first; a program that moves is followed.
func TestProgramAssociation(t *testing.T) {
	b := newBuilder()
	pmt := func(pid, number uint16) {
		b.section(pid, pmtSection(number, 0, 0x100, streamAt{0x04, 0x100, nil}))
	}
	b.section(patPID, patSection(2, 1, 1, programAt{5, 0x1005}))
	pmt(0x1005, 5)
	b.section(patPID, patSection(2, 0, 1, programAt{9, 0x1009}))
	pmt(0x1009, 9)
	pmt(0x1005, 5)
	b.section(patPID, patSection(3, 0, 0, programAt{5, 0x1055}))
	pmt(0x1005, 5)
	pmt(0x1055, 5)
	rec := demux(b.data, Options{})
	if len(rec.programs) != 2 || rec.programs[0].PMTPID != 0x1005 || rec.programs[1].PMTPID != 0x1055 {
		t.Errorf("got %+v, want program 5 on 0x1005, then on 0x1055", rec.programs)
	}
}

// A program map that moves to the PID of a stream ends it, with what was open.
func TestProgramMapOnAStreamsPID(t *testing.T) {
	b := newBuilder()
	b.program(0x04)
	b.payload(0x100, pesUnit(0xC0, 0, noTime, true, cat(mp2(1), mp2(2), mp2(3), mp2(4)[:100])))
	b.section(patPID, patSection(1, 0, 0, programAt{1, 0x100}))
	b.section(0x100, pmtSection(1, 1, 0x101, streamAt{0x04, 0x101, nil}))
	rec := demux(b.data, Options{})
	if len(rec.programs) != 2 || rec.programs[1].PMTPID != 0x100 {
		t.Fatalf("got %+v, want a second one on PID 0x100", rec.programs)
	}
	if n := len(rec.units); n != 4 || rec.units[3].Damage == 0 {
		t.Errorf("%d units, want 4, the last damaged", n)
	}
}

// A stream that stays in the map goes on over its change; one that leaves it is closed under the old map.
func TestMapChangeKeepsStreams(t *testing.T) {
	b := newBuilder()
	b.program(0x04, 0x04)
	for pid := range uint16(2) {
		b.payload(0x100+pid, pesUnit(0xC0, 0, noTime, true, cat(mp2(1), mp2(2), mp2(3), mp2(4)[:100])))
	}
	b.section(0x1000, pmtSection(1, 1, 0x100, streamAt{0x04, 0x100, nil}))
	for pid := range uint16(2) {
		b.payload(0x100+pid, pesUnit(0xC0, 8640, noTime, true, cat(mp2(4)[100:], mp2(5))))
	}
	rec := demux(b.data, Options{})
	var got []string
	for _, u := range rec.units[6:] {
		got = append(got, line(u))
	}
	want := []string{"1: 100 bytes, 6480/6480, 1152@48000, damage 1000", "0: 384 bytes, 6480/6480, 1152@48000", "0: 384 bytes, 8640/8640, 1152@48000"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

// Garbage before, between and instead of packets is counted and passed over, wherever the input is cut.
func TestSync(t *testing.T) {
	b := newBuilder()
	b.program(0x04)
	for i := range 12 {
		b.payload(0x100, pesUnit(0xC0, int64(i)*6480, noTime, true, cat(mp2(1), mp2(2), mp2(3))))
	}
	at := 40 * PacketSize
	garbage := bytes.Repeat([]byte{1, syncByte, 3, 5}, 75)
	for _, c := range []struct {
		name    string
		data    []byte
		garbage uint64
		losses  uint64
	}{
		{"clean", b.data, 0, 0},
		{"before", cat(garbage, b.data), 300, 0},
		// The packet before is not believed: it might be one that lost its end.
		{"between", cat(b.data[:at], garbage, b.data[at:]), 300 + PacketSize, 1},
		{"bytes missing", cat(b.data[:at+50], b.data[at+60:]), PacketSize - 10, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(20) {
				r := rand.New(rand.NewPCG(seed, 3))
				rec := &recorder{}
				d := NewDemuxer(rec, Options{})
				if seed == 0 {
					d.Write(c.data)
				} else {
					writeRandomly(d, c.data, r)
				}
				d.Flush()
				s := d.Stats()
				// Cut at a packet's end, the input gives no reason yet to doubt it; then it is used.
				if seed == 0 && (s.GarbageBytes != c.garbage || s.SyncLosses != c.losses) {
					t.Errorf("%d bytes of garbage and %d losses, want %d and %d", s.GarbageBytes, s.SyncLosses, c.garbage, c.losses)
				}
				intact := 0
				lost := false
				for _, u := range rec.units {
					lost = lost || u.Lost
					if u.Damage == 0 {
						intact++
						if len(u.Data) != 384 || u.PTS%2160 != 0 {
							t.Errorf("seed %d: %s", seed, line(u))
						}
					}
				}
				if lost != (c.losses > 0) || intact < 30 {
					t.Errorf("seed %d: lost %v, %d intact", seed, lost, intact)
				}
			}
		})
	}
}

// Every PES of a clean stream begins where an independent demuxer has it.
func TestAgainstAstits(t *testing.T) {
	data := clipData(t, clips()[1])
	rec := demux(data, Options{})
	times := make(map[key]bool)
	for _, u := range rec.units {
		times[key{u.PID, u.DTS}] = true
	}
	theirs := astits.NewDemuxer(context.Background(), bytes.NewReader(data))
	count := 0
	for {
		d, err := theirs.NextData()
		if errors.Is(err, astits.ErrNoMorePackets) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if d.PMT != nil && len(d.PMT.ElementaryStreams) != len(rec.programs[0].Streams) {
			t.Fatalf("%d streams, astits has %d", len(rec.programs[0].Streams), len(d.PMT.ElementaryStreams))
		}
		if d.PES == nil || d.PES.Header.OptionalHeader == nil || d.PES.Header.OptionalHeader.PTS == nil {
			continue
		}
		h := d.PES.Header.OptionalHeader
		at := h.PTS.Base
		if h.DTS != nil {
			at = h.DTS.Base
		}
		if !times[key{d.FirstPacket.Header.PID, at}] {
			t.Errorf("no unit of PID %d at %d", d.FirstPacket.Header.PID, at)
		}
		count++
	}
	if count < 180 {
		t.Errorf("astits found %d PES", count)
	}
}

// What is announced as recorded is, and pictures go before sound: they say where segments begin.
func TestMoreStreamsThanAreFramed(t *testing.T) {
	b := newBuilder()
	b.section(patPID, patSection(0, 0, 0, programAt{1, 0x1000}))
	var streams []streamAt
	for i := range 40 {
		streams = append(streams, streamAt{streamType: 0x0F, pid: 0x100 + uint16(i)})
	}
	streams = append(streams, streamAt{streamType: 0x1B, pid: 0x200})
	b.section(0x1000, pmtSection(1, 0, 0x200, streams...))
	for i := range 3 {
		at := int64(i) * 1920
		for s := range 40 {
			b.payload(0x100+uint16(s), pesUnit(0xC0, at, noTime, true, adts(50, byte(i))))
		}
		b.payload(0x200, pesUnit(0xE0, at, noTime, false, cat(delimiter(), paramSets(false), sliceOf{nal: 0x65}.bytes())))
	}
	rec := demux(b.data, Options{})
	framed := 0
	for _, s := range rec.programs[0].Streams {
		if got := len(rec.of(s.PID)); (got > 0) != (s.Codec != CodecNone) {
			t.Errorf("PID %d: %s, %d units", s.PID, s.Name, got)
		} else if got > 0 {
			framed++
		}
	}
	if framed != 32 || len(rec.of(0x200)) == 0 {
		t.Errorf("%d streams are framed, with %d pictures", framed, len(rec.of(0x200)))
	}
}

// TestTablesSoFar: where no program is in force it can be told why.
func TestTablesSoFar(t *testing.T) {
	for name, c := range map[string]struct {
		asked   uint16
		send    func(b *tsBuilder)
		pat     bool
		program uint16
		mapPID  uint16
	}{
		"no table": {send: func(b *tsBuilder) { b.packet(0x100, true, []byte{1}) }},
		"no map": {send: func(b *tsBuilder) {
			b.section(patPID, patSection(0, 0, 0, programAt{7, 0x70}, programAt{3, 0x30}))
			b.section(0x70, pmtSection(7, 0, 0x100, streamAt{streamType: 0x1B, pid: 0x100}))
		}, pat: true, program: 3, mapPID: 0x30},
		"no such program": {asked: 5, send: func(b *tsBuilder) { b.section(patPID, patSection(0, 0, 0, programAt{7, 0x70})) }, pat: true},
		"no program":      {send: func(b *tsBuilder) { b.section(patPID, patSection(0, 0, 0)) }, pat: true},
	} {
		b := newBuilder()
		for range 4 { // the grid is sure
			c.send(b)
		}
		if s := demux(b.data, Options{Program: c.asked}).stats; s.PAT != c.pat || s.Program != c.program || s.MapPID != c.mapPID {
			t.Errorf("%s: PAT %v, program %d on PID %d", name, s.PAT, s.Program, s.MapPID)
		}
	}
}
