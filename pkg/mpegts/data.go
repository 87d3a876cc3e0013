package mpegts

import (
	"encoding/binary"
	"slices"
)

// Descriptor tags of data streams (H.222.0, 2.6; ETSI EN 300 468, 6.1; SCTE 35, 8.2).
const (
	tagMetadata    = 0x26
	tagVBITeletext = 0x46
	tagCue         = 0x8A
)

const (
	streamTypeMetadata = 0x15 // in PES (H.222.0, 2.12)
	streamTypeCue      = 0x86 // SCTE 35, 8.1

	cueTable = 0xFC
	// maxPrivateSection bounds a private section, header included (H.222.0, 2.4.4.11).
	maxPrivateSection = 4096
	// maxDataPES is the longest PES with a length. One without a length is not believed beyond it.
	maxDataPES = 6 + 1<<16
)

// Data reports whether the codec is of a data stream, whose units are whole PES packets or sections, as they came.
func (c Codec) Data() bool {
	switch c {
	case CodecDVBSubtitles, CodecTeletext, CodecID3, CodecKLV, CodecMetadata, CodecSCTE35:
		return true
	}
	return false
}

// describeData tells data by a descriptor.
func (s *Stream) describeData(tag uint8, body []byte) {
	switch s.StreamType {
	case streamTypeMetadata:
		if tag == tagMetadata {
			s.describeMetadata(body)
		}
	case streamTypePrivatePES:
		switch tag {
		case tagTeletext, tagVBITeletext:
			s.is(CodecTeletext, "DVB teletext")
			s.subtitled(body)
		case tagSubtitles:
			s.is(CodecDVBSubtitles, "DVB subtitles")
			s.subtitled(body)
		case tagRegistration:
			if len(body) >= 4 {
				s.registerData(string(body[:4]))
			}
		}
	}
}

// subtitled takes the language of the first entry of a teletext or subtitling descriptor (EN 300 468, 6.2.41, 6.2.43).
func (s *Stream) subtitled(body []byte) {
	if s.Codec.Data() && s.Language == "" {
		s.Language = language(body)
	}
}

func (s *Stream) registerData(format string) {
	switch format {
	case "KLVA":
		s.is(CodecKLV, "KLV")
	case "ID3 ":
		s.is(CodecID3, "ID3")
	}
}

// describeMetadata goes by the metadata_format_identifier (H.222.0, 2.6.60).
func (s *Stream) describeMetadata(body []byte) {
	if len(body) < 2 {
		return
	}
	application := binary.BigEndian.Uint16(body)
	if body = body[2:]; application == 0xFFFF && len(body) >= 4 {
		body = body[4:]
	}
	if len(body) < 5 || body[0] != 0xFF {
		return
	}
	switch string(body[1:5]) {
	case "KLVA":
		s.Codec, s.Name = CodecKLV, "KLV"
	case "ID3 ":
		s.Codec, s.Name = CodecID3, "ID3"
	}
}

// configuring gives those descriptors that say how a data stream is to be read: the rest may change at any time.
func configuring(descriptors []byte) string {
	var out []byte
	for b := descriptors; len(b) >= 2 && 2+int(b[1]) <= len(b); b = b[2+int(b[1]):] {
		switch b[0] {
		case tagRegistration, tagLanguage, tagMetadata, tagVBITeletext, tagTeletext, tagSubtitles, tagCue:
			out = append(out, b[:2+int(b[1])]...)
		}
	}
	return string(out)
}

// limitStreams takes the streams that are too many off the map, so that what is announced as recorded is. Pictures go before
// sound: they say where segments begin.
func limitStreams(streams []Stream, most int) {
	limit := func(of func(Codec) bool, room int) (left int) {
		for i := range streams {
			s := &streams[i]
			if !of(s.Codec) {
				continue
			}
			if room--; room < 0 {
				s.Codec, s.Descriptors = CodecNone, ""
				s.Name += ", beyond those that are recorded"
			}
		}
		return max(room, 0)
	}
	limit(Codec.Data, most)
	limit(Codec.Audio, limit(Codec.Video, most))
}

// dataUnits delivers the units of a data stream. A unit has the place at which it ended, and a hole the place at which it
// was found: what waits for a PES that takes long, or until a silent stream shows its next, would be known too late.
type dataUnits struct {
	out *output
	buf []byte // the open unit
}

func (u *dataUnits) deliver(s unitStart, data []byte, damage Damage) {
	s.order = u.out.d.stats.Packets
	u.out.deliver(s, data, damage, 0, 0)
}

