package aac

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Errors of the parsers.
var (
	// ErrSyntax: the bytes are not what they should be.
	ErrSyntax = errors.New("the AAC configuration does not parse")
	// ErrUnsupported: they are, but of a kind that is not recorded; the text around it says which.
	ErrUnsupported = errors.New("the AAC configuration is of a kind that is not supported")
)

// MaxConfig bounds the bytes of an AudioSpecificConfig.
const MaxConfig = 64

// Config is an AudioSpecificConfig.
type Config struct {
	ObjectType uint8 // of the core: 1 Main, 2 LC, 3 SSR, 4 LTP
	Rate       int   // Hz, of the core
	OutputRate int   // after spectral band replication
	Channels   int   // as coded; 1 with parametric stereo
	Samples    int   // of the core in a frame: 1024 or 960
	SBR, PS    bool  // told explicitly; a decoder may find them where they are not
}

// ParseConfig reads an AudioSpecificConfig that fills b.
func ParseConfig(b []byte) (Config, error) {
	r := &bits{b: b}
	return r.config(8*len(b), true)
}

var rates = [...]int{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}

const (
	objectSBR = 5
	objectPS  = 29
)

// config reads an AudioSpecificConfig of at most so many bits. Where its end is known, an extension may follow.
func (r *bits) config(limit int, endKnown bool) (c Config, err error) {
	start := r.at
	object := r.object()
	c.Rate = r.rate()
	channels := r.read(4)
	if object == objectSBR || object == objectPS {
		c.SBR, c.PS = true, object == objectPS
		c.OutputRate = r.rate()
		object = r.object()
	} else {
		c.OutputRate = c.Rate
	}
	if object < 1 || object > 4 {
		if r.over() {
			return c, ErrSyntax
		}
		return c, fmt.Errorf("audio object type %d: %w", object, ErrUnsupported)
	}
	c.ObjectType = uint8(object)
	c.Samples = 1024
	if r.flag() {
		c.Samples = 960
	}
	if r.flag() {
		r.skip(14) // coreCoderDelay
	}
	extended := r.flag()
	switch {
	case channels == 0:
		c.Channels = r.programConfig(start)
	case channels <= 6:
		c.Channels = channels
	case channels == 7:
		c.Channels = 8
	default:
		return c, fmt.Errorf("channel configuration %d: %w", channels, ErrUnsupported)
	}
	if extended {
		r.skip(1) // extensionFlag3
	}
	if endKnown && !c.SBR {
		r.syncExtension(&c, start+limit)
	}
	if r.over() || r.at-start > limit || c.Rate <= 0 || c.OutputRate <= 0 {
		return c, ErrSyntax
	}
	if r.at-start > 8*MaxConfig {
		return c, fmt.Errorf("an AudioSpecificConfig of %d bits: %w", r.at-start, ErrUnsupported)
	}
	return c, nil
}

// syncExtension reads the signalling of spectral band replication and parametric stereo that a decoder of plain AAC
// does not see, if it is there.
func (r *bits) syncExtension(c *Config, end int) {
	const sbr, ps = 0x2B7, 0x548
	before := r.at
	if end-r.at < 16 || r.read(11) != sbr || r.object() != objectSBR {
		r.at = before
		return
	}
	if c.SBR = r.flag(); !c.SBR {
		return
	}
	c.OutputRate = r.rate()
	if before = r.at; end-r.at < 12 || r.read(11) != ps {
		r.at = before
		return
	}
	c.PS = r.flag()
}

// ProgramConfig makes the AudioSpecificConfig of ADTS frames whose header says nothing of their channels
// (channel_configuration 0), of the program_config_element with which their raw_data_block begins. Its comment is left out:
// it is for people. told: it is there. Where it is not, there are two channels that have nothing to do with each other, as
// Japanese broadcasts have them.
func ProgramConfig(object, frequencyIndex uint8, block []byte) (specific []byte, told bool) {
	const element = 5
	r := &bits{b: block}
	told = r.read(3) == element
	from := r.at
	r.channels()
	if !told || r.over() {
		block, told = dualMono(object, frequencyIndex), false
		from, r.at = 0, dualMonoBits
	}
	specific = []byte{object<<3 | frequencyIndex>>1, frequencyIndex << 7}
	specific = (&bits{b: block, at: from}).appendBits(specific, r.at-from)
	return append(specific, 0), told
}

const dualMonoBits = 44

// dualMono is a program_config_element of two single_channel_elements in front, with the tags 0 and 1.
func dualMono(object, frequencyIndex uint8) []byte {
	v := uint64(object-1)<<38 | uint64(frequencyIndex)<<34 | 2<<30 | 1
	return binary.BigEndian.AppendUint64(nil, v<<(64-dualMonoBits))
}

// programConfig reads a program_config_element (4.4.1.1) and returns how many channels it has. It is aligned to bytes
// from the start of the configuration.
func (r *bits) programConfig(start int) (channels int) {
	channels = r.channels()
	r.skip((8 - (r.at-start)%8) % 8)
	r.skip(8 * r.read(8)) // comment
	return channels
}

// channels reads a program_config_element as far as its alignment.
func (r *bits) channels() (channels int) {
	r.skip(4 + 2 + 4)
	elements := r.read(4)
	side, back := r.read(4), r.read(4)
	elements += side + back
	lfe, data, coupling := r.read(2), r.read(3), r.read(4)
	for _, n := range [...]int{4, 4, 3} { // mono, stereo, matrix mixdown
		if r.flag() {
			r.skip(n)
		}
	}
	for range elements {
		channels++
		if r.flag() {
			channels++
		}
		r.skip(4)
	}
	channels += lfe
	r.skip(4*lfe + 4*data + 5*coupling)
	return channels
}

func (r *bits) object() int {
	if n := r.read(5); n != 31 {
		return n
	}
	return 32 + r.read(6)
}

func (r *bits) rate() int {
	i := r.read(4)
	switch {
	case i < len(rates):
		return rates[i]
	case i == 15:
		return r.read(24)
	}
	return 0
}

// bits reads big endian bits. Beyond the end it reads zeros.
type bits struct {
	b  []byte
	at int
}

func (r *bits) over() bool { return r.at > 8*len(r.b) }

func (r *bits) skip(n int) { r.at += n }

func (r *bits) read(n int) int {
	v := 0
	for range n {
		v <<= 1
		if r.at < 8*len(r.b) {
			v |= int(r.b[r.at/8]) >> (7 - r.at%8) & 1
		}
		r.at++
	}
	return v
}

func (r *bits) flag() bool { return r.read(1) != 0 }
