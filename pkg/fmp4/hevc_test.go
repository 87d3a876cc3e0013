package fmp4_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/Eyevinn/mp4ff/hevc"
	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/twinreel/twinreel/pkg/fmp4"
)

// hevcSPS is a sequence parameter set to be written. The zero value of a field is the usual case.
type hevcSPS struct {
	id             uint64
	profile, level uint64
	high           bool // tier
	subLayers      int  // beyond the first
	constraints    uint64
	chroma         uint64 // 1 + chroma_format_idc; 0: 4:2:0
	width, height  uint64
	right, bottom  uint64 // conformance window
	depth          uint64 // minus 8
	sar            [2]uint64
	idc            uint64
	full           bool // with all that may stand before VUI
}

func (s hevcSPS) nal() []byte {
	w := &bits{}
	w.put(4, 0)
	w.put(3, uint64(s.subLayers))
	w.put(1, 1)
	w.put(2, 0)
	if s.high {
		w.put(1, 1)
	} else {
		w.put(1, 0)
	}
	w.put(5, s.profile)
	w.put(32, 1<<(31-s.profile)|1<<29)
	w.put(48, s.constraints)
	w.put(8, s.level)
	if s.subLayers > 0 {
		for i := range 8 {
			if i < s.subLayers {
				w.put(2, 3)
			} else {
				w.put(2, 0)
			}
		}
		for range s.subLayers {
			w.put(48, 0x2000_0000_0000)
			w.put(40, 0)
			w.put(8, 60)
		}
	}
	w.ue(s.id)
	chroma := s.chroma
	if chroma == 0 {
		chroma = 2
	}
	w.ue(chroma - 1)
	if chroma == 4 {
		w.put(1, 0)
	}
	w.ue(s.width)
	w.ue(s.height)
	if s.right+s.bottom > 0 {
		w.put(1, 1)
		w.ue(0)
		w.ue(s.right)
		w.ue(0)
		w.ue(s.bottom)
	} else {
		w.put(1, 0)
	}
	w.ue(s.depth)
	w.ue(s.depth)
	w.ue(4)
	w.put(1, 1)
	for range s.subLayers + 1 {
		w.ue(4)
		w.ue(2)
		w.ue(0)
	}
	for range 6 {
		w.ue(0)
	}
	if s.full {
		w.beforeVUI()
	} else {
		w.put(4, 0) // scaling lists, amp, sao, pcm
		w.ue(0)     // short-term reference picture sets
		w.put(1, 0) // long-term ones
	}
	w.put(2, 0) // temporal mvp, smoothing
	w.usability(s.idc, s.sar, 9)
	w.put(1, 0) // extension
	return slices.Concat([]byte{33 << 1}, w.nal(1))
}

// beforeVUI writes scaling lists, pcm, short-term and long-term reference pictures.
func (w *bits) beforeVUI() {
	w.put(2, 3)
	for size, matrices := range []int{6, 6, 6, 2} {
		for m := range matrices {
			if m == 1 { // as the one before
				w.put(1, 0)
				w.ue(1)
				continue
			}
			w.put(1, 1)
			n := min(64, 16<<(2*size))
			if size > 1 {
				n++
			}
			for i := range n {
				w.ue(uint64(i & 3))
			}
		}
	}
	w.put(2, 3) // amp, sao
	w.put(1, 1) // pcm
	w.put(8, 0x77)
	w.ue(0)
	w.ue(2)
	w.put(1, 1)
	w.ue(4) // short-term sets
	w.ue(1) // the first: one before, one behind
	w.ue(1)
	for range 2 {
		w.ue(0)
		w.put(1, 1)
	}
	w.put(2, 2) // the second by the first, with one more
	w.ue(0)
	w.put(4, 0b1_01_1) // used, not used but there, used
	w.put(2, 3)        // the third by the second, with one more and one less
	w.ue(1)
	w.put(5, 0b1_00_1_1) // used, not at all, used, used
	w.put(1, 0)          // the fourth on its own
	w.ue(2)
	w.ue(0)
	w.put(4, 15)
	w.put(1, 1) // long-term ones
	w.ue(2)
	w.put(9, 5) // of 8 bits, and a flag
	w.put(9, 7)
}

func hevcVPS(id uint64) []byte {
	w := &bits{}
	w.put(4, id)
	w.put(12, 0x0FF)
	return slices.Concat([]byte{32 << 1}, w.nal(1))
}

