package transfer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
	"github.com/twinreel/twinreel/replsvc/internal/limit"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
	"github.com/twinreel/twinreel/replsvc/internal/plan"
)

const (
	// replanEvery is how often a plan is made without a reason: refusals expire, and the live edge moves.
	replanEvery = time.Second
	// sessionWithin bounds the wait for a peer: a fetch from one that is away holds up those from others.
	sessionWithin = 2 * time.Second
	// hereFor is how long a copy that dvrsvc released counts as here although no comparison shows it: it is contained in
	// what is here, by its bytes if not by its evidence.
	hereFor = time.Hour
	// toldFor is the same for evidence, which the next comparison shows.
	toldFor = time.Minute
	// The wait doubles from stallFirst to stallMax while a peer sends nothing of a stream: each fetch holds up others for as long as it
	// takes to give it up.
	stallFirst = 30 * time.Second
	stallMax   = 5 * time.Minute
	// maxTold bounds the evidence of a stream that is on its way: dvrsvc writes such a copy again, two a second, and what
	// waits behind others is not to wait for as long as durableWithin.
	maxTold = 4
)

// Sites gives the state to plan from and the ways to carry a plan out. Its consumer is this package alone.
type Sites interface {
	// Streams is what is known, without InFlight, Refused and Here, and Paused only where live lags.
	Streams() []plan.Stream
	// Route is how a stream is fetched from a peer; false: it is not configured any more.
	Route(stream, peer string) (Route, bool)
	// Compare has what is known of a peer's stream looked at again: nothing more of it is in flight, or it was wrong.
	Compare(stream, peer string)
}

// Route is one stream of one peer.
type Route struct {
	Peer   *m4fclient.Peer
	Stream string // the peer's name
	Sink   *Sink
	// Near reads what other dvrsvc of the site have of the stream, for they are asked before the peer; nil, or gives nil:
	// there is none.
	Near func(ctx context.Context) grpc.ClientConnInterface
	// Own is the dvrsvc that records the stream: what is here is read from it to be joined.
	Own grpc.ClientConnInterface
}

// Transfer fetches. Safe for concurrent use.
type Transfer struct {
	sites  Sites
	limits *limit.Limits
	clk    clock.Clock
	log    *slog.Logger
	wake   chan struct{} // capacity 1: there is something new to plan
	freed  chan struct{} // capacity 1: a fetch has ended

	joining chan struct{} // capacity 1, full while copies are joined: of such in memory there are those of one join

	mu      sync.Mutex // protects the fields below
	streams map[string]*streamState
	flights int    // fetches, until all bytes have come and went on to dvrsvc
	landing uint64 // bytes that wait to be durable
	partial partials
	stats   map[route]*Stats
	stalls  map[route]stall
	asked   map[*asked]bool
}

// stall is that a peer took a fetch of a stream and sent nothing: until the wait is over it is asked for nothing of that, and then for
// one copy at a time.
type stall struct{ until, wait time.Duration }

// asked is a range of a stream that somebody waits for.
type asked struct {
	stream string
	inventory.Span
}

type route struct{ stream, peer string }

// New makes a transfer, of so many bits a second unless the config says otherwise; Run starts it.
func New(sites Sites, bits uint64, clk clock.Clock, log *slog.Logger) *Transfer {
	return &Transfer{
		sites: sites, limits: limit.New(bits, clk, log), clk: clk, log: log, wake: make(chan struct{}, 1), freed: make(chan struct{}, 1),
		joining: make(chan struct{}, 1), streams: map[string]*streamState{}, stats: map[route]*Stats{}, stalls: map[route]stall{}, asked: map[*asked]bool{},
	}
}

// Wake asks for a plan now.
func (t *Transfer) Wake() { signal(t.wake) }

// Ask has what is wanted of a range fetched before all else, until done is called.
func (t *Transfer) Ask(stream string, from, to time.Time) (done func()) {
	a := &asked{stream, inventory.Span{From: from, To: to}}
	t.mu.Lock()
	t.asked[a] = true
	t.mu.Unlock()
	t.Wake()
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.asked, a)
	}
}

