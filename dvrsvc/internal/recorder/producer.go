package recorder

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// stretchesKept is how many jumps of the source's clock a producer's earlier rows are remembered over.
const stretchesKept = 64

func errNotConfigured(stream, input string) error {
	return fmt.Errorf("record %s from %s: the input is not configured: %w", stream, input, errs.ErrStreamUnknown)
}

// producer is one input of a stream, over all its calls. The stream's mu protects it.
type producer struct {
	s    *Stream
	kind Kind
	in   Input

	incarnation uint64
	call        *Call // nil: not connected
	goneAt      time.Duration

	// What Progress told.
	path      []string
	fault     string
	stretch   uint32
	moved     bool
	lastMove  time.Duration
	goodSince time.Duration
	head      timeline.Ticks // U
	lead      timeline.Ticks
	stretches map[uint32]*binding
	strange   *strange // nil: none yet

	brought time.Duration // when it brought media last
	fromSeq uint64        // as active: the first segment that it was told to stream
	counted uint64        // as active: the newest segment that counts as a live one
	offers  map[uint64]*offer
	copies  map[uint64]*incoming // segments that are being received
}

// binding ties a stretch of a producer to a row.
type binding struct {
	run  uint32
	row  *row
	u    timeline.Ticks // the newest place seen
	made bool           // the row was made for it, as the clock pointed to none
}

// take takes the config's word for the input.
func (p *producer) take(in Input) { p.in = in }

// candidate is the producer as arbitration sees it.
func (p *producer) candidate() candidate {
	c := candidate{
		input: p.in.URL, priority: p.in.Priority, timeout: p.in.SourceTimeout, cold: p.in.Cold,
		connected: p.call != nil, goneAt: p.goneAt,
		moved: p.moved, lastMove: p.lastMove, goodSince: p.goodSince, lead: p.lead, fault: p.fault,
	}
	if b := p.stretches[p.stretch]; b != nil {
		c.row = b.row.ID
	}
	return c
}

// sortedOffers gives the offers in the order of their segments.
func (p *producer) sortedOffers() []*offer {
	return slices.SortedFunc(maps.Values(p.offers), func(a, b *offer) int { return cmp.Compare(a.key.Seq, b.key.Seq) })
}

// standDown has the producer send for the live tail no more. Open copies stay for whoever goes on with them; what it
// brings on demand is none of the tail, and a seal that is on its way counts as an offer.
func (p *producer) standDown() {
	for _, in := range p.copies {
		if in.open != nil {
			p.letGo(in)
		}
	}
}

// letGo gives up what has come of a segment. If it was wanted it is to be weighed again.
func (p *producer) letGo(in *incoming) {
	in.abandon()
	if o := p.offers[in.begin.Key.Seq]; o != nil && o.state == wanted {
		o.state = held
	}
}

// end ends the producer's call.
func (p *producer) end(err error) {
	if p.call == nil {
		return
	}
	p.call.close(err)
	p.call = nil
	p.goneAt = p.s.clock.Mono()
	for _, in := range p.copies {
		in.abandon()
	}
	p.offers, p.copies = nil, nil
}

// reset forgets what was known of an earlier incarnation.
func (p *producer) reset(incarnation uint64) {
	p.incarnation = incarnation
	p.moved, p.path, p.stretch, p.strange, p.fromSeq, p.counted = false, nil, 0, nil, 0, 0
	p.stretches = map[uint32]*binding{}
}

// Call is one connection of a producer. The methods that bring something are for one goroutine, Next for another.
type Call struct {
	p      *producer
	since  time.Duration
	slowed time.Duration // when it was last asked to send slower

	mu     sync.Mutex // protects the fields below
	outbox []Message
	ready  chan struct{} // capacity 1
	err    error         // why the call has ended
}