func hevcPPS(id uint64) []byte {
	w := &bits{}
	w.ue(id)
	w.put(24, 0xABCDEF)
	return slices.Concat([]byte{34 << 1}, w.nal(1))
}

type hevcCase struct {
	name          string
	sps           []byte
	width, height uint16
	codec         string
}

func hevcCases() []hevcCase {
	x265 := []byte{
		0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x5d, 0xa0, 0x02, 0x80, 0x80,
		0x2d, 0x16, 0x59, 0x59, 0x52, 0x93, 0x0b, 0xc0, 0x5a, 0x02, 0x00, 0x00, 0x03, 0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x32, 0x10,
	}
	return []hevcCase{
		{"x265", x265, 1280, 720, "hvc1.1.6.L93.90"},
		{"main, cropped", hevcSPS{profile: 1, level: 120, constraints: 0xB000_0000_0000, width: 1920, height: 1088, bottom: 4}.nal(), 1920, 1080, "hvc1.1.6.L120.B0"},
		{"main 10, high tier, sub-layers", hevcSPS{profile: 2, level: 153, high: true, subLayers: 2, constraints: 0x9000_0000_0001, width: 3840, height: 2160, depth: 2}.nal(), 3840, 2160, "hvc1.2.4.H153.90.0.0.0.0.1"},
		{"4:2:2", hevcSPS{profile: 4, level: 93, constraints: 0x9000_0000_0000, chroma: 3, width: 720, height: 576, right: 8, bottom: 8, depth: 2}.nal(), 704, 568, "hvc1.4.14.L93.90"},
		{"4:4:4", hevcSPS{profile: 4, level: 93, constraints: 0x9000_0000_0000, chroma: 4, width: 720, height: 576, right: 8, bottom: 8}.nal(), 712, 568, "hvc1.4.14.L93.90"},
		{"monochrome, 7 sub-layers", hevcSPS{profile: 4, level: 93, constraints: 0x9000_0000_0000, chroma: 1, subLayers: 6, width: 64, height: 64, right: 1}.nal(), 63, 64, "hvc1.4.14.L93.90"},
	}
}

func TestHEVCInit(t *testing.T) {
	for _, c := range hevcCases() {
		record, codec := hevcRecord(t, [][]byte{hevcVPS(0)}, [][]byte{c.sps}, [][]byte{hevcPPS(0)}, c.width, c.height)
		if codec != c.codec {
			t.Errorf("%s: codec %q, want %q", c.name, codec, c.codec)
		}
		other, err := hevc.ParseSPSNALUnit(c.sps)
		if err != nil {
			t.Fatalf("%s: mp4ff: %v", c.name, err)
		}
		if theirs := hevc.CodecString("hvc1", other); theirs != c.codec {
			t.Errorf("%s: codec %q by mp4ff, want %q", c.name, theirs, c.codec)
		}
		if w, h := other.ImageSize(); w != uint32(c.width) || h != uint32(c.height) {
			t.Errorf("%s: mp4ff reads %d x %d, want %d x %d", c.name, w, h, c.width, c.height)
		}
		p := other.ProfileTierLevel
		if record.GeneralProfileIDC != p.GeneralProfileIDC || record.GeneralTierFlag != p.GeneralTierFlag || record.GeneralLevelIDC != p.GeneralLevelIDC ||
			record.GeneralProfileCompatibilityFlags != p.GeneralProfileCompatibilityFlags ||
			record.ChromaFormatIDC != other.ChromaFormatIDC || record.BitDepthLumaMinus8 != other.BitDepthLumaMinus8 ||
			record.NumTemporalLayers != other.MaxSubLayersMinus1+1 {
			t.Errorf("%s: hvcC %+v, mp4ff reads %+v", c.name, record, other)
		}
	}
}

// hevcRecord builds an init segment and reads it with mp4ff.
func hevcRecord(t *testing.T, vps, sps, pps [][]byte, width, height uint16) (hevc.DecConfRec, string) {
	t.Helper()
	data, codec, err := fmp4.HEVCInit(videoPID, "", vps, sps, pps)
	if err != nil {
		t.Fatalf("%x: %v", sps, err)
	}
	f, err := mp4.DecodeFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	entry := f.Init.Moov.Trak.Mdia.Minf.Stbl.Stsd.HvcX
	if entry == nil || entry.Type() != "hvc1" || entry.Width != width || entry.Height != height {
		t.Fatalf("%x: %+v, want %d x %d", sps, entry, width, height)
	}
	return entry.HvcC.DecConfRec, codec
}

