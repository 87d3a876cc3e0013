package ac3_test

import (
	"reflect"
	"testing"

	"github.com/twinreel/twinreel/pkg/ac3"
)

// field is a number of so many bits.
type field struct{ n, v int }

// frame writes a syncframe: fields behind the syncword, filled up to a size.
func frame(size int, fields ...field) []byte {
	b := make([]byte, size)
	b[0], b[1] = 0x0B, 0x77
	at := 16
	for _, f := range fields {
		for i := f.n - 1; i >= 0; i-- {
			b[at/8] |= byte(f.v>>i&1) << (7 - at%8)
			at++
		}
	}
	return b
}

// plain is AC-3: fscod, frmsizecod, bsid, bsmod, then acmod and the rest.
func plain(size, fscod, sizeCode, bsid, bsmod int, rest ...field) []byte {
	return frame(size, append([]field{{16, 0}, {2, fscod}, {6, sizeCode}, {5, bsid}, {3, bsmod}}, rest...)...)
}

// enhanced is E-AC-3: strmtyp, substreamid, fscod, numblkscod or fscod2, acmod and lfeon in one, then what is behind bsid.
func enhanced(size, kind, id, fscod, code, mode int, rest ...field) []byte {
	return frame(size, append([]field{{2, kind}, {3, id}, {11, size/2 - 1}, {2, fscod}, {2, code}, {4, mode}, {5, 16}}, rest...)...)
}

type frameCase struct {
	name string
	data []byte
	want ac3.Header // exported fields
	conv bool
	ok   bool
}

func frameCases() []frameCase {
	return []frameCase{
		{"AC-3 5.1 448k 48 kHz", plain(1792, 0, 30, 8, 0, field{3, 7}, field{4, 0}, field{1, 1}),
			ac3.Header{Size: 1792, Rate: 48000, Blocks: 6}, true, true},
		{"AC-3 44.1 kHz, the short of the two", plain(138, 1, 0, 8, 0, field{3, 2}), ac3.Header{Size: 138, Rate: 44100, Blocks: 6}, true, true},
		{"AC-3 44.1 kHz, the long of the two", plain(140, 1, 1, 8, 0, field{3, 2}), ac3.Header{Size: 140, Rate: 44100, Blocks: 6}, true, true},
		{"AC-3 640k 44.1 kHz", plain(2788, 1, 37, 8, 0, field{3, 2}), ac3.Header{Size: 2788, Rate: 44100, Blocks: 6}, true, true},
		{"AC-3 32 kHz", plain(1152, 2, 20, 8, 0, field{3, 2}), ac3.Header{Size: 1152, Rate: 32000, Blocks: 6}, true, true},
		{"AC-3 of half the rate", plain(768, 0, 20, 9, 0, field{3, 2}), ac3.Header{Size: 768, Rate: 24000, Blocks: 6}, true, true},
		{"AC-3 of no rate", plain(768, 3, 20, 8, 0), ac3.Header{}, false, false},
		{"AC-3 of no size", plain(768, 0, 38, 8, 0), ac3.Header{}, false, false},
		{"of the future", plain(768, 0, 20, 17, 0), ac3.Header{}, false, false},
		{"E-AC-3", enhanced(768, 0, 0, 0, 3, 15, field{5, 31}), ac3.Header{Size: 768, Rate: 48000, Blocks: 6, Enhanced: true}, true, true},
		{"E-AC-3 of 24 kHz", enhanced(768, 0, 0, 3, 0, 4, field{5, 31}),
			ac3.Header{Size: 768, Rate: 24000, Blocks: 6, Enhanced: true}, true, true},
		{"a dependent substream", enhanced(256, 1, 2, 1, 3, 4, field{5, 31}),
			ac3.Header{Size: 256, Rate: 44100, Blocks: 6, Enhanced: true, Dependent: true, Substream: 2}, true, true},
		{"one block, the first of six", enhanced(128, 0, 0, 0, 0, 4, field{5, 31}, field{1, 0}, field{2, 0}, field{1, 1}),
			ac3.Header{Size: 128, Rate: 48000, Blocks: 1, Enhanced: true}, true, true},
		{"three blocks, the second half", enhanced(128, 0, 0, 0, 2, 4, field{5, 31}, field{1, 0}, field{2, 0}, field{1, 0}),
			ac3.Header{Size: 128, Rate: 48000, Blocks: 3, Enhanced: true}, false, true},
		{"convsync behind all metadata, dual mono", enhanced(128, 0, 0, 0, 1, 1, // acmod 0 with LFE
			field{5, 31}, field{1, 1}, field{8, 255}, field{5, 31}, field{1, 1}, field{8, 255}, // dialnorm, compr, twice
			field{1, 1},              // mixmdate
			field{1, 1}, field{5, 9}, // lfemixlevcod
			field{1, 1}, field{6, 9}, field{1, 1}, field{6, 9}, field{1, 1}, field{6, 9}, // pgmscl, twice, extpgmscl
			field{2, 3}, field{5, 1}, field{24, 0xFFFFFF}, // mixdata of three bytes
			field{1, 1}, field{14, 9}, field{1, 1}, field{14, 9}, // paninfo, twice
			field{1, 1}, field{1, 1}, field{5, 9}, field{1, 0}, // blkmixcfginfo
			field{1, 1}, field{3, 5}, field{2, 0}, // infomdate, bsmod
			field{1, 1}, field{8, 1}, field{1, 1}, field{8, 1}, field{1, 0}, // audprodi, twice, sourcefscod
			field{1, 1}), // convsync
			ac3.Header{Size: 128, Rate: 48000, Blocks: 2, Enhanced: true}, true, true},
		{"E-AC-3 of a reserved kind", enhanced(768, 3, 0, 0, 3, 4), ac3.Header{}, false, false},
		{"E-AC-3 of no rate", enhanced(768, 0, 0, 3, 3, 4), ac3.Header{}, false, false},
		{"E-AC-3 of two bytes", frame(16, field{16, 0}, field{4, 3}, field{4, 4}, field{5, 16}), ac3.Header{}, false, false},
	}
}

