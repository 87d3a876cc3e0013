package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Copy is a stored copy of a segment.
type Copy struct {
	Slot        segment.Slot
	Info        segment.Info
	Live        bool // recorded as the live stream
	Replicated  bool // came from a peer
	Late        bool // came from a peer, and not as its live stream: to fill a gap, or to repair
	Presented   bool
	Quarantined bool
	Replaces    []segment.Digest // copies that this one contains
	File        uint64           // number of the data file
	At          []int64          // where each of Info.Chunks begins in the file
}

// U moves a T of the copy to the row's count.
func (c *Copy) U(t timeline.Ticks) timeline.Ticks {
	return t + timeline.Ticks(c.Slot.Turn)*timeline.Wrap
}

// ErrMalformed is what parsing returns for bytes that this package did not write.
var ErrMalformed = errors.New("the record is malformed")

// recordVersion is that of records whose tracks have no role: as they always were. With one, each track has it behind its
// language, and the version is roleVersion.
const (
	recordVersion = 1
	roleVersion   = 2
)

// HasRoles reports whether the tracks have to be written with their roles.
func HasRoles(tracks []segment.Track) bool {
	return slices.ContainsFunc(tracks, func(t segment.Track) bool { return t.Role != "" })
}

// AppendRecord appends the description of a copy that does not change with its place in the index: the record that
// follows the copy in its data file.
func AppendRecord(dst []byte, c *Copy) []byte {
	w := writer{dst}
	i := &c.Info
	roles := HasRoles(i.Tracks)
	if roles {
		w.byte(roleVersion)
	} else {
		w.byte(recordVersion)
	}
	w.slot(c.Slot)
	w.flags(c.Live, i.Independent, i.Evidence.StartUncertain, i.Evidence.EndUncertain, c.Replicated, c.Late)
	w.uint(uint64(i.Format))
	w.int(int64(i.Start))
	w.int(int64(i.End - i.Start))
	w.raw(i.Digest[:])
	w.uint(i.Bytes)
	w.strings(i.Path)
	w.uint(uint64(len(i.Tracks)))
	for k := range i.Tracks {
		w.track(&i.Tracks[k], i.Start, roles)
	}
	w.evidence(&i.Evidence, i.Start)
	w.uint(uint64(len(i.Chunks)))
	end := int64(0)
	cell := uint32(0)
	for k, ch := range i.Chunks {
		w.uint(uint64(ch.PID))
		w.int(int64(ch.Cell) - int64(cell))
		w.uint(uint64(ch.Size))
		w.b = binary.BigEndian.AppendUint32(w.b, ch.CRC)
		w.uint(uint64(ch.TfdtOffset))
		w.uint(uint64(c.At[k] - end))
		end, cell = c.At[k]+int64(ch.Size), ch.Cell
	}
	return w.b
}

// ParseRecord reads what AppendRecord wrote and returns what follows it.
func ParseRecord(b []byte) (c Copy, rest []byte, err error) {
	r := reader{b: b}
	v := r.byte()
	if r.err == nil && v != recordVersion && v != roleVersion {
		return c, nil, fmt.Errorf("record version %d: %w", v, ErrMalformed)
	}
	c.Slot = r.slot()
	i := &c.Info
	r.flags(&c.Live, &i.Independent, &i.Evidence.StartUncertain, &i.Evidence.EndUncertain, &c.Replicated, &c.Late)
	i.Format = uint32(r.uint())
	i.Start = timeline.Ticks(r.int())
	i.End = i.Start + timeline.Ticks(r.int())
	copy(i.Digest[:], r.raw(len(i.Digest)))
	i.Bytes = r.uint()
	i.Path = r.strings()
	i.Tracks = make([]segment.Track, r.count(40))
	for k := range i.Tracks {
		i.Tracks[k] = r.track(i.Start, v == roleVersion)
	}
	if HasRoles(i.Tracks) != (v == roleVersion) {
		r.fail()
	}
	r.evidence(&i.Evidence, i.Start)
	n := r.count(9)
	i.Chunks, c.At = make([]segment.Chunk, n), make([]int64, n)
	var end int64
	var cell uint32
	var offset uint64
	for k := range i.Chunks {
		ch := &i.Chunks[k]
		ch.PID = uint16(r.uint())
		ch.Cell = uint32(int64(cell) + r.int())
		ch.Size = uint32(r.uint())
		ch.CRC = r.uint32()
		ch.TfdtOffset = uint32(r.uint())
		ch.Offset = offset
		c.At[k] = end + int64(r.uint())
		end, cell, offset = c.At[k]+int64(ch.Size), ch.Cell, offset+uint64(ch.Size)
	}
	if r.err != nil {
		return Copy{}, nil, r.err
	}
	return c, r.b, nil
}

// AppendTracks appends tracks without their spans, as they are known when a copy begins; with roles if HasRoles says so.
func AppendTracks(dst []byte, tracks []segment.Track) []byte {
	w := writer{dst}
	w.uint(uint64(len(tracks)))
	for k := range tracks {
		w.track(&tracks[k], 0, HasRoles(tracks))
	}
	return w.b
}

// ParseTracks reads what AppendTracks wrote, with roles or without.
func ParseTracks(b []byte, roles bool) (tracks []segment.Track, rest []byte, err error) {
	r := reader{b: b}
	tracks = make([]segment.Track, r.count(40))
	for k := range tracks {
		tracks[k] = r.track(0, roles)
	}
	return tracks, r.b, r.err
}

