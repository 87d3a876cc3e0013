package mpegts

import (
	"errors"

	"github.com/twinreel/twinreel/pkg/ac3"
)

var errNoConvsync = errors.New("E-AC-3 of short syncframes that never has convsync: where six blocks begin is not told")

// parseAC3 reads the header of a syncframe of AC-3 or E-AC-3.
func parseAC3(b []byte) (frameHeader, bool) {
	h, ok := ac3.ParseHeader(b)
	if !ok {
		return frameHeader{}, false
	}
	f := frameHeader{length: h.Size, rate: h.Rate, kind: uint32(h.Rate)}
	if f.inner = !h.First(); !f.inner {
		f.samples = h.Blocks * ac3.BlockSamples
	}
	return f, true
}

// ac3Units gathers syncframes into access units of six blocks, which is what a sample of an MP4 file holds (ETSI
// TS 102 366, F.3): those of the first independent substream, with all others that follow each of them.
//
// Which syncframe begins a unit is told by the stream, never by counting from where we joined: one with all six blocks
// does, and of shorter ones that with convsync. From there blocks are counted, as an encoder may set convsync less often
// than once in six. A stream of shorter ones that never sets it is not delivered.
//
// A unit cannot end itself, since more substreams may follow; it is delivered when the next has begun, as a picture is.
type ac3Units struct {
	out    *output
	alone  bool // no substream follows a syncframe of AC-3: it is a unit
	limit  int  // bytes
	buf    []byte
	start  unitStart
	isOpen bool
	blocks int
	rate   int
	passed int // syncframes that could have begun a unit and did not, in a row
}

// mostPassed is how many that may be before the stream is said to have no beginnings: encoders set convsync each six.
const mostPassed = 24

// frame takes the next syncframe.
func (g *ac3Units) frame(s unitStart, data []byte, damage Damage, f frameHeader) {
	h, _ := ac3.ParseHeader(data)
	switch {
	case h.First():
		info, _ := ac3.ParseInfo(data, h)
		begins := info.Converter
		if g.isOpen && (begins || g.blocks+h.Blocks > ac3.UnitBlocks || g.rate != h.Rate) {
			g.deliver(0)
			begins = true
		}
		switch {
		case begins:
			g.passed = 0
			g.isOpen, g.start, g.rate, g.blocks, g.buf = true, s, h.Rate, 0, g.buf[:0]
		case g.isOpen:
			g.start.discontinuity = g.start.discontinuity || s.discontinuity
		default:
			g.out.dropped(s)
			if g.passed++; g.passed > mostPassed {
				g.out.refuse(errNoConvsync)
			}
			return
		}
		g.blocks += h.Blocks
	case !g.isOpen:
		g.out.dropped(s)
		return
	}
	if len(g.buf)+len(data) > g.limit {
		g.out.d.stats.SyntaxErrors++
		g.deliver(DamageSyntax)
		g.out.lose(DamageSyntax)
		return
	}
	g.buf = append(g.buf, data...)
	if damage != 0 || g.alone && !h.Enhanced {
		g.deliver(damage)
	}
}

func (g *ac3Units) deliver(damage Damage) {
	g.isOpen = false
	g.out.deliver(g.start, g.buf, damage, g.blocks*ac3.BlockSamples, g.rate)
}

// lose delivers the unit whose end is not seen.
func (g *ac3Units) lose(reason Damage) {
	if g.isOpen {
		g.deliver(reason)
	}
}
