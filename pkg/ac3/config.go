package ac3

// Config is what an init segment says of a track. Two configurations are equal when they compare equal.
//
// The data rate of E-AC-3 is not in it: sizes of syncframes may vary, and each change would be another configuration.
type Config struct {
	Enhanced   bool
	Rate       int
	BitRate    uint8 // bit_rate_code, AC-3 only
	Count      int   // of Substreams, independent ones
	Substreams [8]Substream
	JOC        uint8 // complexity index of joint object coding; 0: there is none
}

// Substream is one independent substream with those that depend on it.
type Substream struct {
	SampleRateCode uint8 // fscod
	BSID           uint8
	Service        uint8 // bsmod
	Mode           uint8 // acmod
	LFE            bool
	Dependents     uint8
	Locations      uint16 // chan_loc of the dependents
}

// Describe reads the configuration of an access unit, as whole syncframes: the first one is of the first independent
// substream. AC-3 becomes E-AC-3 where others follow it.
func Describe(unit []byte) (c Config, ok bool) {
	first := true
	for len(unit) > 0 {
		h, ok := ParseHeader(unit)
		if !ok || h.Size > len(unit) || first && !h.First() {
			return Config{}, false
		}
		if !first && h.First() {
			break // further blocks of the same
		}
		info, ok := ParseInfo(unit[:h.Size], h)
		if !ok || !c.add(h, info, first) {
			return Config{}, false
		}
		first, unit = false, unit[h.Size:]
	}
	return c, !first
}

func (c *Config) add(h Header, info Info, first bool) bool {
	if first {
		c.Rate, c.BitRate = h.Rate, h.sizeCode/2
		c.Enhanced = h.Enhanced
	} else if !c.Enhanced {
		c.Enhanced, c.BitRate = true, 0
	}
	if info.joc != 0 {
		c.JOC = info.joc
	}
	if h.Dependent {
		s := &c.Substreams[c.Count-1]
		if s.Dependents == 15 {
			return false // the field has four bits
		}
		s.Dependents++
		if info.hasMap {
			s.Locations |= locations(info.channels)
		}
		return true
	}
	if c.Count == len(c.Substreams) {
		return false
	}
	c.Substreams[c.Count] = Substream{
		SampleRateCode: h.fscod, BSID: h.bsid, Service: info.mode, Mode: h.mode, LFE: h.lfe,
	}
	c.Count++
	return true
}

// locations turns a chanmap, whose bit 0 is the highest, into chan_loc, whose bit 0 is the lowest (tables E.1.4, F.6).
func locations(chanmap uint16) (loc uint16) {
	from := [...]int{5, 6, 7, 8, 9, 10, 11, 12, 14} // Lc/Rc, Lrs/Rrs, Cs, Ts, Lsd/Rsd, Lw/Rw, Lvh/Rvh, Cvh, LFE2
	for to, bit := range from {
		loc |= chanmap >> (15 - bit) & 1 << to
	}
	return loc
}

// Channels counts those of the first independent substream and of what extends it.
func (c Config) Channels() int {
	s := c.Substreams[0]
	n := channels[s.Mode&7]
	if s.LFE {
		n++
	}
	for bit := range 9 {
		if s.Locations>>bit&1 == 0 {
			continue
		}
		switch bit {
		case 2, 3, 7, 8:
			n++
		default:
			n += 2
		}
	}
	return n
}