// AppendEvidence appends evidence with its times as they are.
func AppendEvidence(dst []byte, e *segment.Evidence) []byte {
	w := writer{dst}
	w.flags(e.StartUncertain, e.EndUncertain)
	w.evidence(e, 0)
	return w.b
}

// ParseEvidence reads what AppendEvidence wrote.
func ParseEvidence(b []byte) (e segment.Evidence, err error) {
	r := reader{b: b}
	r.flags(&e.StartUncertain, &e.EndUncertain)
	r.evidence(&e, 0)
	return e, r.err
}

// AppendSlot appends a slot.
func AppendSlot(dst []byte, s segment.Slot) []byte {
	w := writer{dst}
	w.slot(s)
	return w.b
}

// ParseSlot reads what AppendSlot wrote and returns what follows it.
func ParseSlot(b []byte) (s segment.Slot, rest []byte, err error) {
	r := reader{b: b}
	s = r.slot()
	return s, r.b, r.err
}

// AppendStrings appends strings.
func AppendStrings(dst []byte, s []string) []byte {
	w := writer{dst}
	w.strings(s)
	return w.b
}

// ParseStrings reads what AppendStrings wrote and returns what follows it.
func ParseStrings(b []byte) (s []string, rest []byte, err error) {
	r := reader{b: b}
	s = r.strings()
	return s, r.b, r.err
}

// writer appends fields: varints of encoding/binary, strings and lists after their count.
type writer struct{ b []byte }

func (w *writer) byte(v byte)   { w.b = append(w.b, v) }
func (w *writer) raw(v []byte)  { w.b = append(w.b, v...) }
func (w *writer) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *writer) int(v int64)   { w.b = binary.AppendVarint(w.b, v) }

func (w *writer) string(s string) {
	w.uint(uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *writer) strings(list []string) {
	w.uint(uint64(len(list)))
	for _, s := range list {
		w.string(s)
	}
}

func (w *writer) flags(bits ...bool) {
	var v byte
	for i, b := range bits {
		if b {
			v |= 1 << i
		}
	}
	w.byte(v)
}

func (w *writer) slot(s segment.Slot) {
	w.raw(s.Timeline[:])
	w.int(int64(s.Turn))
	w.uint(uint64(s.Cell))
	w.raw(s.InitSet[:])
}

func (w *writer) track(t *segment.Track, base timeline.Ticks, role bool) {
	w.uint(uint64(t.PID))
	w.string(t.Codec)
	w.string(t.Language)
	if role {
		w.string(t.Role)
	}
	w.raw(t.Init[:])
	w.int(int64(t.Start - base))
	w.int(int64(t.End - t.Start))
	w.uint(uint64(t.Samples))
	w.uint(t.Bytes)
}

func (w *writer) evidence(e *segment.Evidence, base timeline.Ticks) {
	w.uint(uint64(len(e.Faulty)))
	for _, f := range e.Faulty {
		w.uint(uint64(f.PID))
		w.int(int64(f.DTS - base))
		w.uint(uint64(f.Reason))
	}
	w.uint(uint64(len(e.Missing)))
	for _, m := range e.Missing {
		w.uint(uint64(m.PID))
		w.int(int64(m.From - base))
		w.int(int64(m.To - m.From))
		w.uint(uint64(m.Reason))
	}
}

// reader reads fields; the first error stays, and everything after it is zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail() {
	r.b = nil
	if r.err == nil {
		r.err = ErrMalformed
	}
}

func (r *reader) raw(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail()
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if v := r.raw(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if v := r.raw(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads the length of a list whose entries take at least size bytes each, so that no length can ask for more
// memory than there are bytes.
func (r *reader) count(size int) int {
	n := r.uint()
	if n > uint64(len(r.b)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) string() string { return string(r.raw(r.count(1))) }

func (r *reader) strings() []string {
	n := r.count(1)
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = r.string()
	}
	return list
}

func (r *reader) flags(bits ...*bool) {
	v := r.byte()
	for i, b := range bits {
		*b = v&(1<<i) != 0
	}
}

func (r *reader) slot() (s segment.Slot) {
	copy(s.Timeline[:], r.raw(len(s.Timeline)))
	s.Turn = int32(r.int())
	s.Cell = uint16(r.uint())
	copy(s.InitSet[:], r.raw(len(s.InitSet)))
	return s
}

func (r *reader) track(base timeline.Ticks, role bool) (t segment.Track) {
	t.PID = uint16(r.uint())
	t.Codec = r.string()
	t.Language = r.string()
	if role {
		t.Role = r.string()
	}
	copy(t.Init[:], r.raw(len(t.Init)))
	t.Start = base + timeline.Ticks(r.int())
	t.End = t.Start + timeline.Ticks(r.int())
	t.Samples = uint32(r.uint())
	t.Bytes = r.uint()
	return t
}

func (r *reader) evidence(e *segment.Evidence, base timeline.Ticks) {
	if n := r.count(3); n > 0 {
		e.Faulty = make([]segment.FaultySample, n)
	}
	for k := range e.Faulty {
		f := &e.Faulty[k]
		f.PID = uint16(r.uint())
		f.DTS = base + timeline.Ticks(r.int())
		f.Reason = segment.Reason(r.uint())
	}
	if n := r.count(4); n > 0 {
		e.Missing = make([]segment.MissingSpan, n)
	}
	for k := range e.Missing {
		m := &e.Missing[k]
		m.PID = uint16(r.uint())
		m.From = base + timeline.Ticks(r.int())
		m.To = m.From + timeline.Ticks(r.int())
		m.Reason = segment.Reason(r.uint())
	}
}
