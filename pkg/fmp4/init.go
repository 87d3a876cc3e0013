package fmp4

import (
	"fmt"

	"github.com/twinreel/twinreel/pkg/timeline"
)

// Sample flags (ISO/IEC 14496-12, 8.8.3.1).
const (
	// FlagsSync: depends on no other sample, a decoder may start here.
	FlagsSync uint32 = 0x0200_0000
	// FlagsNonSync: depends on others.
	FlagsNonSync uint32 = 0x0101_0000
)

// track is what an init segment says about one track.
type track struct {
	pid           uint16
	language      string
	video, data   bool
	width, height int
	aspect        aspect
	sampleEntry   func(w *boxes)
}

// AACConfig is what an ADTS header says (ISO/IEC 14496-3, 1.A.2.2.1).
type AACConfig struct {
	ObjectType     uint8 // 1 Main, 2 LC, 3 SSR, 4 LTP
	FrequencyIndex uint8 // 0 to 12
	Channels       uint8 // channel_configuration, 1 to 7; 0 is for AACConfigInit, with what the frames tell
}

var aacRates = [...]int{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}

// mpeg4Audio is the objectTypeIndication of AAC (ISO/IEC 14496-1, 7.2.6.6).
const mpeg4Audio = 0x40

// AACInit returns the init segment of an AAC track and its RFC 6381 codec string.
func AACInit(pid uint16, language string, c AACConfig) ([]byte, string, error) {
	if c.ObjectType < 1 || c.ObjectType > 4 || int(c.FrequencyIndex) >= len(aacRates) || c.Channels < 1 || c.Channels > 7 {
		return nil, "", fmt.Errorf("build AAC init segment of PID %d: configuration %+v does not exist", pid, c)
	}
	// AudioSpecificConfig (14496-3, 1.6.2.1): 5 bits object type, 4 bits frequency, 4 bits channels, 3 bits zero.
	specific := []byte{
		c.ObjectType<<3 | c.FrequencyIndex>>1,
		c.FrequencyIndex<<7 | c.Channels<<3,
	}
	channels := int(c.Channels)
	if c.Channels == 7 {
		channels = 8
	}
	return initSegment(track{pid: pid, language: language, sampleEntry: func(w *boxes) {
		w.mp4a(pid, channels, aacRates[c.FrequencyIndex], mpeg4Audio, specific)
	}}), fmt.Sprintf("mp4a.40.%d", c.ObjectType), nil
}

// MPEGAudioConfig is what an MPEG-1/2 audio header says (ISO/IEC 11172-3, 2.4.2.3).
type MPEGAudioConfig struct {
	Rate     int
	Channels int
	LowRate  bool // ISO/IEC 13818-3: half the sampling rates of MPEG-1
}

// MPEGAudioInit returns the init segment of an MPEG audio track, layer I to III, and its RFC 6381 codec string.
func MPEGAudioInit(pid uint16, language string, c MPEGAudioConfig) ([]byte, string, error) {
	if c.Rate < 8000 || c.Rate > 48000 || c.Channels < 1 || c.Channels > 2 {
		return nil, "", fmt.Errorf("build MPEG audio init segment of PID %d: configuration %+v does not exist", pid, c)
	}
	object, codec := byte(0x6B), "mp4a.6B"
	if c.LowRate {
		object, codec = 0x69, "mp4a.69"
	}
	return initSegment(track{pid: pid, language: language, sampleEntry: func(w *boxes) {
		w.mp4a(pid, c.Channels, c.Rate, object, nil)
	}}), codec, nil
}

// H264Init returns the init segment of an H.264 track and its RFC 6381 codec string. Parameter sets are NAL units
// without start code; they are sorted by id, and of two with one id the last counts.
func H264Init(pid uint16, language string, sps, pps [][]byte) ([]byte, string, error) {
	set, err := newParameterSets(sps, pps)
	if err != nil {
		return nil, "", fmt.Errorf("build H.264 init segment of PID %d: %w", pid, err)
	}
	first := set.sps[0].nal
	t := track{pid: pid, language: language, video: true, width: set.info.Width, height: set.info.Height, aspect: set.info.Aspect.of(set.info.Width)}
	t.sampleEntry = func(w *boxes) {
		w.visual("avc1", t, func() {
			w.box("avcC", func() { set.avcC(w) })
		})
	}
	return initSegment(t), fmt.Sprintf("avc1.%02x%02x%02x", first[1], first[2], first[3]), nil
}

// visual writes a video sample entry (ISO/IEC 14496-12, 12.1.3) with its decoder configuration and, where pixels are not
// square, their shape (12.1.4).
func (w *boxes) visual(name string, t track, config func()) {
	w.box(name, func() {
		w.zero(6)
		w.u16(1) // data_reference_index
		w.zero(16)
		w.u16(uint16(t.width))
		w.u16(uint16(t.height))
		w.u32(72 << 16) // resolution, fixed
		w.u32(72 << 16)
		w.u32(0)
		w.u16(1) // frame_count
		w.zero(32)
		w.u16(24)     // depth
		w.u16(0xFFFF) // pre_defined
		config()
		if t.aspect != (aspect{}) {
			w.box("pasp", func() {
				w.u32(uint32(t.aspect.wide))
				w.u32(uint32(t.aspect.high))
			})
		}
	})
}