func TestHeaders(t *testing.T) {
	for _, c := range frameCases() {
		h, ok := ac3.ParseHeader(c.data)
		got := ac3.Header{
			Size: h.Size, Rate: h.Rate, Blocks: h.Blocks, Enhanced: h.Enhanced, Dependent: h.Dependent, Substream: h.Substream,
		}
		if ok != c.ok || got != c.want {
			t.Errorf("%s: got %+v, %v, want %+v, %v", c.name, got, ok, c.want, c.ok)
		}
		if !ok {
			continue
		}
		if h.Size != len(c.data) {
			t.Errorf("%s: the case has %d bytes, the header says %d", c.name, len(c.data), h.Size)
		}
		if info, ok := ac3.ParseInfo(c.data, h); !ok || info.Converter != c.conv {
			t.Errorf("%s: got %+v, %v, want Converter %v", c.name, info, ok, c.conv)
		}
	}
}

func TestDescribe(t *testing.T) {
	quiet := []field{{5, 31}, {1, 0}}
	stereo := enhanced(64, 0, 0, 0, 3, 4, quiet...)
	surround := enhanced(64, 0, 0, 0, 3, 15, append(quiet, field{1, 0}, field{1, 1}, field{3, 2}, field{12, 0})...)
	back := enhanced(64, 1, 0, 0, 3, 4, append(quiet, field{1, 1}, field{16, 1 << 9})...) // Lrs, Rrs
	second := enhanced(64, 0, 1, 0, 3, 2, quiet...)
	joc := enhanced(64, 0, 0, 0, 3, 15,
		append(quiet, field{2, 0}, field{1, 1}, field{6, 1}, field{7, 0}, field{1, 1}, field{8, 12})...)
	core := plain(768, 0, 20, 8, 0, field{3, 7}, field{4, 0}, field{1, 1})
	cat := func(parts ...[]byte) (out []byte) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	for _, c := range []struct {
		name     string
		unit     []byte
		want     ac3.Config
		channels int
	}{
		{"AC-3", core, ac3.Config{Rate: 48000, BitRate: 10, Count: 1,
			Substreams: [8]ac3.Substream{{BSID: 8, Mode: 7, LFE: true}}}, 6},
		{"E-AC-3", cat(stereo, stereo), ac3.Config{Enhanced: true, Rate: 48000, Count: 1,
			Substreams: [8]ac3.Substream{{BSID: 16, Mode: 2}}}, 2},
		{"7.1 and a second program", cat(surround, back, second), ac3.Config{Enhanced: true, Rate: 48000, Count: 2,
			Substreams: [8]ac3.Substream{{BSID: 16, Mode: 7, LFE: true, Service: 2, Dependents: 1, Locations: 2}, {BSID: 16, Mode: 1}}}, 8},
		{"objects", joc, ac3.Config{Enhanced: true, Rate: 48000, Count: 1, JOC: 12,
			Substreams: [8]ac3.Substream{{BSID: 16, Mode: 7, LFE: true}}}, 6},
		{"a core of AC-3", cat(core, back), ac3.Config{Enhanced: true, Rate: 48000, Count: 1,
			Substreams: [8]ac3.Substream{{BSID: 8, Mode: 7, LFE: true, Dependents: 1, Locations: 2}}}, 8},
	} {
		got, ok := ac3.Describe(c.unit)
		if !ok || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v, want %+v", c.name, got, ok, c.want)
		}
		if n := got.Channels(); n != c.channels {
			t.Errorf("%s: %d channels, want %d", c.name, n, c.channels)
		}
	}
	for name, unit := range map[string][]byte{
		"nothing": nil, "cut short": stereo[:63], "a dependent one alone": back, "no header": make([]byte, 20),
		"too many": cat(stereo, second, second, second, second, second, second, second, second),
	} {
		if c, ok := ac3.Describe(unit); ok {
			t.Errorf("%s: got %+v", name, c)
		}
	}
}

// FuzzDescribe holds I1 and I2.
func FuzzDescribe(f *testing.F) {
	for _, c := range frameCases() {
		f.Add(c.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, ok := ac3.ParseHeader(data)
		if ok {
			if h.Size < ac3.MinFrame || h.Size > ac3.MaxFrame || h.Rate < 8000 || h.Rate > 48000 || h.Blocks < 1 || h.Blocks > 6 {
				t.Fatalf("header %+v", h)
			}
			ac3.ParseInfo(data, h)
		}
		c, described := ac3.Describe(data)
		if described && (!ok || c.Count < 1 || c.Count > 8 || c.Channels() < 1) {
			t.Fatalf("configuration %+v", c)
		}
	})
}
