package fmp4

import (
	"fmt"
	"math/bits"
	"strings"
)

// NAL unit types of HEVC (ITU-T H.265, table 7-1) that matter to a container.
const (
	HEVCFirstIRAP = 16 // BLA, IDR and CRA, up to HEVCLastIRAP
	HEVCLastIRAP  = 21
	HEVCVPS       = 32
	HEVCSPS       = 33
	HEVCPPS       = 34
)

// HEVCNALType is the type of a NAL unit of the base layer; false for those of other layers, and for what has no header.
func HEVCNALType(nal []byte) (uint8, bool) {
	if len(nal) < 2 || nal[0]&1 != 0 || nal[1]>>3 != 0 {
		return 0, false
	}
	return nal[0] >> 1, true
}

// hevcSPS is what the boxes need of a sequence parameter set.
type hevcSPS struct {
	ID             uint
	SubLayers      uint // most temporal sub-layers
	Nested         uint // sps_temporal_id_nesting_flag
	Profile        hevcProfile
	ChromaFormat   uint
	Width, Height  int
	BitDepthLuma   uint // minus 8
	BitDepthChroma uint // minus 8
	Aspect         aspect
}

// hevcProfile is the general part of profile_tier_level (H.265, 7.3.3), byte for byte as hvcC has it.
type hevcProfile struct {
	Space, Tier, IDC uint
	Compatibility    uint32
	Constraints      [6]byte
	Level            uint8
}

// HEVCInit returns the init segment of an HEVC track and its RFC 6381 codec string. Parameter sets are NAL units without
// start code; they are sorted by id, and of two with one id the last counts.
//
// The sample entry is hvc1, with complete arrays. The sets stay in the samples too, for which ISO/IEC 14496-15 has hev1;
// but what stands there only repeats what is here, since other sets are another configuration, and so another init
// segment. A player that looks for no sets in samples is right with it, and Apple's play no hev1.
func HEVCInit(pid uint16, language string, vps, sps, pps [][]byte) ([]byte, string, error) {
	arrays, info, err := hevcParameterSets(vps, sps, pps)
	if err != nil {
		return nil, "", fmt.Errorf("build HEVC init segment of PID %d: %w", pid, err)
	}
	t := track{pid: pid, language: language, video: true, width: info.Width, height: info.Height, aspect: info.Aspect.of(info.Width)}
	t.sampleEntry = func(w *boxes) {
		w.visual("hvc1", t, func() {
			w.box("hvcC", func() { w.hvcC(arrays, info) })
		})
	}
	return initSegment(t), info.codec(), nil
}

// hevcArray is the parameter sets of one type, sorted by id.
type hevcArray struct {
	nalType uint8
	sets    []parameterSet
}

func hevcParameterSets(vps, sps, pps [][]byte) (arrays []hevcArray, info hevcSPS, err error) {
	for _, kind := range []struct {
		nalType uint8
		nals    [][]byte
		limit   uint
	}{{HEVCVPS, vps, 16}, {HEVCSPS, sps, 16}, {HEVCPPS, pps, 64}} {
		a := hevcArray{nalType: kind.nalType}
		for _, nal := range kind.nals {
			id, err := hevcSetID(nal, kind.nalType)
			if err != nil {
				return nil, info, err
			}
			if id >= kind.limit {
				return nil, info, ErrParameterSyntax
			}
			if len(nal) > 0xFFFF {
				return nil, info, ErrParameterTooLong
			}
			a.sets = append(a.sets, parameterSet{id, nal})
		}
		if len(a.sets) == 0 {
			return nil, info, ErrNoParameterSets
		}
		a.sets = sortedByID(a.sets)
		arrays = append(arrays, a)
	}
	info, err = parseHEVCSPS(arrays[1].sets[0].nal)
	return arrays, info, err
}

// hevcSetID is the id that a parameter set gives itself.
func hevcSetID(nal []byte, nalType uint8) (uint, error) {
	if t, ok := HEVCNALType(nal); !ok || t != nalType {
		return 0, ErrParameterSyntax
	}
	switch nalType {
	case HEVCSPS:
		s, err := parseHEVCSPS(nal)
		return s.ID, err
	case HEVCVPS:
		r := newHEVCReader(nal)
		id := r.bits(4)
		return id, r.err()
	}
	r := newHEVCReader(nal)
	id := r.ue()
	return id, r.err()
}

// newHEVCReader reads behind the two bytes of a NAL unit's header.
func newHEVCReader(nal []byte) *bitReader { return newBitReader(nal[min(1, len(nal)):]) }

func (r *bitReader) err() error {
	if r.failed {
		return ErrParameterSyntax
	}
	return nil
}

