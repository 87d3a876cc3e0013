package fmp4

import (
	"encoding/binary"
	"fmt"
)

// Start code values of MPEG-1 and MPEG-2 video (ISO/IEC 13818-2, tables 6-1 and 6-2) that matter to a container.
const (
	MPEGPicture   = 0x00
	MPEGLastSlice = 0xAF // from 0x01 on
	MPEGSequence  = 0xB3
	MPEGExtension = 0xB5

	MPEGSequenceExtension = 1
	MPEGDisplayExtension  = 2
	MPEGPictureExtension  = 8
)

// Object types of MPEG video (ISO/IEC 14496-1, 7.2.6.6.2).
const (
	objectMPEG2Simple  = 0x60
	objectMPEG2Main    = 0x61
	objectMPEG2SNR     = 0x62
	objectMPEG2Spatial = 0x63
	objectMPEG2High    = 0x64
	objectMPEG2422     = 0x65
	objectMPEG1Video   = 0x6A
)

// MPEGVideoInit returns the init segment of an MPEG-1 or MPEG-2 video track and its RFC 6381 codec string. sequence,
// extension and display are sequence_header, sequence_extension (none: MPEG-1) and sequence_display_extension (or none),
// each with its start code.
//
// The quantiser matrices are left out: they are the one thing that may be another in a repeated sequence header (13818-2,
// 6.1.1.6), and a decoder takes them from the samples, each of which that it can start with has them.
func MPEGVideoInit(pid uint16, language string, sequence, extension, display []byte) ([]byte, string, error) {
	wrong := func(what string) ([]byte, string, error) {
		return nil, "", fmt.Errorf("build MPEG video init segment of PID %d: %w: %s", pid, ErrParameterSyntax, what)
	}
	const short = 12 // sequence_header up to the matrices
	if len(sequence) < short || binary.BigEndian.Uint32(sequence) != 0x100|MPEGSequence {
		return wrong("sequence header")
	}
	size := binary.BigEndian.Uint32(sequence[4:])
	width, height := int(size>>20), int(size>>8&0xFFF)
	object := byte(objectMPEG1Video)
	var pixels aspect // not of MPEG-1, which has another table, and is not broadcast
	specific := append([]byte(nil), sequence[:short]...)
	specific[short-1] &^= 3 // load_intra_quantiser_matrix, load_non_intra_quantiser_matrix
	if len(extension) > 0 {
		if len(extension) < 10 || !isMPEGExtension(extension, MPEGSequenceExtension) {
			return wrong("sequence extension")
		}
		v := binary.BigEndian.Uint32(extension[4:]) // 4 bits identifier, 8 profile and level, 1, 2 chroma format, 2 and 2 of the size
		width |= int(v>>15&3) << 12
		height |= int(v>>13&3) << 12
		object = mpegObject(uint8(v>>20), uint8(v>>17&3))
		specific = append(specific, extension[:10]...)
		pixels = mpegAspect(sequence[7]>>4, width, height, nil)
		if len(display) > 0 {
			n := 9 // without colours
			if len(display) > 4 && display[4]&1 == 1 {
				n = 12
			}
			if len(display) < n || !isMPEGExtension(display, MPEGDisplayExtension) {
				return wrong("sequence display extension")
			}
			specific = append(specific, display[:n]...)
			pixels = mpegAspect(sequence[7]>>4, width, height, display[:n])
		}
	}
	if width == 0 || height == 0 {
		return wrong("a picture without a size")
	}
	t := track{pid: pid, language: language, video: true, width: width, height: height, aspect: pixels.of(width)}
	t.sampleEntry = func(w *boxes) {
		w.visual("mp4v", t, func() { w.esds(pid, object, visualStream, specific) })
	}
	return initSegment(t), fmt.Sprintf("mp4v.%02X", object), nil
}

func isMPEGExtension(b []byte, id uint8) bool {
	return binary.BigEndian.Uint32(b) == 0x100|MPEGExtension && b[4]>>4 == id
}

// mpegObject is the object type of a profile_and_level_indication (13818-2, 8.1 and tables 8-2 to 8-4).
func mpegObject(profileAndLevel, chromaFormat uint8) byte {
	if profileAndLevel&0x80 == 0 {
		switch profileAndLevel >> 4 {
		case 5:
			return objectMPEG2Simple
		case 4:
			return objectMPEG2Main
		case 3:
			return objectMPEG2SNR
		case 2:
			return objectMPEG2Spatial
		case 1:
			return objectMPEG2High
		}
	}
	// The escape bit: 4:2:2 profile, or multi-view, whose base view is of the main profile.
	if chromaFormat >= 2 {
		return objectMPEG2422
	}
	return objectMPEG2Main
}
