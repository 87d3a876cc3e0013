package mpegts

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// hevcNAL makes a NAL unit of a type and layer behind a start code of four bytes: 6 bytes and the payload.
func hevcNAL(nalType, layer byte, payload ...byte) []byte {
	return append([]byte{0, 0, 0, 1, nalType << 1, layer<<3 | 1}, payload...)
}

// hevcSlice makes a slice segment of 7 bytes and so many more.
func hevcSlice(nalType byte, first bool, size int, fill byte) []byte {
	head := byte(0x40)
	if first {
		head |= 0x80
	}
	return hevcNAL(nalType, 0, append([]byte{head}, bytes.Repeat([]byte{fill | 1}, size)...)...)
}

// mpegHeaders is a sequence header with its extension (22 bytes) of 25 frames a second.
func mpegHeaders() []byte {
	return cat(
		[]byte{0, 0, 1, 0xB3, 0x16, 0x01, 0x20, 0x33, 0x02, 0x71, 0x23, 0x80},
		[]byte{0, 0, 1, 0xB5, 0x14, 0x8A, 0x00, 0x01, 0x00, 0x00},
	)
}

func mpegGroupHeader() []byte { return []byte{0, 0, 1, 0xB8, 0x00, 0x08, 0x00, 0x40} }

// mpegOf describes a coded picture for tests: 25 bytes and size.
type mpegOf struct {
	kind      byte // 1 I, 2 P, 3 B
	reference int
	structure byte // 0: frame
	repeated  bool
	mpeg1     bool
	size      int
}

func (p mpegOf) bytes() []byte {
	b := []byte{0, 0, 1, 0, byte(p.reference >> 2), byte(p.reference<<6) | p.kind<<3 | 7, 0xFF, 0xF8}
	if !p.mpeg1 {
		structure := p.structure
		if structure == 0 {
			structure = mpegFrame
		}
		repeat := byte(0)
		if p.repeated {
			repeat = 2
		}
		b = append(b, 0, 0, 1, 0xB5, 0x8F, 0xFF, 0xF0|structure, 0x80|repeat, 0x80)
	}
	b = append(b, 0, 0, 1, 1, 0x22, 0x11)
	b = append(b, bytes.Repeat([]byte{0x33}, p.size)...)
	return append(b, 0x44, 0x55)
}

