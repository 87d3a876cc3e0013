package mpegts

import (
	"encoding/binary"
	"time"
)

// A framer cuts the payload of one PID's PES into access units.
type framer interface {
	// pes says that a PES begins: what follows in append is its payload.
	pes(m mark)
	// append takes payload; complete says that b ends a PES of known length, and the length holds.
	append(b []byte, complete bool)
	// lose says that bytes are missing here: what is open is delivered damaged, or will be, and framing begins anew
	// with the next PES.
	lose(reason Damage)
	// flush delivers what is open at the end of the stream.
	flush()
}

// mark is the beginning of a PES on the elementary stream.
type mark struct {
	at     int // position in the framer's buffer
	pts    int64
	dts    int64
	hasPTS bool
	used   bool // an access unit has taken the times
	begun  bool // a frame that is the beginning of no unit has begun in it
}

// marks holds the last few PES starts. Two or three are alive but where PES are of some bytes each; the oldest goes
// when there is no room.
type marks struct {
	n   int
	buf [32]mark
}

func (s *marks) add(m mark) {
	if s.n == len(s.buf) {
		copy(s.buf[:], s.buf[1:])
		s.n--
	}
	s.buf[s.n] = m
	s.n++
}

func (s *marks) reset() { s.n = 0 }

// shift accounts for n bytes taken from the front of the buffer.
func (s *marks) shift(n int) {
	for i := range s.buf[:s.n] {
		s.buf[i].at -= n
	}
}

// startsAt reports whether a PES begins at the position.
func (s *marks) startsAt(at int) bool {
	for _, m := range s.buf[:s.n] {
		if m.at == at {
			return true
		}
	}
	return false
}

// timedAt reports whether a PES with a time begins at the position.
func (s *marks) timedAt(at int) bool {
	for _, m := range s.buf[:s.n] {
		if m.at == at && m.hasPTS {
			return true
		}
	}
	return false
}

// begin notes that a frame begins at the position which takes no times.
func (s *marks) begin(at int) {
	for i := s.n - 1; i >= 0; i-- {
		if s.buf[i].at <= at {
			s.buf[i].begun = true
			return
		}
	}
}

// unused returns where the last PES begins, if nothing began in it and its start is still in the buffer.
func (s *marks) unused() (at int, ok bool) {
	if s.n == 0 {
		return 0, false
	}
	m := s.buf[s.n-1]
	return m.at, !m.used && !m.begun && m.at >= 0
}

// take returns the times for a unit that begins at the position: those of the PES in which it begins, if it is the
// first to do so.
func (s *marks) take(at int) (m mark, first bool) {
	k := -1
	for i := range s.buf[:s.n] {
		if s.buf[i].at <= at {
			k = i
		}
	}
	if k < 0 {
		return mark{}, false
	}
	m = s.buf[k]
	s.buf[k].used = true
	s.n = copy(s.buf[:], s.buf[k:s.n]) // no unit begins before this one any more
	return m, !m.used
}

// output delivers the units of one PID and remembers what has to be said with the next of them.
type output struct {
	d             *Demuxer
	pid           uint16
	lost          bool // packets were lost since the last unit began
	lostReason    Damage
	discontinuity bool
	config        []byte // AccessUnit.Config of what is delivered next
	doubt         Damage // of every unit that is delivered now
	refused       string // PIDStats.Refused
	tape          *tape  // nil: nobody wants packets
}

func (o *output) lose(reason Damage) {
	o.lost = true
	o.lostReason |= reason
}

// begun takes what is to be said with a unit that begins now.
func (o *output) begun() (u unitStart) {
	u = unitStart{order: o.d.stats.Packets, arrived: o.d.now, lost: o.lost, lostReason: o.lostReason, discontinuity: o.discontinuity}
	o.lost, o.lostReason, o.discontinuity = false, 0, false
	if o.tape != nil {
		o.tape.began()
	}
	return u
}

// refuse notes why frames are not delivered although they are good; nil: there is no such reason.
func (o *output) refuse(why error) {
	if o.refused == "" && why != nil {
		o.refused = why.Error()
	}
}

// dropped gives back what was taken for a unit that is not delivered after all.
func (o *output) dropped(u unitStart) {
	o.lost = o.lost || u.lost
	o.lostReason |= u.lostReason
	o.discontinuity = o.discontinuity || u.discontinuity
}

