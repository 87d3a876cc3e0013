package fmp4

import (
	"cmp"
	"errors"
	"slices"
)

// NAL unit types of H.264 (ITU-T H.264, table 7-1) that matter to a container.
const (
	NALSlice = 1
	NALIDR   = 5
	NALSEI   = 6
	NALSPS   = 7
	NALPPS   = 8
	NALAUD   = 9
)

// Errors of H264Init.
var (
	ErrNoParameterSets  = errors.New("there is no sequence or no picture parameter set")
	ErrParameterSyntax  = errors.New("a parameter set does not parse")
	ErrParameterTooLong = errors.New("there are more or longer parameter sets than avcC can hold")
)

// spsInfo is what the boxes need of a sequence parameter set.
type spsInfo struct {
	ID             uint
	Width, Height  int
	ChromaFormat   uint
	BitDepthLuma   uint // minus 8
	BitDepthChroma uint // minus 8
	High           bool // the profile's avcC has the three fields above
	Aspect         aspect
}

type parameterSet struct {
	id  uint
	nal []byte
}

// parameterSets are the parameter sets of one access unit, sorted by id.
type parameterSets struct {
	sps, pps []parameterSet
	info     spsInfo // of sps[0]
}

func newParameterSets(sps, pps [][]byte) (s parameterSets, err error) {
	for _, nal := range sps {
		info, err := parseSPS(nal)
		if err != nil {
			return s, err
		}
		s.sps = append(s.sps, parameterSet{info.ID, nal})
	}
	for _, nal := range pps {
		r := newBitReader(nal)
		if id := r.ue(); !r.failed && id < 256 {
			s.pps = append(s.pps, parameterSet{id, nal})
		} else {
			return s, ErrParameterSyntax
		}
	}
	if len(s.sps) == 0 || len(s.pps) == 0 {
		return s, ErrNoParameterSets
	}
	s.sps, s.pps = sortedByID(s.sps), sortedByID(s.pps)
	if len(s.sps) > 31 || len(s.pps) > 255 {
		return s, ErrParameterTooLong
	}
	for _, p := range slices.Concat(s.sps, s.pps) {
		if len(p.nal) > 0xFFFF {
			return s, ErrParameterTooLong
		}
	}
	s.info, err = parseSPS(s.sps[0].nal)
	return s, err
}

// sortedByID keeps the last of each id: a decoder would, too.
func sortedByID(sets []parameterSet) []parameterSet {
	slices.SortStableFunc(sets, func(a, b parameterSet) int { return cmp.Compare(a.id, b.id) })
	out := sets[:0]
	for i, s := range sets {
		if i+1 == len(sets) || sets[i+1].id != s.id {
			out = append(out, s)
		}
	}
	return out
}

// avcC writes AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1.2).
func (s *parameterSets) avcC(w *boxes) {
	first := s.sps[0].nal
	w.u8(1)
	w.bytes(first[1:4]) // profile, constraints, level
	w.u8(0xFC | 3)      // lengths of 4 bytes
	w.u8(0xE0 | uint8(len(s.sps)))
	for _, p := range s.sps {
		w.u16(uint16(len(p.nal)))
		w.bytes(p.nal)
	}
	w.u8(uint8(len(s.pps)))
	for _, p := range s.pps {
		w.u16(uint16(len(p.nal)))
		w.bytes(p.nal)
	}
	if s.info.High {
		w.u8(0xFC | uint8(s.info.ChromaFormat))
		w.u8(0xF8 | uint8(s.info.BitDepthLuma))
		w.u8(0xF8 | uint8(s.info.BitDepthChroma))
		w.u8(0) // sequence parameter set extensions
	}
}

