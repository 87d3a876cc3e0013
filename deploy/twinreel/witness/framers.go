package witness

import (
	"bytes"

	"github.com/Eyevinn/mp4ff/avc"
)

// newFramer gives the framer of a stream type (H.222.0, table 2-34), or nil.
func newFramer(kind byte) framer {
	switch kind {
	case 0x1B:
		return &h264{sps: make(map[uint32]*avc.SPS), pps: make(map[uint32]*avc.PPS), boundary: -1}
	case 0x0F, 0x03, 0x04:
		return &audio{header: adtsOrMPEG}
	}
	return nil
}

// h264 cuts at access unit boundaries (H.264, 7.4.1.2.3). Two fields of a frame are one unit.
type h264 struct {
	at       int    // scanned up to here
	nals     []span // of the unit, and of the next one from boundary on
	boundary int    // index of the NAL unit that may begin the next unit, or -1
	slice    *avc.SliceHeader
	coded    bool // the unit has a slice
	paired   bool // the unit has both its fields

	sps map[uint32]*avc.SPS
	pps map[uint32]*avc.PPS
}

// span is a NAL unit: its start code begins at code, its header is at begin.
type span struct{ code, begin int }

// lookahead is enough of a NAL unit to read a slice header up to the field flags.
const lookahead = 48

func (h *h264) next(b []byte) (frame, bool) {
	for {
		i := bytes.Index(b[h.at:], []byte{0, 0, 1})
		if i < 0 {
			h.at = max(h.at, len(b)-2)
			return frame{}, false
		}
		p := h.at + i
		if len(b) < p+3+lookahead {
			h.at = p
			return frame{}, false
		}
		n := span{code: p, begin: p + 3}
		if p > 0 && b[p-1] == 0 {
			n.code--
		}
		h.parameters(b, n.code)
		h.nals, h.at = append(h.nals, n), n.begin
		if h.ends(b[n.begin:n.begin+lookahead], len(h.nals)-1) {
			return h.unit(b), true
		}
	}
}

// parameters keeps the parameter set that ends at end, if the last NAL unit is one.
func (h *h264) parameters(b []byte, end int) {
	if len(h.nals) == 0 {
		return
	}
	nal := b[h.nals[len(h.nals)-1].begin:end]
	switch nal[0] & 0x1F {
	case 7:
		if s, err := avc.ParseSPSNALUnit(nal, false); err == nil {
			h.sps[s.ParameterID] = s
		}
	case 8:
		if p, err := avc.ParsePPSNALUnit(nal, h.sps); err == nil {
			h.pps[p.PicParameterSetID] = p
		}
	}
}

// ends says whether NAL unit k shows that the unit before h.boundary is complete.
func (h *h264) ends(nal []byte, k int) bool {
	switch nal[0] & 0x1F {
	case 6, 7, 8, 9, 14, 15, 16, 17, 18:
		if h.coded && h.boundary < 0 {
			h.boundary = k
		}
		return false
	case 1, 2, 5:
	default:
		return false
	}
	s, err := avc.ParseSliceHeader(nal, h.sps, h.pps)
	if err != nil {
		s = nil
	}
	first := nal[1]&0x80 != 0 // first_mb_in_slice is 0
	switch {
	case !h.coded:
		h.coded, h.slice = true, s
		return false
	case h.boundary < 0 && !first:
		return false
	case !h.paired && secondField(h.slice, s):
		h.paired, h.boundary = true, -1
		return false
	}
	if h.boundary < 0 {
		h.boundary = k
	}
	return true
}

func secondField(a, b *avc.SliceHeader) bool {
	return a != nil && b != nil && a.FieldPicFlag && b.FieldPicFlag &&
		a.FrameNum == b.FrameNum && a.BottomFieldFlag != b.BottomFieldFlag
}

// unit gives the NAL units before h.boundary, and begins again from there.
func (h *h264) unit(b []byte) frame {
	f := frame{begin: h.nals[0].code, end: h.nals[h.boundary].code}
	var parts [][]byte
	for i, n := range h.nals[:h.boundary] {
		parts = appendNAL(parts, b[n.begin:h.nals[i+1].code])
	}
	f.hash = HashOf(parts...)
	h.at, h.nals, h.boundary, h.slice, h.coded, h.paired = 0, h.nals[:0], -1, nil, false, false
	return f
}

