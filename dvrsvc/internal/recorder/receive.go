package recorder

import (
	"errors"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const (
	// triesMax is how often a segment may come and be found faulty.
	triesMax = 2
	// fullPause is how long nothing is asked for after the storage was found full, or a segment that it failed to take.
	fullPause = 5 * time.Second
	// slowBytes is how much that is not durable yet may have come before backfill is slowed down.
	slowBytes = 64 << 20
	// slowAfter is how long the storage may take over a segment before the live producer is slowed down, too: its ring
	// holds what this process would otherwise pile up.
	slowAfter = 5 * time.Second
	// slowEvery is how often a producer is told so.
	slowEvery = 250 * time.Millisecond
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
	resend bool // it was asked for again from its start
	tries  int  // live: how often it was
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
	in := &incoming{begin: b}
	if old := p.copies[seq]; old != nil {
		in.tries = old.tries
		old.abandon()
		delete(p.copies, seq)
	}
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
	case p == s.active() && seq >= p.fromSeq && !s.looped(p, b.Path) && s.follows(in.row, in.start):
		s.beginLive(in) // wanted or not: the tail lacks it
	case p.kind == Backfill || o != nil && o.state == wanted:
		s.beginWanted(p, in)
	}
	return nil
}

// beginWanted opens a copy that the live tail has nothing to do with.
func (s *Stream) beginWanted(p *producer, in *incoming) {
	copy, err := s.begin(in, store.BeginOptions{})
	s.noteFull(err)
	if err == nil {
		in.copy = copy
		return
	}
	s.refuse(p, in, err)
}

// refuse gives a segment up, for now or for good.
func (s *Stream) refuse(p *producer, in *incoming, err error) {
	p.letGo(in)
	s.noteFull(err)
	s.metrics.Refused.WithLabelValues(s.name, refusal(err)).Inc()
	if !errors.Is(err, errs.ErrFull) { // of which the store says how many
		s.log.Warn("segment could not be stored", "slot", in.slot, "input", p.in.URL, "error", err)
	}
	seq := in.begin.Key.Seq
	if o := p.offers[seq]; p.kind == Live && o != nil && !s.givesUp(o, err) {
		return
	}
	delete(p.copies, seq)
	delete(p.offers, seq)
	p.call.send(Release{Seq: seq, Slot: in.slot, Reason: refusal(err)})
}

// givesUp reports whether an offer that could not be stored is refused for good. What is wrong with the segment itself may
// have come about on the way, so it gets another try; a storage that fails is given time.
func (s *Stream) givesUp(o *offer, err error) bool {
	switch {
	case final(err):
		return true
	case errors.Is(err, errs.ErrCorrupt), errors.Is(err, errs.ErrInvalid):
		o.tries++
		return o.tries >= triesMax
	}
	o.rest = s.clock.Mono() + fullPause
	return false
}

// Chunk brings one chunk of a segment.
func (c *Call) Chunk(seq uint64, ch Chunk) error {
	s, leave, err := c.enter()
	if err != nil {
		return err
	}
	defer leave()
	p := c.p
	p.brought = s.clock.Mono()
	in := p.copies[seq]
	if in == nil {
		return nil
	}
	if o := p.offers[seq]; o != nil {
		o.asked = p.brought
	}
	if len(ch.Path) == 0 {
		ch.Path = in.begin.Path
	}
	switch {
	case in.open != nil:
		s.liveChunk(p, in, ch)
		if _, age := s.unsettled(); age > slowAfter {
			c.slow()
		}
	case in.copy != nil:
		if err := in.copy.Append(ch.Chunk, ch.Data, ch.Evidence); err != nil {
			s.refuse(p, in, err)
			return nil
		}
		if bytes, _ := s.unsettled(); bytes > slowBytes {
			c.slow()
		}
	case p == s.active() && !s.looped(p, ch.Path) && s.follows(in.row, in.start):
		s.askAgain(p, in) // its copy was broken off in a silence that is over now
	}
	return nil
}

// slow asks the producer to send slower.
func (c *Call) slow() {
	if now := c.p.s.clock.Mono(); now-c.slowed >= slowEvery {
		c.slowed = now
		c.send(Slow{})
	}
}

