package witness

// stream is one elementary stream: its bytes that are not framed yet, and the times that its PES packets gave.
// Offsets count from the first byte of the elementary stream that was seen.
type stream struct {
	pid    uint16
	framer framer

	begun   bool
	buf     []byte
	base    int64  // offset of buf[0]
	marks   []mark // of PES packets in which no unit has begun yet
	now     mark   // of the PES in which the last unit began
	timed   bool   // now is set
	frames  int64  // units that began in that PES
	untimed uint64
}

// mark is the time of the first unit that begins at or after an offset.
type mark struct{ at, pts, dts int64 }

// framer cuts an elementary stream into units.
type framer interface {
	// next gives the first unit of b, the same bytes as before with more behind them until a unit was given; ok is
	// false while it does not know where the unit ends.
	next(b []byte) (f frame, ok bool)
}

// frame is where a unit lies. rate is 0 for video; an audio frame lasts samples/rate seconds.
type frame struct {
	begin, end    int
	hash          Hash
	samples, rate int64
}

// payload takes the payload of one packet and appends the units that it ends.
func (s *stream) payload(out []Unit, b []byte, start bool) []Unit {
	if start {
		body, m, ok := pesHeader(b)
		if !ok {
			s.begun = false
			return out
		}
		if m.pts >= 0 {
			m.at = s.base + int64(len(s.buf))
			s.marks = append(s.marks, m)
		}
		s.begun, b = true, body
	}
	if !s.begun {
		return out
	}
	s.buf = append(s.buf, b...)
	for {
		f, ok := s.framer.next(s.buf)
		if !ok {
			return out
		}
		if dts, ok := s.time(f); ok {
			out = append(out, Unit{PID: s.pid, DTS: dts, Hash: f.hash})
		} else {
			s.untimed++
		}
		s.buf = append(s.buf[:0], s.buf[f.end:]...)
		s.base += int64(f.end)
	}
}

// time gives a unit the time of the last PES that began at or before it; a further audio frame of the same PES comes as
// much later as the frames between last.
func (s *stream) time(f frame) (int64, bool) {
	for len(s.marks) > 0 && s.marks[0].at <= s.base+int64(f.begin) {
		s.now, s.timed, s.frames = s.marks[0], true, 0
		s.marks = s.marks[1:]
	}
	n := s.frames
	s.frames++
	switch {
	case !s.timed:
		return 0, false
	case f.rate > 0:
		return (s.now.pts + n*f.samples*90000/f.rate) & (1<<33 - 1), true
	case n > 0:
		return 0, false
	}
	return s.now.dts, true
}

func (s *stream) takeUntimed() uint64 {
	n := s.untimed
	s.untimed = 0
	return n
}

// pesHeader reads a PES header (H.222.0, 2.4.3.6); pts is -1 where it has none.
func pesHeader(b []byte) (body []byte, m mark, ok bool) {
	if len(b) < 9 || b[0] != 0 || b[1] != 0 || b[2] != 1 || b[6]&0xC0 != 0x80 || len(b) < 9+int(b[8]) {
		return nil, m, false
	}
	m = mark{pts: -1, dts: -1}
	if b[7]&0x80 != 0 && b[8] >= 5 {
		m.pts = stamp(b[9:])
		m.dts = m.pts
	}
	if b[7]&0xC0 == 0xC0 && b[8] >= 10 {
		m.dts = stamp(b[14:])
	}
	return b[9+int(b[8]):], m, true
}

func stamp(b []byte) int64 {
	return int64(b[0]>>1&7)<<30 | int64(b[1])<<22 | int64(b[2]>>1)<<15 | int64(b[3])<<7 | int64(b[4]>>1)
}
