package packager

import (
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/mpegts"
)

// Parameter sets of HEVC and headers of MPEG-2.
var (
	hevcVPS = []byte{0x40, 1, 0x0C, 1, 0xFF, 0xFF, 1, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0, 0x5D, 0x95, 0x94, 9}
	hevcSPS = []byte{
		0x42, 1, 1, 1, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0, 0x5D, 0xA0, 2, 0x80, 0x80, 0x2D, 0x16, 0x59, 0x59, 0x52, 0x93, 0x0B,
		0xC0, 0x5A, 2, 0, 0, 3, 0, 2, 0, 0, 3, 0, 0x32, 0x10,
	}
	hevcPPS      = []byte{0x44, 1, 0xC0, 0x73, 0xC1, 0x89}
	otherHEVCPPS = []byte{0x44, 1, 0xC0, 0x73, 0xC1, 0x8B}

	mpegSequence  = []byte{0, 0, 1, 0xB3, 0x2D, 0x02, 0x40, 0x33, 0x02, 0x71, 0x23, 0x80}
	mpegExtension = []byte{0, 0, 1, 0xB5, 0x14, 0x8A, 0, 1, 0, 0}
)

func hevcSlice(nalType byte) []byte { return []byte{nalType << 1, 1, 0xC0, 1, 2, 3} }

func mpegPicture(kind byte) []byte {
	return []byte{0, 0, 1, 0, 0, kind<<3 | 7, 0xFF, 0xF8, 0, 0, 1, 0xB5, 0x8F, 0xFF, 0xF3, 0x80, 0x80, 0, 0, 1, 1, 0x22, 0x33}
}

func hevcIDR() []byte   { return annexB([]byte{0x46, 1, 0x50}, hevcVPS, hevcSPS, hevcPPS, hevcSlice(19)) }
func mpegIntra() []byte { return slices.Concat(mpegSequence, mpegExtension, mpegPicture(1)) }

// TestRandomAccess: which access units a segment may begin with (FORMAT.md).
func TestRandomAccess(t *testing.T) {
	sets := [][]byte{hevcVPS, hevcSPS, hevcPPS}
	for _, c := range []struct {
		name  string
		codec mpegts.Codec
		data  []byte
		rap   bool
		known bool // its configuration
	}{
		{"IDR", mpegts.CodecHEVC, hevcIDR(), true, true},
		{"CRA", mpegts.CodecHEVC, annexB(append(slices.Clone(sets), hevcSlice(21))...), true, true},
		{"BLA", mpegts.CodecHEVC, annexB(append(slices.Clone(sets), hevcSlice(16))...), true, true},
		{"leading picture", mpegts.CodecHEVC, annexB(append(slices.Clone(sets), hevcSlice(8))...), false, true},
		{"reserved IRAP type", mpegts.CodecHEVC, annexB(append(slices.Clone(sets), hevcSlice(22))...), false, true},
		{"IDR without VPS", mpegts.CodecHEVC, annexB(hevcSPS, hevcPPS, hevcSlice(19)), false, false},
		{"IDR without SPS", mpegts.CodecHEVC, annexB(hevcVPS, hevcPPS, hevcSlice(19)), false, false},
		{"IDR without PPS", mpegts.CodecHEVC, annexB(hevcVPS, hevcSPS, hevcSlice(19)), false, false},
		{"IDR with a broken SPS", mpegts.CodecHEVC, annexB(hevcVPS, hevcSPS[:9], hevcPPS, hevcSlice(19)), false, false},
		{"IDR of another layer", mpegts.CodecHEVC, annexB(append(slices.Clone(sets), []byte{19 << 1, 9, 0xC0})...), false, true},
		{"I", mpegts.CodecMPEGVideo, mpegIntra(), true, true},
		{"I of MPEG-1", mpegts.CodecMPEGVideo, slices.Concat(mpegSequence, mpegPicture(1)), true, true},
		{"I and P field", mpegts.CodecMPEGVideo, slices.Concat(mpegIntra(), mpegPicture(2)), true, true},
		{"P and I field", mpegts.CodecMPEGVideo, slices.Concat(mpegSequence, mpegExtension, mpegPicture(2), mpegPicture(1)), false, true},
		{"P with a sequence header", mpegts.CodecMPEGVideo, slices.Concat(mpegSequence, mpegExtension, mpegPicture(2)), false, true},
		{"I without", mpegts.CodecMPEGVideo, mpegPicture(1), false, false},
		{"I of no size", mpegts.CodecMPEGVideo, slices.Concat([]byte{0, 0, 1, 0xB3, 0, 0, 0}, mpegSequence[7:], mpegPicture(1)), false, false},
	} {
		tr := newTrack(mpegts.Stream{PID: videoPID, Codec: c.codec})
		var s sample
		ok := tr.convert(&mpegts.AccessUnit{Data: c.data}, &s)
		if !ok || s.rap != c.rap || (s.cfg != nil) != c.known {
			t.Errorf("%s: sample %v, random access %v, configuration known %v", c.name, ok, s.rap, s.cfg != nil)
		}
	}
}

