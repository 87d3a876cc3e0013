package mpegts

// Start code values of MPEG-1 and MPEG-2 video (ISO/IEC 13818-2, table 6-1).
const (
	mpegPicture   = 0x00
	mpegSlice     = 0x01 // to mpegLastSlice
	mpegLastSlice = 0xAF
	mpegSequence  = 0xB3
	mpegExtension = 0xB5
	mpegGroup     = 0xB8

	mpegSequenceExtension = 1 // extension_start_code_identifier (table 6-2)
	mpegPictureExtension  = 8
)

// mpegVideoFramer cuts MPEG-1 and MPEG-2 video into pictures. A sequence header and a group header belong to the picture
// that follows; the two fields of a frame are one unit.
//
// Pictures before the first sequence header are not delivered, and what that says of the rate is the one thing that is
// remembered over a hole: the times of pictures that have none of their own are counted by it.
type mpegVideoFramer struct {
	videoFramer // proven: it has a picture, and does not begin with the second field of a frame
	rate        pictureRate

	// whole: the open unit begins with the first field of a frame, since a header precedes it, or a picture that it
	// does not belong to.
	whole   bool
	picture codedPicture // the first of the open unit
	paired  bool         // its second field has come
	next    codedPicture // one of which it is not known yet whether it is this second field
	last    codedPicture // videoSeeking: the last that was seen
	clock   pictureClock
	// doubtful: the clock may have been set by a second field.
	doubtful bool
}

// codedPicture is what tells a picture from its neighbours.
type codedPicture struct {
	seen      bool
	at        int   // position of its header, until it is shown
	reference int   // temporal_reference
	structure uint8 // 1 top field, 2 bottom field, 3 frame; 0 not known yet
}

const mpegFrame = 3

// mayPair reports whether q, which follows p at once, can be the second field of the frame whose first is p; pairs, once
// the structure of q is known, whether it is (13818-2, 6.3.9 and 6.3.10).
func (p codedPicture) mayPair(q codedPicture) bool {
	return p.structure != mpegFrame && p.reference == q.reference
}

func (p codedPicture) pairs(q codedPicture) bool {
	return p.mayPair(q) && p.structure^q.structure == mpegFrame && q.structure != mpegFrame
}

func newMPEGVideoFramer(out *output, maxUnit int) *mpegVideoFramer {
	f := &mpegVideoFramer{videoFramer: videoFramer{out: out, maxUnit: maxUnit, timed: true}}
	f.syntax = f
	return f
}

// forget implements videoSyntax. The rate stays.
func (f *mpegVideoFramer) forget() {
	f.whole, f.paired = false, false
	f.picture, f.next, f.last = codedPicture{}, codedPicture{}, codedPicture{}
	f.clock, f.doubtful = pictureClock{}, false
}

// moved implements videoSyntax.
func (f *mpegVideoFramer) moved(n int) { f.next.at -= n }

// startCode implements videoSyntax. Zero bytes before a start code belong to what they follow (13818-2, 5.2.3).
func (f *mpegVideoFramer) startCode(one int, end bool) bool {
	begin, b := one-2, f.buf[one+1:]
	if len(b) == 0 {
		return end
	}
	need := 1
	switch b[0] {
	case mpegPicture:
		need = 3
	case mpegSequence:
		need = 5
	case mpegExtension:
		need = 7
	}
	if len(b) < need {
		return end
	}
	switch code := b[0]; {
	case code == mpegPicture:
		f.begins(codedPicture{seen: true, at: begin, reference: int(b[1])<<2 | int(b[2])>>6})
	case code == mpegSequence:
		rate := sequenceRate(b[1:]) // before b moves
		f.heads(begin, true)
		f.rate = rate
	case code == mpegGroup:
		f.heads(begin, false)
		f.clock.group()
	case code == mpegExtension && b[1]>>4 == mpegSequenceExtension:
		f.rate.extension(b[1:])
	case code == mpegExtension && b[1]>>4 == mpegPictureExtension:
		f.structured(b[3]&3, b[4]&2 != 0)
	case code >= mpegSlice && code <= mpegLastSlice:
		f.structured(mpegFrame, false) // MPEG-1 has no extension
	}
	return true
}

// heads takes a sequence or a group header.
func (f *mpegVideoFramer) heads(at int, sequence bool) {
	if f.state == videoOpen && f.next.seen { // a picture without a slice
		at -= f.turn()
	}
	switch {
	case f.state == videoOpen && f.picture.seen:
		f.doubt()
		f.cut(at)
	case f.state == videoSeeking && (sequence || f.last.seen || f.marks.timedAt(at)):
		f.open(at)
	default:
		return
	}
	f.begun(true)
}

// begun clears what was known of the unit before.
func (f *mpegVideoFramer) begun(whole bool) {
	f.whole, f.paired, f.proven = whole, false, false
	f.picture, f.next, f.last = codedPicture{}, codedPicture{}, codedPicture{}
}

// begins takes a picture header.
func (f *mpegVideoFramer) begins(p codedPicture) {
	if f.state == videoOpen && f.next.seen { // a picture without a slice
		p.at -= f.turn()
	}
	switch {
	case f.state == videoSeeking:
		f.found(p)
	case !f.picture.seen:
		m, ok := f.timesOf(p)
		f.show(p, m, ok)
	case !f.paired && f.picture.mayPair(p):
		f.next = p
	default:
		f.next = p
		f.turn()
	}
}

