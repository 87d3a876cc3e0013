package recorder

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// openCopy is a live copy that is not sealed. It outlives the producer that began it: whoever sends the same bytes goes
// on with it.
type openCopy struct {
	owner     *incoming // nil: nobody is sending it
	slot      segment.Slot
	row       *row
	start     timeline.Ticks
	copy      Copy  // nil: not stored, only published
	why       error // of that
	chunks    []segment.Chunk
	evidence  []segment.Evidence
	tailSeq   uint64 // 0: not published
	published bool   // all of its chunks were, under tailSeq
	lastChunk time.Duration
}

// beginLive opens the segment of the live tail, or goes on with it.
func (s *Stream) beginLive(in *incoming) {
	s.moveTo(in.row)
	i := slices.IndexFunc(s.open, func(o *openCopy) bool { return o.slot == in.slot })
	if i >= 0 && s.open[i].start == in.start {
		in.open = s.open[i]
		in.open.owner = in
		return
	}
	if i >= 0 {
		s.breakOff(func(o *openCopy) bool { return o.slot == in.slot })
	}
	o := s.newOpen(in)
	if o.copy == nil && in.open == nil {
		return
	}
	o.tailSeq = s.tail.begin(in.row.order, in.slot, in.begin)
	o.published = o.tailSeq > 0
}

// newOpen opens a live copy owned by in. When it cannot be stored the live tail goes on without.
func (s *Stream) newOpen(in *incoming) *openCopy {
	o := &openCopy{
		owner: in, slot: in.slot, row: in.row, start: in.start, lastChunk: s.clock.Mono(),
	}
	copy, err := s.begin(in, store.BeginOptions{Live: true})
	if err != nil {
		s.lost(o, err)
	} else {
		s.noteFull(nil)
		o.copy = copy
	}
	in.open, in.matched = o, 0
	s.open = append(s.open, o)
	return o
}

// noteFull keeps whether the storage is full, and why, by what came of a copy.
func (s *Stream) noteFull(err error) {
	switch {
	case errors.Is(err, store.ErrLocksFill):
		s.full = store.ErrLocksFill
	case errors.Is(err, errs.ErrFull):
		s.full = err
	default:
		s.full = nil
		return
	}
	s.fullUntil = s.clock.Mono() + fullPause
}

// lost notes that a live copy is not stored.
func (s *Stream) lost(o *openCopy, err error) {
	if o.copy != nil {
		o.copy.Drop()
	}
	o.copy, o.why = nil, err
	s.noteFull(err)
	s.metrics.Unstored.WithLabelValues(s.name).Inc()
	if !errors.Is(err, errs.ErrFull) { // of which the store says how many
		s.log.Error("live segment is not stored", "slot", o.slot, "error", err)
	}
}

// cutShort ends a live copy for want of room: what came before is kept, and the live tail goes on without the rest.
func (s *Stream) cutShort(o *openCopy, err error) {
	copy := o.copy
	o.copy = nil
	s.lost(o, err)
	waits := &pendingCopy{slot: o.slot, since: s.clock.Mono()}
	s.pending[waits] = struct{}{}
	copy.Break(func(_ store.Outcome, err error) {
		s.post(func() {
			delete(s.pending, waits)
			if err != nil {
				s.log.Error("open segment could not be sealed", "slot", o.slot, "error", err)
			}
		})
	})
}

// liveChunk adds a chunk to the open copy, unless the copy has it already.
func (s *Stream) liveChunk(p *producer, in *incoming, ch Chunk) {
	if s.looped(p, ch.Path) { // the feed turned into our own in the middle of a segment
		p.letGo(in)
		return
	}
	o := in.open
	o.lastChunk = s.clock.Mono()
	if in.matched < len(o.chunks) {
		if same(o.chunks[in.matched], ch.Chunk) {
			in.matched++
			return
		}
		o = s.diverge(in)
	}
	if o.copy != nil {
		switch err := o.copy.Append(ch.Chunk, ch.Data, ch.Evidence); {
		case errors.Is(err, errs.ErrCorrupt):
			s.metrics.Corrupt.WithLabelValues(s.name).Inc()
			s.log.Error("chunk does not match its checksum", "slot", o.slot, "input", p.in.URL, "error", err)
			s.askAgain(p, in)
			p.letGo(in)
			return
		case errors.Is(err, errs.ErrFull):
			s.cutShort(o, err)
		case err != nil:
			s.lost(o, err)
		}
	}
	index := len(o.chunks)
	o.chunks = append(o.chunks, ch.Chunk)
	o.evidence = append(o.evidence, ch.Evidence)
	in.matched = len(o.chunks)
	s.publish(o, index, ch)
}

func same(a, b segment.Chunk) bool {
	return a.PID == b.PID && a.Cell == b.Cell && a.Size == b.Size && a.CRC == b.CRC
}

// publish gives a chunk to the live tail.
func (s *Stream) publish(o *openCopy, index int, ch Chunk) {
	if o.tailSeq == 0 {
		return
	}
	var id uint64
	if o.copy != nil {
		id = o.copy.ID()
	}
	at := place{row: o.row.order, start: o.start, slot: o.slot, cell: ch.Cell, pid: ch.PID}
	if !s.tail.chunk(at, o.tailSeq, ch, id, index) {
		o.published = false
	}
}