// Attach opens a call. A call of an older incarnation ends with errs.ErrDisplaced.
func (s *Stream) Attach(h Hello) (*Call, error) {
	if h.Format != segment.Format {
		return nil, fmt.Errorf("record %s: format %d, this node has %d: %w", s.name, h.Format, segment.Format, errs.ErrFormat)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("record %s from %s: %w", s.name, h.Input, errs.ErrNotReady)
	}
	in, ok := s.cfg.input(h.Input)
	if h.Kind == Live && !ok {
		return nil, errNotConfigured(s.name, h.Input)
	}
	if !ok {
		in = Input{URL: h.Input, Priority: h.Priority, Peer: true}
	}
	key := producerKey{h.Input, h.Kind}
	p := s.producers[key]
	switch {
	case p == nil:
		p = &producer{s: s, kind: h.Kind}
		p.reset(h.Incarnation)
		s.producers[key] = p
	case p.call != nil && h.Incarnation < p.incarnation:
		return nil, fmt.Errorf("record %s from %s: %w", s.name, h.Input, errs.ErrDisplaced)
	}
	p.end(fmt.Errorf("record %s from %s: %w", s.name, h.Input, errs.ErrDisplaced))
	if h.Incarnation != p.incarnation {
		p.reset(h.Incarnation)
	}
	p.take(in)
	c := &Call{p: p, since: s.clock.Mono(), ready: make(chan struct{}, 1)}
	p.call = c
	p.offers, p.copies = map[uint64]*offer{}, map[uint64]*incoming{}
	for _, o := range h.Ring {
		s.addOffer(p, o)
	}
	if h.Kind == Live {
		s.decide()
		s.sendRole(p)
		s.log.Info("producer connected", "input", h.Input, "incarnation", h.Incarnation, "ring", len(h.Ring),
			"active", p == s.active())
	}
	s.weighProducer(p)
	return c, nil
}

// Close ends the call: the producer is gone.
func (c *Call) Close() {
	s := c.p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.p.call != c {
		return
	}
	if c.p.kind == Live {
		s.log.Info("producer disconnected", "input", c.p.in.URL)
	}
	c.p.end(context.Canceled)
	if c.p.kind == Backfill {
		delete(s.producers, producerKey{c.p.in.URL, Backfill})
	}
	s.decide()
}

// enter locks the stream for a message of this call. It fails when another call has taken its place.
func (c *Call) enter() (s *Stream, leave func(), err error) {
	s = c.p.s
	s.mu.Lock()
	if c.p.call != c {
		s.mu.Unlock()
		c.mu.Lock()
		defer c.mu.Unlock()
		return nil, nil, c.err
	}
	return s, s.mu.Unlock, nil
}

// Progress tells how far the input's media has come.
func (c *Call) Progress(x Progress) error {
	s, leave, err := c.enter()
	if err != nil {
		return err
	}
	defer leave()
	p, now := c.p, s.clock.Mono()
	p.path, p.fault = x.Path, x.Fault
	if x.Fault != "" {
		p.goodSince = now
	}
	if !x.Alive || len(x.Path) == 0 || s.looped(p, x.Path) {
		s.decide()
		return nil // it stands still as far as we are concerned
	}
	at := sighting{t: x.Head, arrived: now - x.Age, peer: p.in.Peer, by: p.in.URL}
	if s.heldUp(p, x.Run, x.Stretch, at, x.Peer) {
		s.decide()
		return nil
	}
	b, err := s.bind(p, x.Run, x.Stretch, at, x.Peer)
	if err != nil {
		s.log.Error("timeline could not be stored", "input", p.in.URL, "error", err)
		return nil
	}
	u := timeline.Unwrap(x.Head, b.u)
	if !p.moved || u != p.head || x.Stretch != p.stretch {
		if !p.moved || now-p.lastMove >= p.in.SourceTimeout {
			p.goodSince = at.arrived
		}
		p.lastMove = max(p.lastMove, at.arrived)
		p.moved = true
	}
	p.goodSince = max(p.goodSince, now-x.Gapless)
	p.stretch, p.head, p.lead = x.Stretch, u, u-timeline.FromDuration(at.arrived)
	b.u = max(b.u, u)
	s.follow(b.row, at, u)
	if p == s.active() {
		s.moveOn()
	}
	s.decide()
	s.weighProducer(p)
	return nil
}

// follow keeps the row's place and its UTC mapping up to date.
func (s *Stream) follow(r *row, at sighting, u timeline.Ticks) {
	if r.trails(at, u, s.clock.Mono(), s.clock.Now()) {
		return
	}
	if !r.sighted { // what comes directly is where the wall clock says, also behind a late feed of a peer
		want, _, _ := r.predict(at, s.clock.Mono(), s.clock.Now())
		r.direct.known, r.direct.u, r.direct.at = true, want, at.arrived
	}
	if !r.see(at, u) {
		return
	}
	utc := s.clock.Now().Add(at.arrived - s.clock.Mono())
	if r.Unsure && s.archive.ClockIsRight() {
		r.Unsure = false
		s.keep(r)
		if off := utc.Sub(r.Mapping.UTC(u)); off.Abs() >= setRightFrom {
			r.setRight(u, off)
			s.wrongBy = off
			s.log.Warn("the clock was wrong when the timeline began, its times are set right", "timeline", r.ID, "off", off)
			return
		}
	}
	if corrected, off := r.slew(u, utc); corrected {
		s.keep(r)
		s.log.Debug("timeline slewed", "timeline", r.ID, "off", off)
	}
}

