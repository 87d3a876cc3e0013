package recorder

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const (
	// triesMax is how often a segment is asked for again when its bytes do not match its seal.
	triesMax = 2
	// fullPause is how long nothing is asked for after the storage was found full.
	fullPause = 5 * time.Second
	// slowBytes is how much that is not durable yet may come from backfill before it is slowed down.
	slowBytes = 64 << 20
)

// incoming is a segment that a producer is sending. One without open and copy is only listened to: its seal counts as
// an offer.
type incoming struct {
	begin Begin
	slot  segment.Slot
	row   *row
	start timeline.Ticks // U

	open    *openCopy // live: what it is part of
	matched int       // live: how many chunks of open it has sent so far

	copy   Copy // wanted or backfilled
	bytes  int
	resend bool // it was asked for again from its start
}

// openCopy is a live copy that is not sealed. It outlives the producer that began it: whoever sends the same bytes goes
// on with it.
type openCopy struct {
	owner     *incoming // nil: nobody is sending it
	begin     Begin
	slot      segment.Slot
	row       *row
	start     timeline.Ticks
	copy      Copy // nil: not stored, only published
	chunks    []segment.Chunk
	evidence  []segment.Evidence
	tailSeq   uint64 // 0: not published
	published bool   // all of its chunks were, under tailSeq
	lastChunk time.Duration
}

// abandon lets go of what is being received.
func (in *incoming) abandon() {
	if in.open != nil && in.open.owner == in {
		in.open.owner = nil
	}
	in.open = nil
	if in.copy != nil {
		in.copy.Drop()
		in.copy = nil
	}
}

// Begin announces a segment.
func (c *Call) Begin(b Begin) error {
	s, leave, err := c.enter()
	if err != nil {
		return err
	}
	defer leave()
	p, seq := c.p, b.Key.Seq
	if old := p.copies[seq]; old != nil {
		old.abandon()
		delete(p.copies, seq)
	}
	in := &incoming{begin: b}
	in.slot, in.row, in.start, err = s.slotOf(p, b.Key, nil)
	if err != nil {
		if p.kind == Backfill {
			c.send(Release{Seq: seq, Reason: refusal(err)})
		}
		s.log.Warn("segment could not be named", "input", p.in.URL, "seq", seq, "error", err)
		return nil
	}
	p.copies[seq] = in
	c.send(Named{Seq: seq, Slot: in.slot})
	o := p.offers[seq]
	switch {
	case p.kind == Backfill || o != nil && o.state == wanted:
		s.beginWanted(p, in)
	case p == s.active() && !s.looped(p, b.Path) && s.follows(in.row, in.start):
		s.beginLive(in)
	}
	return nil
}

// beginWanted opens a copy that the live tail has nothing to do with.
func (s *Stream) beginWanted(p *producer, in *incoming) {
	b := &in.begin
	copy, err := s.archive.Begin(in.slot, b.Inits, b.Tracks, store.BeginOptions{
		Path: b.Path, Independent: b.Independent, StartUncertain: b.StartUncertain,
	})
	if err == nil {
		in.copy = copy
		return
	}
	s.refuse(p, in, err)
}

// refuse gives a segment up, for now or for good.
func (s *Stream) refuse(p *producer, in *incoming, err error) {
	seq := in.begin.Key.Seq
	if in.copy != nil {
		in.copy.Drop()
		in.copy = nil
	}
	if errors.Is(err, errs.ErrFull) {
		s.fullUntil = s.clock.Mono() + fullPause
	}
	o := p.offers[seq]
	if final(err) || p.kind == Backfill {
		delete(p.copies, seq)
		s.release(p, seq, Release{Seq: seq, Slot: in.slot, Reason: refusal(err)})
		return
	}
	if o != nil {
		o.state = held
	}
	s.log.Warn("segment could not be stored", "slot", in.slot, "input", p.in.URL, "error", err)
}

// beginLive opens the segment of the live tail, or goes on with it.
func (s *Stream) beginLive(in *incoming) {
	i := slices.IndexFunc(s.open, func(o *openCopy) bool { return o.slot == in.slot })
	if i >= 0 && s.open[i].start == in.start {
		in.open = s.open[i]
		in.open.owner = in
		return
	}
	if i >= 0 {
		s.breakOff(func(o *openCopy) bool { return o.slot == in.slot })
	}
	o := s.newOpen(in, in.begin)
	if o.copy == nil && in.open == nil {
		return
	}
	o.tailSeq = s.tail.begin(in.row.order, in.slot, in.begin)
	o.published = o.tailSeq > 0
}