// diverge is for a producer whose segment is not the one that another began in the same slot. What is open is broken
// off and stays a copy of its own; the new copy begins in a new file with what both have in common.
func (s *Stream) diverge(in *incoming) *openCopy {
	old := in.open
	old.owner = nil
	s.metrics.Diverged.WithLabelValues(s.name).Inc()
	common := make([][]byte, 0, in.matched)
	for i := range in.matched {
		data, err := s.readOpen(old, i)
		if err != nil {
			s.log.Error("open copy cannot be read back", "slot", old.slot, "error", err)
			break
		}
		common = append(common, data)
	}
	complete := len(common) == in.matched
	s.breakOff(func(o *openCopy) bool { return o == old })
	n := in.matched
	o := s.newOpen(in)
	for i := 0; i < n; i++ {
		if o.copy != nil && complete {
			if err := o.copy.Append(old.chunks[i], common[i], old.evidence[i]); err != nil {
				s.lost(o, err)
			}
		}
		o.chunks = append(o.chunks, old.chunks[i])
		o.evidence = append(o.evidence, old.evidence[i])
	}
	if !complete && o.copy != nil {
		s.lost(o, fmt.Errorf("read back the first %d chunks: %w", n, errs.ErrUnknown))
	}
	in.matched = n
	// On the tail the rest of the slot is a part that nobody can seal: its head went out with the other copy.
	rest := in.begin
	rest.StartUncertain = true
	o.tailSeq = s.tail.begin(in.row.order, in.slot, rest)
	return o
}

func (s *Stream) readOpen(o *openCopy, i int) ([]byte, error) {
	if o.copy == nil {
		return nil, errs.ErrUnknown
	}
	return s.archive.ReadOpen(o.copy.ID(), i)
}

// sealLive seals the open copy of the live tail.
func (s *Stream) sealLive(p *producer, in *incoming, of *offer) {
	open := in.open
	if in.matched < len(open.chunks) {
		open = s.diverge(in) // this one is shorter than what another began
	}
	s.forget(open)
	s.last, in.row.sealed = in.row, in.start+of.info.End-of.info.Start
	s.tail.sealing(in.slot)
	seq := open.tailSeq
	if !open.published {
		seq = 0
	}
	of.state, p.counted = held, max(p.counted, of.key.Seq)
	if open.copy == nil {
		s.stats.Wrote(of.slot, unwritten(open.why))
	} else {
		s.seal(p, open.copy, of, true, func(info segment.Info) {
			s.tail.sealed(TailSeal{Seq: seq, Slot: in.slot, Info: info})
		})
	}
	s.breakOff(func(o *openCopy) bool { return o.row == in.row && o.start < in.start || o.row.order < in.row.order })
}

// unwritten is the class of a live segment that is not stored.
func unwritten(why error) stats.Class {
	if errors.Is(why, errs.ErrFull) {
		return stats.Skipped
	}
	return stats.Failed
}

// breakOff ends the open copies that are to be: what is here of them is sealed with an uncertain end.
func (s *Stream) breakOff(which func(*openCopy) bool) {
	for _, o := range slices.Clone(s.open) {
		if !which(o) {
			continue
		}
		if o.owner != nil {
			o.owner.open = nil
		}
		s.forget(o)
		if o.copy == nil {
			continue
		}
		s.log.Info("open segment broken off", "slot", o.slot, "chunks", len(o.chunks))
		waits := &pendingCopy{slot: o.slot, since: s.clock.Mono()}
		s.pending[waits] = struct{}{}
		o.copy.Break(func(out store.Outcome, err error) {
			s.post(func() {
				delete(s.pending, waits)
				s.broken(o, out, err)
			})
		})
	}
}

// broken is called when what was open is durable.
func (s *Stream) broken(o *openCopy, out store.Outcome, err error) {
	switch {
	case err != nil:
		s.log.Error("open segment could not be sealed", "slot", o.slot, "error", err)
	case out.Kept:
		e := TailSeal{Slot: o.slot, Info: out.Copy.Info}
		if o.published {
			e.Seq = o.tailSeq
		}
		s.tail.sealed(e)
	}
}

// forget takes a copy off the list of open ones.
func (s *Stream) forget(o *openCopy) {
	s.open = slices.DeleteFunc(s.open, func(x *openCopy) bool { return x == o })
}

// startOf finds the first segment that is not sealed here: among what p has offered, or after the last sealed one. What
// was sealed on another row meanwhile is not shown again by this one.
func (s *Stream) startOf(p *producer) (uint64, *Position) {
	for _, o := range p.sortedOffers() {
		if o.named && o.state != sealing && s.follows(o.row, o.start) && (o.row == s.last || !s.covered(o)) {
			return o.key.Seq, nil
		}
	}
	if b := p.stretches[p.stretch]; b != nil && b.row == s.last {
		return 0, &Position{Stretch: p.stretch, T: segmentT(s.last.sealed)}
	}
	return 0, nil
}

// follows reports whether a segment that starts there lies behind what the live stream is sealed up to.
func (s *Stream) follows(r *row, start timeline.Ticks) bool {
	return (s.row == nil || r.order >= s.row.order) && start >= r.sealed
}

// moveOn has the live stream go where the active producer's media is now.
func (s *Stream) moveOn() {
	if p := s.active(); p != nil && p.moved {
		if b := p.stretches[p.stretch]; b != nil {
			s.moveTo(b.row)
		}
	}
}

// moveTo makes r the row of the live stream. One that was left before is taken up again, behind all others; what was
// published of an open segment on the row that is left is not published a second time.
func (s *Stream) moveTo(r *row) {
	if s.row == r {
		return
	}
	for _, o := range s.open {
		if o.row == s.row && o.tailSeq > 0 {
			o.row.sealed = max(o.row.sealed, o.start+1)
		}
	}
	if s.row != nil && r.order < s.row.order {
		s.rows.takeUp(r)
	}
	s.row = r
}
