package mpegts

import (
	"bytes"
	"encoding/binary"
	"slices"
)

const (
	patPID        = 0x0000
	patTable      = 0x00
	pmtTable      = 0x02
	sectionHeader = 3    // table_id to section_length
	longHeader    = 8    // to last_section_number
	maxSection    = 1024 // PAT and PMT: section_length is at most 1021 (H.222.0, 2.4.4.5)
	crcLength     = 4
)

// sectionReader gathers the sections of one PID (H.222.0, 2.4.4) and hands whole, checked ones to table.
type sectionReader struct {
	table func(section []byte)
	open  bool // buf begins with a section
	buf   []byte
}

func (r *sectionReader) reset() { r.open, r.buf = false, r.buf[:0] }

func (r *sectionReader) packet(d *Demuxer, payload []byte, pusi bool) {
	if !pusi {
		if r.open {
			r.take(d, payload)
		}
		return
	}
	pointer := int(payload[:1][0])
	if 1+pointer > len(payload) {
		d.stats.SectionErrors++
		r.reset()
		return
	}
	if r.open {
		r.take(d, payload[1:1+pointer])
		if r.open && len(r.buf) > 0 { // another begins where this one is not complete
			d.stats.SectionErrors++
		}
	}
	r.open, r.buf = true, r.buf[:0]
	r.take(d, payload[1+pointer:])
}

// take appends to the open section and hands on each one that is complete; 0xFF where a table_id should be is stuffing.
func (r *sectionReader) take(d *Demuxer, b []byte) {
	r.buf = append(r.buf, b...)
	at := 0
	for r.open {
		s := r.buf[at:]
		if len(s) > 0 && s[0] == 0xFF {
			r.reset()
			return
		}
		if len(s) < sectionHeader {
			break
		}
		n := sectionHeader + int(binary.BigEndian.Uint16(s[1:])&0x0FFF)
		if n > maxSection {
			d.stats.SectionErrors++
			r.reset()
			return
		}
		if len(s) < n {
			break
		}
		if s[1]&0x80 != 0 && n >= longHeader+crcLength { // a table with versions
			r.table(s[:n])
		}
		at += n
	}
	r.buf = r.buf[:copy(r.buf, r.buf[at:])]
}

// psi is what the tables said.
type psi struct {
	// PAT: the program that each section offers, and the version that they are of.
	patVersion uint8
	patSeen    bool
	offers     [256]offer
	sections   map[uint8][]byte // the PAT's sections as received, to pass over repetitions

	pmtPID  uint16 // where the PMT of the program is, 0 while unknown
	number  uint16
	pmt     []byte // the PMT section in force
	program Program
}

// offer is the best program of one PAT section.
type offer struct {
	seen    bool
	number  uint16 // 0: none
	pmtPID  uint16
	lastSec uint8
}

func (s *psi) init() { s.sections = make(map[uint8][]byte) }

// checked verifies a section that differs from the last one accepted in its place.
func (d *Demuxer) checked(s []byte) bool {
	if crc32(s) != 0 {
		d.stats.SectionErrors++
		at := uint16(patPID)
		if s[0] == pmtTable {
			at = d.psi.pmtPID
		}
		d.pids[at].stats.CRCErrors++
		return false
	}
	return s[5]&1 != 0 // current_next_indicator: a table that is not yet in force says nothing
}

// pat takes one section of the program association table (2.4.4.3).
func (d *Demuxer) pat(s []byte) {
	t := &d.psi
	if s[0] != patTable {
		d.stats.TR101290.PATError2++
		return
	}
	d.quality.pat = d.now
	if bytes.Equal(s, t.sections[s[6]]) {
		return
	}
	if !d.checked(s) {
		return
	}
	if version := s[5] >> 1 & 0x1F; !t.patSeen || version != t.patVersion {
		t.patSeen, t.patVersion = true, version
		t.offers = [256]offer{}
		clear(t.sections)
	}
	number, last := s[6], s[7]
	t.sections[number] = bytes.Clone(s)
	o := offer{seen: true, lastSec: last}
	for e := s[longHeader : len(s)-crcLength]; len(e) >= 4; e = e[4:] {
		n, p := binary.BigEndian.Uint16(e), binary.BigEndian.Uint16(e[2:])&0x1FFF
		if n == 0 || p == patPID || p == nullPID { // 0 is the network PID
			continue
		}
		if d.opts.Program != 0 && n != d.opts.Program {
			continue
		}
		if o.number == 0 || n < o.number {
			o.number, o.pmtPID = n, p
		}
	}
	t.offers[number] = o

	var best offer
	for i := range int(last) + 1 {
		o := t.offers[i]
		if !o.seen {
			return // the choice needs the whole table
		}
		if o.number != 0 && (best.number == 0 || o.number < best.number) {
			best = o
		}
	}
	if best.number != 0 {
		d.choose(best.number, best.pmtPID)
	}
}

