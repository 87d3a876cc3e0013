package mpegts

import "fmt"

// Descriptor tags that say what a stream is (H.222.0, 2.6; ETSI EN 300 468, 6.1).
const (
	tagRegistration = 0x05
	tagLanguage     = 0x0A
	tagTeletext     = 0x56
	tagSubtitles    = 0x59
	tagAC3          = 0x6A
	tagEAC3         = 0x7A
)

const streamTypePrivatePES = 0x06

// newStream describes an elementary stream by what the PMT says of it.
func newStream(streamType uint8, pid uint16, descriptors []byte) Stream {
	s := Stream{PID: pid, StreamType: streamType, Name: streamTypeName(streamType)}
	switch streamType {
	case 0x01, 0x02:
		s.Codec = CodecMPEGVideo
	case 0x03, 0x04:
		s.Codec = CodecMPEGAudio
	case 0x0F:
		s.Codec = CodecAAC
	case 0x11:
		s.Codec = CodecLATM
	case 0x1B:
		s.Codec = CodecH264
	case 0x81:
		s.Codec = CodecAC3
	case 0x87:
		s.Codec = CodecEAC3
	case 0x24:
		s.Codec = CodecHEVC
	case streamTypeMetadata:
		s.Codec = CodecMetadata
	case streamTypeCue:
		s.Codec = CodecSCTE35
	}
	for b := descriptors; len(b) >= 2; {
		n := int(b[1])
		if 2+n > len(b) {
			break
		}
		s.describe(b[0], b[2:2+n])
		b = b[2+n:]
	}
	switch {
	case s.Codec.Data():
		s.Descriptors = configuring(descriptors)
	case s.Codec != CodecNone && !s.Codec.Video():
		s.Role = role(descriptors)
		if s.Language == "" {
			s.Language = supplementaryLanguage(descriptors)
		}
	}
	return s
}

func (s *Stream) describe(tag uint8, body []byte) {
	if tag == tagLanguage {
		s.describeLanguage(body)
		return
	}
	s.describeAudio(tag, body)
	s.describeData(tag, body)
	// format_identifier (H.222.0, 2.6.8)
	if s.StreamType == streamTypePrivatePES && tag == tagRegistration && len(body) >= 4 && string(body[:4]) == "HEVC" {
		s.Codec, s.Name = CodecHEVC, "HEVC"
	}
}

// registered gives the format_identifier of the first registration descriptor (H.222.0, 2.6.8), or "".
func registered(descriptors []byte) string {
	for b := descriptors; len(b) >= 2 && 2+int(b[1]) <= len(b); b = b[2+int(b[1]):] {
		if b[0] == tagRegistration && b[1] >= 4 {
			return string(b[2:6])
		}
	}
	return ""
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// streamTypeName names a stream_type for people (H.222.0, table 2-34, and what ATSC, SCTE and DVB added).
func streamTypeName(t uint8) string {
	switch t {
	case 0x01:
		return "MPEG-1 video"
	case 0x02:
		return "MPEG-2 video"
	case 0x03:
		return "MPEG-1 audio"
	case 0x04:
		return "MPEG-2 audio"
	case 0x05:
		return "private sections"
	case streamTypePrivatePES:
		return "private PES"
	case 0x0B, 0x0C, 0x0D:
		return "DSM-CC"
	case 0x0F:
		return "AAC (ADTS)"
	case 0x10:
		return "MPEG-4 video"
	case 0x11:
		return "AAC (LATM)"
	case 0x15:
		return "timed metadata"
	case 0x1B:
		return "H.264"
	case 0x1C:
		return "AAC (raw)"
	case 0x20:
		return "H.264 MVC"
	case 0x21:
		return "JPEG 2000"
	case 0x24:
		return "HEVC"
	case 0x2D, 0x2E:
		return "MPEG-H 3D Audio"
	case 0x33:
		return "VVC"
	case 0x81:
		return "AC-3"
	case 0x83:
		return "TrueHD"
	case 0x85:
		return "DTS-HD"
	case 0x86:
		return "SCTE-35"
	case 0x87:
		return "E-AC-3"
	case 0x8A:
		return "DTS"
	}
	return fmt.Sprintf("stream type 0x%02X", t)
}