// newOpen opens a live copy owned by in. When it cannot be stored the live tail goes on without.
func (s *Stream) newOpen(in *incoming, b Begin) *openCopy {
	o := &openCopy{
		owner: in, begin: b, slot: in.slot, row: in.row, start: in.start, lastChunk: s.clock.Mono(),
	}
	copy, err := s.archive.Begin(in.slot, b.Inits, b.Tracks, store.BeginOptions{
		Live: true, Path: b.Path, Independent: b.Independent, StartUncertain: b.StartUncertain,
	})
	if err != nil {
		s.lost(o, err)
	} else {
		o.copy = copy
	}
	in.open, in.matched = o, 0
	s.open = append(s.open, o)
	return o
}

// lost notes that a live copy is not stored.
func (s *Stream) lost(o *openCopy, err error) {
	if o.copy != nil {
		o.copy.Drop()
	}
	o.copy = nil
	if errors.Is(err, errs.ErrFull) {
		s.fullUntil = s.clock.Mono() + fullPause
	}
	s.metrics.Unstored.WithLabelValues(s.name).Inc()
	s.log.Error("live segment is not stored", "slot", o.slot, "error", err)
}

// Chunk brings one chunk of a segment.
func (c *Call) Chunk(seq uint64, ch Chunk) error {
	s, leave, err := c.enter()
	if err != nil {
		return err
	}
	defer leave()
	p := c.p
	in := p.copies[seq]
	if in == nil {
		return nil
	}
	if len(ch.Path) == 0 {
		ch.Path = in.begin.Path
	}
	switch {
	case in.open != nil:
		s.liveChunk(p, in, ch)
	case in.copy != nil:
		if err := in.copy.Append(ch.Chunk, ch.Data, ch.Evidence); err != nil {
			s.refuse(p, in, err)
			return nil
		}
		in.bytes += len(ch.Data)
		if in.bytes > slowBytes {
			c.send(Slow{})
		}
	case p == s.active() && !s.looped(p, ch.Path) && s.follows(in.row, in.start):
		s.askAgain(p, in) // its copy was broken off in a silence that is over now
	}
	return nil
}

// askAgain has the active producer send a segment again from its start.
func (s *Stream) askAgain(p *producer, in *incoming) {
	if in.resend || p.call == nil {
		return
	}
	in.resend = true
	s.epoch++
	p.fromSeq = in.begin.Key.Seq
	p.call.send(Role{Epoch: s.epoch, Active: true, FromSeq: p.fromSeq})
}

