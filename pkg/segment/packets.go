package segment

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/twinreel/twinreel/pkg/timeline"
)

// Limits of packet runs.
const (
	// MaxRunBytes bounds the payload of the runs that a recorder keeps of one loss: those of an access unit, or of a few of sound.
	MaxRunBytes = 1 << 20
	// MaxRunsBytes bounds those of a segment. Of a loss beyond it none are kept.
	MaxRunsBytes = 3 << 20
	// MaxRunsEncoded bounds the runs of a copy as they are stored and sent. Of one with more, as a join of several may have,
	// none are kept.
	MaxRunsEncoded = 7 << 19

	// maxPackets bounds the packets of a copy: those of MaxRunsBytes that are filled are 17,000.
	maxPackets = 1 << 16

	maxPayload = 184 // of a transport packet
	maxAt      = 1 << 20
	// maxUnlike bounds the packets that copies have in one place.
	maxUnlike = 4
)

// Run is what came of the transport packets from one PES with a time to the next one with a time that was received. It is
// kept where an access unit in it is damaged or missing, so that copies can be put together packet by packet. It is no part
// of a copy's identity, and says nothing against it.
type Run struct {
	PID     uint16
	DTS     timeline.Ticks // T of the PES with which it begins
	Links   []Link         // by their values
	Packets []Packet       // by At, then by their values
}

// Link says where the PES of a run begins, counted from the one before that has a time.
type Link struct {
	DTS   timeline.Ticks // T of the one before
	At    uint32         // packets of the PID from the first of that one to the first of this one
	Whole bool           // all of them were received
}

// Packet is one transport packet with payload.
type Packet struct {
	At      uint32 // counted over the packets of the PID from the first of the run's PES, by the continuity counter
	Counter uint8  // continuity_counter
	Start   bool   // payload_unit_start_indicator
	Data    []byte // payload
}

func (p *Packet) compare(o *Packet) int {
	return cmp.Or(cmp.Compare(p.At, o.At), cmp.Compare(p.Counter, o.Counter), compareBool(p.Start, o.Start), bytes.Compare(p.Data, o.Data))
}

func (l *Link) compare(o *Link) int {
	return cmp.Or(cmp.Compare(l.DTS, o.DTS), cmp.Compare(l.At, o.At), compareBool(l.Whole, o.Whole))
}

// UniteRuns gives the runs of all lists. What lies in one place and is unlike is kept, up to four packets of it. It is
// commutative, associative and idempotent.
func UniteRuns(lists ...[]Run) (out []Run) {
	all := slices.Concat(lists...)
	slices.SortStableFunc(all, func(a, b Run) int { return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.DTS, b.DTS)) })
	for _, r := range all {
		if n := len(out); n > 0 && out[n-1].PID == r.PID && out[n-1].DTS == r.DTS {
			o := &out[n-1]
			o.Links, o.Packets = append(o.Links, r.Links...), append(o.Packets, r.Packets...)
			continue
		}
		r.Links, r.Packets = slices.Clone(r.Links), slices.Clone(r.Packets)
		out = append(out, r)
	}
	for i := range out {
		r := &out[i]
		slices.SortFunc(r.Links, func(a, b Link) int { return a.compare(&b) })
		r.Links = slices.CompactFunc(r.Links, func(a, b Link) bool { return a == b })
		r.Links = r.Links[:min(len(r.Links), maxUnlike)]
		slices.SortFunc(r.Packets, func(a, b Packet) int { return a.compare(&b) })
		r.Packets = slices.CompactFunc(r.Packets, func(a, b Packet) bool { return a.compare(&b) == 0 })
		same := 0
		r.Packets = slices.DeleteFunc(r.Packets, func() func(Packet) bool {
			at := uint32(maxAt)
			return func(p Packet) bool {
				if p.At != at {
					at, same = p.At, 0
				}
				same++
				return same > maxUnlike
			}
		}())
	}
	return out
}

// RunsBytes is the payload of runs.
func RunsBytes(runs []Run) (n int) {
	for i := range runs {
		for k := range runs[i].Packets {
			n += len(runs[i].Packets[k].Data)
		}
	}
	return n
}

