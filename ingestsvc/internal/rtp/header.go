package rtp

import "encoding/binary"

// TypeMP2T is the payload type of MPEG-TS (RFC 3551, table 5).
const TypeMP2T = 33

const (
	headerSize  = 12
	syncByte    = 0x47
	packetSize  = 188
	firstFreePT = 96 // payload types from here on are given out by agreement
)

// Header is what is used of the fixed header (RFC 3550, 5.1).
type Header struct {
	Type  uint8
	Seq   uint16
	Stamp uint32 // of the sender's clock
	SSRC  uint32
}

// Parse reads a packet. The payload is a part of b, behind CSRCs and extension, without padding; it may be empty.
func Parse(b []byte) (h Header, payload []byte, ok bool) {
	if len(b) < headerSize || b[0]>>6 != 2 {
		return h, nil, false
	}
	at := headerSize + 4*int(b[0]&0x0F)
	if b[0]&0x10 != 0 { // extension
		if len(b) < at+4 {
			return h, nil, false
		}
		at += 4 + 4*int(binary.BigEndian.Uint16(b[at+2:]))
	}
	end := len(b)
	if b[0]&0x20 != 0 { // padding, whose last byte is its length
		n := int(b[end-1])
		if n == 0 {
			return h, nil, false
		}
		end -= n
	}
	if at > end {
		return h, nil, false
	}
	h = Header{
		Type: b[1] & 0x7F, Seq: binary.BigEndian.Uint16(b[2:]),
		Stamp: binary.BigEndian.Uint32(b[4:]), SSRC: binary.BigEndian.Uint32(b[8:]),
	}
	return h, b[at:end], true
}

// Carries reports whether a packet of this type with this payload is MPEG-TS: by type 33, or by a type that was agreed on
// somewhere and sync bytes. One without payload has its number all the same, which would else be missing.
func (h Header) Carries(payload []byte) bool {
	return h.Type == TypeMP2T || h.Type >= firstFreePT && (len(payload) == 0 || onGrid(payload))
}

// Looks reports whether a datagram is MPEG-TS in RTP, to one who does not know: type 33, and sync bytes behind the header.
func Looks(b []byte) bool {
	h, payload, ok := Parse(b)
	return ok && h.Type == TypeMP2T && onGrid(payload)
}

// onGrid reports whether b begins with a packet, and goes on with one where there is more.
func onGrid(b []byte) bool {
	if len(b) < packetSize {
		return false
	}
	for _, size := range []struct{ prefix, stride int }{{0, packetSize}, {4, 192}, {0, 204}} {
		at := size.prefix
		for at < len(b) && b[at] == syncByte {
			at += size.stride
		}
		if at >= len(b) {
			return true
		}
	}
	return false
}