// initSegment writes ftyp and moov of one track.
func initSegment(t track) []byte {
	w := &boxes{b: make([]byte, 0, 1024)}
	w.box("ftyp", func() {
		w.str("iso6")
		w.u32(0)
		w.str("iso6mp41")
	})
	w.box("moov", func() {
		w.full("mvhd", 0, 0, func() {
			w.zero(8) // creation, modification
			w.u32(uint32(timeline.TicksPerSecond))
			w.u32(0)           // duration
			w.u32(0x0001_0000) // rate
			w.u16(0x0100)      // volume
			w.zero(10)
			w.matrix()
			w.zero(24)
			w.u32(0xFFFF_FFFF) // next_track_ID: says nothing about what other tracks there are
		})
		w.trak(t)
		w.box("mvex", func() {
			w.full("trex", 0, 0, func() {
				w.u32(uint32(t.pid))
				w.u32(1) // sample description
				w.u32(0)
				w.u32(0)
				if t.video {
					w.u32(FlagsNonSync)
				} else {
					w.u32(FlagsSync)
				}
			})
		})
	})
	return w.b
}

func (w *boxes) trak(t track) {
	w.box("trak", func() {
		w.full("tkhd", 0, 3, func() { // enabled, in movie
			w.zero(8)
			w.u32(uint32(t.pid))
			w.zero(4 + 4 + 8) // reserved, duration, reserved
			w.zero(4)         // layer, alternate group
			if t.video || t.data {
				w.u16(0) // volume
			} else {
				w.u16(0x0100)
			}
			w.u16(0)
			w.matrix()
			w.u32(t.aspect.shown(t.width)) // not how many pixels there are: browsers go by it
			w.u32(uint32(t.height) << 16)
		})
		w.box("mdia", func() {
			w.full("mdhd", 0, 0, func() {
				w.zero(8)
				w.u32(uint32(timeline.TicksPerSecond))
				w.u32(0)
				w.u16(packLanguage(t.language))
				w.u16(0)
			})
			w.full("hdlr", 0, 0, func() {
				w.u32(0)
				switch {
				case t.video:
					w.str("vide")
				case t.data:
					w.str("meta")
				default:
					w.str("soun")
				}
				w.zero(12)
				w.u8(0) // name
			})
			w.box("minf", func() {
				switch {
				case t.video:
					w.full("vmhd", 0, 1, func() { w.zero(8) })
				case t.data:
					w.full("nmhd", 0, 0, func() {})
				default:
					w.full("smhd", 0, 0, func() { w.zero(4) })
				}
				w.box("dinf", func() {
					w.full("dref", 0, 0, func() {
						w.u32(1)
						w.full("url ", 0, 1, func() {}) // in this file
					})
				})
				w.box("stbl", func() {
					w.full("stsd", 0, 0, func() {
						w.u32(1)
						t.sampleEntry(w)
					})
					w.full("stts", 0, 0, func() { w.u32(0) })
					w.full("stsc", 0, 0, func() { w.u32(0) })
					w.full("stsz", 0, 0, func() { w.zero(8) })
					w.full("stco", 0, 0, func() { w.u32(0) })
				})
			})
		})
	})
}

// audioEntry writes an audio sample entry (ISO/IEC 14496-12, 12.2.3) with what the codec adds.
func (w *boxes) audioEntry(name string, channels, rate int, codec func()) {
	w.box(name, func() {
		w.zero(6)
		w.u16(1) // data_reference_index
		w.zero(8)
		w.u16(uint16(channels))
		w.u16(16) // sample size
		w.zero(4)
		if rate < 1<<16 {
			w.u32(uint32(rate) << 16)
		} else {
			w.u32(0) // does not fit: the decoder's configuration has it
		}
		codec()
	})
}

// mp4a writes an audio sample entry with its ES_Descriptor (ISO/IEC 14496-14, 5.6; 14496-1, 7.2.6).
func (w *boxes) mp4a(pid uint16, channels, rate int, object byte, specific []byte) {
	w.audioEntry("mp4a", channels, rate, func() { w.esds(pid, object, audioStream, specific) })
}

// streamType of a DecoderConfigDescriptor (14496-1, 7.2.6.6.2), behind it upStream 0 and a reserved bit.
const (
	visualStream = 0x04<<2 | 1
	audioStream  = 0x05<<2 | 1
)

// esds writes an ES_Descriptor (14496-1, 7.2.6.5). Its DecoderSpecificInfo, nil for none, has less than 100 bytes.
func (w *boxes) esds(pid uint16, object, stream byte, specific []byte) {
	w.full("esds", 0, 0, func() {
		config := 13
		if specific != nil {
			config += 2 + len(specific)
		}
		w.u8(0x03) // ES_Descriptor
		w.u8(uint8(3 + 2 + config + 3))
		w.u16(pid)
		w.u8(0)
		w.u8(0x04) // DecoderConfigDescriptor
		w.u8(uint8(config))
		w.u8(object)
		w.u8(stream)
		w.zero(3) // buffer size
		w.zero(8) // bit rates: not a property of the configuration
		if specific != nil {
			w.u8(0x05) // DecoderSpecificInfo
			w.u8(uint8(len(specific)))
			w.bytes(specific)
		}
		w.u8(0x06) // SLConfigDescriptor
		w.u8(1)
		w.u8(2) // as MP4 files have it
	})
}

func (w *boxes) matrix() {
	for _, v := range [9]uint32{0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000} {
		w.u32(v)
	}
}

// packLanguage packs an ISO 639-2 code as mdhd wants it; anything else becomes "und".
func packLanguage(s string) uint16 {
	const und = 0x55C4
	if len(s) != 3 {
		return und
	}
	var v uint16
	for _, c := range []byte(s) {
		if c < 'a' || c > 'z' {
			return und
		}
		v = v<<5 | uint16(c-0x60)
	}
	return v
}
