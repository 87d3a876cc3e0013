package ring

import "github.com/twinreel/twinreel/pkg/segment"

// Cursor is a place in the ring from which to read on. The zero value is before everything.
type Cursor struct {
	Seq   uint64 // the segment that is being read, or the least that may come next
	begun bool
	chunk int
}

// At returns a cursor at the start of a segment.
func At(seq uint64) Cursor { return Cursor{Seq: seq} }

// Within reports whether the segment of the cursor is begun and its end not reached.
func (c *Cursor) Within() bool { return c.begun }

// Item is the next thing to send: exactly one of Begin, Chunk and Seal is set.
type Item struct {
	Seq   uint64
	Begin *Begin
	Chunk *Chunk
	Seal  *segment.Info
}

// Read returns what comes next at c and moves c behind it; false: nothing yet. A segment that left the ring, or was
// released, is skipped even in its middle.
func (r *Ring) Read(c *Cursor) (Item, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := r.search(c.Seq); i < len(r.entries); i++ {
		e := r.entries[i]
		if e.seq != c.Seq {
			*c = Cursor{Seq: e.seq}
		}
		if !e.readable() {
			*c = Cursor{Seq: e.seq + 1}
			continue
		}
		switch {
		case !c.begun:
			c.begun = true
			return Item{Seq: e.seq, Begin: &e.begin}, true
		case c.chunk < len(e.chunks):
			c.chunk++
			return Item{Seq: e.seq, Chunk: &e.chunks[c.chunk-1]}, true
		case e.info != nil:
			*c = Cursor{Seq: e.seq + 1}
			return Item{Seq: e.seq, Seal: e.info}, true
		default:
			return Item{}, false
		}
	}
	if c.begun && !r.has(c.Seq) {
		*c = Cursor{Seq: c.Seq + 1}
	}
	return Item{}, false
}

// has reports whether the segment is in the ring. r.mu is held.
func (r *Ring) has(seq uint64) bool {
	i := r.search(seq)
	return i < len(r.entries) && r.entries[i].seq == seq
}
