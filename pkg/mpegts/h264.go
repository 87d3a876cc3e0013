package mpegts

// NAL unit types (ISO/IEC 14496-10, table 7-1).
const (
	nalSlice      = 1
	nalPartitionA = 2
	nalIDR        = 5
	nalSEI        = 6
	nalSPS        = 7
	nalPPS        = 8
	nalDelimiter  = 9
	nalPrefix     = 14 // to nalReserved18: further types that begin an access unit
	nalReserved18 = 18
)

// h264Framer cuts an Annex B byte stream into pictures (14496-10, 7.4.1.2.3). The two fields of a frame are one unit
// here, though two access units there.
//
// The first slice of a picture is told by first_mb_in_slice = 0 alone, which holds for every profile without arbitrary
// slice order: the comparison of 7.4.1.2.4 would rest on parameter sets that may have changed within a hole.
type h264Framer struct {
	videoFramer // proven: it does not begin with the second field of a frame
	params      h264Params

	nal     int     // header byte of the NAL unit being scanned, -1 none
	sliced  bool    // the open unit has a slice (videoSeeking: one was seen)
	picture picture // its first
	last    picture // the picture before it, as far as it was seen

	next      int // where the next unit begins, unless the next picture is this one's second field; -1 not seen
	nextStart mark
}

func newH264Framer(out *output, maxUnit int) *h264Framer {
	f := &h264Framer{videoFramer: videoFramer{out: out, maxUnit: maxUnit}}
	f.syntax = f
	f.forget()
	return f
}

// forget implements videoSyntax. The parameter sets stay.
func (f *h264Framer) forget() {
	f.nal, f.next, f.sliced = -1, -1, false
	f.picture, f.last = picture{}, picture{}
}

// moved implements videoSyntax.
func (f *h264Framer) moved(n int) { f.nal -= n }

// startCode takes the NAL unit behind the start code that ends at one.
func (f *h264Framer) startCode(one int, end bool) bool {
	if one+2 >= len(f.buf) {
		return end
	}
	begin := f.nalBegin(one)
	f.endNAL(begin)

	t := f.buf[one+1] & 0x1F
	switch {
	case t == nalSlice || t == nalPartitionA || t == nalIDR:
		if f.buf[one+2]&0x80 == 0 { // first_mb_in_slice > 0
			f.sliced, f.next = true, -1
			break
		}
		p, redundant, ok := f.params.slice(f.buf[one+1:])
		if !ok && !end {
			return false
		}
		if !redundant {
			f.nal = one + 1
			f.begins(begin, p)
		}
		return true
	case t == nalSEI || t == nalSPS || t == nalPPS || t == nalDelimiter || t >= nalPrefix && t <= nalReserved18:
		f.nal = one + 1
		f.precedes(begin, t)
		return true
	}
	f.nal = one + 1
	return true
}

// endNAL reads the parameter set that ends here.
func (f *h264Framer) endNAL(end int) {
	if f.nal < 0 {
		return
	}
	f.params.take(f.buf[f.nal:end])
	f.nal = -1
}

// begins takes the first slice of a picture.
func (f *h264Framer) begins(at int, p picture) {
	switch {
	case f.state == videoSeeking:
		if !f.sliced && !f.marks.startsAt(at) {
			// What precedes the slice may belong to its unit; whether it is of this PES, and so whose its time is, was
			// not seen.
			f.marks.take(at)
			f.sliced, f.last = true, p
			return
		}
		m, first := f.marks.take(at)
		if !first {
			f.last = p
			return
		}
		f.open(at, m, first)
	case !f.sliced:
	case f.mayPair() && f.picture.pairs(p):
		if f.next < 0 {
			f.marks.take(at) // the times of a PES that begins with a second field are that field's
		}
		f.picture.paired, f.next, f.proven = true, -1, true
		return
	case f.next >= 0:
		f.cut(f.next, f.nextStart, !f.nextStart.used)
	default:
		m, first := f.marks.take(at)
		f.cut(at, m, first)
	}
	f.sliced, f.picture = true, p
	// A join may see the second field of a frame first. It is not to be told from a first one, but by what follows:
	// a frame, an IDR picture and a step of frame_num are always the beginning of a unit.
	if !f.proven && p.seen {
		f.proven = !p.field || p.idr || f.last.seen && p.frameNum != f.last.frameNum
	}
}

// precedes takes a NAL unit of a type that, behind a slice, begins the next access unit.
func (f *h264Framer) precedes(at int, nalType uint8) {
	switch {
	case f.state == videoSeeking:
		if nalType == nalDelimiter || f.sliced && nalType < nalPrefix || f.marks.startsAt(at) {
			if m, first := f.marks.take(at); first {
				f.open(at, m, first)
			}
		}
	case !f.sliced || f.next >= 0:
	case nalType >= nalPrefix, f.mayPair():
		// A prefix NAL unit also stands before the further slices of a picture, a delimiter before a second field.
		m, first := f.marks.take(at)
		m.used = !first
		f.next, f.nextStart = at, m
	default:
		m, first := f.marks.take(at)
		f.cut(at, m, first)
	}
}

// mayPair reports whether the picture of the open unit may be the first field of a frame. One of a reference frame that
// may be its second still is the first if the next pairs with it: behind the second, frame_num would have stepped.
func (f *h264Framer) mayPair() bool {
	return f.picture.field && !f.picture.paired && (f.proven || f.picture.ref)
}

// open begins a unit at the position.
func (f *h264Framer) open(at int, m mark, first bool) {
	f.videoFramer.open(at)
	f.opened(m, first)
}

// cut ends the open unit at the position, where the next begins.
func (f *h264Framer) cut(at int, m mark, first bool) {
	f.videoFramer.cut(at)
	f.last = f.picture
	f.opened(m, first)
}

func (f *h264Framer) opened(m mark, first bool) {
	f.sliced, f.picture, f.next = false, picture{}, -1
	f.date(m, first)
}
