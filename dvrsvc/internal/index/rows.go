package index

import (
	"encoding/binary"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Row is the compact row of a copy.
type Row struct {
	Slot        segment.Slot
	Digest      segment.Digest
	Presented   bool
	Quarantined bool
	Whole       bool
	Damaged     bool // something in it is known to be damaged or missing
	Replicated  bool
	Late        bool           // came from a peer later than live
	Range       timeline.Range // U, of the reference track
	Impaired    timeline.Ticks // damaged or missing media in it
	Frame       timeline.Ticks // length of one sample of the reference track
	Bytes       uint64
	File        uint64
}

// compact gives the row of a copy.
func compact(c *Copy) Row {
	i := &c.Info
	frame := timeline.Ticks(1)
	if t := i.Reference(); t != nil {
		frame = i.SampleTicks(t.PID)
	}
	return Row{
		Slot: c.Slot, Digest: i.Digest,
		Presented: c.Presented, Quarantined: c.Quarantined, Replicated: c.Replicated, Late: c.Late,
		Whole: i.Evidence.Whole(), Damaged: i.Evidence.Damaged(),
		Range:    timeline.Range{From: c.U(i.Start), To: c.U(i.End)},
		Impaired: i.ImpairedTicks(), Frame: frame, Bytes: i.Bytes, File: c.File,
	}
}

// Kinds of row, the first byte of a key.
const (
	kindCompact byte = 'c'
	kindFull    byte = 'i'
	kindBlock   byte = 'b'
	kindReplace byte = 'r'
	kindFile    byte = 'f'
	kindInit    byte = 'n'
	kindDeleted byte = 'd'
	kindStore   byte = 'S'
)

// layout counts the changes of keys and values: an index of another one is made anew.
const layout = 5

// key begins the key of a row of a stream. Names of streams have no zero byte.
func key(kind byte, stream string) []byte {
	k := make([]byte, 0, 96)
	k = append(k, kind)
	k = append(k, stream...)
	return append(k, 0)
}

// appendOrdered appends v so that keys sort as numbers do, negative ones first.
func appendOrdered(k []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(k, uint64(v)^1<<63)
}

func ordered(b []byte) int64 { return int64(binary.BigEndian.Uint64(b) ^ 1<<63) }

func rowKey(stream string, row segment.TimelineID, cell int64) []byte {
	return appendOrdered(append(key(kindCompact, stream), row[:]...), cell)
}

func appendSlot(k []byte, s segment.Slot) []byte {
	k = appendOrdered(append(k, s.Timeline[:]...), s.AbsCell())
	return append(k, s.InitSet[:]...)
}

func compactKey(stream string, s segment.Slot, d segment.Digest) []byte {
	return append(appendSlot(key(kindCompact, stream), s), d[:]...)
}

func digestKey(kind byte, stream string, d segment.Digest) []byte {
	return append(key(kind, stream), d[:]...)
}

// placeKey is the key of a digest in a slot: a full row, or a row that says what became of it.
func placeKey(kind byte, stream string, d segment.Digest, s segment.Slot) []byte {
	return appendSlot(digestKey(kind, stream, d), s)
}

func blockKey(stream string, row segment.TimelineID, block int64) []byte {
	return appendOrdered(append(key(kindBlock, stream), row[:]...), block)
}

func fileKey(stream string, no uint64) []byte {
	return binary.BigEndian.AppendUint64(key(kindFile, stream), no)
}

// after gives the first key that does not begin with prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

func (r *Row) append(dst []byte) []byte {
	w := writer{dst}
	w.flags(r.Presented, r.Quarantined, r.Whole, r.Damaged, r.Replicated, r.Late)
	w.int(int64(r.Range.From))
	w.int(int64(r.Range.To - r.Range.From))
	w.uint(uint64(r.Impaired))
	w.uint(uint64(r.Frame))
	w.uint(r.Bytes)
	w.uint(r.File)
	return w.b
}

// parseRow reads a compact row from its key without the stream, and its value.
func parseRow(k, v []byte) (Row, error) {
	var r Row
	if len(k) != 16+8+8+32 {
		return r, ErrMalformed
	}
	copy(r.Slot.Timeline[:], k)
	cell := ordered(k[16:])
	r.Slot.Turn, r.Slot.Cell = int32(cell>>14), uint16(cell&(timeline.CellsPerTurn-1))
	copy(r.Slot.InitSet[:], k[24:])
	copy(r.Digest[:], k[32:])
	in := reader{b: v}
	in.flags(&r.Presented, &r.Quarantined, &r.Whole, &r.Damaged, &r.Replicated, &r.Late)
	r.Range.From = timeline.Ticks(in.int())
	r.Range.To = r.Range.From + timeline.Ticks(in.int())
	r.Impaired = timeline.Ticks(in.uint())
	r.Frame = timeline.Ticks(in.uint())
	r.Bytes = in.uint()
	r.File = in.uint()
	return r, in.err
}

func appendFull(dst []byte, c *Copy) []byte {
	w := writer{dst}
	w.flags(c.Presented, c.Quarantined)
	w.uint(c.File)
	w.uint(uint64(len(c.Replaces)))
	for _, d := range c.Replaces {
		w.raw(d[:])
	}
	return AppendRecord(w.b, c)
}

func parseFull(v []byte) (Copy, error) {
	r := reader{b: v}
	var presented, quarantined bool
	r.flags(&presented, &quarantined)
	file := r.uint()
	var replaces []segment.Digest
	if n := r.count(32); n > 0 {
		replaces = make([]segment.Digest, n)
	}
	for i := range replaces {
		copy(replaces[i][:], r.raw(32))
	}
	if r.err != nil {
		return Copy{}, r.err
	}
	c, _, err := ParseRecord(r.b)
	c.Presented, c.Quarantined, c.File, c.Replaces = presented, quarantined, file, replaces
	return c, err
}

// File is a data file.
type File struct {
	No      uint64
	Name    string // within the directory of the stream
	Indexed int64  // every copy that was sealed before this offset is in the index, or was refused or replaced
	Copies  uint32 // how many copies point into it
	Live    uint64 // bytes that they take in it, less a little; the rest is dead, but for what surrounds them
	Newest  int64  // UTC of the end of the newest media that was ever in it, nanoseconds since 1970
	Closed  bool   // nothing is written to it any more, and it is indexed to its end
}

func (f *File) append(dst []byte) []byte {
	w := writer{dst}
	w.flags(f.Closed)
	w.string(f.Name)
	w.uint(uint64(f.Indexed))
	w.uint(uint64(f.Copies))
	w.int(f.Newest)
	w.uint(f.Live)
	return w.b
}

func parseFile(no uint64, v []byte) (File, error) {
	f := File{No: no}
	r := reader{b: v}
	r.flags(&f.Closed)
	f.Name = r.string()
	f.Indexed = int64(r.uint())
	f.Copies = uint32(r.uint())
	f.Newest = r.int()
	f.Live = r.uint()
	return f, r.err
}