// TestVideoConfiguration: parameter sets that are others than before are another configuration, and what may change
// without one is none.
func TestVideoConfiguration(t *testing.T) {
	flat := slices.Clone(mpegSequence)
	flat[11] |= 1
	flat = append(flat, make([]byte, 64)...)
	for _, c := range []struct {
		name          string
		codec         mpegts.Codec
		first, second []byte
		other         bool
	}{
		{"HEVC, the same", mpegts.CodecHEVC, hevcIDR(), hevcIDR(), false},
		{"HEVC, in another order", mpegts.CodecHEVC, hevcIDR(), annexB(hevcPPS, hevcSPS, hevcVPS, hevcVPS, hevcSlice(19)), false},
		{"HEVC, another PPS", mpegts.CodecHEVC, hevcIDR(), annexB(hevcVPS, hevcSPS, otherHEVCPPS, hevcSlice(19)), true},
		{"MPEG-2, a matrix", mpegts.CodecMPEGVideo, mpegIntra(), slices.Concat(flat, mpegExtension, mpegPicture(1)), false},
		{"MPEG-2, then MPEG-1", mpegts.CodecMPEGVideo, mpegIntra(), slices.Concat(mpegSequence, mpegPicture(1)), true},
	} {
		tr := newTrack(mpegts.Stream{PID: videoPID, Codec: c.codec})
		var a, b sample
		tr.convert(&mpegts.AccessUnit{Data: c.first}, &a)
		tr.convert(&mpegts.AccessUnit{Data: c.second}, &b)
		if a.cfg == nil || b.cfg == nil || (a.cfg.Init.Hash != b.cfg.Init.Hash) != c.other {
			t.Errorf("%s: another configuration is wanted: %v", c.name, c.other)
		}
	}
}

// TestClockOfItsOwn: a track whose clock is not the program's does not come between the others, be it that it showed
// itself before them.
func TestClockOfItsOwn(t *testing.T) {
	const strange = audioPID + 1
	r := &recorder{t: t}
	p := New(Options{}, r)
	p.Program(program(videoStream, audioStream, mpegts.Stream{PID: strange, Codec: mpegts.CodecAAC}))
	for i := range int64(25 * 30) {
		u := audioUnit(900*cell + i*3600)
		u.PID = strange
		p.AccessUnit(u)
		data := picture
		if i%25 == 0 {
			data = idr
		}
		if i > 10 {
			p.AccessUnit(videoUnit(5*cell+i*3600, 0, data))
			p.AccessUnit(audioUnit(5*cell + i*3600))
		}
	}
	p.Flush()
	if got := cells(r.segs); len(got) != 5 {
		t.Errorf("cells %v", got)
	}
	for _, s := range r.segs {
		if len(s.info.Tracks) != 2 || s.info.Tracks[0].PID != videoPID {
			t.Errorf("segment %d: tracks %+v", s.key.Seq, s.info.Tracks)
		}
	}
}

// I5: a picture is taken over without an allocation, once there is room and the configuration is known.
func TestConvertAllocatesNothing(t *testing.T) {
	for codec, data := range map[mpegts.Codec][]byte{
		mpegts.CodecH264: idr, mpegts.CodecHEVC: hevcIDR(), mpegts.CodecMPEGVideo: mpegIntra(),
	} {
		tr := newTrack(mpegts.Stream{PID: videoPID, Codec: codec})
		u := &mpegts.AccessUnit{Data: data}
		if n := testing.AllocsPerRun(100, func() {
			tr.buf = tr.buf[:0]
			var s sample
			if !tr.convert(u, &s) {
				t.Error("no sample")
			}
		}); n > 0 {
			t.Errorf("codec %d: %v allocations", codec, n)
		}
	}
}