// found takes a picture header before any unit is open. What precedes the first one may belong to its unit, and was not
// seen, unless a PES with a time begins with it.
func (f *mpegVideoFramer) found(p codedPicture) {
	if f.last.seen && f.last.mayPair(p) {
		f.marks.take(p.at)
		f.doubtful, f.last = true, p
		return
	}
	begin := f.last.seen || f.marks.timedAt(p.at)
	m, ok := f.timesOf(p)
	if !begin || !ok {
		f.last = p
		return
	}
	whole := f.last.seen
	f.open(p.at)
	f.begun(whole)
	f.show(p, m, true)
}

// turn ends the open unit where the next picture begins, which is none of its fields, and returns by how much that moves
// the buffer.
func (f *mpegVideoFramer) turn() int {
	f.doubt()
	p := f.next
	m, ok := f.timesOf(p)
	f.cut(p.at)
	f.begun(true)
	f.show(p, m, ok)
	return p.at
}

// show makes p the picture of the open unit. !ok: its time cannot be counted as others count it, so nothing is known.
func (f *mpegVideoFramer) show(p codedPicture, times mark, ok bool) {
	if !ok {
		f.out.dropped(f.start)
		f.state = videoSeeking
		f.begun(false)
		f.last = p
		return
	}
	f.picture = p
	f.date(times, true)
	f.prove()
}

// doubt notes that the open unit, which ends, is a field of which it is not known whether it is a frame's first: the
// time that it has may be that of a second field, by which nobody counts who saw the first.
func (f *mpegVideoFramer) doubt() {
	if f.picture.seen && !f.whole && !f.paired && f.picture.structure != mpegFrame {
		f.doubtful = true
	}
}

func (f *mpegVideoFramer) prove() {
	f.proven = f.rate.seen && f.picture.seen && (f.whole || f.paired || f.picture.structure == mpegFrame)
}

// structured takes what the newest picture is: a field or a frame. That it is repeated, so that it is shown longer than
// the rate says, ends the counting of times.
func (f *mpegVideoFramer) structured(structure uint8, repeated bool) {
	if repeated {
		f.clock.known = false
	}
	switch {
	case f.state == videoSeeking:
		if f.last.structure == 0 {
			f.last.structure = structure
		}
	case f.next.seen:
		if f.next.structure = structure; !f.picture.pairs(f.next) {
			f.turn()
			return
		}
		f.marks.take(f.next.at) // the times of a PES that begins with a second field are that field's
		f.next, f.paired = codedPicture{}, true
		f.prove()
	case f.picture.seen && f.picture.structure == 0:
		f.picture.structure = structure
		f.prove()
	}
}

// timesOf are the times of a frame: those of its PES, if its picture header is the first in it (H.222.0, 2.4.3.7), else
// counted from the last picture that had any; !ok where others may count otherwise.
func (f *mpegVideoFramer) timesOf(p codedPicture) (m mark, ok bool) {
	m, first := f.marks.take(p.at)
	if first && m.hasPTS {
		f.clock, f.doubtful = pictureClock{known: true, from: m, reference: p.reference}, false
		return m, true
	}
	return f.clock.next(p.reference, f.rate), !f.doubtful
}

// pictureClock counts the times of pictures from one that has some. In a group of pictures that is shown at a constant
// rate, a picture is decoded one period after the one before it, and shown as many periods after another as its
// temporal_reference is higher. Beyond the group the references begin anew, and with repeated fields the rate is not
// constant: there the times are not known.
type pictureClock struct {
	known     bool
	from      mark
	reference int
	count     int64 // pictures since then
}

// group says that a group begins.
func (c *pictureClock) group() { c.known = false }

func (c *pictureClock) next(reference int, rate pictureRate) (m mark) {
	const references = 1 << 10
	if c.count++; !c.known || !rate.valid() {
		return m
	}
	shown := (reference-c.reference+references*3/2)%references - references/2
	m.hasPTS = true
	m.dts = (c.from.dts + rate.ticks(c.count)) & timeMask
	m.pts = (c.from.pts + rate.ticks(int64(shown))) & timeMask
	return m
}

// pictureRate is what sequence header and extension say of the frames in a second.
type pictureRate struct {
	seen     bool
	extended bool
	num, den int64 // 0: not a rate
}

// sequenceRate reads a sequence header behind its start code (13818-2, 6.2.2.1 and table 6-4).
func sequenceRate(b []byte) (r pictureRate) {
	rates := [...]pictureRate{1: {num: 24000, den: 1001}, {num: 24, den: 1}, {num: 25, den: 1}, {num: 30000, den: 1001},
		{num: 30, den: 1}, {num: 50, den: 1}, {num: 60000, den: 1001}, {num: 60, den: 1}}
	if code := int(b[3] & 0x0F); code < len(rates) {
		r = rates[code]
	}
	r.seen = true
	return r
}

// extension reads a sequence extension behind its start code (6.2.2.3).
func (r *pictureRate) extension(b []byte) {
	if !r.extended {
		r.extended = true
		r.num *= int64(b[5]>>5&3) + 1
		r.den *= int64(b[5]&0x1F) + 1
	}
}

func (r *pictureRate) valid() bool { return r.num > 0 }

// ticks is how long n frames last, rounded down.
func (r *pictureRate) ticks(n int64) int64 {
	t := n * ticksPerSecond * r.den
	if t < 0 {
		return -((-t + r.num - 1) / r.num)
	}
	return t / r.num
}
