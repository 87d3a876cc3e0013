package ac3

// Info is what the bit stream information of a syncframe says beyond its header.
type Info struct {
	// Converter is set in the first syncframe of six blocks: convsync, or that the syncframe has all six.
	Converter bool

	mode     uint8  // bsmod
	hasMap   bool   // of a dependent substream
	channels uint16 // chanmap
	joc      uint8  // complexity index of joint object coding (ETSI TS 103 420, 8.3.1)
}

// ParseInfo reads the bit stream information of the syncframe whose header is h (4.3.2; E.1.2.2). b may be cut short:
// false says that what is here does not reach as far as needed.
func ParseInfo(b []byte, h Header) (Info, bool) {
	if !h.Enhanced {
		return Info{Converter: true, mode: b[5] & 7}, true
	}
	r := &bits{b: b, at: 16 + 2 + 3 + 11 + 2 + 2 + 3 + 1 + 5}
	var i Info
	i.Converter = h.Blocks == UnitBlocks
	for range h.programs() { // dialnorm, compr
		r.skip(5)
		r.skipIf(8)
	}
	if h.Dependent && r.flag() {
		i.hasMap, i.channels = true, uint16(r.read(16))
	}
	if r.flag() {
		skipMixing(r, h)
	}
	if r.flag() {
		i.mode = uint8(r.read(3))
		skipInformation(r, h)
	}
	if !h.Dependent && !h.convert && h.Blocks != UnitBlocks {
		i.Converter = r.flag()
	}
	if h.convert && (h.Blocks == UnitBlocks || r.flag()) {
		r.skip(6) // frmsizecod
	}
	known := r.ok() // what follows is extra
	if r.flag() {
		const extension = 16 // seven reserved bits, the flag, the index
		if length := 8 * (r.read(6) + 1); length >= extension {
			r.skip(7)
			if r.flag() {
				i.joc = uint8(r.read(8))
			}
		}
		if !r.ok() {
			i.joc = 0
		}
	}
	return i, known
}

// programs is two for dual mono, which has some fields twice.
func (h Header) programs() int {
	if h.mode == 0 {
		return 2
	}
	return 1
}

// skipMixing passes over the mixing metadata (E.1.2.2, mixmdate).
func skipMixing(r *bits, h Header) {
	front, surround := h.mode > 2, h.mode&4 != 0
	if front {
		r.skip(2) // dmixmod
	}
	if front && h.mode&1 != 0 {
		r.skip(6) // centre mix levels
	}
	if surround {
		r.skip(6)
	}
	if h.lfe {
		r.skipIf(5)
	}
	if h.Dependent || h.convert {
		return
	}
	for range h.programs() { // pgmscl
		r.skipIf(6)
	}
	r.skipIf(6) // extpgmscl
	switch r.read(2) {
	case 1:
		r.skip(5)
	case 2:
		r.skip(12)
	case 3:
		r.skip(8 * (r.read(5) + 2))
	}
	if h.mode < 2 {
		for range h.programs() { // panmean, paninfo
			r.skipIf(14)
		}
	}
	if !r.flag() { // frmmixcfginfoe
		return
	}
	if h.Blocks == 1 {
		r.skip(5)
		return
	}
	for range h.Blocks {
		r.skipIf(5)
	}
}

// skipInformation passes over the informational metadata behind bsmod (E.1.2.2, infomdate).
func skipInformation(r *bits, h Header) {
	r.skip(2) // copyrightb, origbs
	if h.mode == 2 {
		r.skip(4)
	}
	if h.mode >= 6 {
		r.skip(2)
	}
	for range h.programs() { // mixlevel, roomtyp, adconvtyp
		r.skipIf(8)
	}
	if h.fscod < 3 {
		r.skip(1) // sourcefscod
	}
}

// bits reads big endian bits. Beyond the end it reads zeros.
type bits struct {
	b  []byte
	at int
}

func (r *bits) ok() bool { return r.at <= 8*len(r.b) }

func (r *bits) skip(n int) { r.at += n }

func (r *bits) read(n int) int {
	v := 0
	for range n {
		v <<= 1
		if r.at < 8*len(r.b) {
			v |= int(r.b[r.at/8]) >> (7 - r.at%8) & 1
		}
		r.at++
	}
	return v
}

func (r *bits) flag() bool { return r.read(1) != 0 }

// skipIf passes over a field of n bits that is there if the bit before it is set.
func (r *bits) skipIf(n int) {
	if r.flag() {
		r.skip(n)
	}
}