// Doubt has what dvrsvc has of a stream judged by what it lists from now on: of what it took, some has rotted. What it took
// since the last comparison is not to be fetched again for that.
func (t *Transfer) Doubt(stream string) {
	now := t.clk.Mono()
	t.mu.Lock()
	defer t.mu.Unlock()
	if st := t.streams[stream]; st != nil {
		st.doubt(now)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run plans and fetches until ctx ends, and waits for what is in flight.
func (t *Transfer) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	ticker := t.clk.NewTicker(replanEvery)
	defer ticker.Stop()
	queue := plan.Plan(t.state())
	for {
		queue = t.launch(ctx, &wg, queue)
		select {
		case <-t.freed: // the plan that is there serves until it is used up or there is news
		case <-t.wake:
			queue = plan.Plan(t.state())
		case <-ticker.C():
			queue = plan.Plan(t.state())
		case <-ctx.Done():
			return
		}
	}
}

// launch begins what is due in the order of the queue while there is room, and gives the rest of it.
func (t *Transfer) launch(ctx context.Context, wg *sync.WaitGroup, queue []plan.Item) []plan.Item {
	for len(queue) > 0 && queue[0].WhyNot == "" {
		it := queue[0]
		f, room := t.begin(it)
		if !room {
			break
		}
		queue = queue[1:]
		if f == nil {
			continue
		}
		wg.Go(func() {
			near, err := t.carryOut(ctx, f)
			t.end(f, near, err)
			signal(t.freed)
		})
	}
	return queue
}

// Plan is what would be fetched now; of one stream, or all.
func (t *Transfer) Plan(stream string) []plan.Item {
	s := t.state()
	if stream != "" {
		kept := s.Streams[:0]
		for _, x := range s.Streams {
			if x.Name == stream {
				kept = append(kept, x)
			}
		}
		s.Streams = kept
	}
	return plan.Plan(s)
}

// Stats is a copy of what was done for a stream and peer.
func (t *Transfer) Stats(stream, peer string) Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.statsOf(stream, peer)
	s.advance(int64(t.clk.Mono() / time.Second))
	return *s
}

func (t *Transfer) statsOf(stream, peer string) *Stats {
	s := t.stats[route{stream, peer}]
	if s == nil {
		s = &Stats{}
		t.stats[route{stream, peer}] = s
	}
	return s
}

// flight is one item that is carried out.
type flight struct {
	plan.Item
	st     *streamState
	landed bool   // its bytes are with dvrsvc: it holds up no other fetch, but for the memory that it takes
	bytes  uint64 // then, as they came: what a peer lists may be anything
}

// begin takes a copy in flight if there is room for a fetch; nil: not now, its stream has paused since the plan was made,
// or enough is being told of it. The next plan has it again.
func (t *Transfer) begin(it plan.Item) (f *flight, room bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tell := it.Why == plan.Evidence
	if !tell && (t.flights >= t.slots() || t.landing >= maxLanding) {
		return nil, false
	}
	st, stats, now := t.stateOf(it.Stream, ""), t.statsOf(it.Stream, it.Peer), t.clk.Mono()
	if st.waits(now) || st.pause > 0 && len(st.inFlight) > 0 || tell && st.told >= maxTold {
		return nil, true
	}
	if s := t.stalls[route{it.Stream, it.Peer}]; !tell && !it.Here && s.wait > 0 && (now < s.until || stats.InFlight > 0) {
		return nil, true
	}
	st.inFlight[it.Key()] = true
	if tell {
		st.told++
	} else {
		t.flights++
	}
	stats.InFlight++
	return &flight{Item: it, st: st}, true
}

// landed makes room for the next fetch: what is sent waits for a sync, which is soon enough, and no limit is about that.
func (t *Transfer) landed(f *flight, bytes int) {
	t.mu.Lock()
	f.landed, f.bytes = true, uint64(bytes)
	t.flights--
	t.landing += f.bytes
	t.mu.Unlock()
	signal(t.freed)
}

// carryOut does what an item says, once dvrsvc takes something. near: the bytes are not the peer's.
func (t *Transfer) carryOut(ctx context.Context, f *flight) (near bool, err error) {
	it := f.Item
	r, ok := t.sites.Route(it.Stream, it.Peer)
	if !ok {
		return false, errs.ErrStreamUnknown
	}
	if err := r.Sink.Open(ctx); err != nil {
		return false, err
	}
	if it.Why == plan.Evidence {
		return false, r.Sink.Tell(ctx, it.Slot.InitSet, it.Copy.Info)
	}
	if it.Here {
		return true, t.joinHere(ctx, it, r)
	}
	d := t.download(it, r)
	if !d.Complete() {
		near = t.near(ctx, it, r, d)
	}
	return near, t.fetch(ctx, f, r, d)
}

// near gets a copy from another dvrsvc of the site, which recorded the stream before.
func (t *Transfer) near(ctx context.Context, it plan.Item, r Route, d *m4fclient.Download) bool {
	if r.Near == nil {
		return false
	}
	conn := r.Near(ctx)
	if conn == nil {
		return false
	}
	err := d.Read(ctx, conn, it.Stream)
	if err != nil && !errors.Is(err, errs.ErrUnknown) && !errors.Is(err, errs.ErrStreamUnknown) {
		t.log.Warn("segment of another dvrsvc not taken, the peer is asked", "stream", it.Stream, "peer", it.Peer, "err", err)
	}
	return err == nil
}

// fetch gets one copy and records it.
func (t *Transfer) fetch(ctx context.Context, f *flight, r Route, d *m4fclient.Download) error {
	it := f.Item
	if !d.Complete() {
		if err := t.get(ctx, it, r, d); err != nil {
			if !judge(err).stale {
				t.keep(d)
			}
			return err
		}
	}
	if err := belongs(it.Slot, d); err != nil {
		return err
	}
	var err error
	if len(it.With) > 0 {
		err = t.joinWith(ctx, it, r, d)
	} else {
		err = r.Sink.Put(ctx, it.Slot, d, func() { t.landed(f, len(d.Data)) })
	}
	if takesNothing(err) {
		t.keep(d)
	}
	return err
}