// parseHEVCSPS reads a sequence parameter set up to the shape of its pixels (H.265, 7.3.2.2.1).
func parseHEVCSPS(nal []byte) (s hevcSPS, err error) {
	r := newHEVCReader(nal)
	r.bits(4)
	s.SubLayers = r.bits(3) + 1
	s.Nested = r.bits(1)
	s.Profile = r.profileTierLevel(s.SubLayers)
	s.ID = r.ue()
	s.ChromaFormat = r.ue()
	separatePlanes := s.ChromaFormat == 3 && r.bits(1) == 1
	width, height := r.ue(), r.ue()
	var left, right, top, bottom uint
	if r.bits(1) == 1 { // conformance window
		left, right, top, bottom = r.ue(), r.ue(), r.ue(), r.ue()
	}
	s.BitDepthLuma, s.BitDepthChroma = r.ue(), r.ue()
	const most = 0xFFFF
	if r.failed || s.SubLayers > 7 || s.ID > 15 || s.ChromaFormat > 3 || s.BitDepthLuma > 7 || s.BitDepthChroma > 7 ||
		width > most || height > most || left > most || right > most || top > most || bottom > most {
		return s, ErrParameterSyntax
	}
	unitX, unitY := uint(1), uint(1)
	if !separatePlanes {
		if s.ChromaFormat == 1 || s.ChromaFormat == 2 {
			unitX = 2
		}
		if s.ChromaFormat == 1 {
			unitY = 2
		}
	}
	s.Width = int(width) - int((left+right)*unitX)
	s.Height = int(height) - int((top+bottom)*unitY)
	if s.Width <= 0 || s.Height <= 0 {
		return s, ErrParameterSyntax
	}
	s.Aspect = r.hevcAspect(s.SubLayers)
	return s, nil
}

func (r *bitReader) profileTierLevel(subLayers uint) (p hevcProfile) {
	p.Space, p.Tier, p.IDC = r.bits(2), r.bits(1), r.bits(5)
	p.Compatibility = uint32(r.bits(32))
	for i := range p.Constraints {
		p.Constraints[i] = uint8(r.bits(8))
	}
	p.Level = uint8(r.bits(8))
	if subLayers < 2 {
		return p
	}
	var skip uint
	for range subLayers - 1 {
		skip += 88 * r.bits(1) // sub_layer_profile_present_flag
		skip += 8 * r.bits(1)  // sub_layer_level_present_flag
	}
	r.bits(2 * (9 - subLayers)) // alignment
	r.bits(skip)
	return p
}

// hvcC writes HEVCDecoderConfigurationRecord (ISO/IEC 14496-15, 8.3.3.1.2).
func (w *boxes) hvcC(arrays []hevcArray, s hevcSPS) {
	w.u8(1)
	w.u8(uint8(s.Profile.Space<<6 | s.Profile.Tier<<5 | s.Profile.IDC))
	w.u32(s.Profile.Compatibility)
	w.bytes(s.Profile.Constraints[:])
	w.u8(s.Profile.Level)
	w.u16(0xF000) // min_spatial_segmentation_idc: not told
	w.u8(0xFC)    // parallelismType: not told
	w.u8(0xFC | uint8(s.ChromaFormat))
	w.u8(0xF8 | uint8(s.BitDepthLuma))
	w.u8(0xF8 | uint8(s.BitDepthChroma))
	w.u16(0)                                      // avgFrameRate: not told
	w.u8(uint8(s.SubLayers<<3 | s.Nested<<2 | 3)) // constantFrameRate not told; lengths of 4 bytes
	w.u8(uint8(len(arrays)))
	for _, a := range arrays {
		w.u8(0x80 | a.nalType) // array_completeness
		w.u16(uint16(len(a.sets)))
		for _, p := range a.sets {
			w.u16(uint16(len(p.nal)))
			w.bytes(p.nal)
		}
	}
}

// codec is the RFC 6381 string (ISO/IEC 14496-15, annex E.3).
func (s *hevcSPS) codec() string {
	p := &s.Profile
	space, tier := [...]string{"", "A", "B", "C"}[p.Space], [...]string{"L", "H"}[p.Tier]
	var b strings.Builder
	fmt.Fprintf(&b, "hvc1.%s%d.%X.%s%d", space, p.IDC, bits.Reverse32(p.Compatibility), tier, p.Level)
	constraints := p.Constraints[:]
	for len(constraints) > 0 && constraints[len(constraints)-1] == 0 {
		constraints = constraints[:len(constraints)-1]
	}
	for _, c := range constraints {
		fmt.Fprintf(&b, ".%X", c)
	}
	return b.String()
}