// hole tells at once that units may be missing. Of a scrambled stream nothing is: nobody could have read it.
func (u *dataUnits) hole(reason Damage) {
	if reason == DamageScrambled {
		return
	}
	o := u.out
	o.lose(reason)
	s := o.begun()
	o.d.stats.LostBefore++
	o.d.unit = AccessUnit{
		PID: o.pid, Order: s.order, Arrived: s.arrived, Lost: true, LostReason: s.lostReason, Discontinuity: s.discontinuity,
	}
	o.d.h.AccessUnit(&o.d.unit)
}

// pesFramer makes a unit of each PES, header included.
type pesFramer struct {
	dataUnits
	header *[]byte // of the PES at hand
	open   bool
	start  unitStart
}

func (f *pesFramer) pes(m mark) {
	if f.open { // it had no length, and ends where the next begins
		f.end(0)
	}
	f.open, f.start = true, f.out.begun()
	f.start.pts, f.start.dts, f.start.hasPTS = m.pts, m.dts, m.hasPTS
	f.buf = append(f.buf[:0], *f.header...)
}

func (f *pesFramer) append(b []byte, complete bool) {
	switch {
	case !f.open:
		if len(b) > 0 {
			f.hole(DamageContinuity) // the remains of one whose beginning was not seen
		}
	case len(f.buf)+len(b) > maxDataPES:
		f.out.d.stats.SyntaxErrors++
		f.lose(DamageSyntax)
	default:
		if f.buf = append(f.buf, b...); complete {
			f.end(0)
		}
	}
}

func (f *pesFramer) end(damage Damage) {
	f.open = false
	f.deliver(f.start, f.buf, damage)
}

func (f *pesFramer) lose(reason Damage) {
	if f.open {
		f.end(reason)
	}
	f.hole(reason)
}

func (f *pesFramer) flush() {
	if f.open { // without a length, or it would have ended
		f.end(DamagePESLength)
	}
}

// sectionFramer makes a unit of each section of a stream that has no PES (H.222.0, 2.4.4.11).
type sectionFramer struct {
	dataUnits
	open  bool
	start unitStart
}

func (f *sectionFramer) packet(b []byte, pusi bool) {
	if !pusi {
		f.rest(b)
		return
	}
	pointer := 0
	if len(b) > 0 {
		pointer = int(b[0])
	}
	if 1+pointer > len(b) {
		f.wrong()
		return
	}
	if pointer > 0 {
		f.rest(b[1 : 1+pointer])
	}
	if f.open && len(f.buf) > 0 { // another begins where this one is not complete
		f.wrong()
	}
	f.open, f.buf = true, f.buf[:0]
	f.take(b[1+pointer:])
}

// rest takes what goes on with a section.
func (f *sectionFramer) rest(b []byte) {
	switch {
	case f.open:
		f.take(b)
	case len(b) > 0 && b[0] != 0xFF:
		f.hole(DamageContinuity)
	}
}

// take appends to the open section and delivers each one that is complete.
func (f *sectionFramer) take(b []byte) {
	if len(f.buf) == 0 {
		f.start = f.out.begun()
	}
	f.buf = append(f.buf, b...)
	at := 0
	for f.open {
		s := f.buf[at:]
		if len(s) > 0 && s[0] == 0xFF { // stuffing
			f.open, at = false, len(f.buf)
			break
		}
		if len(s) < sectionHeader {
			break
		}
		n := sectionHeader + int(binary.BigEndian.Uint16(s[1:])&0x0FFF)
		if n > maxPrivateSection {
			f.wrong()
			return
		}
		if len(s) < n {
			break
		}
		damage := Damage(0)
		if s[0] == cueTable && crc32(s[:n]) != 0 {
			f.out.d.stats.SectionErrors++
			damage = DamageSyntax
		}
		f.deliver(f.start, s[:n], damage)
		f.start = f.out.begun()
		at += n
	}
	f.buf = slices.Delete(f.buf, 0, at)
}

// wrong gives up what does not parse.
func (f *sectionFramer) wrong() {
	f.out.d.stats.SectionErrors++
	f.lose(DamageSyntax)
}

func (f *sectionFramer) lose(reason Damage) {
	if f.open && len(f.buf) > 0 {
		f.deliver(f.start, f.buf, reason)
	}
	f.open, f.buf = false, f.buf[:0]
	f.hole(reason)
}

func (f *sectionFramer) flush() {
	if f.open && len(f.buf) > 0 {
		f.deliver(f.start, f.buf, DamagePESLength)
	}
	f.open, f.buf = false, f.buf[:0]
}

// Sections have no PES.
func (f *sectionFramer) pes(mark)            {}
func (f *sectionFramer) append([]byte, bool) {}

// newData makes the framer of a data stream.
func newData(e *stream, c Codec) framer {
	if c == CodecSCTE35 {
		f := &sectionFramer{dataUnits: dataUnits{out: &e.out}}
		e.sections = f
		return f
	}
	return &pesFramer{dataUnits: dataUnits{out: &e.out}, header: &e.header}
}
