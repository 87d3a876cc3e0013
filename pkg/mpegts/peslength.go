package mpegts

// lengthProof is how many PES in a row must be longer, or shorter, than they say by the same number of bytes before that
// is how the multiplexer counts.
const lengthProof = 8

// pesLength judges PES_packet_length against where the next PES begins (H.222.0, 2.4.3.7).
//
// A length that does not hold may be all that tells of a loss: sixteen packets with the head of a PES among them show in
// no continuity counter. But there are multiplexers that count wrongly, always by as much, and that write of the length of
// a long picture the low sixteen bits. So a PES may be off by what the stream's PES were off by before, and by multiples
// of 2^16; whatever else is off is evidence. Of picture and sound nothing is thrown away for it: the bytes are the same
// for one who has seen enough to know how the multiplexer counts and for one who has not, and only the latter has
// something against them. Data is taken by its length, and must keep it.
type pesLength struct {
	strict bool
	known  bool // the PES at hand has one
	bytes  int  // of payload that it says; may be below 0, of one that is longer than it can say

	off   uint16 // how the multiplexer counts: bytes that are there beyond those that are said, modulo 2^16
	wraps bool   // a PES was longer than its length can say
	other uint16 // by how much the last ones were off that were not off as expected
	same  int    // so many in a row
}

// begin takes what a PES says; payload is what is left of it behind the header. !ok: that cannot be.
func (l *pesLength) begin(length, payload int) (ok bool) {
	l.known, l.bytes = length > 0, payload
	return !l.known || payload >= 0 || !l.strict
}

// beyond reports whether so many bytes of payload are more than what the multiplexer may have meant.
func (l *pesLength) beyond(got int) bool {
	return !l.wraps && got-l.bytes > int(int16(l.off))
}

// holds reports whether the PES, which has ended with so many bytes of payload, is as long as it says.
func (l *pesLength) holds(got int) bool {
	if !l.known {
		return true
	}
	more := got - l.bytes
	off := uint16(more)
	switch {
	case l.strict:
		return more >= 0
	case off == l.off:
		l.wraps = l.wraps || more != int(int16(off))
		l.same = 0
		return true
	case off != l.other:
		l.other, l.same = off, 0
	}
	if l.same++; l.same == lengthProof {
		l.off, l.same = off, 0
	}
	return false
}
