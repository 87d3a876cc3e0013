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
	// nameBy is how long after its connection a producer's ring waits for the first Progress, which says better than
	// the age of a segment where the source is.
	nameBy = 1500 * time.Millisecond
	// wantsMax is how many segments one producer is asked for at a time.
	wantsMax = 4
	// wantAgain is how long nothing may come of a wanted segment.
	wantAgain = 30 * time.Second
	// othersFirst is how long its producer is then not asked again, so that another one is.
	othersFirst = 2 * weighEvery
	// strangeAfter is how long, beyond source_timeout, an offer on a row that the active input does not know is held.
	strangeAfter = 10 * time.Second
)

// offerState says what is being done about an offer.
type offerState uint8

const (
	held    offerState = iota // nothing yet
	wanted                    // its producer was asked for it
	sealing                   // it is here, or what contains it, and not known to be durable yet
)

// offer is a sealed segment that a producer holds.
type offer struct {
	key   segment.Key
	info  segment.Info
	since time.Duration
	age   time.Duration // then, of its end; 0: not known
	state offerState
	asked time.Duration // as a wanted one: when it was, or when a part of it came last
	rest  time.Duration // it is not wanted before
	tries int

	named bool // the fields below are set
	slot  segment.Slot
	row   *row
	start timeline.Ticks // U
}

// Offer tells of a sealed segment that can be had from the producer.
func (c *Call) Offer(o Offer) error {
	s, leave, err := c.enter()
	if err != nil {
		return err
	}
	defer leave()
	if c.p.kind == Backfill {
		s.hear(c.p, o)
		return nil
	}
	s.addOffer(c.p, o)
	s.decide() // whoever is active now may be the one to bring it
	s.weighProducer(c.p)
	return nil
}

func (s *Stream) addOffer(p *producer, o Offer) {
	p.offers[o.Key.Seq] = &offer{key: o.Key, info: o.Info, since: s.clock.Mono(), age: o.Age}
	if in := p.copies[o.Key.Seq]; in != nil { // it is not being sent any more
		in.abandon()
		delete(p.copies, o.Key.Seq)
	}
}

// hear takes from a peer what it knows against bytes that are here.
func (s *Stream) hear(p *producer, of Offer) {
	o := &offer{key: of.Key, info: of.Info, since: s.clock.Mono()}
	p.offers[of.Key.Seq] = o
	if !s.heldAs(o) || !s.absorb(p, o) {
		s.release(p, o, Release{Slot: o.slot, Reason: "UNKNOWN"})
	}
}

// heldAs finds the slot in which the bytes of a peer's segment lie here: of a source that repeated itself the one of the
// same moment.
func (s *Stream) heldAs(o *offer) bool {
	places, err := s.archive.Places(o.info.Digest)
	if err != nil || len(places) == 0 {
		return false
	}
	if o.key.Slot == nil {
		o.slot = places[0].Slot
		return true
	}
	o.slot = *o.key.Slot
	r := s.rows.row(o.slot.Timeline)
	if r == nil {
		return false
	}
	at := r.Mapping.UTC(startU(o.slot, o.info.Start))
	i := slices.IndexFunc(places, func(c store.CopyInfo) bool { return c.UTC.Sub(at).Abs() < store.SameMoment })
	if i >= 0 {
		o.slot = places[i].Slot
	}
	return i >= 0
}

// Withdraw takes an offer back.
func (c *Call) Withdraw(seq uint64, reason string) error {
	s, leave, err := c.enter()
	if err != nil {
		return err
	}
	defer leave()
	p := c.p
	if in := p.copies[seq]; in != nil {
		in.abandon()
		delete(p.copies, seq)
	}
	o := p.offers[seq]
	if p == s.active() && reason == "RING_OVERRUN" && seq > p.counted && (o == nil || o.state != sealing && !(o.named && s.covered(o))) {
		p.counted = seq
		s.stats.Lost()
	}
	if o != nil && o.state != sealing {
		delete(p.offers, seq)
		s.metrics.Withdrawn.WithLabelValues(s.name, withdrawReason(reason)).Inc()
		s.log.Warn("offer withdrawn", "input", p.in.URL, "seq", seq, "slot", o.slot, "reason", reason)
	}
	return nil
}

// withdrawReason keeps what a producer says from becoming a label without bounds.
func withdrawReason(reason string) string {
	switch reason {
	case "RING_OVERRUN", "GONE":
		return reason
	}
	return "OTHER"
}

// weighAll looks at every offer again.
func (s *Stream) weighAll() {
	s.decide()
	for _, p := range s.producers {
		s.weighProducer(p)
	}
}

// weighProducer looks at the offers of one producer again, oldest first.
func (s *Stream) weighProducer(p *producer) {
	if p.call == nil || p.kind != Live || len(p.offers) == 0 {
		return
	}
	for _, o := range p.sortedOffers() {
		s.weigh(p, o)
	}
}

