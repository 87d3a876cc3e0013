package mpegts

import (
	"fmt"
	"strings"
)

// Descriptor tags of audio (H.222.0, 2.6; ETSI EN 300 468, 6.1; ATSC A/52, annexes A and G).
const (
	tagDTS       = 0x7B
	tagExtension = 0x7F
	tagATSCAC3   = 0x81
	tagATSCEAC3  = 0xCC
	// Below tagExtension.
	extensionDTSHD = 0x0E
	extensionAC4   = 0x15
	extensionOpus  = 0x80 // private to whom "Opus" is registered
)

const (
	opusName = "Opus"
	// maxOpusChannels is the last of the codes that say where each channel goes.
	maxOpusChannels = 8
)

// describeLanguage takes the first entry of an ISO_639_language_descriptor.
func (s *Stream) describeLanguage(body []byte) {
	code := language(body)
	if code == "" || s.Language != "" {
		return
	}
	s.Language = code
	if len(body) > 3 {
		s.AudioType = body[3]
	}
}

// language is the ISO 639-2 code that b begins with, in small letters, as containers and players want it, or "".
func language(b []byte) string {
	if len(b) < 3 || !letter(b[0]) || !letter(b[1]) || !letter(b[2]) {
		return ""
	}
	return strings.ToLower(string(b[:3]))
}

// describeAudio tells audio by a descriptor, in PES that are private and with stream types that several bodies use.
func (s *Stream) describeAudio(tag uint8, body []byte) {
	const sddsOrEAC3 = 0x84
	if s.StreamType != streamTypePrivatePES && s.StreamType != sddsOrEAC3 {
		return
	}
	switch tag {
	case tagAC3, tagATSCAC3:
		s.is(CodecAC3, "AC-3")
	case tagEAC3, tagATSCEAC3:
		s.is(CodecEAC3, "E-AC-3")
	case tagDTS:
		s.is(CodecNone, "DTS")
	case tagRegistration:
		if len(body) >= 4 {
			s.register(string(body[:4]))
		}
	case tagExtension:
		if len(body) >= 1 {
			s.extend(body[0], body[1:])
		}
	}
}

// register tells a stream by its format_identifier.
func (s *Stream) register(format string) {
	switch format {
	case "AC-3":
		s.is(CodecAC3, "AC-3")
	case "EAC3":
		s.is(CodecEAC3, "E-AC-3")
	case "AC-4":
		s.is(CodecNone, "AC-4")
	case "DTS1", "DTS2", "DTS3":
		s.is(CodecNone, "DTS")
	case "Opus":
		s.is(CodecNone, opusName)
	case "BSSD":
		s.is(CodecNone, "SMPTE 302M")
	}
}

// extend tells a stream by the tag of an extension descriptor.
func (s *Stream) extend(tag uint8, body []byte) {
	switch tag {
	case extensionOpus:
		if len(body) < 1 || s.Name != opusName {
			return
		}
		if s.Channels = body[0]; s.Channels > maxOpusChannels {
			s.Name = fmt.Sprintf("Opus, channel configuration 0x%02X", s.Channels)
			return
		}
		s.Codec = CodecOpus
	case extensionDTSHD:
		s.is(CodecNone, "DTS-HD")
	case extensionAC4:
		s.is(CodecNone, "AC-4")
	}
}

// is settles what the stream carries, unless another descriptor already has.
func (s *Stream) is(c Codec, name string) {
	if s.Codec == CodecNone {
		s.Codec, s.Name = c, name
	}
}
