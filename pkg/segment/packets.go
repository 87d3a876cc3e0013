package segment

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"math"
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
	maxSeq     = 1 << (16 + PlaceBits)
	// maxUnlike bounds the packets that copies have in one place.
	maxUnlike = 4
)

// Run is what came of the transport packets from one PES with a time to the next one with a time that was received. It is
// kept where an access unit in it is damaged or missing, so that copies can be put together packet by packet. It is no part
// of a copy's identity, and says nothing against it.
type Run struct {
	PID uint16
	DTS timeline.Ticks // T of the PES with which it begins
	// Sender is who numbered the datagrams in which the packets came, by RTP: 1 + SSRC. 0: they have no numbers.
	Sender uint64
	// Cut is, where the run begins behind a hole of which nobody can count the packets, Seq of its first packet; else 0.
	Cut     uint32
	Links   []Link   // by their values
	Holes   []Hole   // by their values
	Packets []Packet // by At, then by their values
}

// Hole is where a recorder lost packets between two that it has.
type Hole struct {
	From, To uint32 // places of these two, counted as those of packets
	Sure     bool   // fewer than 16 are missing for certain: the counter tells how many
}

// Link says where the PES of a run begins, counted from the one before that has a time.
type Link struct {
	DTS   timeline.Ticks // T of the one before
	At    uint32         // packets of the PID from the first of that one to the first of this one
	Whole bool           // all of them were received
	Sure  bool           // At is exact; else a multiple of 16 may be missing in it
}

// Packet is one transport packet with payload.
type Packet struct {
	At      uint32 // counted over the packets of the PID from the first of the run's PES, by the continuity counter
	Counter uint8  // continuity_counter
	Start   bool   // payload_unit_start_indicator
	Follows bool   // a recorder received it right behind the one a place before
	Seq     uint32 // where it came, by the numbers of the sender (PlaceSeq); 0: not known
	// Before and After are, beside a hole, how many datagrams without a packet of the PID a recorder received in a row before that
	// of the packet, and behind it.
	Before, After uint16
	Data          []byte // payload
}

// Of Packet.Seq.
const (
	PlaceBits = 6 // of the place of a packet in its datagram
	MaxPlace  = 1<<PlaceBits - 1
)

// PlaceSeq is Packet.Seq of the n-th packet, from 0, of a datagram; 0: it has no such place.
func PlaceSeq(datagram uint16, n int) uint32 {
	if n < 0 || n > MaxPlace {
		return 0
	}
	return 1 + (uint32(datagram)<<PlaceBits | uint32(n))
}

// Datagram is the number of the datagram of a packet whose Seq is known.
func (p *Packet) Datagram() uint16 { return uint16((p.Seq - 1) >> PlaceBits) }

// Same reports whether two packets are the same one, but for what is known of how they came.
func (p *Packet) Same(o *Packet) bool {
	return p.Counter == o.Counter && p.Start == o.Start && bytes.Equal(p.Data, o.Data)
}

// compare leaves out what a recorder knows of the packets beside it: of those that are else alike there is one.
func (p *Packet) compare(o *Packet) int {
	return cmp.Or(cmp.Compare(p.At, o.At), cmp.Compare(p.Counter, o.Counter), compareBool(p.Start, o.Start), cmp.Compare(p.Seq, o.Seq), bytes.Compare(p.Data, o.Data))
}

func (l *Link) compare(o *Link) int {
	return cmp.Or(cmp.Compare(l.DTS, o.DTS), cmp.Compare(l.At, o.At), compareBool(l.Whole, o.Whole), compareBool(l.Sure, o.Sure))
}

func (h *Hole) compare(o *Hole) int {
	return cmp.Or(cmp.Compare(h.From, o.From), cmp.Compare(h.To, o.To), compareBool(h.Sure, o.Sure))
}

// Compare orders runs by PID and time.
func (r *Run) Compare(o *Run) int {
	return cmp.Or(cmp.Compare(r.PID, o.PID), cmp.Compare(r.DTS, o.DTS), cmp.Compare(r.Sender, o.Sender), cmp.Compare(r.Cut, o.Cut))
}

