package scte35

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Commands (SCTE 35, table 7).
const (
	SpliceNull           = 0x00
	SpliceSchedule       = 0x04
	SpliceInsert         = 0x05
	TimeSignal           = 0x06
	BandwidthReservation = 0x07
	PrivateCommand       = 0xFF
)

// Errors of Parse.
var (
	// ErrCRC is returned for a section whose CRC_32 is wrong.
	ErrCRC = errors.New("the CRC of the section is wrong")
	// ErrMalformed is returned for a section that does not parse.
	ErrMalformed = errors.New("the section is malformed")
)

const (
	timeMask = 1<<33 - 1
	cuei     = "CUEI"
)

// Section is a splice_info_section (9.6).
type Section struct {
	Encrypted bool // nothing below is known but PTSAdjustment
	// PTSAdjustment is to be added to every time in the section, modulo 2^33; times below have it already.
	PTSAdjustment uint64
	Command       uint8
	Insert        *Insert        // of SpliceInsert
	Time          *uint64        // of TimeSignal: PTS, nil if it says none
	Segmentations []Segmentation // of any command
}

// Insert is a splice_insert (9.7.3).
type Insert struct {
	EventID    uint32
	Cancel     bool // the event is called off; the rest is not said
	Out        bool // out_of_network_indicator
	Immediate  bool
	Time       *uint64 // PTS of the splice, the first component's if it has several; nil: not said
	Duration   *uint64 // of the break, ticks of 90 kHz
	AutoReturn bool
	ProgramID  uint16
	Avail      uint8
	Avails     uint8
}

// Segmentation is a segmentation_descriptor (10.3.3).
type Segmentation struct {
	EventID  uint32
	Cancel   bool // the event is called off; the rest is not said
	Type     uint8
	Duration *uint64 // ticks of 90 kHz
	UPIDType uint8
	UPID     []byte // part of what was parsed
	Number   uint8
	Expected uint8
}

// CommandName names a command.
func CommandName(c uint8) string {
	switch c {
	case SpliceNull:
		return "splice_null"
	case SpliceSchedule:
		return "splice_schedule"
	case SpliceInsert:
		return "splice_insert"
	case TimeSignal:
		return "time_signal"
	case BandwidthReservation:
		return "bandwidth_reservation"
	case PrivateCommand:
		return "private_command"
	}
	return fmt.Sprintf("command 0x%02X", c)
}

// Parse reads the section that fills b. Errors: ErrCRC, ErrMalformed.
func Parse(b []byte) (*Section, error) {
	const fixed = 14 // to splice_command_type
	if len(b) < fixed+2+4 || b[0] != 0xFC {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	if n := 3 + int(binary.BigEndian.Uint16(b[1:])&0xFFF); n != len(b) {
		return nil, fmt.Errorf("%w: it has %d bytes and says %d", ErrMalformed, len(b), n)
	}
	if crc32(b) != 0 {
		return nil, ErrCRC
	}
	s := &Section{
		Encrypted:     b[4]&0x80 != 0,
		PTSAdjustment: uint64(b[4]&1)<<32 | uint64(binary.BigEndian.Uint32(b[5:])),
	}
	if s.Encrypted {
		return s, nil
	}
	s.Command = b[13]
	r := &reader{b: b[fixed : len(b)-4], adjust: s.PTSAdjustment}
	if length := int(binary.BigEndian.Uint16(b[11:]) & 0xFFF); length != 0xFFF { // 0xFFF: from before there was a length
		c := r.part(length)
		s.command(c)
		if c.bad {
			r.bad = true
		}
	} else if !s.command(r) {
		r.bad = true
	}
	loop := r.part(int(r.u16()))
	for !r.bad && len(loop.b) > 0 {
		tag := loop.u8()
		d := loop.part(int(loop.u8()))
		if loop.bad {
			r.bad = true
			break
		}
		if id := d.take(4); tag == 0x02 && string(id) == cuei {
			s.segmentation(d) // one that is too short costs itself: the command is good
		}
	}
	if r.bad {
		return nil, fmt.Errorf("%w: %s", ErrMalformed, CommandName(s.Command))
	}
	return s, nil
}

// command reads the command, and reports whether it knows where it ends.
func (s *Section) command(r *reader) bool {
	switch s.Command {
	case SpliceNull, BandwidthReservation:
	case SpliceInsert:
		s.insert(r)
	case TimeSignal:
		s.Time = r.time()
	default:
		return false
	}
	return true
}

func (s *Section) insert(r *reader) {
	i := &Insert{EventID: r.u32(), Cancel: r.u8()&0x80 != 0}
	s.Insert = i
	if i.Cancel {
		return
	}
	flags := r.u8()
	whole, duration := flags&0x40 != 0, flags&0x20 != 0
	i.Out, i.Immediate = flags&0x80 != 0, flags&0x10 != 0
	if whole && !i.Immediate {
		i.Time = r.time()
	}
	if !whole {
		for range r.u8() {
			r.u8() // component_tag
			if i.Immediate {
				continue
			}
			if t := r.time(); i.Time == nil {
				i.Time = t
			}
		}
	}
	if duration {
		b := r.take(5)
		d := uint64(b[0]&1)<<32 | uint64(binary.BigEndian.Uint32(b[1:]))
		i.AutoReturn, i.Duration = b[0]&0x80 != 0, &d
	}
	i.ProgramID, i.Avail, i.Avails = r.u16(), r.u8(), r.u8()
}

func (s *Section) segmentation(r *reader) {
	g := Segmentation{EventID: r.u32(), Cancel: r.u8()&0x80 != 0}
	if !g.Cancel {
		flags := r.u8()
		if flags&0x80 == 0 {
			r.take(6 * int(r.u8())) // components with their offsets
		}
		if flags&0x40 != 0 {
			b := r.take(5)
			d := uint64(b[0])<<32 | uint64(binary.BigEndian.Uint32(b[1:]))
			g.Duration = &d
		}
		g.UPIDType = r.u8()
		g.UPID = r.take(int(r.u8()))
		g.Type, g.Number, g.Expected = r.u8(), r.u8(), r.u8()
	}
	if !r.bad {
		s.Segmentations = append(s.Segmentations, g)
	}
}

// reader takes fields from the front; beyond the end they are 0 and it is bad.
type reader struct {
	b      []byte
	adjust uint64
	bad    bool
}

var zeros [8]byte

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.bad, r.b = true, nil
		if n > len(zeros) {
			return nil
		}
		return zeros[:n]
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() uint8   { return r.take(1)[0] }
func (r *reader) u16() uint16 { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) u32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }

// part takes the next bytes as fields of their own.
func (r *reader) part(n int) *reader {
	b := r.take(n)
	return &reader{b: b, adjust: r.adjust, bad: r.bad}
}

// time reads a splice_time (9.8.1).
func (r *reader) time() *uint64 {
	first := r.u8()
	if first&0x80 == 0 {
		return nil
	}
	t := uint64(first&1)<<32 | uint64(r.u32())
	t = (t + r.adjust) & timeMask
	return &t
}

// crc32 is that of H.222.0, annex A: 0 over a section with its CRC.
func crc32(b []byte) uint32 {
	crc := ^uint32(0)
	for _, c := range b {
		crc ^= uint32(c) << 24
		for range 8 {
			if crc&(1<<31) != 0 {
				crc = crc<<1 ^ 0x04C1_1DB7
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}
