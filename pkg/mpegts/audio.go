package mpegts

// frameHeader is what the header of an audio frame says.
type frameHeader struct {
	length  int // bytes, header included
	samples int
	rate    int    // Hz
	kind    uint32 // what does not change between the frames of one stream
	skip    int    // bytes at the front that are not of the unit
	inner   bool   // begins no access unit, and so has no time
	more    bool   // further bytes are needed to say anything
}

// An assembler makes access units of frames where the two are not the same.
type assembler interface {
	// frame takes the next frame of the chain; behind one with damage lose follows.
	frame(s unitStart, data []byte, damage Damage, h frameHeader)
	// lose says that the chain ends here: what is open is delivered damaged.
	lose(reason Damage)
}

const (
	ticksPerSecond = 90000
	timeMask       = 1<<33 - 1
	// audioHeader bytes tell the length of a frame.
	audioHeader = 7
	// confirmations is how many further headers must follow a first one where its length says. With one, a pattern
	// within a frame passes for a header about once in 2^30 bytes; with two it does not happen.
	confirmations = 2
)

// audioFramer cuts a chain of frames with lengths in their headers. Once the chain is found a frame is delivered when
// the next header stands where its length says, or it ends with its PES: a hole of sixteen packets shows by nothing
// else than a chain, or a PES, that does not hold, and must not pass for a frame before that.
type audioFramer struct {
	out    *output
	parse  func(b []byte) (frameHeader, bool) // b has at least audioHeader bytes
	units  assembler                          // nil: each frame is a unit
	refuse func(b []byte) error               // why parse does not take a header that is one; nil: it takes all
	buf    []byte
	marks  marks
	state  audioState
	frame  frameHeader // the open frame, at the front of buf, once hasHead
	start  unitStart
	isOpen bool

	hasBase bool
	base    int64 // PTS of the last PES in which a frame began
	samples int64 // of the frames that began since
}

type audioState uint8

const (
	audioWaiting audioState = iota // for a PES with a time
	audioSeeking                   // for the chain
	audioChained
)

func newAudioFramer(out *output, parse func([]byte) (frameHeader, bool)) *audioFramer {
	return &audioFramer{out: out, parse: parse}
}

func (f *audioFramer) pes(m mark) {
	if f.state == audioWaiting {
		if !m.hasPTS {
			return // how far it is from the last time that is known is not known
		}
		f.state = audioSeeking
	}
	if !m.hasPTS {
		return // the frames go on counting from the last one that had
	}
	m.at = len(f.buf)
	f.marks.add(m)
}

func (f *audioFramer) append(b []byte, complete bool) {
	if f.state == audioWaiting {
		return
	}
	f.buf = append(f.buf, b...)
	for {
		if f.state == audioSeeking && !f.seek() {
			return
		}
		if f.follow(complete) || f.state == audioWaiting {
			return
		}
	}
}

// follow delivers frames along the chain; false when it is broken.
func (f *audioFramer) follow(complete bool) bool {
	at := 0 // front of what is not delivered yet
	for {
		if !f.isOpen {
			h, ok, more := f.header(at)
			if more {
				break
			}
			if !ok {
				f.restart()
				return false
			}
			f.begin(at, h)
		}
		end := at + f.frame.length
		if end > len(f.buf) {
			break
		}
		_, ok, more := f.header(end)
		if more && (!complete || end < len(f.buf)) {
			break
		}
		var damage Damage
		if !ok && !more {
			damage = DamageSyntax
		}
		f.deliver(f.buf[at:end], damage)
		if damage != 0 {
			f.restart()
			return false
		}
		at = end
	}
	f.drop(at)
	return true
}

// deliver hands on the open frame.
func (f *audioFramer) deliver(b []byte, damage Damage) {
	f.isOpen = false
	b = b[min(f.frame.skip, len(b)):]
	if f.units != nil {
		f.units.frame(f.start, b, damage, f.frame)
		return
	}
	f.out.deliver(f.start, b, damage, f.frame.samples, f.frame.rate)
}

// restart gives the chain up, and seeks another from the start of the PES that we are in, as one that joins there
// would; if a frame has begun in it, from the next.
func (f *audioFramer) restart() {
	f.out.d.stats.SyntaxErrors++
	f.out.lose(DamageSyntax)
	if f.units != nil {
		f.units.lose(DamageSyntax)
	}
	at, ok := f.marks.unused()
	if !ok {
		f.wait()
		return
	}
	f.isOpen, f.hasBase = false, false
	f.drop(at)
	f.state = audioSeeking
}

// header reads the header at the position, or says that more bytes are needed.
func (f *audioFramer) header(at int) (h frameHeader, ok, more bool) {
	if len(f.buf)-at < audioHeader {
		return frameHeader{}, false, true
	}
	h, ok = f.parse(f.buf[at:])
	return h, ok && !h.more, h.more
}

// begin opens the frame at the position, whose header is h.
func (f *audioFramer) begin(at int, h frameHeader) {
	f.frame, f.isOpen = h, true
	f.start = f.out.begun()
	if h.inner {
		f.marks.begin(at) // or a chain of these alone, which breaks, would be found again for ever
		return
	}
	if m, first := f.marks.take(at); first {
		f.base, f.samples, f.hasBase = m.pts, 0, true
		f.start.fresh = true
	}
	f.start.hasPTS = f.hasBase
	f.start.pts = (f.base + f.samples*ticksPerSecond/int64(h.rate)) & timeMask
	f.start.dts = f.start.pts
	f.samples += int64(h.samples)
}

// seek looks for a header that confirmations others follow, drops what is before it, and reports whether it is there.
func (f *audioFramer) seek() bool {
	for at := 0; ; at++ {
		ok, more := f.chainAt(at)
		if more {
			f.drop(at)
			return false
		}
		if ok {
			f.drop(at)
			f.state = audioChained
			return true
		}
		if f.refuse != nil && len(f.buf)-at >= audioHeader && f.marks.startsAt(at) {
			f.out.refuse(f.refuse(f.buf[at:]))
		}
	}
}

// chainAt reports whether a chain of headers begins at the position, or more bytes are needed to say.
func (f *audioFramer) chainAt(at int) (ok, more bool) {
	var first frameHeader
	for i := range confirmations + 1 {
		h, ok, more := f.header(at)
		if !ok || i > 0 && h.kind != first.kind {
			return false, more
		}
		if i == 0 {
			first = h
		}
		at += h.length
	}
	return true, false
}

// drop takes n bytes from the front of the buffer.
func (f *audioFramer) drop(n int) {
	f.buf = f.buf[:copy(f.buf, f.buf[n:])]
	f.marks.shift(n)
}

func (f *audioFramer) lose(reason Damage) {
	if f.isOpen && len(f.buf) > 0 {
		f.deliver(f.buf, reason)
	}
	if f.units != nil {
		f.units.lose(reason)
	}
	f.wait()
}

func (f *audioFramer) wait() {
	f.state, f.isOpen, f.hasBase = audioWaiting, false, false
	f.buf = f.buf[:0]
	f.marks.reset()
}

// flush delivers the frame that is not complete, as damaged.
func (f *audioFramer) flush() { f.lose(DamagePESLength) }