// askAgain has the active producer send a segment again from its start. When that does not help the live tail goes on
// with the next one: this one is an offer once it is sealed.
func (s *Stream) askAgain(p *producer, in *incoming) {
	if in.resend || p.call == nil {
		return
	}
	in.resend = true
	s.epoch++
	p.fromSeq = in.begin.Key.Seq
	if in.tries++; in.tries >= triesMax {
		p.fromSeq++
	}
	p.call.send(Role{Epoch: s.epoch, Active: true, FromSeq: p.fromSeq})
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

// sealWanted seals a copy that was wanted or backfilled.
func (s *Stream) sealWanted(p *producer, in *incoming, of *offer) {
	copy := in.copy
	in.copy = nil
	s.seal(p, copy, of, false, func(info segment.Info) {
		if p.kind == Live {
			s.tail.sealed(TailSeal{Slot: in.slot, Info: info})
		}
	})
}

// seal hands a complete copy to the store; kept is called once it is durable. live: it came as the live stream, and counts so.
func (s *Stream) seal(p *producer, copy Copy, o *offer, live bool, kept func(segment.Info)) {
	slot, digest := o.slot, o.info.Digest
	waits := &pendingCopy{slot: slot, bytes: o.info.Bytes, since: s.clock.Mono(), live: live}
	err := copy.Seal(o.info, func(out store.Outcome, err error) {
		s.post(func() { s.settled(p, o, out, err, waits, kept) })
	})
	if err == nil {
		o.state = sealing
		s.pending[waits] = struct{}{}
		s.recent[digest] = slot
		return
	}
	copy.Drop()
	if errors.Is(err, errs.ErrCorrupt) {
		s.metrics.Corrupt.WithLabelValues(s.name).Inc()
	}
	s.countWrite(p, o, live, 0, err)
	s.log.Error("segment could not be sealed", "slot", slot, "digest", digest, "input", p.in.URL, "error", err)
	s.putBack(p, o, err)
}

// settled is called when the store has made a copy durable, or will not.
func (s *Stream) settled(p *producer, o *offer, out store.Outcome, err error, waited *pendingCopy, kept func(segment.Info)) {
	delete(s.pending, waited)
	delete(s.recent, o.info.Digest)
	took := s.clock.Mono() - waited.since
	s.countWrite(p, o, waited.live, took, err)
	if err != nil {
		s.log.Error("segment was not made durable", "slot", o.slot, "error", err)
		s.putBack(p, o, err)
		return
	}
	s.metrics.DurableLatency.Observe(took.Seconds())
	info := out.Copy.Info
	if !out.Kept || info.Digest.IsZero() {
		info = o.info
	}
	kept(info)
	s.metrics.sealed(s.name, p.kind, &info)
	s.release(p, o, Release{Slot: out.Copy.Slot, Durable: true})
}

// countWrite counts what has become of a sealed segment.
func (s *Stream) countWrite(p *producer, o *offer, live bool, took time.Duration, err error) {
	class := stats.ClassOf(took, (o.info.End - o.info.Start).Duration())
	if err != nil {
		class = unwritten(err)
	}
	if counted := live && s.stats.Wrote(o.slot, class); !counted && err == nil {
		s.stats.Later(p.kind == Backfill)
	}
}

// putBack has an offer that could not be stored weighed again, or refuses it.
func (s *Stream) putBack(p *producer, o *offer, err error) {
	o.state = held
	if p.kind == Backfill || s.givesUp(o, err) {
		s.release(p, o, Release{Slot: o.slot, Reason: refusal(err)})
	}
}

// release tells a producer that it may forget a segment. An offer that is not the producer's any more was of another
// call: it offers its ring again when it is back, and its numbers may mean other segments. What has come of it as a wanted
// one goes with it: the producer sends no more.
func (s *Stream) release(p *producer, o *offer, r Release) {
	if r.Seq = o.key.Seq; p.call == nil || p.offers[r.Seq] != o {
		return
	}
	delete(p.offers, r.Seq)
	if in := p.copies[r.Seq]; in != nil && in.copy != nil {
		in.abandon()
		delete(p.copies, r.Seq)
	}
	p.call.send(r)
}

// unsettled gives the bytes of sealed copies that are not durable yet, and how long the oldest of them waits.
func (s *Stream) unsettled() (bytes uint64, age time.Duration) {
	now := s.clock.Mono()
	for w := range s.pending {
		bytes += w.bytes
		age = max(age, now-w.since)
	}
	return bytes, age
}

// awaited reports whether a copy in the slot is sealed and not durable yet.
func (s *Stream) awaited(slot segment.Slot) bool {
	for w := range s.pending {
		if w.slot == slot {
			return true
		}
	}
	return false
}

// final reports whether asking again would not help.
func final(err error) bool {
	return errors.Is(err, errs.ErrConflictLimit) || errors.Is(err, errs.ErrExpired) || errors.Is(err, errs.ErrDeleted)
}

// refusal names the reason of a refusal as the protocol spells it. What is not known may pass.
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
	case errors.Is(err, errs.ErrInvalid):
		return "INVALID"
	case errors.Is(err, errs.ErrUnknown):
		return "UNKNOWN"
	case errors.Is(err, errs.ErrFull):
		return "FULL"
	}
	return "NOT_READY"
}