// parseSPS reads a sequence parameter set up to the shape of its pixels (ITU-T H.264, 7.3.2.1.1).
func parseSPS(nal []byte) (spsInfo, error) {
	var s spsInfo
	if len(nal) < 5 || nal[0]&0x1F != NALSPS {
		return s, ErrParameterSyntax
	}
	profile := nal[1]
	r := newBitReader(nal)
	r.bits(24)
	s.ID = r.ue()
	s.ChromaFormat = 1
	separatePlanes := false
	switch profile {
	case 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135:
		s.High = true
		s.ChromaFormat = r.ue()
		if s.ChromaFormat == 3 {
			separatePlanes = r.bits(1) == 1
		}
		s.BitDepthLuma, s.BitDepthChroma = r.ue(), r.ue()
		r.bits(1)
		if r.bits(1) == 1 {
			r.skipScalingLists(s.ChromaFormat)
		}
	}
	r.ue() // log2_max_frame_num_minus4
	switch r.ue() {
	case 0:
		r.ue()
	case 1:
		r.bits(1)
		r.ue()
		r.ue()
		for n := r.ue(); n > 0 && !r.failed; n-- {
			r.ue()
		}
	}
	r.ue() // max_num_ref_frames
	r.bits(1)
	width, height := r.ue()+1, r.ue()+1
	frameOnly := r.bits(1)
	if frameOnly == 0 {
		r.bits(1)
	}
	r.bits(1)
	var left, right, top, bottom uint
	if r.bits(1) == 1 {
		left, right, top, bottom = r.ue(), r.ue(), r.ue(), r.ue()
	}
	if r.failed || s.ID > 31 || s.ChromaFormat > 3 || s.BitDepthLuma > 7 || s.BitDepthChroma > 7 || width > 4096 || height > 4096 {
		return s, ErrParameterSyntax
	}
	unitX, unitY := uint(1), 2-frameOnly
	if !separatePlanes {
		if s.ChromaFormat == 1 || s.ChromaFormat == 2 {
			unitX = 2
		}
		if s.ChromaFormat == 1 {
			unitY *= 2
		}
	}
	s.Width = int(width*16) - int((left+right)*unitX)
	s.Height = int(height*(2-frameOnly)*16) - int((top+bottom)*unitY)
	if s.Width <= 0 || s.Height <= 0 || s.Width > 0xFFFF || s.Height > 0xFFFF {
		return s, ErrParameterSyntax
	}
	s.Aspect = r.aspect()
	return s, nil
}

// bitReader reads the RBSP of a NAL unit behind its header, emulation prevention taken out on the way (7.3.1).
type bitReader struct {
	b      []byte
	zeros  int
	cur    uint
	left   uint
	failed bool
}

func newBitReader(nal []byte) *bitReader {
	if len(nal) == 0 {
		return &bitReader{failed: true}
	}
	return &bitReader{b: nal[1:]}
}

func (r *bitReader) bits(n uint) (v uint) {
	for ; n > 0; n-- {
		if r.left == 0 && !r.fill() {
			return 0
		}
		r.left--
		v = v<<1 | r.cur>>r.left&1
	}
	return v
}

func (r *bitReader) fill() bool {
	if len(r.b) > 0 && r.zeros >= 2 && r.b[0] == 3 {
		r.b, r.zeros = r.b[1:], 0
	}
	if len(r.b) == 0 {
		r.failed = true
		return false
	}
	r.cur, r.left = uint(r.b[0]), 8
	if r.b[0] == 0 {
		r.zeros++
	} else {
		r.zeros = 0
	}
	r.b = r.b[1:]
	return true
}

// ue reads an unsigned Exp-Golomb code (9.1).
func (r *bitReader) ue() uint {
	zeros := uint(0)
	for r.bits(1) == 0 {
		if zeros++; zeros > 31 || r.failed {
			r.failed = true
			return 0
		}
	}
	return 1<<zeros - 1 + r.bits(zeros)
}

func (r *bitReader) se() int {
	k := int(r.ue())
	if k&1 == 1 {
		return (k + 1) / 2
	}
	return -k / 2
}

func (r *bitReader) skipScalingLists(chromaFormat uint) {
	lists := 8
	if chromaFormat == 3 {
		lists = 12
	}
	for i := range lists {
		if r.bits(1) == 0 {
			continue
		}
		size := 16
		if i >= 6 {
			size = 64
		}
		last, next := 8, 8
		for range size {
			if next != 0 {
				next = (last + r.se() + 256) % 256
			}
			if next != 0 {
				last = next
			}
			if r.failed {
				return
			}
		}
	}
}

// RecoveryPointNow reports whether a SEI NAL unit has a recovery point whose recovery_frame_cnt is 0: from this access
// unit on, in output order, all pictures are right (ITU-T H.264, D.2.8).
func RecoveryPointNow(nal []byte) bool {
	const recoveryPoint = 6
	r := bitReader{b: nal[min(1, len(nal)):]}
	for !r.failed {
		var kind, size uint
		for b := uint(0xFF); b == 0xFF && !r.failed; {
			b = r.bits(8)
			kind += b
		}
		for b := uint(0xFF); b == 0xFF && !r.failed; {
			b = r.bits(8)
			size += b
		}
		if kind == recoveryPoint && size > 0 {
			return r.bits(1) == 1 && !r.failed // ue(v) of 0
		}
		for ; size > 0 && !r.failed; size-- {
			r.bits(8)
		}
	}
	return false
}
