package teletext

import "math/bits"

// hamming84 decodes four bits (EN 300 706, 8.2), with one wrong bit put right.
func hamming84(b byte) (v uint8, ok bool) {
	for v := range uint8(16) {
		if bits.OnesCount8(b^protect84(v)) <= 1 {
			return v, true
		}
	}
	return 0, false
}

// protect84 is what hamming84 reads: the bits of v in the odd places, parity in the others.
func protect84(v uint8) byte {
	d1, d2, d3, d4 := v&1, v>>1&1, v>>2&1, v>>3&1
	p1, p2, p3 := 1^d1^d3^d4, 1^d1^d2^d4, 1^d1^d2^d3
	p4 := 1 ^ p1 ^ d1 ^ p2 ^ d2 ^ p3 ^ d3 ^ d4
	return p1 | d1<<1 | p2<<2 | d2<<3 | p3<<4 | d3<<5 | p4<<6 | d4<<7
}

// hamming2418 decodes the 18 bits of three bytes (8.3), with one wrong bit put right.
func hamming2418(b []byte) (v uint32, ok bool) {
	w := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
	wrong := uint32(0) // the place that the parities point at
	for place := uint32(1); place < 24; place++ {
		if w>>(place-1)&1 != 0 {
			wrong ^= place
		}
	}
	wrong ^= 0x1F // they are odd
	switch even := bits.OnesCount32(w)%2 == 0; {
	case even && wrong > 23, !even && wrong != 0:
		return 0, false
	case even && wrong != 0:
		w ^= 1 << (wrong - 1)
	}
	return w>>2&1 | w>>4&7<<1 | w>>8&0x7F<<4 | w>>16&0x7F<<11, true
}

// parity gives the seven bits of a byte with odd parity (8.1).
func parity(b byte) (v byte, ok bool) { return b & 0x7F, bits.OnesCount8(b)%2 == 1 }
