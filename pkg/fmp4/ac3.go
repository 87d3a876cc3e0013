package fmp4

import (
	"fmt"

	"github.com/twinreel/twinreel/pkg/ac3"
)

// AC3Init returns the init segment of an AC-3 or E-AC-3 track (ETSI TS 102 366, annex F) and its RFC 6381 codec string.
func AC3Init(pid uint16, language string, c ac3.Config) ([]byte, string, error) {
	if c.Rate <= 0 || c.Count < 1 || c.Count > len(c.Substreams) || !c.Enhanced && c.Count > 1 {
		return nil, "", fmt.Errorf("build AC-3 init segment of PID %d: configuration %+v does not exist", pid, c)
	}
	name, codec, box := "ac-3", "ac-3", (*boxes).dac3
	if c.Enhanced {
		name, codec, box = "ec-3", "ec-3", (*boxes).dec3
	}
	return initSegment(track{pid: pid, language: language, sampleEntry: func(w *boxes) {
		w.audioEntry(name, c.Channels(), c.Rate, func() { box(w, &c) })
	}}), codec, nil
}

// dac3 writes an AC3SpecificBox (F.4).
func (w *boxes) dac3(c *ac3.Config) {
	s := c.Substreams[0]
	w.box("dac3", func() {
		v := uint32(s.SampleRateCode)<<22 | uint32(s.BSID)<<17 | uint32(s.Service)<<14 | uint32(s.Mode)<<11 |
			bit(s.LFE)<<10 | uint32(c.BitRate)<<5
		w.u8(uint8(v >> 16))
		w.u16(uint16(v))
	})
}

// dec3 writes an EC3SpecificBox (F.6), with the extension of ETSI TS 103 420 where there is joint object coding. The data
// rate is 0: it is no property of the configuration.
func (w *boxes) dec3(c *ac3.Config) {
	w.box("dec3", func() {
		w.u16(uint16(c.Count - 1))
		for _, s := range c.Substreams[:c.Count] {
			w.u8(s.SampleRateCode<<6 | s.BSID<<1)
			w.u8(s.Service<<4 | s.Mode<<1 | uint8(bit(s.LFE)))
			w.u8(s.Dependents<<1 | uint8(s.Locations>>8))
			if s.Dependents > 0 {
				w.u8(uint8(s.Locations))
			}
		}
		if c.JOC != 0 {
			w.u8(1) // flag_ec3_extension_type_a
			w.u8(c.JOC)
		}
	})
}

func bit(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}
