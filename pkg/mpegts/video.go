package mpegts

import "bytes"

// videoFramer is what the framers of video have in common: a buffer that begins with the open unit, the search for
// start codes in it, and what becomes of a unit when bytes are missing. What a start code means is its syntax's.
type videoFramer struct {
	out     *output
	maxUnit int
	syntax  videoSyntax
	// timed: pictures without a time of their own are given one by counting from one that has, so framing begins in a
	// PES with a time.
	timed bool

	state  videoState
	damage Damage // of the open unit, once videoDamaged
	buf    []byte // the open unit and what follows it
	scan   int    // where to look for the next start code's 0x01
	marks  marks

	start  unitStart // of the open unit
	proven bool      // it is a unit, and its beginning is one

	units int // since the buffer was fitted
	most  int // its greatest length since then
}

// videoSyntax is how one codec divides its byte stream.
type videoSyntax interface {
	// startCode takes the start code whose 0x01 is at one. False: it needs more bytes than are here; never at the end.
	startCode(one int, end bool) bool
	// forget gives up all that rests on what came before.
	forget()
	// moved says that n bytes were taken from the front of the buffer.
	moved(n int)
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

func (f *videoFramer) pes(m mark) {
	if f.state == videoDamaged {
		f.deliver(len(f.buf), f.damage)
		f.reset()
	}
	if f.state == videoWaiting {
		if f.timed && !m.hasPTS {
			return
		}
		f.state = videoSeeking
	}
	m.at = len(f.buf)
	f.marks.add(m)
}

func (f *videoFramer) append(b []byte, _ bool) {
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
func (f *videoFramer) lose(reason Damage) {
	switch {
	case f.state == videoDamaged:
		f.damage |= reason
	case f.state == videoOpen && f.proven:
		f.state, f.damage, f.start.hole = videoDamaged, reason, len(f.buf)
	case f.state == videoOpen:
		f.out.dropped(f.start)
		f.reset()
	default:
		f.reset()
	}
}

func (f *videoFramer) flush() {
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
func (f *videoFramer) reset() {
	f.state, f.damage = videoWaiting, 0
	f.buf, f.scan = f.buf[:0], 0
	f.marks.reset()
	f.proven = false
	f.syntax.forget()
}

// scanUnits looks at each start code that is new. One whose header is not all here is left for the next time, unless
// this is the end.
func (f *videoFramer) scanUnits(end bool) {
	for {
		i := bytes.IndexByte(f.buf[f.scan:], 1)
		if i < 0 {
			f.scan = len(f.buf)
			return
		}
		one := f.scan + i
		f.scan = one
		if one >= 2 && f.buf[one-1] == 0 && f.buf[one-2] == 0 && !f.syntax.startCode(one, end) {
			return
		}
		f.scan++
	}
}

// nalBegin is where the NAL unit begins whose start code ends at one. The zero before a start code belongs to it
// (zero_byte), but not if it is another PES's: a unit begins with its PES.
func (f *videoFramer) nalBegin(one int) int {
	begin := one - 2
	if begin > 0 && f.buf[begin-1] == 0 && !f.marks.startsAt(begin) {
		begin--
	}
	return begin
}

// open begins a unit at the position, and drops what is before it.
func (f *videoFramer) open(at int) {
	f.drop(at)
	f.state = videoOpen
	f.start = f.out.begun()
}

// date gives the open unit the times of its PES, if it is the first that begins in it.
func (f *videoFramer) date(m mark, first bool) {
	if first {
		f.start.pts, f.start.dts, f.start.hasPTS = m.pts, m.dts, m.hasPTS
	}
}

// cut ends the open unit at the position, where the next begins.
func (f *videoFramer) cut(at int) {
	f.deliver(at, 0)
	most := len(f.buf)
	f.open(at)
	f.fit(most)
}

// fit gives room back that one long unit needed; most is the length of the buffer with the last unit.
func (f *videoFramer) fit(most int) {
	f.most = max(f.most, most)
	if f.units++; f.units < giveBackEvery {
		return
	}
	if cap(f.buf) > 2*f.most {
		f.buf = append(make([]byte, 0, f.most), f.buf...)
	}
	f.units, f.most = 0, 0
}

func (f *videoFramer) deliver(n int, damage Damage) {
	if !f.proven {
		f.out.dropped(f.start)
		return
	}
	f.out.deliver(f.start, f.buf[:n], damage, 0, 0)
}

// drop takes n bytes from the front of the buffer.
func (f *videoFramer) drop(n int) {
	f.buf = f.buf[:copy(f.buf, f.buf[n:])]
	f.scan -= n
	f.marks.shift(n)
	f.syntax.moved(n)
}