// appendNAL takes a NAL unit into what is hashed, unless it is a delimiter, an end or filler.
func appendNAL(parts [][]byte, nal []byte) [][]byte {
	nal = bytes.TrimRight(nal, "\x00")
	if len(nal) == 0 {
		return parts
	}
	switch nal[0] & 0x1F {
	case 9, 10, 11, 12:
		return parts
	}
	return append(parts, nal)
}

// HashNALs hashes NAL units (without start codes or lengths) as the units of an H.264 stream are hashed here.
func HashNALs(nals [][]byte) Hash {
	var parts [][]byte
	for _, n := range nals {
		parts = appendNAL(parts, n)
	}
	return HashOf(parts...)
}

// audio cuts at frame headers that chain: a frame counts when another header follows where its length says.
type audio struct {
	header func(b []byte) (h audioHeader, ok bool)
	locked bool
}

type audioHeader struct {
	length, skip  int // of the frame, and of what the hash leaves out at its beginning
	samples, rate int64
}

// audioHeaderSize is enough to read either header.
const audioHeaderSize = 7

func (a *audio) next(b []byte) (frame, bool) {
	for at := 0; at+audioHeaderSize <= len(b); at++ {
		h, ok := a.header(b[at:])
		if !ok {
			a.locked = false
			continue
		}
		if at+h.length > len(b) {
			return frame{}, false
		}
		if !a.locked { // a header by chance is rarely followed by another
			if at+h.length+audioHeaderSize > len(b) {
				return frame{}, false
			}
			if _, ok := a.header(b[at+h.length:]); !ok {
				continue
			}
			a.locked = true
		}
		return frame{
			begin: at, end: at + h.length, hash: HashOf(b[at+h.skip : at+h.length]),
			samples: h.samples, rate: h.rate,
		}, true
	}
	return frame{}, false
}

// adtsOrMPEG goes by the frame: some sources announce the one and send the other.
func adtsOrMPEG(b []byte) (audioHeader, bool) {
	if h, ok := adts(b); ok {
		return h, true
	}
	return mpegAudio(b)
}

// adts reads an ADTS header (ISO/IEC 13818-7, 6.2).
func adts(b []byte) (audioHeader, bool) {
	rates := [...]int64{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}
	if b[0] != 0xFF || b[1]&0xF6 != 0xF0 {
		return audioHeader{}, false
	}
	index := b[2] >> 2 & 0x0F
	h := audioHeader{length: int(b[3]&3)<<11 | int(b[4])<<3 | int(b[5]>>5), skip: 7, samples: 1024 * int64(b[6]&3+1)}
	if b[1]&1 == 0 {
		h.skip = 9
	}
	if int(index) >= len(rates) || h.length <= h.skip {
		return audioHeader{}, false
	}
	h.rate = rates[index]
	return h, true
}

// mpegAudio reads a header of MPEG-1 or MPEG-2 audio, layer I to III (ISO/IEC 11172-3, 2.4.2.3; 13818-3, 2.4.2.3).
func mpegAudio(b []byte) (audioHeader, bool) {
	kbits := [2][3][15]int{
		{ // MPEG-1, layer I, II, III
			{0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448},
			{0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384},
			{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320},
		},
		{ // MPEG-2
			{0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256},
			{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160},
			{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160},
		},
	}
	if b[0] != 0xFF || b[1]&0xE0 != 0xE0 || b[1]&0x18 == 0x08 || b[1]&0x06 == 0 {
		return audioHeader{}, false
	}
	version, layer := b[1]>>3&3, 3-int(b[1]>>1&3) // version 3: MPEG-1, 2: MPEG-2, 0: 2.5; layer 0 to 2
	bitrate, rate, padding := int(b[2]>>4), b[2]>>2&3, int(b[2]>>1&1)
	if bitrate == 0 || bitrate == 15 || rate == 3 {
		return audioHeader{}, false
	}
	h := audioHeader{rate: [...]int64{44100, 48000, 32000}[rate], samples: 1152}
	low := 0
	if version != 3 {
		low = 1
		h.rate /= 2
	}
	if version == 0 {
		h.rate /= 2
	}
	bits := kbits[low][layer][bitrate] * 1000
	switch {
	case layer == 0:
		h.samples = 384
		h.length = (12*bits/int(h.rate) + padding) * 4
		return h, true
	case layer == 2 && low == 1:
		h.samples = 576
	}
	h.length = int(h.samples)/8*bits/int(h.rate) + padding
	return h, true
}
