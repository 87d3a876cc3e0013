package aac

import "fmt"

// Mux is a StreamMuxConfig (1.7.3.2.3) of one program and one layer. Equal ones compare equal.
type Mux struct {
	Config    Config
	SubFrames int // frames in an element

	specific [MaxConfig]byte
	size     int // bytes of specific
	fixed    int // bytes of each frame, where the element does not tell; 0: it does
}

// Specific is the AudioSpecificConfig, in bytes.
func (m *Mux) Specific() []byte { return m.specific[:m.size] }

// Element is an AudioMuxElement (1.7.3.1), what a LOAS frame carries.
type Element struct {
	Mux    Mux
	HasMux bool // it brings its StreamMuxConfig
	r      bits
}

// ParseElement reads an element as far as its first frame. One without its own StreamMuxConfig is under the last one, or
// under none, and then Next must not be called.
func ParseElement(b []byte, last Mux) (e Element, err error) {
	e = Element{Mux: last, r: bits{b: b}}
	if same := e.r.flag(); !same {
		e.HasMux = true
		if e.Mux, err = e.r.mux(); err != nil {
			return e, err
		}
	}
	if e.r.over() {
		return e, ErrSyntax
	}
	return e, nil
}

// Next appends the next frame to dst: a raw_data_block, in bytes.
func (e *Element) Next(dst []byte) ([]byte, error) {
	size := e.Mux.fixed
	if size == 0 {
		for more := true; more && !e.r.over(); {
			n := e.r.read(8)
			size += n
			more = n == 255
		}
	}
	if e.r.at+8*size > 8*len(e.r.b) {
		return dst, ErrSyntax
	}
	return e.r.appendBits(dst, 8*size), nil
}

// appendBits appends so many bits as bytes, the last one filled up with zeros.
func (r *bits) appendBits(dst []byte, n int) []byte {
	from, shift := r.at/8, r.at%8
	r.at += n
	for ; n > 0; n, from = n-8, from+1 {
		v := r.b[from] << shift
		if shift > 0 && from+1 < len(r.b) {
			v |= r.b[from+1] >> (8 - shift)
		}
		if n < 8 {
			v &= 0xFF << (8 - n)
		}
		dst = append(dst, v)
	}
	return dst
}

// mux reads a StreamMuxConfig.
func (r *bits) mux() (m Mux, err error) {
	version := r.read(1)
	if version == 1 {
		if r.flag() {
			return m, fmt.Errorf("audioMuxVersionA 1: %w", ErrUnsupported)
		}
		r.value() // taraBufferFullness
	}
	sameFraming := r.flag()
	m.SubFrames = r.read(6) + 1
	programs, layers := r.read(4)+1, r.read(3)+1
	switch {
	case r.over():
		return m, ErrSyntax
	case !sameFraming:
		return m, fmt.Errorf("LATM streams of unlike framing: %w", ErrUnsupported)
	case programs > 1 || layers > 1:
		return m, fmt.Errorf("LATM of %d programs and %d layers: %w", programs, layers, ErrUnsupported)
	}
	limit := 8*len(r.b) - r.at
	if version == 1 {
		limit = r.value()
	}
	start := r.at
	if m.Config, err = r.config(limit, version == 1); err != nil {
		return m, err
	}
	end := r.at
	m.size = len((&bits{b: r.b, at: start}).appendBits(m.specific[:0], end-start))
	if version == 1 {
		r.at = start + limit // fill bits
	}
	switch kind := r.read(3); kind {
	case 0:
		r.skip(8) // latmBufferFullness
	case 1:
		m.fixed = r.read(9) + 20
	default:
		return m, fmt.Errorf("LATM frameLengthType %d: %w", kind, ErrUnsupported)
	}
	if r.flag() { // otherData, which stands behind the frames
		if version == 1 {
			r.value()
		} else {
			for more := true; more && !r.over(); {
				more = r.flag()
				r.skip(8)
			}
		}
	}
	if r.flag() {
		r.skip(8) // CRC
	}
	if r.over() {
		return m, ErrSyntax
	}
	return m, nil
}

// value reads a LatmGetValue.
func (r *bits) value() int {
	return r.read(8 * (r.read(2) + 1))
}
