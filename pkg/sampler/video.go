package sampler

import (
	"bytes"
	"encoding/binary"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/segment"
)

// convertHEVC turns Annex B into NAL units with 4 bytes of length before each; all of them stay in the sample.
func (t *Sampler) convertHEVC(u *mpegts.AccessUnit, s *Sample) bool {
	t.params = t.params[:0]
	var vps, sps, pps, irap, isTorn bool
	for data := u.Data; ; {
		nal, rest := nextNAL(data)
		if nal == nil {
			break
		}
		data = rest
		if kind, base := fmp4.HEVCNALType(nal); base {
			switch {
			case kind == fmp4.HEVCVPS:
				vps, isTorn = true, isTorn || torn(u, rest)
				t.addParams(nal)
			case kind == fmp4.HEVCSPS:
				sps, isTorn = true, isTorn || torn(u, rest)
				t.addParams(nal)
			case kind == fmp4.HEVCPPS:
				pps, isTorn = true, isTorn || torn(u, rest)
				t.addParams(nal)
			case kind >= fmp4.HEVCFirstIRAP && kind <= fmp4.HEVCLastIRAP:
				irap = true
			}
		}
		t.buf = binary.BigEndian.AppendUint32(t.buf, uint32(len(nal)))
		t.buf = append(t.buf, nal...)
	}
	whole := vps && sps && pps
	s.RAP = whole && irap
	if whole && !isTorn && !bytes.Equal(t.params, t.lastParams) && !t.setHEVC(t.params) {
		s.RAP = false
		s.Reason |= segment.ReasonSyntax
	}
	s.RAP = s.RAP && t.cfg != nil
	return true
}

// setHEVC takes the parameter sets of one access unit as the track's configuration.
func (t *Sampler) setHEVC(params []byte) bool {
	var vps, sps, pps [][]byte
	for p := params; len(p) > 0; {
		n := binary.BigEndian.Uint32(p)
		nal := p[4 : 4+n]
		switch kind, _ := fmp4.HEVCNALType(nal); kind {
		case fmp4.HEVCVPS:
			vps = append(vps, nal)
		case fmp4.HEVCSPS:
			sps = append(sps, nal)
		default:
			pps = append(pps, nal)
		}
		p = p[4+n:]
	}
	data, codec, err := fmp4.HEVCInit(t.pid, t.language, vps, sps, pps)
	if err != nil {
		return false
	}
	t.lastParams = append(t.lastParams[:0], params...)
	t.setConfig(data, codec)
	return true
}

// convertMPEGVideo keeps the picture as it is, and reads the headers before its first slice.
func (t *Sampler) convertMPEGVideo(data []byte, s *Sample) bool {
	t.buf = append(t.buf, data...)
	t.params = t.params[:0]
	var h mpegHeaders
	for {
		i := bytes.Index(data, startCode)
		if i < 0 || len(data) < i+len(startCode)+1 {
			break
		}
		part := data[i:]
		data = part[len(startCode):]
		if code := data[0]; code != fmp4.MPEGPicture && code <= fmp4.MPEGLastSlice {
			break
		}
		h.take(part)
	}
	s.RAP = h.sequence != nil && h.intra
	s.Uneven = h.repeated
	if h.sequence == nil {
		return true
	}
	for _, part := range [][]byte{h.sequence, h.extension, h.display} {
		t.addParams(part)
	}
	if !bytes.Equal(t.params, t.lastParams) && !t.setMPEGVideo(h) {
		s.RAP = false
		s.Reason |= segment.ReasonSyntax
	}
	return true
}

func (t *Sampler) setMPEGVideo(h mpegHeaders) bool {
	data, codec, err := fmp4.MPEGVideoInit(t.pid, t.language, h.sequence, h.extension, h.display)
	if err != nil {
		return false
	}
	t.lastParams = append(t.lastParams[:0], t.params...)
	t.setConfig(data, codec)
	return true
}

// mpegHeaders are what precedes the first slice of a picture of MPEG video (ISO/IEC 13818-2, 6.2).
type mpegHeaders struct {
	sequence, extension, display []byte // with their start codes, each as long as may be needed of it
	intra                        bool   // the picture, or the first field of it, is an I picture
	repeated                     bool   // repeat_first_field
}

// take reads the header that stands at the front of b, which goes on to the end of the access unit.
func (h *mpegHeaders) take(b []byte) {
	const most = 12 // of any of the three
	head := b[:min(len(b), most)]
	switch {
	case b[3] == fmp4.MPEGSequence:
		h.sequence = head
	case b[3] == fmp4.MPEGPicture && len(b) > 5:
		h.intra = b[5]>>3&7 == 1
	case b[3] != fmp4.MPEGExtension || len(b) < 9:
	case b[4]>>4 == fmp4.MPEGSequenceExtension && h.sequence != nil:
		h.extension = head
	case b[4]>>4 == fmp4.MPEGDisplayExtension && h.extension != nil:
		h.display = head
	case b[4]>>4 == fmp4.MPEGPictureExtension:
		h.repeated = b[7]&2 != 0
	}
}
