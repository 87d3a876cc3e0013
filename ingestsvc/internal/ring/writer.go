package ring

import (
	"slices"

	"github.com/twinreel/twinreel/pkg/segment"
)

// Writer is where one run of a packager puts what it makes. Its numbers start anew with each run, the ring's go on.
type Writer struct {
	r       *Ring
	seq     uint64 // add to the packager's
	stretch uint32 // add to the packager's
	run     uint32
	open    *entry // the entry that is being written, or nil
}

// Writer begins a new run. The one before must have been closed.
func (r *Ring) Writer() *Writer {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := &Writer{r: r, seq: r.lastSeq, run: r.runs}
	if r.runs > 0 {
		w.stretch = r.stretch + 1
	}
	r.runs++
	return w
}

// Run is the number of the run.
func (w *Writer) Run() uint32 { return w.run }

// Stretch maps a stretch of the packager to that of the ring.
func (w *Writer) Stretch(s uint32) uint32 {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	w.r.stretch = max(w.r.stretch, w.stretch+s)
	return w.stretch + s
}

// Begin opens a segment. The one before must have been sealed.
func (w *Writer) Begin(b Begin) {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	b.Key.Seq += w.seq
	b.Key.Stretch += w.stretch
	b.Key.Run = w.run
	w.r.lastSeq, w.r.stretch = b.Key.Seq, max(w.r.stretch, b.Key.Stretch)
	w.open = &entry{seq: b.Key.Seq, begin: b}
	for i := range b.Inits {
		w.open.bytes += int64(len(b.Inits[i].Data))
	}
	w.r.entries = append(w.r.entries, w.open)
	w.r.wake()
}

// Chunk adds a chunk to the open segment. c.Data belongs to the ring from now on, and nobody may change it.
func (w *Writer) Chunk(c Chunk) {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	if w.open == nil || w.open.spoiled {
		return
	}
	w.open.chunks = append(w.open.chunks, c)
	w.open.bytes += int64(cap(c.Data))
	w.r.makeRoom()
	w.r.wake()
}

// Seal ends the open segment.
func (w *Writer) Seal(info segment.Info) {
	r := w.r
	r.mu.Lock()
	defer r.mu.Unlock()
	e := w.open
	w.open = nil
	if e == nil {
		return
	}
	r.recent[r.stats.Segments%recentSegments].span = (info.End - info.Start).Duration()
	r.recent[r.stats.Segments%recentSegments].bytes = int64(info.Bytes)
	r.stats.Segments++
	if info.Evidence.Whole() {
		r.stats.WholeSegments++
	}
	e.info, e.sealed = &info, r.clock.Mono()
	e.bytes += int64(segment.RunsBytes(info.Runs))
	if !e.readable() {
		r.remove(e)
	}
	r.wake()
}

// remove takes an entry out of the ring. r.mu is held.
func (r *Ring) remove(e *entry) {
	r.entries = slices.DeleteFunc(r.entries, func(x *entry) bool { return x == e })
}

// makeRoom keeps to the limit. r.mu is held.
func (r *Ring) makeRoom() {
	var held int64
	for _, e := range r.entries {
		held += e.bytes
	}
	for held > r.limit && len(r.entries) > 0 {
		e := r.entries[0]
		held -= e.bytes
		r.stats.Overruns++
		r.withdraw(e, ReasonOverrun)
		if e.info == nil { // it alone is over the limit
			e.spoiled, e.chunks, e.bytes = true, nil, 0
			return
		}
		r.entries = slices.Delete(r.entries, 0, 1)
	}
}

// withdraw notes that a segment is no longer to be had. r.mu is held.
func (r *Ring) withdraw(e *entry, reason string) {
	if len(r.withdrawn) < maxWithdrawals && !e.released {
		r.withdrawn = append(r.withdrawn, Withdrawal{Seq: e.seq, Reason: reason})
	}
}

// maxWithdrawals bounds the list while nobody reads it: at reconnection the ring itself tells what is left.
const maxWithdrawals = 1024
