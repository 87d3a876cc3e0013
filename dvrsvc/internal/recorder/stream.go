package recorder

import (
	"context"
	"crypto/rand"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/segment"
)

// tickEvery is how often a stream looks at the clock.
const tickEvery = 100 * time.Millisecond

// weighEvery is how often offers are looked at again when nothing else calls for it.
const weighEvery = 500 * time.Millisecond

// Config is what the stream config says of one stream.
type Config struct {
	Name      string
	Path      string     // of the storage, absolute
	Retention store.Rule // the zero value: for ever
	Inputs    []Input
}

// Input is one configured input.
type Input struct {
	URL           string
	Priority      int // 1 is the best
	SourceTimeout time.Duration
	Peer          bool // it comes from another site
	Cold          bool // it joins its source only while it is active
}

// equal reports whether nothing differs.
func (c Config) equal(o Config) bool {
	return c.Name == o.Name && c.Path == o.Path && c.Retention == o.Retention && slices.Equal(c.Inputs, o.Inputs)
}

// input finds an input by its URL.
func (c Config) input(url string) (Input, bool) {
	i := slices.IndexFunc(c.Inputs, func(in Input) bool { return in.URL == url })
	if i < 0 {
		return Input{}, false
	}
	return c.Inputs[i], true
}

// Stream records one stream: it names slots, decides who is active and what is kept. Safe for concurrent use.
type Stream struct {
	name    string
	node    string
	archive Archive
	clock   clock.Clock
	log     *slog.Logger
	metrics *Metrics
	stats   *stats.Stream
	tail    *tail
	random  func([]byte)

	wake    chan struct{} // capacity 1: the inbox has something
	inboxMu sync.Mutex    // protects inbox; taken after mu or alone
	inbox   []func()      // what the store has settled; run with mu held

	keepRows chan struct{} // capacity 1: unkept has something
	putting  sync.Mutex    // held while a row that is known is put; taken before mu

	mu        sync.Mutex // protects the fields below
	cfg       Config
	rows      namer
	unkept    map[*row]bool // slewed, and not durable as they are
	wrongBy   time.Duration // what was set right last was wrong by
	arb       *arbiter
	producers map[producerKey]*producer
	open      []*openCopy               // live copies that are not sealed, oldest first
	row       *row                      // of the live stream; nil: nothing was published
	last      *row                      // where the live stream was sealed last, or nil
	pending   map[*pendingCopy]struct{} // copies that are sealed and not durable yet
	recent    map[segment.Digest]segment.Slot
	epoch     uint64
	full      error         // why the storage took nothing when it was last asked to; or nil
	fullUntil time.Duration // nothing is asked for before
	weighed   time.Duration
	watchers  map[chan Switch]struct{}
	closed    bool
}

// pendingCopy is a sealed copy that the store has still to make durable.
type pendingCopy struct {
	slot  segment.Slot
	bytes uint64
	since time.Duration
	live  bool // it came as the live stream, whole
}

type producerKey struct {
	input string
	kind  Kind
}

// newStream takes up a stream where the archive says that it was left.
func newStream(node string, cfg Config, a Archive, clk clock.Clock, log *slog.Logger, m *Metrics, counts *stats.Stream) *Stream {
	s := &Stream{
		name: cfg.Name, node: node, archive: a, clock: clk, metrics: m, stats: counts,
		log:       log.With("stream", cfg.Name),
		tail:      newTail(a.ReadOpen, clk, counts),
		random:    func(b []byte) { rand.Read(b) },
		wake:      make(chan struct{}, 1),
		keepRows:  make(chan struct{}, 1),
		unkept:    map[*row]bool{},
		producers: map[producerKey]*producer{},
		pending:   map[*pendingCopy]struct{}{},
		recent:    map[segment.Digest]segment.Slot{},
		watchers:  map[chan Switch]struct{}{},
	}
	for _, r := range a.Timelines() {
		s.rows.add(r)
	}
	if c, ok := a.Newest(); ok {
		if r := s.rows.row(c.Slot.Timeline); r != nil {
			s.moveTo(r)
			s.last, r.sealed = r, startU(c.Slot, c.Info.Start)+c.Info.End-c.Info.Start
		}
	}
	s.configure(cfg)
	return s
}

// configure takes a new config. Producers of inputs that are gone are let go; nothing else is touched.
func (s *Stream) configure(cfg Config) {
	s.archive.SetRetention(cfg.Retention) // not under mu: it may write
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.arb != nil && s.cfg.equal(cfg) {
		return
	}
	s.cfg = cfg
	best, settle := 0, time.Duration(0)
	for _, in := range cfg.Inputs {
		if best == 0 || in.Priority < best {
			best, settle = in.Priority, in.SourceTimeout
		}
	}
	if s.arb == nil {
		s.arb = newArbiter(s.clock.Mono(), settle, best)
	}
	s.arb.bestPriority = best
	s.arb.forget(func(url string) bool { _, ok := cfg.input(url); return ok })
	for key, p := range s.producers {
		in, ok := cfg.input(key.input)
		if key.kind == Live && !ok {
			p.end(errNotConfigured(s.name, key.input))
			delete(s.producers, key)
			continue
		}
		if ok {
			p.take(in)
		}
	}
	s.decide()
}