// unitStart is what is known of a unit when it begins.
type unitStart struct {
	order         uint64 // AccessUnit.Order
	pts, dts      int64
	hasPTS        bool
	fresh         bool // the time is the PES's own, not counted from it
	arrived       time.Duration
	lost          bool
	lostReason    Damage
	discontinuity bool
	hole          int // AccessUnit.Hole
}

func (o *output) deliver(s unitStart, data []byte, damage Damage, samples, rate int) {
	d := o.d
	o.refused = ""
	damage |= d.suspect | o.doubt
	if o.tape != nil && damage == 0 && s.order >= o.tape.since {
		o.tape.settle()
	}
	d.stats.Units++
	if damage != 0 {
		d.stats.DamagedUnits++
	}
	if s.lost {
		d.stats.LostBefore++
	}
	d.unit = AccessUnit{
		PID: o.pid, PTS: s.pts, DTS: s.dts, HasPTS: s.hasPTS, Order: s.order, Arrived: s.arrived, Data: data, Damage: damage, Hole: s.hole,
		Lost: s.lost, LostReason: s.lostReason, Discontinuity: s.discontinuity, Samples: samples, Rate: rate,
		Config: o.config,
	}
	d.h.AccessUnit(&d.unit)
	d.unit.Data, d.unit.Config = nil, nil
}

type pesState uint8

const (
	pesWaiting pesState = iota // for a payload unit start
	pesHeader                  // header not complete
	pesBody
	pesSkipped // carries no frames, or has ended
)

const (
	pesFixedHeader = 9 // to PES_header_data_length
	pesMaxHeader   = pesFixedHeader + 255
)

// stream is one elementary stream: PES in, access units out.
type stream struct {
	out    output
	framer framer
	state  pesState
	header []byte // what is here of the PES header
	got    int    // payload bytes of the PES so far
	length pesLength

	sections *sectionFramer // instead of PES; nil: PES
	tape     *tape          // nil: nobody wants packets

	hasTime bool
	timed   time.Duration // when the last PES with a time came
}

func (d *Demuxer) newStream(st Stream) *stream {
	e := &stream{out: output{d: d, pid: st.PID}, header: make([]byte, 0, pesMaxHeader)}
	e.length.strict = st.Codec.Data()
	switch st.Codec {
	case CodecH264:
		e.framer = newH264Framer(&e.out, d.opts.MaxUnitBytes)
	case CodecHEVC:
		e.framer = newHEVCFramer(&e.out, d.opts.MaxUnitBytes)
	case CodecMPEGVideo:
		e.framer = newMPEGVideoFramer(&e.out, d.opts.MaxUnitBytes)
	case CodecAAC, CodecMPEGAudio:
		f := newAudioFramer(&e.out, parseAudio)
		f.refuse = refusedAudio
		e.framer = f
	case CodecAC3, CodecEAC3:
		f := newAudioFramer(&e.out, parseAC3)
		f.units = &ac3Units{out: &e.out, alone: st.Codec == CodecAC3, limit: d.opts.MaxUnitBytes}
		e.framer = f
	case CodecOpus:
		e.framer = newAudioFramer(&e.out, parseOpus)
	case CodecLATM:
		f := newAudioFramer(&e.out, parseLOAS)
		f.units = &latmUnits{out: &e.out}
		e.framer = f
	default:
		e.framer = newData(e, st.Codec)
		return e
	}
	if h, ok := d.h.(PacketHandler); ok {
		e.tape = &tape{h: h, pid: st.PID, video: st.Codec.Video()}
		e.out.tape = e.tape
	}
	return e
}

// packet takes the payload of one packet of the PID.
func (e *stream) packet(b []byte, pusi bool) {
	if e.sections != nil {
		e.sections.packet(b, pusi)
		return
	}
	if pusi {
		e.end()
		e.state, e.header = pesHeader, e.header[:0]
	}
	if e.state == pesHeader {
		b = e.takeHeader(b)
	}
	if len(b) == 0 {
		return
	}
	switch e.state {
	case pesBody:
		e.body(b)
	case pesWaiting:
		e.framer.append(b, false) // the remains of a damaged unit
	}
}

