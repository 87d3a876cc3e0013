package mpegts

import "encoding/binary"

const (
	opusRate = 48000
	// maxOpusUnit bounds an access unit, in bytes: eight channels at 510 kbit/s in packets of 20 ms are more, and nobody's.
	maxOpusUnit = 8000
	// maxOpusSamples is the longest packet there is, 120 ms (RFC 6716, 3.2.5).
	maxOpusSamples = 5760
)

// parseOpus reads the control header of an opus_access_unit ("Encapsulation of Opus in MPEG-2 transport streams", 4.3),
// and how long the packet behind it is (RFC 6716, 3.1). The trims are of no use here: they are of the packets, not of what
// a recorder that begins anywhere has of them.
func parseOpus(b []byte) (frameHeader, bool) {
	const (
		prefix, prefixMask         = 0x7FE0, 0xFFE0
		startTrim, endTrim, extend = 0x10, 0x08, 0x04
		wait                       = true
	)
	flags := binary.BigEndian.Uint16(b)
	if flags&prefixMask != prefix {
		return frameHeader{}, false
	}
	size, at := 0, 2
	for last := byte(0xFF); last == 0xFF; at++ {
		if at == len(b) {
			return frameHeader{more: true}, wait
		}
		last = b[at]
		if size += int(last); size > maxOpusUnit {
			return frameHeader{}, false
		}
	}
	if flags&startTrim != 0 {
		at += 2
	}
	if flags&endTrim != 0 {
		at += 2
	}
	if flags&extend != 0 {
		if at >= len(b) {
			return frameHeader{more: true}, wait
		}
		at += 1 + int(b[at])
	}
	if size == 0 {
		return frameHeader{}, false
	}
	if at+min(size, 2) > len(b) {
		return frameHeader{more: true}, wait
	}
	samples := opusSamples(b[at : at+min(size, 2)])
	return frameHeader{length: at + size, skip: at, samples: samples, rate: opusRate, kind: prefix}, samples > 0
}

// opusSamples is how long a packet is by its first bytes, or 0.
func opusSamples(b []byte) int {
	const ms = opusRate / 1000
	config, frames := b[0]>>3, 1
	var each int
	switch {
	case config < 12: // SILK
		each = [...]int{10 * ms, 20 * ms, 40 * ms, 60 * ms}[config&3]
	case config < 16: // hybrid
		each = [...]int{10 * ms, 20 * ms}[config&1]
	default: // CELT
		each = [...]int{5 * ms / 2, 5 * ms, 10 * ms, 20 * ms}[config&3]
	}
	switch b[0] & 3 {
	case 1, 2:
		frames = 2
	case 3:
		if len(b) < 2 {
			return 0
		}
		frames = int(b[1] & 0x3F)
	}
	if n := frames * each; n <= maxOpusSamples {
		return n
	}
	return 0
}
