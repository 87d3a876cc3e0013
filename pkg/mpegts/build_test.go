package mpegts

import "encoding/binary"

// tsBuilder writes transport streams for tests, packet by packet.
type tsBuilder struct {
	data    []byte
	counter map[uint16]uint8
}

func newBuilder() *tsBuilder { return &tsBuilder{counter: make(map[uint16]uint8)} }

// packet writes one packet; a short payload is stuffed by an adaptation field.
func (b *tsBuilder) packet(pid uint16, pusi bool, payload []byte) {
	c := b.counter[pid]
	b.counter[pid] = (c + 1) & 0x0F
	p := []byte{syncByte, byte(pid >> 8), byte(pid), 0x10 | c}
	if pusi {
		p[1] |= 0x40
	}
	if stuff := PacketSize - 4 - len(payload); stuff > 0 {
		p[3] |= 0x20
		p = append(p, byte(stuff-1))
		if stuff > 1 {
			p = append(p, 0)
			for range stuff - 2 {
				p = append(p, 0xFF)
			}
		}
	}
	b.data = append(append(b.data, p...), payload...)
}

// adaptation writes a packet without payload, with the flags of its adaptation field and its continuity counter.
func (b *tsBuilder) adaptation(pid uint16, flags, counter byte) {
	p := []byte{syncByte, byte(pid >> 8), byte(pid), 0x20 | counter, 183, flags}
	for len(p) < PacketSize {
		p = append(p, 0xFF)
	}
	b.data = append(b.data, p...)
}

// payload spreads a payload unit over packets.
func (b *tsBuilder) payload(pid uint16, unit []byte) {
	for first := true; first || len(unit) > 0; first = false {
		n := min(len(unit), PacketSize-4)
		b.packet(pid, first, unit[:n])
		unit = unit[n:]
	}
}

// section writes a PSI section, with its CRC, behind a pointer field.
func (b *tsBuilder) section(pid uint16, s []byte) { b.payload(pid, append([]byte{0}, s...)) }

// table makes a section from its id, version and body.
func table(id uint8, extension uint16, version, number, last uint8, body []byte) []byte {
	s := []byte{id, 0, 0, byte(extension >> 8), byte(extension), 0xC1 | version<<1, number, last}
	s = append(s, body...)
	binary.BigEndian.PutUint16(s[1:], 0xB000|uint16(len(s)-sectionHeader+crcLength))
	return binary.BigEndian.AppendUint32(s, crc32(s))
}

type programAt struct{ number, pmtPID uint16 }

func patSection(version, number, last uint8, programs ...programAt) []byte {
	var body []byte
	for _, p := range programs {
		body = binary.BigEndian.AppendUint16(body, p.number)
		body = binary.BigEndian.AppendUint16(body, 0xE000|p.pmtPID)
	}
	return table(patTable, 1, version, number, last, body)
}

type streamAt struct {
	streamType  uint8
	pid         uint16
	descriptors []byte
}

func pmtSection(number uint16, version uint8, pcrPID uint16, streams ...streamAt) []byte {
	body := []byte{0xE0 | byte(pcrPID>>8), byte(pcrPID), 0xF0, 0}
	for _, s := range streams {
		body = append(body, s.streamType, 0xE0|byte(s.pid>>8), byte(s.pid), 0xF0, byte(len(s.descriptors)))
		body = append(body, s.descriptors...)
	}
	return table(pmtTable, number, version, 0, 0, body)
}

// program writes PAT and PMT of one program with PID 0x100 for the first stream type, 0x101 for the next and so on.
func (b *tsBuilder) program(streamTypes ...uint8) {
	b.section(patPID, patSection(0, 0, 0, programAt{1, 0x1000}))
	var streams []streamAt
	for i, t := range streamTypes {
		streams = append(streams, streamAt{streamType: t, pid: 0x100 + uint16(i)})
	}
	b.section(0x1000, pmtSection(1, 0, 0x100, streams...))
}

const noTime = -1