// EncodeRuns gives the runs of a copy as they are stored and sent; nil: there are none, or too many.
func EncodeRuns(runs []Run) []byte {
	if len(runs) == 0 {
		return nil
	}
	b := AppendRuns(make([]byte, 0, RunsBytes(runs)+RunsBytes(runs)/32+64), runs)
	if len(b) > MaxRunsEncoded {
		return nil
	}
	return b
}

var errRuns = errors.New("these are no packet runs")

// AppendRuns writes runs as FORMAT.md says ("Packet runs").
func AppendRuns(dst []byte, runs []Run) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(runs)))
	for i := range runs {
		r := &runs[i]
		dst = binary.AppendUvarint(dst, uint64(r.PID))
		dst = binary.AppendVarint(dst, int64(r.DTS))
		dst = binary.AppendUvarint(dst, uint64(len(r.Links)))
		for _, l := range r.Links {
			dst = binary.AppendVarint(dst, int64(r.DTS-l.DTS))
			at := uint64(l.At) << 1
			if l.Whole {
				at |= 1
			}
			dst = binary.AppendUvarint(dst, at)
		}
		dst = binary.AppendUvarint(dst, uint64(len(r.Packets)))
		at := uint32(0)
		for k := range r.Packets {
			p := &r.Packets[k]
			head := uint64(p.At-at)<<5 | uint64(p.Counter&0x0F)<<1
			if p.Start {
				head |= 1
			}
			dst = binary.AppendUvarint(dst, head)
			dst = append(dst, byte(len(p.Data)))
			dst = append(dst, p.Data...)
			at = p.At
		}
	}
	return dst
}

// ParseRuns reads what AppendRuns wrote. The packets lead into b. It allocates in proportion to the length of b.
func ParseRuns(b []byte) ([]Run, error) {
	if len(b) > MaxRunsEncoded {
		return nil, errRuns
	}
	p := parser{b: b}
	var out []Run
	packets := uint64(0)
	for n := p.count(); n > 0 && !p.bad; n-- {
		r := Run{PID: uint16(p.uvarint(0x1FFF)), DTS: timeline.Ticks(p.varint())}
		for n := p.count(); n > 0 && !p.bad; n-- {
			l := Link{DTS: r.DTS - timeline.Ticks(p.varint())}
			at := p.uvarint(maxAt<<1 - 1)
			l.At, l.Whole = uint32(at>>1), at&1 != 0
			r.Links = append(r.Links, l)
		}
		at, count := uint64(0), p.count()
		if packets += count + uint64(len(r.Links)) + 1; packets > maxPackets {
			return nil, errRuns
		}
		for n := count; n > 0 && !p.bad; n-- {
			head := p.uvarint(maxAt<<5 - 1)
			if at += head >> 5; at >= maxAt {
				return nil, errRuns
			}
			r.Packets = append(r.Packets, Packet{At: uint32(at), Counter: uint8(head >> 1 & 0x0F), Start: head&1 != 0, Data: p.payload()})
		}
		out = append(out, r)
	}
	if p.bad || len(p.b) > 0 {
		return nil, errRuns
	}
	return out, nil
}

type parser struct {
	b   []byte
	bad bool
}

func (p *parser) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(p.b)
	if n <= 0 || v > most {
		p.bad, p.b = true, nil
		return 0
	}
	p.b = p.b[n:]
	return v
}

func (p *parser) varint() int64 {
	v, n := binary.Varint(p.b)
	if n <= 0 || v > int64(4*timeline.Wrap) || v < -int64(4*timeline.Wrap) {
		p.bad, p.b = true, nil
		return 0
	}
	p.b = p.b[n:]
	return v
}

// count is how many items follow, each of a byte or more.
func (p *parser) count() uint64 { return p.uvarint(uint64(len(p.b))) }

func (p *parser) payload() []byte {
	if len(p.b) == 0 || int(p.b[0]) > min(len(p.b)-1, maxPayload) {
		p.bad, p.b = true, nil
		return nil
	}
	n := 1 + int(p.b[0])
	d := p.b[1:n:n]
	p.b = p.b[n:]
	return d
}