// weigh carries out what an offer calls for.
func (s *Stream) weigh(p *producer, o *offer) {
	now := s.clock.Mono()
	if o.state == sealing || s.coming(o) {
		return
	}
	if o.state == wanted {
		o.state, o.rest = held, now+othersFirst
	}
	if !o.named && !s.nameOffer(p, o) {
		return
	}
	seq := o.key.Seq
	switch s.verdict(p, o) {
	case release:
		if !s.absorb(p, o) {
			o.state = held // it was contained a moment ago: retention
		}
	case refused:
		s.release(p, o, Release{Slot: o.slot, Reason: refusal(s.archive.Refuses(s.span(o)))})
	case want:
		o.state, o.asked = wanted, now
		p.call.send(Want{Seq: seq})
		s.metrics.Wants.WithLabelValues(s.name).Inc()
	}
}

// absorb releases an offer that is contained in what is here, once what it tells beyond that is durable.
func (s *Stream) absorb(p *producer, o *offer) bool {
	o.state = sealing
	return s.archive.Absorb(o.slot, &o.info, func(err error) {
		s.post(func() {
			switch {
			case err == nil:
				s.release(p, o, Release{Slot: o.slot, Durable: true})
			case p.kind == Backfill:
				s.release(p, o, Release{Slot: o.slot, Reason: refusal(err)})
			default:
				s.log.Error("offer could not be noted", "slot", o.slot, "error", err)
				o.state, o.rest = held, s.clock.Mono()+fullPause
			}
		})
	})
}

// nameOffer finds the slot of an offer. It reports false while that has to wait: of a peer's, which may be of any age, until something
// tells its time. Where nothing does it comes as backfill.
func (s *Stream) nameOffer(p *producer, o *offer) bool {
	if o.key.Slot == nil && p.stretches[o.key.Stretch] == nil && (s.clock.Mono()-p.call.since < nameBy || s.mayBeHeldUp(p, o)) {
		if _, _, known := s.known(p, o.key, &o.info); !known {
			return false
		}
	}
	slot, r, start, err := s.slotOf(p, o.key, o)
	if err != nil {
		s.log.Warn("segment could not be named", "input", p.in.URL, "seq", o.key.Seq, "error", err)
		if errors.Is(err, errs.ErrUnknown) || errors.Is(err, errs.ErrInvalid) { // its slot is of a store that was here before, and stays so
			s.release(p, o, Release{Reason: refusal(err)})
		}
		return false
	}
	o.named, o.slot, o.row, o.start = true, slot, r, start
	p.call.send(Named{Seq: o.key.Seq, Slot: slot})
	return true
}

// mayBeHeldUp reports whether a peer's offer, of a stretch that is not known, is to wait until its feed says more: it is of no time
// that is known, or on no row, as where the network holds the feed up.
func (s *Stream) mayBeHeldUp(p *producer, o *offer) bool {
	switch {
	case !p.in.Peer:
		return false
	case o.age == 0:
		return true
	}
	return s.clock.Mono()-o.since < catchUp && !s.onRow(p, o.key.Run, o.key.Stretch, s.sighted(p, o), o.key.Peer) && s.seenByOthers(p)
}

// verdict is the answer to an offer.
type verdict uint8

const (
	hold verdict = iota
	want
	release
	refused
)

// verdict says what an offer calls for (protocol.md, Record): contained in what is durable: release; the active input
// is still to bring it, or a copy is here and not durable yet: hold; else it adds something: want.
func (s *Stream) verdict(p *producer, o *offer) verdict {
	switch {
	case s.archive.Contains(o.slot, &o.info):
		return release
	case s.archive.Refuses(s.span(o)) != nil:
		return refused
	case s.awaited(o.slot) || s.sought(o.slot):
		return hold
	case s.activeAhead(p, o) || s.clock.Mono() < max(s.fullUntil, o.rest):
		return hold
	case s.wants(p) >= wantsMax:
		return hold
	}
	return want
}

// span is when an offer that has a name is on air.
func (s *Stream) span(o *offer) (from, to time.Time) {
	m := o.row.Mapping
	return m.UTC(o.start), m.UTC(o.start + o.info.End - o.info.Start)
}

// coming reports whether an offer was asked for and may still be brought.
func (s *Stream) coming(o *offer) bool {
	return o.state == wanted && s.clock.Mono()-o.asked < wantAgain
}

// sought reports whether a copy of the slot is on its way from any producer.
func (s *Stream) sought(slot segment.Slot) bool {
	for _, p := range s.producers {
		for _, o := range p.offers {
			if o.slot == slot && s.coming(o) {
				return true
			}
		}
	}
	return false
}

func (s *Stream) wants(p *producer) int {
	n := 0
	for _, o := range p.offers {
		if s.coming(o) {
			n++
		}
	}
	return n
}