// pesUnit makes a PES; length false leaves PES_packet_length at 0.
func pesUnit(id uint8, pts, dts int64, length bool, payload []byte) []byte {
	var times []byte
	var flags byte
	switch {
	case pts != noTime && dts != noTime:
		flags = 0xC0
		times = append(timeField(3, pts), timeField(1, dts)...)
	case pts != noTime:
		flags = 0x80
		times = timeField(2, pts)
	}
	p := append([]byte{0, 0, 1, id, 0, 0, 0x80, flags, byte(len(times))}, times...)
	p = append(p, payload...)
	if length {
		binary.BigEndian.PutUint16(p[4:], uint16(len(p)-6))
	}
	return p
}

func timeField(prefix uint8, t int64) []byte {
	b := []byte{prefix<<4 | byte(t>>30&7)<<1 | 1, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(b[1:], uint16(t>>15)<<1|1)
	binary.BigEndian.PutUint16(b[3:], uint16(t)<<1|1)
	return b
}

// bitWriter writes RBSP bits, with emulation prevention at the end.
type bitWriter struct {
	b []byte
	n int
}

func (w *bitWriter) bits(n int, v uint32) *bitWriter {
	for i := n - 1; i >= 0; i-- {
		if w.n%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[len(w.b)-1] |= byte(v>>i&1) << (7 - w.n%8)
		w.n++
	}
	return w
}

func (w *bitWriter) ue(v uint32) *bitWriter {
	n := 0
	for (v+1)>>n > 1 {
		n++
	}
	return w.bits(n, 0).bits(n+1, v+1)
}

// nal closes the RBSP and puts it behind a start code.
func (w *bitWriter) nal(header byte) []byte {
	w.bits(1, 1)
	out := []byte{0, 0, 0, 1, header}
	zeros := 0
	for _, c := range w.b {
		if zeros >= 2 && c <= 3 {
			out, zeros = append(out, 3), 0
		}
		if out = append(out, c); c == 0 {
			zeros++
		} else {
			zeros = 0
		}
	}
	return out
}

// paramSets writes an SPS and a PPS with id 0.
func paramSets(interlaced bool) []byte {
	frames := uint32(1)
	if interlaced {
		frames = 0
	}
	sps := (&bitWriter{}).bits(8, 77).bits(16, 40).ue(0).ue(0).ue(2).ue(1).bits(1, 0).ue(19).ue(14).bits(1, frames).bits(4, 0)
	pps := (&bitWriter{}).ue(0).ue(0).bits(2, 0).ue(0).ue(0).ue(0).bits(3, 0).ue(0).ue(0).ue(0).bits(3, 0)
	return append(sps.nal(0x67), pps.nal(0x68)...)
}

// sliceOf describes a slice for tests.
type sliceOf struct {
	nal        byte // header byte: 0x65 IDR, 0x41 reference, 0x01 not
	mb         uint32
	frameNum   uint32
	interlaced bool // the SPS allows fields
	field      bool
	bottom     bool
	size       int // bytes of payload
	fill       byte
}

func (s sliceOf) bytes() []byte {
	w := (&bitWriter{}).ue(s.mb).ue(7).ue(0).bits(4, s.frameNum)
	if s.interlaced {
		if s.field {
			w.bits(1, 1)
			if s.bottom {
				w.bits(1, 1)
			} else {
				w.bits(1, 0)
			}
		} else {
			w.bits(1, 0)
		}
	}
	w.bits(8, 0xAB)
	for range s.size {
		w.bits(8, uint32(s.fill|1))
	}
	return w.nal(s.nal)
}

func delimiter() []byte { return []byte{0, 0, 0, 1, 9, 0xF0} }

func sei() []byte { return []byte{0, 0, 0, 1, 6, 5, 1, 0xAA, 0x80} }

// adts makes an AAC frame of 48 kHz stereo with so many bytes of payload.
func adts(size int, fill byte) []byte {
	n := size + 7
	f := []byte{0xFF, 0xF1, 0x4C, 0x80 | byte(n>>11), byte(n >> 3), byte(n<<5) | 0x1F, 0xFC}
	for range size {
		f = append(f, fill)
	}
	return f
}

// mp2 makes an MPEG-1 layer II frame of 128 kbit/s at 48 kHz: 384 bytes.
func mp2(fill byte) []byte {
	f := []byte{0xFF, 0xFD, 0x84, 0x00}
	for len(f) < 384 {
		f = append(f, fill)
	}
	return f
}