// bind gives the row of a stretch of a producer, and finds or makes one at first sight. The row to which that of a peer is bound goes before what the
// clock says: the feed may be late, or begin with what the peer had kept.
func (s *Stream) bind(p *producer, run, stretch uint32, x sighting, peer segment.PeerRow) (*binding, error) {
	b := p.stretches[stretch]
	if r, u := s.bound(x, peer); r != nil && (b == nil || b.row != r) {
		return p.tie(run, stretch, r, u), nil
	}
	if b != nil {
		return b, nil
	}
	if r, u := s.rows.match(x, s.clock.Mono(), s.clock.Now(), p.left(run, stretch)); r != nil {
		return p.tie(run, stretch, r, u), nil
	}
	r, u, err := s.makeRow(x)
	if err != nil {
		return nil, err
	}
	b = p.tie(run, stretch, r, u)
	b.made = true
	return b, nil
}

// bound gives the row to which a peer's is bound, and the place of the sighting there, unless that is too far from where the source is.
func (s *Stream) bound(x sighting, peer segment.PeerRow) (*row, timeline.Ticks) {
	if peer == (segment.PeerRow{}) || !x.peer {
		return nil, 0
	}
	b := Binding{PeerStore: peer.Store, PeerTimeline: peer.Timeline}
	for _, r := range s.rows.rows {
		if !slices.ContainsFunc(r.Bindings, b.samePeer) {
			continue
		}
		want, early, _ := r.predict(x, s.clock.Mono(), s.clock.Now())
		u := timeline.Unwrap(x.t, want)
		if u-want <= timeline.FromDuration(early) && want-u <= timeline.FromDuration(ringAge) {
			return r, u
		}
	}
	return nil, 0
}

// heldUp reports whether a peer's feed that is on none of our rows may be so because the network held it up: while another
// producer is seen on a row it is given time to catch up, or its media would be recorded a second time on a row of its own.
func (s *Stream) heldUp(p *producer, run, stretch uint32, x sighting, peer segment.PeerRow) bool {
	if !p.in.Peer || p.stretches[stretch] != nil || s.onRow(p, run, stretch, x, peer) {
		return false
	}
	now := s.clock.Mono()
	if p.strange == nil || p.strange.stretch != stretch {
		p.strange = &strange{stretch, now}
	}
	return now-p.strange.since < catchUp && s.seenByOthers(p)
}

// onRow reports whether a row is where the sighting says.
func (s *Stream) onRow(p *producer, run, stretch uint32, x sighting, peer segment.PeerRow) bool {
	if r, _ := s.bound(x, peer); r != nil {
		return true
	}
	r, _ := s.rows.match(x, s.clock.Mono(), s.clock.Now(), p.left(run, stretch))
	return r != nil
}

// seenByOthers reports whether another producer is seen on a row.
func (s *Stream) seenByOthers(p *producer) bool {
	now := s.clock.Mono()
	return slices.ContainsFunc(s.rows.rows, func(r *row) bool {
		return r.sighted && r.by != p.in.URL && now-r.at < 2*peerLag
	})
}

// strange is a stretch of a peer's feed that was on no row when it was seen first.
type strange struct {
	stretch uint32
	since   time.Duration
}

// left tells rows that the producer has left for another stretch. To join its source anew is not to leave a row, unless what was
// found is no further on: an encoder that starts again and again is soon near where it was.
func (p *producer) left(run, stretch uint32) func(*row, timeline.Ticks) bool {
	return func(r *row, u timeline.Ticks) bool {
		for other, b := range p.stretches {
			if other != stretch && b.row == r && (b.run == run || other < stretch && u <= b.u) {
				return true
			}
		}
		return false
	}
}

// tie binds a stretch to a row.
func (p *producer) tie(run, stretch uint32, r *row, u timeline.Ticks) *binding {
	b := &binding{run: run, row: r, u: u}
	p.stretches[stretch] = b
	maps.DeleteFunc(p.stretches, func(old uint32, _ *binding) bool { return old+stretchesKept < stretch })
	return b
}

// send queues a message for the producer.
func (c *Call) send(m Message) {
	c.mu.Lock()
	c.outbox = append(c.outbox, m)
	c.mu.Unlock()
	c.signal()
}

func (c *Call) close(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	c.signal()
}

func (c *Call) signal() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// Next gives the messages for the producer. It blocks until there is one, the call has ended, or ctx ends.
func (c *Call) Next(ctx context.Context) ([]Message, error) {
	for {
		c.mu.Lock()
		out, err := c.outbox, c.err
		c.outbox = nil
		c.mu.Unlock()
		if len(out) > 0 {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		select {
		case <-c.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
