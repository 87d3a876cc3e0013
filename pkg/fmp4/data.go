package fmp4

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// dataURI names what the samples of a data track are made of: PES packets and sections of ISO/IEC 13818-1 (RFC 5141).
const dataURI = "urn:iso:std:iso-iec:13818:-1"

// dataEntry is how a data track calls its sample entry, and so how its codec string begins.
const dataEntry = "urim"

// DataInit returns the init segment of a data track, whose samples are PES packets with their headers, or sections. Its
// sample entry (URIMetaSampleEntry, ISO/IEC 14496-12, 12.3.3.2) has the stream's entry of the program map (ISO/IEC
// 13818-1, 2.4.4.8), with those descriptors that say how it is to be read.
func DataInit(pid uint16, language string, streamType uint8, descriptors []byte) ([]byte, error) {
	if len(descriptors) > 0x3FF {
		return nil, fmt.Errorf("build data init segment of PID %d: %d bytes of descriptors", pid, len(descriptors))
	}
	return initSegment(track{pid: pid, language: language, data: true, sampleEntry: func(w *boxes) {
		w.box(dataEntry, func() {
			w.zero(6)
			w.u16(1) // data_reference_index
			w.full("uri ", 0, 0, func() {
				w.str(dataURI)
				w.u8(0)
			})
			w.full("uriI", 0, 0, func() {
				w.u8(streamType)
				w.u16(0xE000 | pid)
				w.u16(0xF000 | uint16(len(descriptors)))
				w.bytes(descriptors)
			})
		})
	}}), nil
}

// ParseDataInit gives back what DataInit was given, of the init segment of a data track.
func ParseDataInit(data []byte) (streamType uint8, descriptors []byte, err error) {
	p, err := splitInit(data)
	if err != nil {
		return 0, nil, err
	}
	at := bytes.Index(p.trak, []byte("uriI\x00\x00\x00\x00"))
	if at < 4 {
		return 0, nil, malformed("no uriI: this is not a data track")
	}
	size := binary.BigEndian.Uint32(p.trak[at-4:])
	if size < 17 || uint64(size) > uint64(len(p.trak)-at+4) {
		return 0, nil, malformed("uriI of %d bytes", size)
	}
	b := p.trak[at+8 : at-4+int(size)]
	if n := int(binary.BigEndian.Uint16(b[3:]) & 0x3FF); n != len(b)-5 {
		return 0, nil, malformed("%d bytes of descriptors in %d", n, len(b)-5)
	}
	return b[0], b[5:], nil
}