// belongs holds a copy against the slot for which it was fetched.
func belongs(slot segment.Slot, d *m4fclient.Download) error {
	got := slot
	got.Cell, got.InitSet = uint16(d.Info.Start.Cell()), segment.MakeInitSet(d.Info.Tracks)
	if got != slot || d.Info.Start < timeline.Wrap || d.Info.Start >= 2*timeline.Wrap {
		return fmt.Errorf("fetch segment %s: it belongs into %s, not %s: %w", d.Digest, got, slot, errs.ErrCorrupt)
	}
	return nil
}

// get brings a download to its end.
func (t *Transfer) get(ctx context.Context, it plan.Item, r Route, d *m4fclient.Download) error {
	wait, cancel := context.WithTimeout(ctx, sessionWithin)
	session, err := r.Peer.Session(wait)
	cancel()
	if err != nil {
		return fmt.Errorf("wait for the peer: %w: %w", errs.ErrPeerUnreachable, err)
	}
	d.Throttle = func(ctx context.Context, n int) error { return t.throttle(ctx, it, session.Limit, n) }
	return d.Run(ctx, session)
}

// download goes on with what is there, or begins.
func (t *Transfer) download(it plan.Item, r Route) *m4fclient.Download {
	t.mu.Lock()
	defer t.mu.Unlock()
	digest := it.Copy.Info.Digest
	if d := t.partial.take(r.Stream, digest); d != nil {
		return d
	}
	urgency := m4fclient.Repair
	if it.Why == plan.Missing {
		urgency = m4fclient.Fill
	}
	return &m4fclient.Download{Stream: r.Stream, Digest: digest, Bytes: it.Copy.Info.Bytes, Urgency: urgency, Packets: !it.Copy.Info.Evidence.Whole()}
}

func (t *Transfer) keep(d *m4fclient.Download) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.partial.keep(d)
}

// end takes note of how it went. What came from near is nothing that was fetched.
func (t *Transfer) end(f *flight, near bool, err error) {
	it, st := f.Item, f.st
	ended := errors.Is(err, context.Canceled) && !errors.Is(err, errs.ErrPeerUnreachable) || errors.Is(err, limit.ErrPaused)
	now, digest, stale := t.clk.Mono(), it.Key(), false
	t.mu.Lock()
	stats := t.statsOf(it.Stream, it.Peer)
	delete(st.inFlight, digest)
	stats.InFlight--
	tell := it.Why == plan.Evidence
	switch {
	case tell:
		st.told--
	case f.landed:
		t.landing -= f.bytes
	default:
		t.flights--
	}
	switch {
	case err == nil:
		if !tell && !near {
			delete(t.stalls, route{it.Stream, it.Peer})
		}
		h := here{plan.Held{Against: it.Copy.Info.Evidence}, now + toldFor}
		if !tell && !near {
			stats.Segments++
			stats.Bytes += it.Copy.Info.Bytes
		}
		if !tell {
			h.Around, h.until = it.Around, now+hereFor
		}
		st.here[plan.Place{Slot: it.Slot, Digest: digest}], st.pause, stats.LastError = h, 0, ""
	case ended:
	case takesNothing(err):
		if !st.waits(now) { // the first to meet it; others were on their way already
			st.pause = min(max(2*st.pause, pauseFirst), pauseMax)
			st.paused = now + st.pause
		}
		stats.fail(err)
	default:
		v := judge(err)
		if tell {
			v = judgeTold(err)
		}
		by := plan.Refusal{Peer: it.Peer, Digest: digest}
		if v.all {
			by.Peer = ""
		}
		st.refuse(by, v, now)
		if errors.Is(err, m4fclient.ErrStalled) {
			at := route{it.Stream, it.Peer}
			if s := t.stalls[at]; s.wait == 0 || now >= s.until { // the first to meet it; others were on their way already
				wait := min(max(2*s.wait, stallFirst), stallMax)
				t.stalls[at] = stall{now + wait, wait}
			}
		}
		if v.bad {
			stats.Refused++
		}
		stats.fail(err)
		stale = v.stale
	}
	idle := stats.InFlight == 0
	t.mu.Unlock()
	log := t.log.With("stream", it.Stream, "peer", it.Peer, "slot", it.Slot.String(), "digest", digest.String())
	switch {
	case err != nil && !ended:
		log.Warn("segment not backfilled", "why", it.Why, "reason", rpcerr.Reason(err), "err", err)
	case err == nil && tell: // rare, and what is known against a segment has changed by a peer's word
		log.Info("smaller evidence of the peer's holds")
	}
	if idle || stale {
		t.sites.Compare(it.Stream, it.Peer)
	}
}