// videoCases are streams of HEVC and of MPEG video.
func videoCases() []streamCase {
	const idr, cra, trail = 19, 21, 1
	video := func(b *tsBuilder, pts int64, parts ...[]byte) {
		b.payload(0x100, pesUnit(0xE0, pts, noTime, false, cat(parts...)))
	}
	timed := func(b *tsBuilder, pts, dts int64, parts ...[]byte) {
		b.payload(0x100, pesUnit(0xE0, pts, dts, false, cat(parts...)))
	}
	aud := hevcNAL(hevcDelimiter, 0, 0x50)
	sets := cat(hevcNAL(32, 0, 1, 2), hevcNAL(33, 0, 1, 2), hevcNAL(34, 0, 1, 2)) // 24 bytes
	prefix, suffix := hevcNAL(hevcPrefixSEI, 0, 1, 1), hevcNAL(40, 0, 1, 1)
	first := func(nalType byte, size int, fill byte) []byte { return hevcSlice(nalType, true, size, fill) }
	frame := func(kind byte, reference, size int) []byte {
		return mpegOf{kind: kind, reference: reference, size: size}.bytes()
	}
	field := func(kind byte, reference int, structure byte, size int) []byte {
		return mpegOf{kind: kind, reference: reference, structure: structure, size: size}.bytes()
	}
	return []streamCase{
		{"HEVC: a picture a PES, with delimiters", func(b *tsBuilder) {
			b.program(0x24)
			timed(b, 7200, 3600, aud, sets, prefix, first(idr, 200, 1), hevcSlice(idr, false, 30, 1), suffix)
			timed(b, 10800, 7200, aud, first(trail, 93, 2))
			video(b, 14400, aud, first(trail, 3, 3))
		}, []string{"0: 291 bytes, 7200/3600", "0: 107 bytes, 10800/7200", "0: 17 bytes, 14400/14400, damage 1000"}},

		{"HEVC: parameter sets, SEI and first slices begin a picture, unless its slices go on behind them", func(b *tsBuilder) {
			b.program(0x24)
			video(b, 0, sets, first(cra, 43, 1), prefix, hevcSlice(cra, false, 3, 1), suffix)
			video(b, 3600, prefix, first(trail, 43, 2), hevcNAL(34, 0, 9), hevcSlice(trail, false, 3, 2))
			video(b, 7200, first(trail, 43, 3), hevcNAL(36, 0), sets)
			video(b, 10800, first(cra, 43, 3))
		}, []string{"0: 100 bytes, 0/0", "0: 75 bytes, 3600/3600", "0: 56 bytes, 7200/7200", "0: 74 bytes, damage 1000"}},

		{"HEVC: what is of another layer begins nothing", func(b *tsBuilder) {
			b.program(0x24)
			video(b, 0, aud, sets, first(idr, 43, 1), hevcNAL(33, 1, 1), hevcNAL(39, 1, 1), hevcNAL(idr, 1, 0xC0, 1, 1))
			video(b, 3600, first(trail, 43, 2), hevcNAL(trail, 1, 0xC0, 1, 1))
			video(b, 7200, first(trail, 43, 2))
		}, []string{"0: 104 bytes, 0/0", "0: 59 bytes, 3600/3600", "0: 50 bytes, 7200/7200, damage 1000"}},

		{"HEVC: several pictures a PES: the first has its time", func(b *tsBuilder) {
			b.program(0x24)
			video(b, 0, aud, sets, first(idr, 43, 1), aud, first(trail, 43, 2))
			video(b, 7200, aud, first(trail, 3, 3))
		}, []string{"0: 81 bytes, 0/0", "0: 57 bytes", "0: 17 bytes, 7200/7200, damage 1000"}},

		{"HEVC: a join within a PES waits for the next that has a beginning of its own", func(b *tsBuilder) {
			b.program(0x24)
			// Whether the SEI, and with it the time, is of this PES or of the one before is not to be seen.
			video(b, 0, []byte{5, 5, 5}, prefix, first(trail, 43, 1), first(trail, 44, 2))
			video(b, 7200, []byte{5, 5, 5}, prefix, first(trail, 45, 3), first(trail, 46, 4))
			video(b, 14400, prefix, first(trail, 47, 5))
		}, []string{"0: 60 bytes, 7200/7200", "0: 53 bytes", "0: 62 bytes, 14400/14400, damage 1000"}},

		{"HEVC: a lost packet damages its picture", func(b *tsBuilder) {
			b.program(0x24)
			video(b, 0, aud, sets, first(idr, 300, 1))
			at := len(b.data)
			video(b, 3600, aud, first(trail, 500, 2))
			b.data = append(b.data[:at+PacketSize:at+PacketSize], b.data[at+2*PacketSize:]...)
			video(b, 7200, aud, first(trail, 3, 3))
			video(b, 10800, aud, first(trail, 3, 3))
		}, []string{"0: 338 bytes, 0/0", "0: 330 bytes, 3600/3600, damage 1", "0: 17 bytes, 7200/7200, lost 1",
			"0: 17 bytes, 10800/10800, damage 1000"}},

		{"MPEG-2: headers are of the picture that follows", func(b *tsBuilder) {
			b.program(0x02)
			timed(b, 7200, 3600, mpegHeaders(), []byte{0, 0, 1, 0xB2, 7}, mpegGroupHeader(), frame(1, 0, 100), []byte{0, 0, 1, 0xB7})
			timed(b, 10800, 7200, mpegHeaders(), frame(2, 1, 100), []byte{0, 0})
			timed(b, 14400, 10800, mpegGroupHeader(), frame(1, 0, 100))
			video(b, 18000, frame(2, 1, 10))
		}, []string{"0: 164 bytes, 7200/3600", "0: 149 bytes, 10800/7200", "0: 133 bytes, 14400/10800", "0: 35 bytes, 18000/18000, damage 1000"}},

		{"MPEG-2: nothing before the first sequence header", func(b *tsBuilder) {
			b.program(0x02)
			video(b, 0, mpegGroupHeader(), frame(1, 0, 100))
			video(b, 3600, frame(2, 1, 100))
			video(b, 7200, mpegHeaders(), frame(1, 2, 100))
			video(b, 10800, frame(2, 3, 100))
		}, []string{"0: 147 bytes, 7200/7200", "0: 125 bytes, 10800/10800, damage 1000"}},

		{"MPEG-2: the time of a PES is of the picture whose own start code is in it", func(b *tsBuilder) {
			b.program(0x02)
			video(b, 0, mpegHeaders(), frame(1, 0, 100), mpegHeaders())
			video(b, 9000, frame(1, 1, 100))
			video(b, 18000, frame(2, 2, 10))
		}, []string{"0: 147 bytes, 0/0", "0: 147 bytes, 9000/9000", "0: 35 bytes, 18000/18000, damage 1000"}},

		{"MPEG-2: two fields in one PES, and in one each, are one unit", func(b *tsBuilder) {
			b.program(0x02)
			video(b, 0, mpegHeaders(), field(1, 0, 1, 50), field(2, 0, 2, 50))
			video(b, 3600, field(2, 1, 1, 50))
			video(b, 5400, field(2, 1, 2, 50))
			video(b, 7200, frame(2, 2, 50))
			video(b, 10800, field(2, 3, 2, 50))
			video(b, 14400, field(2, 4, 2, 50), field(2, 4, 1, 50))
			video(b, 18000, mpegHeaders(), field(1, 0, 1, 50))
			video(b, 19800, mpegGroupHeader(), field(1, 0, 2, 50))
		}, []string{"0: 172 bytes, 0/0", "0: 150 bytes, 3600/3600", "0: 75 bytes, 7200/7200", "0: 75 bytes, 10800/10800",
			"0: 150 bytes, 14400/14400", "0: 97 bytes, 18000/18000", "0: 83 bytes, 19800/19800, damage 1000"}},

		{"MPEG-2: a join at a second field waits for a unit that is surely a first", func(b *tsBuilder) {
			b.program(0x02)
			video(b, 0, mpegHeaders(), frame(1, 0, 50))
			b.data = b.data[:len(b.data)-PacketSize]
			b.counter[0x100] = 9 // the rest of the PES and the first field are lost
			video(b, 0, mpegHeaders(), frame(1, 0, 50))
			at := len(b.data)
			video(b, 1, field(2, 1, 1, 50))
			b.data = b.data[:at]
			video(b, 5400, field(2, 1, 2, 50), frame(2, 2, 50))
			video(b, 10800, field(2, 3, 1, 50))
			video(b, 12600, field(2, 3, 2, 50))
			video(b, 14400, frame(2, 4, 10))
		}, []string{"0: 97 bytes, 0/0, damage 1", "0: 150 bytes, 10800/10800, lost 1", "0: 35 bytes, 14400/14400, damage 1000"}},

		{"MPEG-2: a PES a group: times are counted", func(b *tsBuilder) {
			b.program(0x02)
			timed(b, 10800, 0, mpegHeaders(), mpegGroupHeader(), frame(1, 2, 10), frame(3, 0, 10), frame(3, 1, 10), frame(2, 5, 10), frame(3, 3, 10))
			video(b, noTime, frame(3, 4, 10))
			timed(b, 32400, 21600, mpegGroupHeader(), frame(1, 2, 10), frame(3, 0, 10), mpegGroupHeader(), frame(1, 0, 10))
		}, []string{"0: 65 bytes, 10800/0", "0: 35 bytes, 3600/3600", "0: 35 bytes, 7200/7200", "0: 35 bytes, 21600/10800",
			"0: 35 bytes, 14400/14400", "0: 35 bytes, 18000/18000", "0: 43 bytes, 32400/21600", "0: 35 bytes, 25200/25200",
			"0: 43 bytes, damage 1000"}},

		{"MPEG-2: behind repeated fields no time is counted", func(b *tsBuilder) {
			b.program(0x02)
			timed(b, 3600, 0, mpegHeaders(), frame(1, 0, 10), mpegOf{kind: 2, reference: 1, size: 10, repeated: true}.bytes(), frame(2, 2, 10))
			video(b, 14400, frame(2, 3, 10))
		}, []string{"0: 57 bytes, 3600/0", "0: 35 bytes, 7200/3600", "0: 35 bytes", "0: 35 bytes, 14400/14400, damage 1000"}},

		{"MPEG-2: after a hole, pictures without a time are left out until one that has", func(b *tsBuilder) {
			b.program(0x02)
			timed(b, 3600, 0, mpegHeaders(), frame(1, 0, 400))
			at := len(b.data)
			video(b, noTime, frame(2, 1, 400))
			b.data = append(b.data[:at+PacketSize:at+PacketSize], b.data[at+2*PacketSize:]...)
			video(b, noTime, frame(2, 2, 10), frame(2, 3, 10))
			timed(b, 18000, 14400, frame(2, 4, 10), frame(2, 5, 10))
			video(b, noTime, frame(2, 6, 10))
		}, []string{"0: 447 bytes, 3600/0", "0: 241 bytes, 7200/3600, damage 1", "0: 35 bytes, 18000/14400, lost 1", "0: 35 bytes, 21600/18000",
			"0: 35 bytes, 25200/21600, damage 1000"}},

		{"MPEG-1 has frames alone", func(b *tsBuilder) {
			b.program(0x01)
			timed(b, 3600, 0, mpegHeaders()[:12], mpegOf{kind: 1, mpeg1: true, size: 50}.bytes())
			timed(b, 7200, 3600, mpegOf{kind: 2, reference: 1, mpeg1: true, size: 50}.bytes(), mpegOf{kind: 2, reference: 2, mpeg1: true, size: 50}.bytes())
			video(b, 14400, mpegOf{kind: 2, reference: 3, mpeg1: true, size: 10}.bytes())
		}, []string{"0: 78 bytes, 3600/0", "0: 66 bytes, 7200/3600", "0: 66 bytes, 10800/7200", "0: 26 bytes, 14400/14400, damage 1000"}},
	}
}