// liveChunk adds a chunk to the open copy, unless the copy has it already.
func (s *Stream) liveChunk(p *producer, in *incoming, ch Chunk) {
	if s.looped(p, ch.Path) { // the feed turned into our own in the middle of a segment
		in.abandon()
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
			in.abandon()
			return
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
	o := s.newOpen(in, in.begin)
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

// Seal ends a segment.
func (c *Call) Seal(seq uint64, info segment.Info) error {
	s, leave, err := c.enter()
	if err != nil {
		return err
	}
	defer leave()
	p := c.p
	in := p.copies[seq]
	if in == nil {
		return nil
	}
	if len(info.Path) == 0 {
		info.Path = in.begin.Path
	}
	o := s.offerOf(p, in, info)
	switch {
	case in.open != nil:
		s.sealLive(p, in, o)
	case in.copy != nil:
		s.sealWanted(p, in, o)
	case p.kind == Backfill: // refused before
		delete(p.offers, seq)
	default:
		o.state = held
	}
	delete(p.copies, seq)
	s.decide()
	s.weighProducer(p)
	return nil
}

// offerOf gives the offer that a sealed segment is from now on.
func (s *Stream) offerOf(p *producer, in *incoming, info segment.Info) *offer {
	seq := in.begin.Key.Seq
	o := p.offers[seq]
	if o == nil {
		o = &offer{key: in.begin.Key, since: s.clock.Mono()}
		p.offers[seq] = o
	}
	o.info, o.named, o.slot, o.row, o.start = info, true, in.slot, in.row, in.start
	return o
}

// sealLive seals the open copy of the live tail.
func (s *Stream) sealLive(p *producer, in *incoming, of *offer) {
	open := in.open
	if in.matched < len(open.chunks) {
		open = s.diverge(in) // this one is shorter than what another began
	}
	s.forget(open)
	s.last = sealedEnd{row: in.row, end: in.start + of.info.End - of.info.Start}
	s.tail.sealing(in.slot)
	seq := open.tailSeq
	if !open.published {
		seq = 0
	}
	of.state = held
	if open.copy != nil {
		s.seal(p, open.copy, of, func(info segment.Info) {
			s.tail.sealed(TailSeal{Seq: seq, Slot: in.slot, Info: info})
		})
	}
	s.breakOff(func(o *openCopy) bool { return o.row == in.row && o.start < in.start || o.row.order < in.row.order })
}

// sealWanted seals a copy that was wanted or backfilled.
func (s *Stream) sealWanted(p *producer, in *incoming, of *offer) {
	copy := in.copy
	in.copy = nil
	s.seal(p, copy, of, func(info segment.Info) {
		if p.kind == Live {
			s.tail.sealed(TailSeal{Slot: in.slot, Info: info})
		}
	})
}

// seal hands a complete copy to the store; kept is called once it is durable.
func (s *Stream) seal(p *producer, copy Copy, o *offer, kept func(segment.Info)) {
	slot, digest, begun := o.slot, o.info.Digest, s.clock.Mono()
	err := copy.Seal(o.info, func(out store.Outcome, err error) {
		s.post(func() { s.settled(p, o, out, err, begun, kept) })
	})
	if err == nil {
		o.state = sealing
		s.pending[slot]++
		s.recent[digest] = slot
		return
	}
	// Its own seal disagrees with what came: it is asked for once more, as a whole.
	copy.Drop()
	s.metrics.Corrupt.WithLabelValues(s.name).Inc()
	s.log.Error("segment does not match its seal", "slot", slot, "digest", digest, "input", p.in.URL, "error", err)
	o.state = held
	if o.tries++; o.tries >= triesMax || p.kind == Backfill {
		s.release(p, o.key.Seq, Release{Seq: o.key.Seq, Slot: slot, Reason: "CORRUPT"})
	}
}

// settled is called when the store has made a copy durable, or will not.
func (s *Stream) settled(p *producer, o *offer, out store.Outcome, err error, begun time.Duration, kept func(segment.Info)) {
	if s.pending[o.slot]--; s.pending[o.slot] == 0 {
		delete(s.pending, o.slot)
	}
	delete(s.recent, o.info.Digest)
	seq := o.key.Seq
	switch {
	case err == nil:
		s.metrics.DurableLatency.Observe((s.clock.Mono() - begun).Seconds())
		info := out.Copy.Info
		if !out.Kept || info.Digest.IsZero() {
			info = o.info
		}
		kept(info)
		s.metrics.sealed(s.name, p.kind, &info)
		s.release(p, seq, Release{Seq: seq, Slot: o.slot, Durable: true})
	case final(err) || p.kind == Backfill:
		s.release(p, seq, Release{Seq: seq, Slot: o.slot, Reason: refusal(err)})
	default:
		s.log.Error("segment was not made durable", "slot", o.slot, "error", err)
		o.state = held
	}
}

// release tells a producer that it may forget a segment.
func (s *Stream) release(p *producer, seq uint64, r Release) {
	if p.call == nil {
		return // it offers its ring again when it is back
	}
	delete(p.offers, seq)
	p.call.send(r)
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
		s.pending[o.slot]++
		o.copy.Break(func(out store.Outcome, err error) {
			s.post(func() { s.broken(o, out, err) })
		})
	}
}

// broken is called when what was open is durable.
func (s *Stream) broken(o *openCopy, out store.Outcome, err error) {
	if s.pending[o.slot]--; s.pending[o.slot] == 0 {
		delete(s.pending, o.slot)
	}
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

// final reports whether asking again would not help.
func final(err error) bool {
	return errors.Is(err, errs.ErrConflictLimit) || errors.Is(err, errs.ErrExpired) || errors.Is(err, errs.ErrDeleted)
}

// refusal names the reason of a refusal as the protocol spells it.
func refusal(err error) string {
	switch {
	case errors.Is(err, errs.ErrExpired):
		return "EXPIRED"
	case errors.Is(err, errs.ErrDeleted):
		return "DELETED"
	case errors.Is(err, errs.ErrConflictLimit):
		return "CONFLICT_LIMIT"
	case errors.Is(err, errs.ErrFormat):
		return "FORMAT"
	case errors.Is(err, errs.ErrCorrupt):
		return "CORRUPT"
	}
	return "FULL"
}