// choose starts to follow the PMT of a program. The map in force stays until the new one is here.
func (d *Demuxer) choose(number, pmtPID uint16) {
	t := &d.psi
	if number == t.number && pmtPID == t.pmtPID {
		return
	}
	if old := t.pmtPID; old != 0 {
		d.pids[old].section = nil
	}
	t.number, t.pmtPID, t.pmt = number, pmtPID, nil
	d.quality.pmt = d.now
	q := d.follow(pmtPID)
	if q.stream != nil { // it was a stream's under the old map
		q.stream.flush()
		q.stream = nil
	}
	q.section = &sectionReader{table: d.programMap}
}

// programMap takes one section of a program map table (2.4.4.8).
func (d *Demuxer) programMap(s []byte) {
	t := &d.psi
	if s[0] != pmtTable || len(s) < 12+crcLength || binary.BigEndian.Uint16(s[3:]) != t.number {
		return
	}
	d.quality.pmt = d.now
	if bytes.Equal(s, t.pmt) {
		return
	}
	if !d.checked(s) {
		return
	}
	p, ok := parseProgramMap(s)
	if !ok {
		d.stats.SectionErrors++
		return
	}
	if len(d.opts.PIDs) > 0 {
		p.Streams = slices.DeleteFunc(p.Streams, func(s Stream) bool { return !slices.Contains(d.opts.PIDs, s.PID) })
	}
	t.pmt = append(t.pmt[:0], s...)
	p.PMTPID = t.pmtPID
	d.enter(p)
}

func parseProgramMap(s []byte) (Program, bool) {
	p := Program{
		Number:  binary.BigEndian.Uint16(s[3:]),
		Version: s[5] >> 1 & 0x1F,
		PCRPID:  binary.BigEndian.Uint16(s[8:]) & 0x1FFF,
	}
	e := s[12 : len(s)-crcLength]
	skip := int(binary.BigEndian.Uint16(s[10:]) & 0x0FFF)
	if skip > len(e) {
		return p, false
	}
	bluRay := registered(e[:skip]) == "HDMV"
	for e = e[skip:]; len(e) >= 5; {
		n := int(binary.BigEndian.Uint16(e[3:]) & 0x0FFF)
		if 5+n > len(e) {
			return p, false
		}
		st := newStream(e[0], binary.BigEndian.Uint16(e[1:])&0x1FFF, e[5:5+n])
		if bluRay && st.Codec == CodecSCTE35 { // there the number has another meaning
			st.Codec, st.Name, st.Descriptors = CodecNone, "DTS-HD", ""
		}
		if st.PID != nullPID && !slices.ContainsFunc(p.Streams, func(o Stream) bool { return o.PID == st.PID }) {
			p.Streams = append(p.Streams, st)
		}
		e = e[5+n:]
	}
	slices.SortFunc(p.Streams, func(a, b Stream) int { return int(a.PID) - int(b.PID) })
	return p, true
}

// enter brings a program map into force. A stream that goes on under it keeps its place in the elementary stream; one
// that ends is flushed under the old map.
func (d *Demuxer) enter(p Program) {
	kept := make(map[uint16]*stream)
	for _, old := range d.psi.program.Streams {
		q := d.pids[old.PID]
		if q.stream == nil {
			continue
		}
		goesOn := slices.ContainsFunc(p.Streams, func(n Stream) bool { return n.PID == old.PID && n.Codec == old.Codec })
		if goesOn {
			kept[old.PID] = q.stream
		} else {
			q.stream.flush()
		}
		q.stream = nil
	}
	limitStreams(p.Streams, d.opts.MaxStreams)
	if p.PCRPID != d.psi.program.PCRPID {
		d.quality.hasPCR, d.quality.pcr = false, d.now
		d.mux.has = false
	}
	d.psi.program = p
	announced := p
	announced.Streams = slices.Clone(p.Streams)
	d.h.Program(announced)

	for _, st := range p.Streams {
		q := d.follow(st.PID)
		q.si, q.watched = nil, false
		if st.Codec == CodecNone || q.section != nil {
			continue
		}
		if q.stream = kept[st.PID]; q.stream == nil {
			q.stream = d.newStream(st)
		}
	}
}