// I3 for MPEG-2 in fields and frames, with times on some PES alone, cut anywhere: from its first unit on, a receiver that
// joins at any packet, or loses one, has what the others have.
func TestFieldsJoinAnywhere(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 3))
		b := newBuilder()
		b.program(0x02)
		var es []byte
		pts := int64(noTime)
		send := func() {
			if len(es) > 0 {
				b.payload(0x100, pesUnit(0xE0, pts, noTime, false, es))
			}
			es, pts = nil, noTime
		}
		for i := range 120 {
			if r.IntN(3) == 0 {
				send()
			}
			if i%12 == 0 {
				es = append(es, mpegHeaders()...)
				if r.IntN(2) == 0 {
					es = append(es, mpegGroupHeader()...)
				}
			}
			p := mpegOf{kind: 2, reference: i, size: r.IntN(300)}
			second := 0
			if r.IntN(2) == 0 {
				p.structure = byte(1 + r.IntN(2))
				second = mpegFrame - int(p.structure)
			}
			for at := int64(i) * 3600; ; at += 1800 {
				if len(es) == 0 && r.IntN(3) > 0 {
					pts = at
				}
				es = append(es, p.bytes()...)
				if second == 0 {
					break
				}
				if r.IntN(2) == 0 {
					send()
				}
				p.structure, second = byte(second), 0
			}
		}
		send()
		clean := demux(b.data, Options{}).units
		check := func(what string, got []AccessUnit) {
			t.Helper()
			for i, u := range got {
				want := clean[len(clean)-len(got)+i]
				if err := same(u, want); err != nil {
					t.Fatalf("seed %d, %s: unit %d of %d: %v", seed, what, i, len(got), err)
				}
			}
		}
		for from := 2; from < len(b.data)/PacketSize; from++ {
			head := b.data[: 2*PacketSize : 2*PacketSize]
			check(fmt.Sprintf("from packet %d", from), demux(cat(head, b.data[from*PacketSize:]), Options{}).units)
			lost := demux(cat(b.data[:from*PacketSize], b.data[(from+1)*PacketSize:]), Options{}).units
			for i := len(lost) - 1; i >= 0; i-- {
				if lost[i].Lost { // what follows a hole
					check(fmt.Sprintf("without packet %d", from), lost[i:])
					break
				}
			}
		}
	}
}