// run does what is due until ctx ends: it is what wakes the state machine without a message.
func (s *Stream) run(ctx context.Context) {
	ticker := clock.NewGrid(s.clock, tickEvery)
	defer ticker.Stop()
	events, stop := s.archive.Watch()
	defer stop()
	var keeper sync.WaitGroup
	defer keeper.Wait()
	keeper.Go(func() { // the disk may take its time: nobody waits for a slew
		for {
			select {
			case <-ctx.Done():
				return
			case <-s.keepRows:
				s.putKept()
			}
		}
	})
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
			ticker.Next()
			s.tick()
		case <-s.wake:
			s.settle()
		case e, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			s.observe(e)
		}
	}
}

// observe passes on to the tail what changed in a slot behind it.
func (s *Stream) observe(e store.Event) {
	if e.Kind == store.EventExpired || e.Kind == store.EventSealed && e.Copy.Live {
		return
	}
	s.tail.changed(TailChanged{Slot: e.Copy.Slot, Digests: e.Digests})
}

// post has f run with mu held, soon. It never blocks: the store's commit goroutine calls it.
func (s *Stream) post(f func()) {
	s.inboxMu.Lock()
	s.inbox = append(s.inbox, f)
	s.inboxMu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// settle runs what was posted.
func (s *Stream) settle() {
	s.inboxMu.Lock()
	fs := s.inbox
	s.inbox = nil
	s.inboxMu.Unlock()
	if len(fs) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range fs {
		f()
	}
	if !s.closed {
		s.weighAll()
	}
}

// tick does what time alone brings about.
func (s *Stream) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.decide()
	now := s.clock.Mono()
	alive := slices.ContainsFunc(s.candidates(), func(c candidate) bool { return c.alive(now) })
	s.tail.alive(alive)
	if !alive {
		s.breakSilent(now)
	}
	if now-s.weighed >= weighEvery {
		s.weighed = now
		s.setRestRight()
		s.weighAll()
		s.measure(now)
	}
}

// breakSilent seals the open part when no producer has brought anything for its source_timeout.
func (s *Stream) breakSilent(now time.Duration) {
	var timeout time.Duration
	for _, in := range s.cfg.Inputs {
		timeout = max(timeout, in.SourceTimeout)
	}
	s.breakOff(func(o *openCopy) bool { return now-o.lastChunk >= timeout })
}

// candidates are the live producers as arbitration sees them.
func (s *Stream) candidates() []candidate {
	var cs []candidate
	for key, p := range s.producers {
		if key.kind == Live {
			c := p.candidate()
			c.idle = p == s.active() && s.idle(p)
			cs = append(cs, c)
		}
	}
	return cs
}

// idle reports whether the active producer says that its media moves and yet brings none: another one has sealed what
// it should have brought, and has waited with it for source_timeout. Nobody's word for itself is enough to hold up the
// offers of all.
func (s *Stream) idle(active *producer) bool {
	now, b := s.clock.Mono(), active.stretches[active.stretch]
	if b == nil || active.call == nil || now-max(active.brought, s.arb.takenAt) < active.in.SourceTimeout {
		return false
	}
	for key, p := range s.producers {
		if key.kind != Live || p == active || p.call == nil {
			continue
		}
		for _, o := range p.offers {
			if o.named && o.state == held && o.row == b.row && s.follows(o.row, o.start) && now-o.since >= active.in.SourceTimeout {
				return true
			}
		}
	}
	return false
}

// decide asks who should be active, and makes it so.
func (s *Stream) decide() {
	now := s.clock.Mono()
	c := s.arb.decide(now, s.candidates())
	if c.input == s.arb.active {
		return
	}
	if c.atBoundary && slices.ContainsFunc(s.open, func(o *openCopy) bool { return o.owner != nil }) {
		return // the active one is within a segment: asked again when it is sealed
	}
	old, next := s.active(), s.producers[producerKey{c.input, Live}]
	s.log.Info("active input changed", "from", s.arb.active, "to", c.input, "why", c.why)
	if s.arb.active != "" {
		s.metrics.Failovers.WithLabelValues(s.name).Inc()
	}
	s.arb.take(now, c)
	s.moveOn()
	if old != nil {
		old.goodSince = max(old.goodSince, now) // it was left for a reason: its good behaviour counts from now on
		old.standDown()
		s.sendRole(old)
	}
	s.sendRole(next)
	for w := range s.watchers {
		select {
		case w <- Switch{Time: s.clock.Now(), Input: c.input}:
		default: // it is told of the next one
		}
	}
}

// active is the producer that feeds the live tail, or nil.
func (s *Stream) active() *producer { return s.producers[producerKey{s.arb.active, Live}] }

// sendRole tells a live producer what it is, and from where on to stream.
func (s *Stream) sendRole(p *producer) {
	if p.call == nil {
		return
	}
	s.epoch++
	r := Role{Epoch: s.epoch, Active: p == s.active()}
	if r.Active {
		r.FromSeq, r.After = s.startOf(p)
		p.fromSeq = r.FromSeq
	}
	p.call.send(r)
}

// looped reports whether media with this path comes from us, over a peer.
func (s *Stream) looped(p *producer, path []string) bool {
	return p.in.Peer && slices.Contains(path, s.node)
}

// close lets all producers go and seals what is open.
func (s *Stream) close(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for key, p := range s.producers {
		p.end(err)
		delete(s.producers, key)
	}
	s.breakOff(func(*openCopy) bool { return true })
	s.tail.close()
}
