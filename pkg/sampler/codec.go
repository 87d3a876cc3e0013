package sampler

import (
	"bytes"
	"encoding/binary"

	"github.com/twinreel/twinreel/pkg/aac"
	"github.com/twinreel/twinreel/pkg/ac3"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Config is a codec configuration: what the init segment says. Immutable.
type Config struct {
	Init  segment.Init
	Codec string // RFC 6381
}

// NewConfig gives the configuration that an init segment says.
func NewConfig(pid uint16, init []byte, codec string) *Config {
	return &Config{Init: segment.Init{PID: pid, Hash: segment.Sum(init), Data: init}, Codec: codec}
}

// Sample is what is known of an access unit as a sample, beside its bytes and times.
type Sample struct {
	Size    uint32
	Nominal uint32         // duration of a frame of sound, rounded down
	RAP     bool           // a decoder may start here
	Uneven  bool           // a picture with repeated fields
	Reason  segment.Reason // what its own headers say against it
	Config  *Config
}

// Sampler makes samples of the access units of one elementary stream. Not for concurrent use.
type Sampler struct {
	pid      uint16
	codec    mpegts.Codec
	language string
	channels uint8 // channel_config_code of Opus
	video    bool

	buf        []byte  // of the samples so far
	cfg        *Config // of the newest sample
	aac        fmp4.AACConfig
	mpeg       fmp4.MPEGAudioConfig
	ac3        ac3.Config
	specific   []byte // AudioSpecificConfig of cfg, where it came with the units
	params     []byte // parameter sets of the access unit at hand
	lastParams []byte // those of cfg
}

// New returns a sampler of an elementary stream of picture or sound.
func New(s mpegts.Stream) *Sampler {
	return &Sampler{pid: s.PID, codec: s.Codec, language: s.Language, channels: s.Channels, video: s.Codec.Video()}
}

// Append appends the access unit to dst in the form that samples have. It reports false for what cannot be a sample.
func (t *Sampler) Append(dst []byte, u *mpegts.AccessUnit) (out []byte, s Sample, ok bool) {
	t.buf = dst
	ok = t.convert(u, &s)
	out, t.buf = t.buf, nil
	return out, s, ok
}

// Offset is PTS - DTS of a sample, by the raw times of an access unit. wrong: they cannot be, and it has none.
func Offset(pts, dts int64) (offset timeline.Ticks, wrong bool) {
	offset = timeline.Unwrap(timeline.Ticks(pts-dts), 0)
	if offset > MaxOffset {
		return 0, true
	}
	return max(offset, 0), false
}

// MaxOffset bounds PTS - DTS.
const MaxOffset = 10 * timeline.TicksPerSecond

func (t *Sampler) convert(u *mpegts.AccessUnit, s *Sample) bool {
	start := len(t.buf)
	ok := false
	switch t.codec {
	case mpegts.CodecH264:
		ok = t.convertH264(u, s)
	case mpegts.CodecHEVC:
		ok = t.convertHEVC(u, s)
	case mpegts.CodecMPEGVideo:
		ok = t.convertMPEGVideo(u.Data, s)
	case mpegts.CodecAAC, mpegts.CodecMPEGAudio:
		ok = t.convertAudio(u, s)
	case mpegts.CodecAC3, mpegts.CodecEAC3:
		ok = t.convertAC3(u)
	case mpegts.CodecLATM:
		ok = t.convertLATM(u)
	case mpegts.CodecOpus:
		ok = t.convertOpus(u.Data)
	}
	if !t.video {
		s.RAP = true
		if u.Rate > 0 {
			s.Nominal = uint32(u.Samples * 90000 / u.Rate)
		}
		ok = ok && s.Nominal > 0
	}
	s.Size = uint32(len(t.buf) - start)
	s.Config = t.cfg
	return ok && s.Size > 0
}

// convertH264 turns Annex B into NAL units with 4 bytes of length before each. All of them stay in the sample, parameter
// sets and delimiters too; zero bytes between them belong to none.
func (t *Sampler) convertH264(u *mpegts.AccessUnit, s *Sample) bool {
	t.params = t.params[:0]
	var sps, pps, idr, recovery, isTorn bool
	for data := u.Data; ; {
		nal, rest := nextNAL(data)
		if nal == nil {
			break
		}
		data = rest
		switch nal[0] & 0x1F {
		case fmp4.NALSPS:
			sps, isTorn = true, isTorn || torn(u, rest)
			t.addParams(nal)
		case fmp4.NALPPS:
			pps, isTorn = true, isTorn || torn(u, rest)
			t.addParams(nal)
		case fmp4.NALIDR:
			idr = true
		case fmp4.NALSEI:
			recovery = recovery || fmp4.RecoveryPointNow(nal)
		}
		t.buf = binary.BigEndian.AppendUint32(t.buf, uint32(len(nal)))
		t.buf = append(t.buf, nal...)
	}
	s.RAP = sps && pps && (idr || recovery)
	if sps && pps && !isTorn && !bytes.Equal(t.params, t.lastParams) && !t.setH264(t.params) {
		s.RAP = false
		s.Reason |= segment.ReasonSyntax
	}
	s.RAP = s.RAP && t.cfg != nil
	return true
}

// torn reports whether the NAL unit before rest may have lost bytes, and then has those of another at its end: a parameter set
// like that is no configuration. Where its end was seen before the hole, it is whole.
func torn(u *mpegts.AccessUnit, rest []byte) bool {
	return u.Hole > 0 && len(u.Data)-len(rest)+len(startCode) > u.Hole
}

func (t *Sampler) addParams(nal []byte) {
	t.params = binary.BigEndian.AppendUint32(t.params, uint32(len(nal)))
	t.params = append(t.params, nal...)
}

// setH264 takes the parameter sets of one access unit as the track's configuration.
func (t *Sampler) setH264(params []byte) bool {
	var sps, pps [][]byte
	for p := params; len(p) > 0; {
		n := binary.BigEndian.Uint32(p)
		nal := p[4 : 4+n]
		if nal[0]&0x1F == fmp4.NALSPS {
			sps = append(sps, nal)
		} else {
			pps = append(pps, nal)
		}
		p = p[4+n:]
	}
	data, codec, err := fmp4.H264Init(t.pid, t.language, sps, pps)
	if err != nil {
		return false
	}
	t.lastParams = append(t.lastParams[:0], params...)
	t.setConfig(data, codec)
	return true
}

// nextNAL returns the first NAL unit of Annex B bytes, without its start code and without zero bytes behind it, and what
// follows it (ITU-T H.264, annex B.1).
func nextNAL(b []byte) (nal, rest []byte) {
	for {
		i := bytes.Index(b, startCode)
		if i < 0 {
			return nil, nil
		}
		b = b[i+len(startCode):]
		end := bytes.Index(b, startCode)
		if end < 0 {
			end = len(b)
		}
		nal = bytes.TrimRight(b[:end], "\x00")
		if len(nal) > 0 {
			return nal, b[end:]
		}
		b = b[end:]
	}
}

var startCode = []byte{0, 0, 1}

// convertAAC takes the ADTS header off (ISO/IEC 14496-3, 1.A.2.2).
func (t *Sampler) convertAAC(u *mpegts.AccessUnit) bool {
	data := u.Data
	if len(data) < 7 || data[0] != 0xFF || data[1]&0xF6 != 0xF0 {
		return false
	}
	c := fmp4.AACConfig{
		ObjectType:     data[2]>>6 + 1,
		FrequencyIndex: data[2] >> 2 & 0x0F,
		Channels:       data[2]&1<<2 | data[3]>>6,
	}
	header := 7
	if data[1]&1 == 0 {
		header = 9 // CRC
	}
	if len(data) <= header {
		return false
	}
	switch {
	case c.Channels == 0:
		if !t.setProgramConfig(u, c, data[header:]) {
			return false
		}
	case t.cfg == nil || c != t.aac:
		init, codec, err := fmp4.AACInit(t.pid, t.language, c)
		if err != nil {
			return false
		}
		t.aac, t.mpeg = c, fmp4.MPEGAudioConfig{}
		t.setConfig(init, codec)
	}
	t.buf = append(t.buf, data[header:]...)
	return true
}

// setProgramConfig takes the configuration of a frame that tells its channels itself, or says nothing of them: then it is
// under the one before. Of a damaged frame what it tells may not be all there.
func (t *Sampler) setProgramConfig(u *mpegts.AccessUnit, c fmp4.AACConfig, block []byte) bool {
	specific, told := aac.ProgramConfig(c.ObjectType, c.FrequencyIndex, block)
	same := t.cfg != nil && c == t.aac
	if same && (!told || u.Damage != 0 || bytes.Equal(specific, t.specific)) {
		return true
	}
	init, codec, err := fmp4.AACConfigInit(t.pid, t.language, specific)
	if err != nil {
		return false
	}
	t.aac, t.mpeg = c, fmp4.MPEGAudioConfig{}
	t.specific = append(t.specific[:0], specific...)
	t.setConfig(init, codec)
	return true
}

// convertMPEGAudio keeps the frame as it is.
func (t *Sampler) convertMPEGAudio(data []byte, s *Sample) bool {
	if len(data) < 4 || data[0] != 0xFF || data[1]&0xE0 != 0xE0 {
		return false
	}
	version, rateIndex := data[1]>>3&3, data[2]>>2&3
	if version == 1 || rateIndex == 3 {
		return false
	}
	c := fmp4.MPEGAudioConfig{Rate: mpegRates[rateIndex], Channels: 2}
	switch version {
	case 2:
		c.Rate, c.LowRate = c.Rate/2, true
	case 0: // MPEG-2.5
		c.Rate, c.LowRate = c.Rate/4, true
	}
	if data[3]>>6 == 3 {
		c.Channels = 1
	}
	if t.cfg == nil || c != t.mpeg {
		init, codec, err := fmp4.MPEGAudioInit(t.pid, t.language, c)
		if err != nil {
			return false
		}
		t.mpeg, t.aac = c, fmp4.AACConfig{}
		t.setConfig(init, codec)
	}
	t.buf = append(t.buf, data...)
	return true
}

var mpegRates = [...]int{44100, 48000, 32000}

func (t *Sampler) setConfig(init []byte, codec string) {
	if c := NewConfig(t.pid, init, codec); t.cfg == nil || t.cfg.Init.Hash != c.Init.Hash {
		t.cfg = c
	}
}
