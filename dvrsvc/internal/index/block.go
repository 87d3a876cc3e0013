package index

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"slices"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Block is the summary of 512 cells of a timeline row.
type Block struct {
	No        int64
	Runs      []Run // of the presented copies, in order
	Digest    segment.Digest
	Slots     uint32 // slots that hold a copy that is not quarantined
	Copies    uint32
	Presented uint32
	Rotten    uint32 // of Copies, those that are quarantined in slots without a whole one
	Bytes     uint64 // of all copies
}

// Run is a stretch of presented copies, one after the other, all with known damage or all without. Those of a block are also all
// late or all not.
type Run struct {
	timeline.Range // U
	Damaged        bool
	Impaired       timeline.Ticks
	Replicated     timeline.Ticks
	Late           timeline.Ticks // media in it that came from a peer later than live
	Frame          timeline.Ticks // of the last copy: a step shorter than this holds no sample
}

// follows reports whether next goes on where r ends, in the same state; apart: whether media is late is a part of it.
func (r *Run) follows(next *Run, apart bool) bool {
	return r.Damaged == next.Damaged && next.From < r.To+r.Frame && (!apart || (r.Late > 0) == (next.Late > 0))
}

// join takes next into r.
func (r *Run) join(next *Run) {
	r.To, r.Frame = max(r.To, next.To), next.Frame
	r.Impaired += next.Impaired
	r.Replicated += next.Replicated
	r.Late += next.Late
}

// Coalesce joins runs that follow each other, late or not.
func Coalesce(runs iter.Seq[Run]) iter.Seq[Run] { return coalesce(runs, false) }

func coalesce(runs iter.Seq[Run], apart bool) iter.Seq[Run] {
	return func(yield func(Run) bool) {
		var at Run
		any := false
		for r := range runs {
			if any && at.follows(&r, apart) {
				at.join(&r)
				continue
			}
			if any && !yield(at) {
				return
			}
			at, any = r, true
		}
		if any {
			yield(at)
		}
	}
}

// Summarize makes the summary of a block from its rows, in the order of their keys.
func Summarize(no int64, rows []Row) Block {
	b := Block{No: no, Copies: uint32(len(rows))}
	var runs []Run
	h := sha256.New()
	for i := 0; i < len(rows); {
		slot := rows[i].Slot
		var copies []byte
		count, rotten, whole := uint16(0), uint32(0), false
		for ; i < len(rows) && rows[i].Slot == slot; i++ {
			r := &rows[i]
			b.Bytes += r.Bytes
			if r.Quarantined {
				rotten++
			} else {
				count++
				copies = append(copies, r.Digest[:]...)
				copies = append(copies, 0)
				if r.Whole { // so that two sites which judge the same bytes apart find out
					copies[len(copies)-1], whole = 1, true
				}
			}
			if r.Presented {
				b.Presented++
				run := Run{Range: r.Range, Damaged: r.Damaged, Impaired: r.Impaired, Frame: r.Frame}
				if r.Replicated {
					run.Replicated = r.Range.Len()
				}
				if r.Late {
					run.Late = r.Range.Len()
				}
				runs = append(runs, run)
			}
		}
		if !whole {
			b.Rotten += rotten
		}
		if count == 0 {
			continue
		}
		b.Slots++
		// The cell counts within its turn, and turns are left out: two sites may number theirs apart.
		var head [2 + 8 + 2]byte
		binary.BigEndian.PutUint16(head[:], slot.Cell)
		copy(head[2:], slot.InitSet[:])
		binary.BigEndian.PutUint16(head[10:], count)
		h.Write(head[:])
		h.Write(copies)
	}
	h.Sum(b.Digest[:0])
	slices.SortFunc(runs, func(x, y Run) int { return cmp.Compare(x.From, y.From) })
	b.Runs = slices.Collect(coalesce(slices.Values(runs), true))
	return b
}

func (b *Block) append(dst []byte) []byte {
	w := writer{dst}
	w.raw(b.Digest[:])
	w.uint(uint64(b.Slots))
	w.uint(uint64(b.Copies))
	w.uint(uint64(b.Presented))
	w.uint(uint64(b.Rotten))
	w.uint(b.Bytes)
	w.uint(uint64(len(b.Runs)))
	for i := range b.Runs {
		r := &b.Runs[i]
		w.flags(r.Damaged)
		w.int(int64(r.From))
		w.int(int64(r.To - r.From))
		w.uint(uint64(r.Impaired))
		w.uint(uint64(r.Replicated))
		w.uint(uint64(r.Late))
		w.uint(uint64(r.Frame))
	}
	return w.b
}

func parseBlock(no int64, v []byte) (Block, error) {
	b := Block{No: no}
	r := reader{b: v}
	copy(b.Digest[:], r.raw(32))
	b.Slots, b.Copies, b.Presented, b.Rotten = uint32(r.uint()), uint32(r.uint()), uint32(r.uint()), uint32(r.uint())
	b.Bytes = r.uint()
	if n := r.count(7); n > 0 {
		b.Runs = make([]Run, n)
	}
	for i := range b.Runs {
		u := &b.Runs[i]
		r.flags(&u.Damaged)
		u.From = timeline.Ticks(r.int())
		u.To = u.From + timeline.Ticks(r.int())
		u.Impaired = timeline.Ticks(r.uint())
		u.Replicated = timeline.Ticks(r.uint())
		u.Late = timeline.Ticks(r.uint())
		u.Frame = timeline.Ticks(r.uint())
	}
	return b, r.err
}

// equal compares two summaries.
func (b *Block) equal(o *Block) bool {
	return bytes.Equal(b.append(nil), o.append(nil)) && b.No == o.No
}