// UniteRuns gives the runs of all lists. What lies in one place and is unlike is kept, up to four packets of it. It is
// commutative, associative and idempotent.
func UniteRuns(lists ...[]Run) (out []Run) {
	all := slices.Concat(lists...)
	slices.SortStableFunc(all, func(a, b Run) int { return a.Compare(&b) })
	for _, r := range all {
		if n := len(out); n > 0 && out[n-1].Compare(&r) == 0 {
			o := &out[n-1]
			o.Links, o.Holes, o.Packets = append(o.Links, r.Links...), append(o.Holes, r.Holes...), append(o.Packets, r.Packets...)
			continue
		}
		r.Links, r.Holes, r.Packets = slices.Clone(r.Links), slices.Clone(r.Holes), slices.Clone(r.Packets)
		out = append(out, r)
	}
	for i := range out {
		r := &out[i]
		slices.SortFunc(r.Links, func(a, b Link) int { return a.compare(&b) })
		r.Links = slices.CompactFunc(r.Links, func(a, b Link) bool { return a == b })
		r.Links = r.Links[:min(len(r.Links), maxUnlike)]
		slices.SortFunc(r.Holes, func(a, b Hole) int { return a.compare(&b) })
		r.Holes = slices.Compact(r.Holes)
		slices.SortFunc(r.Packets, func(a, b Packet) int { return a.compare(&b) })
		r.Packets = compact(r.Packets)
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

// compact leaves one of each packet, with all that is known of it.
func compact(all []Packet) []Packet {
	out := all[:0]
	for i := range all {
		if n := len(out); n > 0 && out[n-1].compare(&all[i]) == 0 {
			out[n-1].know(&all[i])
			continue
		}
		out = append(out, all[i])
	}
	return out
}

func (p *Packet) know(o *Packet) {
	p.Follows, p.Before, p.After = p.Follows || o.Follows, max(p.Before, o.Before), max(p.After, o.After)
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

// runsVersion stands behind a zero byte, which told a reader of the first version that there are no runs, and more behind.
const runsVersion = 2

// AppendRuns writes runs as FORMAT.md says ("Packet runs").
func AppendRuns(dst []byte, runs []Run) []byte {
	dst = append(dst, 0, runsVersion)
	dst = binary.AppendUvarint(dst, uint64(len(runs)))
	for i := range runs {
		r := &runs[i]
		dst = binary.AppendUvarint(dst, uint64(r.PID))
		dst = binary.AppendVarint(dst, int64(r.DTS))
		dst = binary.AppendUvarint(dst, r.Sender)
		dst = binary.AppendUvarint(dst, uint64(r.Cut))
		dst = binary.AppendUvarint(dst, uint64(len(r.Links)))
		for _, l := range r.Links {
			dst = binary.AppendVarint(dst, int64(r.DTS-l.DTS))
			dst = binary.AppendUvarint(dst, uint64(l.At)<<2|bit(l.Sure, 1)|bit(l.Whole, 0))
		}
		dst = binary.AppendUvarint(dst, uint64(len(r.Holes)))
		for _, h := range r.Holes {
			dst = binary.AppendUvarint(dst, uint64(h.From))
			dst = binary.AppendUvarint(dst, uint64(h.To)<<1|bit(h.Sure, 0))
		}
		dst = binary.AppendUvarint(dst, uint64(len(r.Packets)))
		at, seq := uint32(0), uint32(0)
		for k := range r.Packets {
			p := &r.Packets[k]
			dst = binary.AppendUvarint(dst, uint64(p.At-at)<<7|uint64(p.Counter&0x0F)<<3|bit(p.Before|p.After != 0, 2)|bit(p.Follows, 1)|bit(p.Start, 0))
			if p.Before|p.After != 0 {
				dst = binary.AppendUvarint(dst, uint64(p.Before))
				dst = binary.AppendUvarint(dst, uint64(p.After))
			}
			if r.Sender != 0 {
				dst = binary.AppendVarint(dst, int64(p.Seq)-int64(seq))
				seq = p.Seq
			}
			dst = append(dst, byte(len(p.Data)))
			dst = append(dst, p.Data...)
			at = p.At
		}
	}
	return dst
}

func bit(set bool, at int) uint64 {
	if set {
		return 1 << at
	}
	return 0
}

// ParseRuns reads what AppendRuns wrote. The packets lead into b. It allocates in proportion to the length of b.
func ParseRuns(b []byte) ([]Run, error) {
	if len(b) > MaxRunsEncoded {
		return nil, errRuns
	}
	if len(b) < 2 || b[0] != 0 || b[1] != runsVersion {
		return nil, errRuns
	}
	p := parser{b: b[2:]}
	var out []Run
	packets := uint64(0)
	for n := p.count(); n > 0 && !p.bad; n-- {
		r := Run{PID: uint16(p.uvarint(0x1FFF)), DTS: timeline.Ticks(p.varint()), Sender: p.uvarint(1 << 32), Cut: uint32(p.uvarint(maxSeq))}
		for n := p.count(); n > 0 && !p.bad; n-- {
			l := Link{DTS: r.DTS - timeline.Ticks(p.varint())}
			at := p.uvarint(maxAt<<2 - 1)
			l.At, l.Sure, l.Whole = uint32(at>>2), at&2 != 0, at&1 != 0
			r.Links = append(r.Links, l)
		}
		for n := p.count(); n > 0 && !p.bad; n-- {
			h := Hole{From: uint32(p.uvarint(maxAt))}
			to := p.uvarint(maxAt<<1 - 1)
			h.To, h.Sure = uint32(to>>1), to&1 != 0
			r.Holes = append(r.Holes, h)
		}
		at, seq, count := uint64(0), int64(0), p.count()
		if packets += count + uint64(len(r.Links)+len(r.Holes)) + 1; packets > maxPackets {
			return nil, errRuns
		}
		for n := count; n > 0 && !p.bad; n-- {
			head, x := p.uvarint(maxAt<<7-1), Packet{}
			if head&4 != 0 {
				x.Before, x.After = uint16(p.uvarint(math.MaxUint16)), uint16(p.uvarint(math.MaxUint16))
			}
			if r.Sender != 0 {
				seq += p.varint()
			}
			if at += head >> 7; at >= maxAt || seq < 0 || seq > maxSeq {
				return nil, errRuns
			}
			x.At, x.Counter, x.Follows, x.Start, x.Seq, x.Data = uint32(at), uint8(head>>3&0x0F), head&2 != 0, head&1 != 0, uint32(seq), p.payload()
			r.Packets = append(r.Packets, x)
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
