package mpegts

import "time"

// Codec names what an elementary stream carries, as far as this package can frame it.
type Codec uint8

// Codecs that are framed into access units. Others are announced by stream type and skipped.
const (
	CodecNone      Codec = iota
	CodecH264            // stream_type 0x1B, ISO/IEC 14496-10 Annex B
	CodecAAC             // stream_type 0x0F, ADTS
	CodecMPEGAudio       // stream_type 0x03 and 0x04, MPEG-1/2 layer I-III
	CodecAC3             // stream_type 0x81, or 0x06 with a descriptor
	CodecLATM            // stream_type 0x11, AAC in LATM with LOAS
	CodecOpus            // stream_type 0x06 with registration and channel configuration
	CodecEAC3            // stream_type 0x87 and 0x84, or 0x06 with a descriptor; also AC-3 with further substreams
	CodecHEVC            // stream_type 0x24, ITU-T H.265 Annex B
	CodecMPEGVideo       // stream_type 0x01 and 0x02, ISO/IEC 11172-2 and 13818-2

	// Data: a unit is a PES packet with its header, or a section.
	CodecDVBSubtitles // stream_type 0x06 with a subtitling_descriptor
	CodecTeletext     // stream_type 0x06 with a teletext_descriptor
	CodecID3          // stream_type 0x15 with a metadata_descriptor, or 0x06 with registration
	CodecKLV          // the same
	CodecMetadata     // any other of stream_type 0x15
	CodecSCTE35       // stream_type 0x86, sections
)

// Video reports whether the codec is of a video track.
func (c Codec) Video() bool { return c == CodecH264 || c == CodecHEVC || c == CodecMPEGVideo }

// Damage is what is known to be wrong with one access unit, as a set of bits.
type Damage uint16

// Reasons of damage (format.md, loss evidence).
const (
	DamageContinuity Damage = 1 << iota // packets of the PID are missing inside or at an edge of the unit
	DamageTransport                     // transport_error_indicator
	DamageScrambled                     // transport_scrambling_control is not 0
	DamagePESLength                     // the PES ended short of or beyond PES_packet_length
	DamageSyntax                        // the unit's own headers do not parse or do not chain
	DamageReceive                       // the kernel dropped datagrams while it was received
	DamageSequence                      // datagrams are missing by the sequence of the transport (RTP, SRT)
	DamageRate                          // packets are missing by the constant rate of the multiplex
)

// AccessUnit is one coded picture (both fields of it) or one audio frame, framed on the elementary stream; of a data stream,
// a PES packet or section, or, without Data and with Lost, the news that there may have been some.
//
// PTS and DTS are raw 33-bit values of the 90 kHz clock; DTS equals PTS where the stream carries none.
// For the n-th audio frame that begins in a PES, PTS is already advanced by n frame durations.
type AccessUnit struct {
	PID    uint16
	PTS    int64
	DTS    int64
	HasPTS bool // false: neither the PES nor a frame before it gave a time; the packager decides
	// Order tells which of two units of different PIDs came first: it is the packet, counted over all PIDs, in which the
	// beginning of the unit showed, and of a unit of data its end.
	Order uint64
	// Arrived is the monotonic time at which its beginning came, as SetNow told it.
	Arrived time.Duration
	// Data is Annex B for H.264 and HEVC, start codes and all for MPEG video, the ADTS frame with its header for AAC, the
	// whole frame for MPEG audio (and of those two, as some streams announce the one and send the other, whichever it is),
	// the syncframes of six blocks with those of all substreams for AC-3 and E-AC-3, a raw_data_block for LATM, the packet
	// without its control header for Opus, the PES packet or section as it came for data.
	// It is valid only during the call that delivers it, as is Config.
	Data   []byte
	Config []byte // AudioSpecificConfig of a unit from LATM
	Damage Damage
	// Hole is where in the Data of a damaged picture the first bytes are missing; 0: that is not known, or not so.
	Hole int
	// Lost says that at least one access unit before this one may be missing altogether: packets of the PID were
	// lost between this unit and the one delivered before it. LostReason says how it is known.
	Lost       bool
	LostReason Damage
	// Discontinuity says that the source announced a jump of its clock, or a splice, since the unit before
	// (discontinuity_indicator on the PID or on the PCR PID). It means nothing without a step of the times.
	Discontinuity bool
	// Samples and Rate are the frame's length in samples and its sample rate (audio only).
	Samples int
	Rate    int
}

// Stream is one elementary stream of the program map in force.
type Stream struct {
	PID        uint16
	StreamType uint8
	Codec      Codec  // CodecNone: announced, not framed
	Language   string // ISO 639-2 code of the ISO_639_language_descriptor, or ""
	AudioType  uint8  // of the same: 1 clean effects, 2 for the hard of hearing, 3 commentary for the blind; 0 not said
	Role       Role   // of sound; "": the programme's own
	Channels   uint8  // channel_config_code of Opus
	// Descriptors are those of a data stream that say how it is to be read, as they stand in the map.
	Descriptors string
	Name        string // a person's name for StreamType, for the log and the API
}

// Program is a program map that came into force.
type Program struct {
	Number  uint16
	Version uint8
	PMTPID  uint16
	PCRPID  uint16
	Streams []Stream // by PID
}

// Handler receives what the demuxer finds, in the order of the packets that completed it.
type Handler interface {
	// Program is called when a program map comes into force, before any access unit under it.
	Program(p Program)
	// AccessUnit is called for each unit; u and u.Data are valid only during the call.
	AccessUnit(u *AccessUnit)
}