// activeAhead reports whether the active input is still to bring the slot.
func (s *Stream) activeAhead(p *producer, o *offer) bool {
	a, now := s.active(), s.clock.Mono()
	if a == nil {
		// Nobody is active yet: whoever will be streams from the first slot that is not sealed.
		return now < s.arb.settleUntil && s.follows(o.row, o.start)
	}
	c := a.candidate()
	if !c.alive(now) || s.idle(a) {
		return false
	}
	if a == p && a.fromSeq > 0 && o.key.Seq >= a.fromSeq && o.tries == 0 && s.follows(o.row, o.start) {
		return true // it streams it itself
	}
	b := a.stretches[a.stretch]
	switch {
	case b == nil, o.row == b.row:
		return s.follows(o.row, o.start) && !a.hasPassed(o)
	case o.row.order > b.row.order: // it may have seen a jump before the active one
		return now-o.since < c.timeout+strangeAfter || s.covered(o)
	default:
		return s.covered(o)
	}
}

// hasPassed reports whether a producer streams what comes after an offer, and not the offer's slot: it lost that.
func (p *producer) hasPassed(o *offer) bool {
	passed := false
	for _, in := range p.copies {
		if in.slot == o.slot {
			return false
		}
		passed = passed || in.open != nil && in.row == o.row && in.start > o.start
	}
	return passed
}

// covered reports whether intact media of other rows lies where the offer would. Two inputs whose timelines could not
// be told to be one must not fill the archive with everything twice.
func (s *Stream) covered(o *offer) bool {
	from := o.row.Mapping.UTC(o.start)
	to := o.row.Mapping.UTC(o.start + o.info.End - o.info.Start)
	var have time.Duration
	for _, r := range s.archive.Ranges(from, to) {
		if r.Damaged {
			continue
		}
		if r.From.Before(from) {
			r.From = from
		}
		if r.To.After(to) {
			r.To = to
		}
		have += r.To.Sub(r.From)
	}
	return to.Sub(from)-have < time.Second/2
}

// known finds the place of a segment by its digest: the same bytes at the same T, brought by another producer or by
// this one before a restart, are of the same row. Content that repeats itself is told apart by where the row is now: a
// stretch that was found there stays, and of several rows it is the youngest.
func (s *Stream) known(p *producer, key segment.Key, info *segment.Info) (at *row, u timeline.Ticks, ok bool) {
	var slots []segment.Slot
	if slot, ok := s.recent[info.Digest]; ok {
		slots = append(slots, slot)
	}
	places, err := s.archive.Places(info.Digest)
	if err != nil {
		return nil, 0, false
	}
	for _, c := range places {
		if c.Info.Start == key.Start {
			slots = append(slots, c.Slot)
		}
	}
	mono, b := s.clock.Mono(), p.stretches[key.Stretch]
	for _, slot := range slots {
		r := s.rows.row(slot.Timeline)
		if r == nil || at != nil && at.order > r.order || b != nil && b.row != r && !b.made {
			continue
		}
		head, early, late := r.predict(sighting{arrived: mono, peer: p.in.Peer}, mono, s.clock.Now())
		start := startU(slot, key.Start)
		if p.left(key.Run, key.Stretch)(r, start) {
			continue
		}
		if start <= head+timeline.FromDuration(early) && start >= head-timeline.FromDuration(late+2*ringAge) {
			at, u = r, start
		}
	}
	return at, u, at != nil
}

// sighted is what an offer says of where its producer's source was.
func (s *Stream) sighted(p *producer, o *offer) sighting {
	x := sighting{t: o.info.End, arrived: o.since - o.age, late: peerLag, peer: p.in.Peer, by: p.in.URL}
	if o.age == 0 { // it may have lain in the ring
		x.arrived, x.late = s.clock.Mono(), ringAge
	}
	return x
}

// slotOf gives the slot of a segment; o is nil while it is not sealed.
func (s *Stream) slotOf(p *producer, key segment.Key, o *offer) (segment.Slot, *row, timeline.Ticks, error) {
	if key.Slot != nil {
		slot := *key.Slot
		slot.InitSet = key.InitSet
		r := s.rows.row(slot.Timeline)
		if r == nil {
			return slot, nil, 0, fmt.Errorf("slot %s is not of a row here: %w", slot, errs.ErrUnknown)
		}
		if int64(slot.Cell) != key.Start.Cell() {
			return slot, nil, 0, fmt.Errorf("slot %s does not have a start at %d: %w", slot, key.Start, errs.ErrInvalid)
		}
		return slot, r, startU(slot, key.Start), nil
	}
	if o != nil && p.kind == Live {
		if r, u, ok := s.known(p, key, &o.info); ok {
			if b := p.stretches[key.Stretch]; b == nil || b.row != r {
				p.tie(key.Run, key.Stretch, r, u)
			}
			return r.place(u, key.InitSet), r, u, nil
		}
	}
	x := sighting{t: key.Start, arrived: s.clock.Mono(), late: peerLag, peer: p.in.Peer, by: p.in.URL}
	if o != nil {
		x = s.sighted(p, o)
	}
	b, err := s.bind(p, key.Run, key.Stretch, x, key.Peer)
	if err != nil {
		return segment.Slot{}, nil, 0, err
	}
	u := timeline.Unwrap(key.Start, b.u)
	b.u = max(b.u, u)
	return b.row.place(u, key.InitSet), b.row, u, nil
}