// TestHEVCParameterSets holds I1: whatever the order and the repeats of an access unit, the init segment is the same.
func TestHEVCParameterSets(t *testing.T) {
	main := hevcSPS{profile: 1, level: 93, width: 1280, height: 720}
	vps := [][]byte{hevcVPS(0), hevcVPS(15)}
	sps := [][]byte{main.nal(), hevcSPS{id: 15, profile: 2, level: 93, width: 640, height: 360}.nal()}
	pps := [][]byte{hevcPPS(0), hevcPPS(1), hevcPPS(63)}
	want, _, err := fmp4.HEVCInit(videoPID, "", vps, sps, pps)
	if err != nil {
		t.Fatal(err)
	}
	record, _ := hevcRecord(t, vps, sps, pps, 1280, 720)
	for i, nals := range [][][]byte{vps, sps, pps} {
		if a := record.NaluArrays[i]; !reflect.DeepEqual(a.Nalus, nals) || a.Complete() != 1 {
			t.Errorf("array %d: %x", i, a)
		}
	}
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		mixed := func(nals [][]byte) [][]byte {
			nals = slices.Concat(nals, nals[:r.IntN(len(nals)+1)])
			r.Shuffle(len(nals), func(i, j int) { nals[i], nals[j] = nals[j], nals[i] })
			return nals
		}
		if got, _, err := fmp4.HEVCInit(videoPID, "", mixed(vps), mixed(sps), mixed(pps)); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("seed %d: got %x, %v, want %x", seed, got, err, want)
		}
	}
	other := main
	other.width = 1920
	record, _ = hevcRecord(t, vps, [][]byte{sps[0], other.nal()}, pps, 1920, 720)
	if got := record.NaluArrays[1].Nalus; !reflect.DeepEqual(got, [][]byte{other.nal()}) {
		t.Errorf("sets %x: of two with one id the last counts", got)
	}
}

func TestHEVCInitRefuses(t *testing.T) {
	vps, pps := hevcVPS(0), hevcPPS(0)
	good := hevcSPS{profile: 1, level: 93, width: 1280, height: 720}.nal()
	layered := slices.Clone(good)
	layered[1] |= 1 << 3
	for _, c := range []struct {
		name          string
		vps, sps, pps []byte
		want          error
	}{
		{"no VPS", nil, good, pps, fmp4.ErrNoParameterSets},
		{"no SPS", vps, nil, pps, fmp4.ErrNoParameterSets},
		{"no PPS", vps, good, nil, fmp4.ErrNoParameterSets},
		{"empty", vps, []byte{}, pps, fmp4.ErrParameterSyntax},
		{"header alone", vps, good[:2], pps, fmp4.ErrParameterSyntax},
		{"cut", vps, good[:20], pps, fmp4.ErrParameterSyntax},
		{"another type", vps, vps, pps, fmp4.ErrParameterSyntax},
		{"of another layer", vps, layered, pps, fmp4.ErrParameterSyntax},
		{"id 16", vps, hevcSPS{id: 16, profile: 1, width: 64, height: 64}.nal(), pps, fmp4.ErrParameterSyntax},
		{"picture id 64", vps, good, hevcPPS(64), fmp4.ErrParameterSyntax},
		{"all cropped", vps, hevcSPS{profile: 1, width: 16, height: 64, right: 8}.nal(), pps, fmp4.ErrParameterSyntax},
		{"too wide", vps, hevcSPS{profile: 1, width: 70000, height: 64}.nal(), pps, fmp4.ErrParameterSyntax},
		{"8 sub-layers", vps, hevcSPS{profile: 1, width: 64, height: 64, subLayers: 7}.nal(), pps, fmp4.ErrParameterSyntax},
		{"long", vps, append(slices.Clone(good), make([]byte, 1<<16)...), pps, fmp4.ErrParameterTooLong},
	} {
		list := func(nal []byte) [][]byte {
			if nal == nil {
				return nil
			}
			return [][]byte{nal}
		}
		if _, _, err := fmp4.HEVCInit(videoPID, "", list(c.vps), list(c.sps), list(c.pps)); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}
