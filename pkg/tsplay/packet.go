package tsplay

import "encoding/binary"

const (
	packetSize = 188
	syncByte   = 0x47
	nullPID    = 0x1FFF
	// ticksPerSecond is the rate of PTS and DTS; a PCR has 300 units to each of them (ISO/IEC 13818-1, 2.4.2.2).
	ticksPerSecond = 90000
	pcrPerTick     = 300
	wrap           = int64(1) << 33
)

// packet is one transport packet in place.
type packet []byte

func (p packet) pid() uint16      { return binary.BigEndian.Uint16(p[1:]) & 0x1FFF }
func (p packet) unitStart() bool  { return p[1]&0x40 != 0 }
func (p packet) hasPayload() bool { return p[3]&0x10 != 0 }
func (p packet) counter() uint8   { return p[3] & 0x0F }

func (p packet) advanceCounter(by uint8) { p[3] = p[3]&0xF0 | (p[3]+by)&0x0F }

// payload is empty when the adaptation field leaves no room for one.
func (p packet) payload() []byte {
	at := 4
	if p[3]&0x20 != 0 {
		at += 1 + int(p[4])
	}
	if !p.hasPayload() || at > packetSize {
		return nil
	}
	return p[at:]
}

// pcrField returns the six bytes of the PCR, or nil (2.4.3.4).
func (p packet) pcrField() []byte {
	if p[3]&0x20 == 0 || p[4] < 7 || p[5]&0x10 == 0 {
		return nil
	}
	return p[6:12]
}

// opcrField returns the six bytes of the original PCR, or nil.
func (p packet) opcrField() []byte {
	if p[3]&0x20 == 0 || p[4] < 7 || p[5]&0x08 == 0 {
		return nil
	}
	if p[5]&0x10 == 0 {
		return p[6:12]
	}
	if p[4] < 13 {
		return nil
	}
	return p[12:18]
}

// readPCR returns a PCR in units of 27 MHz.
func readPCR(b []byte) int64 {
	return (int64(binary.BigEndian.Uint32(b))<<1|int64(b[4]>>7))*pcrPerTick + int64(b[4]&1)<<8 | int64(b[5])
}

func advancePCR(b []byte, ticks int64) {
	base := int64(binary.BigEndian.Uint32(b))<<1 | int64(b[4]>>7)
	base = (base + ticks) & (wrap - 1)
	binary.BigEndian.PutUint32(b, uint32(base>>1))
	b[4] = b[4]&0x7F | byte(base&1)<<7
}

// timeFields returns the five bytes each of PTS and DTS in a packet that begins a PES, or nil; !ok if the packet ends
// before they do.
func (p packet) timeFields() (pts, dts []byte, ok bool) {
	b := p.payload()
	if !p.unitStart() || len(b) < 9 || b[0] != 0 || b[1] != 0 || b[2] != 1 || !timed(b[3]) {
		return nil, nil, true
	}
	flags := b[7] >> 6
	if flags < 2 {
		return nil, nil, true
	}
	if len(b) < 14 || flags == 3 && len(b) < 19 {
		return nil, nil, false
	}
	pts = b[9:14]
	if flags == 3 {
		dts = b[14:19]
	}
	return pts, dts, true
}

// timed reports whether a stream_id's PES may have times (table 2-21).
func timed(id uint8) bool { return id == 0xBD || id >= 0xC0 && id <= 0xEF || id == 0xFD }

func videoID(id uint8) bool { return id&0xF0 == 0xE0 }

func readTime(b []byte) int64 {
	return int64(b[0]>>1&7)<<30 | int64(binary.BigEndian.Uint16(b[1:])>>1)<<15 | int64(binary.BigEndian.Uint16(b[3:])>>1)
}

func advanceTime(b []byte, ticks int64) {
	t := (readTime(b) + ticks) & (wrap - 1)
	b[0] = b[0]&0xF1 | byte(t>>30)<<1
	binary.BigEndian.PutUint16(b[1:], uint16(t>>15)<<1|1)
	binary.BigEndian.PutUint16(b[3:], uint16(t)<<1|1)
}

// unwrapped returns the value equal to raw modulo 2^33 that is nearest to ref.
func unwrapped(raw, ref int64) int64 {
	d := (raw - ref) & (wrap - 1)
	if d >= wrap/2 {
		d -= wrap
	}
	return ref + d
}
