package mpegts

// NAL unit types of HEVC (ITU-T H.265, table 7-1).
const (
	hevcLastPicture = 9  // 0 to 9: slices of pictures that are no IRAP
	hevcFirstIRAP   = 16 // to hevcLastIRAP: slices of BLA, IDR and CRA pictures
	hevcLastIRAP    = 21
	hevcLastVCL     = 31 // all others up to here are reserved
	hevcVPS         = 32
	hevcPPS         = 34
	hevcDelimiter   = 35
	hevcPrefixSEI   = 39
	hevcReserved41  = 41 // to hevcReserved44, and hevcUnspecified48 to 55, precede the picture of their access unit
	hevcReserved44  = 44
	hevcUnspecified = 48
	hevcFollowing   = 56 // from here on they follow it
)

// hevcFramer cuts an Annex B byte stream into access units (ITU-T H.265, 7.4.2.4.4). Nothing is needed of parameter
// sets: first_slice_segment_in_pic_flag is the first bit of a slice segment.
//
// A field that is coded as a picture of its own is an access unit and a sample of its own: that is what ISO/IEC 14496-15
// wants of HEVC, and a decoder takes no more than one picture from a sample.
type hevcFramer struct {
	videoFramer
	sliced bool // the open unit has a slice (videoSeeking: one was seen)
	// next is where the next unit begins if the next slice is the first of its picture, else -1: parameter sets and
	// SEI messages may also stand between the slices of one picture.
	next int
}

func newHEVCFramer(out *output, maxUnit int) *hevcFramer {
	f := &hevcFramer{videoFramer: videoFramer{out: out, maxUnit: maxUnit}}
	f.syntax = f
	f.forget()
	return f
}

// forget implements videoSyntax.
func (f *hevcFramer) forget() { f.sliced, f.next = false, -1 }

// moved implements videoSyntax.
func (f *hevcFramer) moved(n int) { f.next = max(f.next-n, -1) }

// startCode implements videoSyntax. Of the layers, only the base layer's NAL units tell where an access unit begins.
func (f *hevcFramer) startCode(one int, end bool) bool {
	if one+3 >= len(f.buf) {
		return end
	}
	begin := f.nalBegin(one)
	t := f.buf[one+1] >> 1 & 0x3F
	base := f.buf[one+1]&1 == 0 && f.buf[one+2]>>3 == 0
	switch {
	case t <= hevcLastVCL:
		picture := t <= hevcLastPicture || t >= hevcFirstIRAP && t <= hevcLastIRAP
		if base && picture && f.buf[one+3]&0x80 != 0 {
			f.begins(begin)
		} else {
			f.sliced, f.next = true, -1
		}
	case !base:
	case t == hevcDelimiter:
		f.delimits(begin)
	case t >= hevcVPS && t <= hevcPPS, t == hevcPrefixSEI, t >= hevcReserved41 && t <= hevcReserved44,
		t >= hevcUnspecified && t < hevcFollowing:
		if f.next < 0 && (f.sliced || f.atPES(begin)) {
			f.next = begin
		}
	}
	return true
}

// atPES reports whether a unit begins at the position although nothing before it was seen: where a PES with a time
// begins, one that does not go on with the unit of the one before.
func (f *hevcFramer) atPES(at int) bool {
	return f.state == videoSeeking && f.marks.timedAt(at)
}

// begins takes the first slice segment of a picture.
func (f *hevcFramer) begins(at int) {
	switch {
	case f.state == videoOpen && !f.sliced: // the open unit's own
	case f.next >= 0:
		f.unit(f.next)
	case f.state == videoOpen || f.sliced || f.atPES(at):
		f.unit(at)
	default:
		f.marks.take(at) // whether what precedes the slice is of this PES, and so whose its time is, was not seen
	}
	f.sliced, f.next = true, -1
}

// delimits takes an access unit delimiter.
func (f *hevcFramer) delimits(at int) {
	switch {
	case f.state == videoSeeking:
		f.unit(at)
	case f.sliced && f.next >= 0:
		f.unit(f.next)
	case f.sliced:
		f.unit(at)
	}
}

// unit ends the open unit, if there is one, and begins the next.
func (f *hevcFramer) unit(at int) {
	m, first := f.marks.take(at)
	switch {
	case f.state == videoOpen:
		f.cut(at)
	case first:
		f.open(at)
	default: // not known to be the second in its PES
		return
	}
	f.date(m, first)
	f.sliced, f.next, f.proven = false, -1, true
}