// body takes payload of the PES.
func (e *stream) body(b []byte) {
	l := &e.length
	over := 0
	if l.known {
		over = min(max(e.got+len(b)-l.bytes, 0), len(b))
	}
	e.got += len(b)
	if over == 0 {
		e.framer.append(b, l.known && e.got == l.bytes)
		return
	}
	if n := len(b) - over; n > 0 {
		e.framer.append(b[:n], false)
		b = b[n:]
	}
	if l.strict {
		e.fail(DamagePESLength)
		return
	}
	if l.beyond(e.got) {
		e.out.doubt = DamagePESLength
	}
	e.framer.append(b, false)
}

// end closes the PES at the start of the next.
func (e *stream) end() {
	e.out.doubt = 0
	switch {
	case e.state == pesHeader, e.state == pesBody && !e.length.holds(e.got):
		e.fail(DamagePESLength)
	}
}

// fail gives up the PES: what it said of itself does not hold.
func (e *stream) fail(reason Damage) {
	e.out.d.stats.PESErrors++
	e.lose(reason)
}

// skip gives up a PES whose payload cannot be used at all.
func (e *stream) skip(reason Damage) []byte {
	e.fail(reason)
	e.state = pesSkipped
	return nil
}

func (e *stream) lose(reason Damage) {
	if e.tape != nil {
		e.tape.lose(e.out.d.stats.Packets + e.out.d.between)
	}
	e.state = pesWaiting
	e.out.lose(reason)
	e.framer.lose(reason)
	e.out.doubt = 0
}

func (e *stream) flush() {
	e.end()
	e.framer.flush()
	if e.tape != nil {
		e.tape.settle()
	}
	e.state = pesWaiting
}

// takeHeader takes the PES header from the front of b (H.222.0, 2.4.3.6) and returns what is behind it.
func (e *stream) takeHeader(b []byte) []byte {
	need := pesFixedHeader
	for {
		n := max(min(need-len(e.header), len(b)), 0) // 0: the fixed part came with a packet before
		e.header = append(e.header, b[:n]...)
		b = b[n:]
		if len(e.header) < need {
			return nil
		}
		if need > pesFixedHeader {
			break
		}
		h := e.header
		switch {
		case h[0] != 0 || h[1] != 0 || h[2] != 1:
			return e.skip(DamageSyntax)
		case !hasPESHeader(h[3]):
			e.state = pesSkipped
			return nil
		case h[6]&0xC0 != 0x80:
			return e.skip(DamageSyntax)
		case h[6]&0x30 != 0:
			return e.skip(DamageScrambled)
		}
		if need += int(h[8]); need == pesFixedHeader {
			break
		}
	}
	m, ok := parsePESTimes(e.header)
	if !ok {
		e.out.d.stats.PESErrors++ // the payload is good, its time is not known
	}
	if m.hasPTS {
		e.hasTime, e.timed = true, e.out.d.now
	}
	if length := int(binary.BigEndian.Uint16(e.header[4:])); !e.length.begin(length, 6+length-need) {
		return e.skip(DamagePESLength)
	}
	e.state, e.got = pesBody, 0
	e.framer.pes(m)
	if e.tape != nil && e.tape.video && m.hasPTS {
		e.tape.settle() // what the loss had left open has ended with this
	}
	return b
}

// hasPESHeader reports whether a stream_id's PES has the header with flags and times (H.222.0, table 2-21).
func hasPESHeader(id uint8) bool {
	switch id {
	case 0xBC, 0xBE, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF:
		return false
	}
	return true
}

// parsePESTimes reads PTS and DTS; !ok when the header claims times that it does not hold.
func parsePESTimes(h []byte) (m mark, ok bool) {
	switch b := h[pesFixedHeader:]; h[7] >> 6 {
	case 0:
		return m, true
	case 2:
		m.pts, m.hasPTS = parseTime(b, 2)
		m.dts = m.pts
	case 3:
		m.pts, m.hasPTS = parseTime(b, 3)
		if m.hasPTS {
			m.dts, m.hasPTS = parseTime(b[5:], 1)
		}
	}
	if !m.hasPTS {
		return mark{}, false
	}
	return m, true
}

// parseTime reads a 33-bit time in its five bytes, behind the given prefix and with its marker bits.
func parseTime(b []byte, prefix uint8) (int64, bool) {
	if len(b) < 5 || b[0]>>4 != prefix || b[0]&b[2]&b[4]&1 == 0 {
		return 0, false
	}
	return int64(b[0]>>1&7)<<30 | int64(binary.BigEndian.Uint16(b[1:])>>1)<<15 | int64(binary.BigEndian.Uint16(b[3:])>>1), true
}
