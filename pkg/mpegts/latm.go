package mpegts

import (
	"errors"

	"github.com/twinreel/twinreel/pkg/aac"
)

const loasHeader = 3

// parseLOAS reads the header of an AudioSyncStream (ISO/IEC 14496-3, 1.7.2). How many samples there are is told within.
func parseLOAS(b []byte) (frameHeader, bool) {
	length := int(b[1]&0x1F)<<8 | int(b[2])
	if b[0] != 0x56 || b[1]&0xE0 != 0xE0 || length == 0 {
		return frameHeader{}, false
	}
	return frameHeader{length: loasHeader + length, rate: ticksPerSecond}, true
}

// latmUnits takes AAC frames out of LATM, where an element may be under the StreamMuxConfig of one before it.
//
// One that joins waits for a StreamMuxConfig, and, as it is not known how many samples came before it in its PES, for the
// next PES. Behind a hole, what comes before the next StreamMuxConfig is taken to be under the one before the hole, and
// delivered as damaged. An element that is not whole is not delivered: the next unit has Lost.
type latmUnits struct {
	out       *output
	mux       aac.Mux
	known     bool
	stale     Damage // why mux may not be in force
	uncounted bool   // how many samples there were since the PES's time is not known
	samples   int64  // since then
	delivered bool
	buf       []byte
}

// frame takes the next LOAS frame.
func (l *latmUnits) frame(s unitStart, data []byte, damage Damage, _ frameHeader) {
	if damage != 0 {
		l.out.dropped(s)
		return
	}
	if s.fresh {
		l.samples, l.uncounted = 0, false
	}
	e, err := aac.ParseElement(data[loasHeader:], l.mux)
	if err != nil {
		l.refuse(s, err)
		return
	}
	if e.HasMux {
		if e.Mux != l.mux {
			l.uncounted = !s.fresh && (!l.known || l.stale != 0)
		}
		l.mux, l.known, l.stale = e.Mux, true, 0
	}
	if !l.known || l.uncounted {
		l.uncounted = true
		l.skip(s)
		return
	}
	c := &l.mux.Config
	base := s.pts
	for range l.mux.SubFrames {
		if l.buf, err = e.Next(l.buf[:0]); err != nil {
			l.refuse(s, err)
			return
		}
		s.pts = (base + l.samples*ticksPerSecond/int64(c.Rate)) & timeMask
		s.dts = s.pts
		l.samples += int64(c.Samples)
		if len(l.buf) == 0 {
			continue
		}
		l.delivered = true
		l.out.config = l.mux.Specific()
		l.out.deliver(s, l.buf, l.stale, c.Samples, c.Rate)
		s = unitStart{hasPTS: s.hasPTS, arrived: s.arrived}
	}
}

// skip passes over an element. Where units were delivered before it, the next one says that this is missing.
func (l *latmUnits) skip(s unitStart) {
	l.out.dropped(s)
	if l.delivered {
		l.out.lose(DamageSyntax)
	}
}

// refuse passes over an element that cannot be read.
func (l *latmUnits) refuse(s unitStart, err error) {
	l.uncounted = true
	if errors.Is(err, aac.ErrUnsupported) {
		l.known = false
		l.out.refuse(err)
	} else {
		l.out.d.stats.SyntaxErrors++
	}
	l.skip(s)
}

func (l *latmUnits) lose(reason Damage) {
	if l.known {
		l.stale |= reason
	}
}
