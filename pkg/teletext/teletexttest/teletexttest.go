// Package teletexttest makes teletext for tests of those who read it.
package teletexttest

import (
	"math/bits"
)

// coded is table 8.2 of EN 300 706.
var coded = [16]byte{0x15, 0x02, 0x49, 0x5E, 0x64, 0x73, 0x38, 0x2F, 0xD0, 0xC7, 0x8C, 0x9B, 0xA1, 0xB6, 0xFD, 0xEA}

// Payload is that of a PES packet which sends a page of subtitles: erased, with lines in boxes from row 20 on, and ended.
// Without lines the page is cleared. Lines are of the English set.
func Payload(page int, lines ...string) []byte {
	b := []byte{0x10}
	b = packet(b, page/100, 0, header(page%10, page/10%10))
	for i, l := range lines {
		b = packet(b, page/100, 20+i, Odd("\x0B\x0B"+l+"\x0A\x0A"))
	}
	return packet(b, page/100, 0, header(15, 15))
}

// Descriptor is a teletext_descriptor (EN 300 468, 6.2.43) of pages of one language.
func Descriptor(language string, kind byte, pages ...int) []byte {
	d := []byte{0x56, byte(5 * len(pages))}
	for _, p := range pages {
		d = append(append(d, language...), kind<<3|byte(p/100&7), byte(p/10%10<<4|p%10))
	}
	return d
}

func header(units, tens int) []byte {
	return []byte{coded[units], coded[tens], coded[0], coded[8], coded[0], coded[8], coded[0], coded[0]}
}

// Odd gives each of seven bits the parity that text has.
func Odd(s string) []byte {
	b := []byte(s)
	for i := range b {
		if bits.OnesCount8(b[i])%2 == 0 {
			b[i] |= 0x80
		}
	}
	return b
}

func packet(dst []byte, magazine, number int, data []byte) []byte {
	p := append([]byte{coded[magazine&7|number&1<<3], coded[number>>1]}, data...)
	for len(p) < 42 {
		p = append(p, ' ')
	}
	dst = append(dst, 0x03, 44, 0xC7, 0xE4)
	for _, c := range p[:42] {
		dst = append(dst, bits.Reverse8(c))
	}
	return dst
}
