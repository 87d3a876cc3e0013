package mpegts

import "bytes"

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
	out     *output
	maxUnit int
	params  h264Params

	state  videoState
	damage Damage // of the open unit, once videoDamaged
	buf    []byte // the open unit and what follows it
	scan   int    // where to look for the next start code's 0x01
	nal    int    // header byte of the NAL unit being scanned, -1 none
	marks  marks

	start   unitStart // of the open unit
	sliced  bool      // it has a slice (videoSeeking: one was seen)
	picture picture   // its first
	proven  bool      // it does not begin with the second field of a frame
	last    picture   // the picture before it, as far as it was seen

	units int // since the buffer was fitted
	most  int // its greatest length since then

	next      int // where the next unit begins, unless the next picture is this one's second field; -1 not seen
	nextStart mark
}

// giveBackEvery is after how many units the buffer is fitted to what they needed.
const giveBackEvery = 256

type videoState uint8

const (
	videoWaiting videoState = iota // for a PES to begin
	videoSeeking                   // for a unit to begin in it
	videoOpen                      // buf begins with a unit
	videoDamaged                   // the same, with a hole: all until the next PES goes to it, unread
)

func newH264Framer(out *output, maxUnit int) *h264Framer {
	return &h264Framer{out: out, maxUnit: maxUnit, nal: -1, next: -1}
}

func (f *h264Framer) pes(m mark) {
	if f.state == videoDamaged {
		f.deliver(len(f.buf), f.damage)
		f.reset()
	}
	if f.state == videoWaiting {
		f.state = videoSeeking
	}
	m.at = len(f.buf)
	f.marks.add(m)
}

func (f *h264Framer) append(b []byte, _ bool) {
	switch f.state {
	case videoWaiting:
		return
	case videoDamaged:
		room := max(f.maxUnit-len(f.buf), 0)
		f.buf = append(f.buf, b[:min(len(b), room)]...)
		return
	}
	f.buf = append(f.buf, b...)
	f.scanUnits(false)
	if len(f.buf) > f.maxUnit {
		f.out.d.stats.SyntaxErrors++
		f.out.lose(DamageSyntax)
		f.lose(DamageSyntax)
	}
}

// lose leaves the open unit to take what comes until the next PES: its remains help a decoder, and where it ended and
// others began is not to be known.
func (f *h264Framer) lose(reason Damage) {
	switch {
	case f.state == videoDamaged:
		f.damage |= reason
	case f.state == videoOpen && f.proven:
		f.state, f.damage = videoDamaged, reason
	case f.state == videoOpen:
		f.out.dropped(f.start)
		f.reset()
	default:
		f.reset()
	}
}

func (f *h264Framer) flush() {
	switch f.state {
	case videoSeeking, videoOpen:
		f.scanUnits(true)
		if f.state == videoOpen {
			f.deliver(len(f.buf), DamagePESLength)
		}
	case videoDamaged:
		f.deliver(len(f.buf), f.damage)
	}
	f.reset()
}

// reset forgets all but the parameter sets.
func (f *h264Framer) reset() {
	f.state, f.damage = videoWaiting, 0
	f.buf, f.scan, f.nal, f.next = f.buf[:0], 0, -1, -1
	f.marks.reset()
	f.sliced, f.proven = false, false
	f.picture, f.last = picture{}, picture{}
}

// scanUnits looks at each NAL unit that begins in what is new. A header that is not all here is left for the next
// time, unless this is the end.
func (f *h264Framer) scanUnits(end bool) {
	for {
		i := bytes.IndexByte(f.buf[f.scan:], 1)
		if i < 0 {
			f.scan = len(f.buf)
			return
		}
		one := f.scan + i
		f.scan = one
		if one >= 2 && f.buf[one-1] == 0 && f.buf[one-2] == 0 && !f.nalUnit(one, end) {
			return
		}
		f.scan++
	}
}

// nalUnit takes the NAL unit behind the start code that ends at one; false if it needs more bytes.
func (f *h264Framer) nalUnit(one int, end bool) bool {
	if one+2 >= len(f.buf) {
		return end
	}
	// The zero before a start code belongs to it (zero_byte), but not if it is another PES's: a unit begins with its
	// PES.
	begin := one - 2
	if begin > 0 && f.buf[begin-1] == 0 && !f.marks.startsAt(begin) {
		begin--
	}
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
			f.sliced, f.last = true, p // what precedes the slice may belong to its unit, and was not seen
			return
		}
		m, first := f.marks.take(at)
		f.open(at, m, first)
	case !f.sliced:
	case f.proven && f.picture.pairs(p):
		if f.next < 0 {
			f.marks.take(at) // the times of a PES that begins with a second field are that field's
		}
		f.picture.paired, f.next = true, -1
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
			m, first := f.marks.take(at)
			f.open(at, m, first)
		}
	case !f.sliced || f.next >= 0:
	case nalType >= nalPrefix, f.proven && f.picture.field && !f.picture.paired:
		// A prefix NAL unit also stands before the further slices of a picture, a delimiter before a second field.
		m, first := f.marks.take(at)
		m.used = !first
		f.next, f.nextStart = at, m
	default:
		m, first := f.marks.take(at)
		f.cut(at, m, first)
	}
}

// open begins a unit at the position, and drops what is before it.
func (f *h264Framer) open(at int, m mark, first bool) {
	f.drop(at)
	f.state, f.sliced, f.picture, f.next = videoOpen, false, picture{}, -1
	f.start = f.out.begun()
	if first {
		f.start.pts, f.start.dts, f.start.hasPTS = m.pts, m.dts, m.hasPTS
	}
}

// cut ends the open unit at the position, where the next begins.
func (f *h264Framer) cut(at int, m mark, first bool) {
	f.deliver(at, 0)
	f.last = f.picture
	most := len(f.buf)
	f.open(at, m, first)
	f.fit(most)
}

// fit gives room back that one long unit needed; most is the length of the buffer with the last unit.
func (f *h264Framer) fit(most int) {
	f.most = max(f.most, most)
	if f.units++; f.units < giveBackEvery {
		return
	}
	if cap(f.buf) > 2*f.most {
		f.buf = append(make([]byte, 0, f.most), f.buf...)
	}
	f.units, f.most = 0, 0
}

func (f *h264Framer) deliver(n int, damage Damage) {
	if !f.proven {
		f.out.dropped(f.start)
		return
	}
	f.out.deliver(f.start, f.buf[:n], damage, 0, 0)
}

// drop takes n bytes from the front of the buffer.
func (f *h264Framer) drop(n int) {
	f.buf = f.buf[:copy(f.buf, f.buf[n:])]
	f.scan -= n
	f.nal -= n
	f.marks.shift(n)
}
