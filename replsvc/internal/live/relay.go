package live

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	m4fv1 "github.com/twinreel/twinreel/proto/m4f/v1"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
)

const (
	progressEvery = 500 * time.Millisecond
	// beatsLost is how long a peer may say nothing: three beats.
	beatsLost = 3 * time.Second
	// toldBy is how long after the beginning of a subscription the peer has told where it is, if it is anywhere.
	toldBy = 2500 * time.Millisecond
	// holdSeal bounds how long a Begin waits for the Seal before it.
	holdSeal = 2 * time.Second
	// slowFor bounds how long one Slow holds media back when dvrsvc says nothing more.
	slowFor = time.Second
	// lagsFor is how long backfill waits for live after anything that says that live lags.
	lagsFor = 10 * time.Second
	// retryFirst and retryMax are between calls to dvrsvc or subscriptions that failed.
	retryFirst = 200 * time.Millisecond
	retryMax   = 3 * time.Second
	// maxOffers bounds what is remembered of segments that dvrsvc has not released.
	maxOffers = 512
	// holdsFor is how long an unanswered offer keeps its segment from being fetched as backfill.
	holdsFor = 30 * time.Second
)

// Binder knows which of our rows a row of the peer is.
type Binder interface {
	// Translate gives our name for a slot of the peer's, if its row is united with one of ours.
	Translate(peer segment.Slot) (ours segment.Slot, ok bool)
	// Named learns that dvrsvc gave a segment of the peer's this slot.
	Named(peer, ours segment.Slot)
	// Changed learns that an archive may have changed: the peer's behind the tail, or ours by being another.
	Changed()
}

// Config is what a Relay needs.
type Config struct {
	Stream      string // our name
	Input       string // URL
	Priority    func() uint32
	PeerStream  string // the peer's name
	Node        string
	Incarnation func() uint64 // gives a new one, greater than all before
	Packaging   []byte
	Peer        *m4fclient.Peer
	DVR         grpc.ClientConnInterface
	Binder      Binder
	Clock       clock.Clock
	Log         *slog.Logger
}

// The states of a relay.
const (
	Idle     = "idle"     // no call to dvrsvc or no subscription
	Active   = "active"   // feeds the live tail
	Offers   = "offers"   // stands by
	Withheld = "withheld" // the peer's media has passed us, or it gives none of the stream
	Degraded = "degraded" // the peer packages the stream in another way: nothing live
)

// Relay is one m4f input as a producer.
type Relay struct {
	cfg Config

	// The rest belongs to Run.
	rec  recording
	sub  subscription
	inc  uint64 // incarnation, as the producer that we are
	seq  uint64 // of the newest segment that was numbered
	rows map[segment.TimelineID]uint32
	feed feed

	active    bool
	epoch     uint64
	told      bool     // Progress has told in this call where the peer's media is, while that moved
	takeover  []uint64 // offered segments to stream before the live tail
	full      bool     // the subscription carries everything
	open      *forward // the segment that is being handed on, until its seal
	forwards  map[uint64]*forward
	held      []*m4fv1.SubscribeResponse // I2
	heldTill  time.Duration
	fetching  *offer
	wants     []uint64
	fetched   chan fetched
	lastMono  time.Duration // arrival of the newest Begin
	store     string        // as dvrsvc said last
	peerStore string        // of the peer's, as it was at the last subscription
	slow      time.Duration // until when dvrsvc wants less; 0: it does not

	mu     sync.Mutex // protects the fields below
	state  string
	offers map[uint64]*offer
	lagged time.Duration // when live lagged last; 0: it did not
	heard  bool          // head is known, and the subscription goes on
	head   Head          // the newest media of the peer
}

// Head is a place in the peer's media.
type Head struct {
	Row segment.TimelineID // the peer's
	T   timeline.Ticks
}

// Head is the newest media of the peer that was heard of, streamed or offered; false: nothing is heard.
func (r *Relay) Head() (Head, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.head, r.heard
}

// forward is a segment that is or was handed on under our number.
type forward struct {
	peerSeq, seq uint64
	slot         segment.Slot // of the peer
	key          segment.Key
}

// New makes a relay; Run starts it.
func New(cfg Config) *Relay {
	return &Relay{
		cfg: cfg, state: Idle, rows: map[segment.TimelineID]uint32{}, forwards: map[uint64]*forward{},
		offers: map[uint64]*offer{}, fetched: make(chan fetched),
	}
}

// Status is one of the states above.
func (r *Relay) Status() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// Holds reports whether a copy is offered here and dvrsvc has yet to answer.
func (r *Relay) Holds(d segment.Digest) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.cfg.Clock.Mono()
	for _, o := range r.offers {
		if o.digest == d && now-o.since < holdsFor {
			return true
		}
	}
	return false
}

// Lags reports whether media did not come through as fast as it should a moment ago: what else is carried is in its way.
func (r *Relay) Lags() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lagged != 0 && r.cfg.Clock.Mono()-r.lagged < lagsFor
}

func (r *Relay) lag() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lagged = r.cfg.Clock.Mono()
}

// Run relays until ctx ends.
func (r *Relay) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	r.inc = r.cfg.Incarnation()
	r.rec = recording{cfg: &r.cfg, in: make(chan recorded), opened: make(chan recordCall)}
	r.sub = subscription{cfg: &r.cfg, in: make(chan event), wantFull: make(chan bool, 16)}
	wg.Go(func() { r.rec.run(ctx) })
	wg.Go(func() { r.sub.run(ctx) })
	ticker := r.cfg.Clock.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		select {
		case call := <-r.rec.opened:
			r.hello(call)
		case m := <-r.rec.in:
			r.dvrSays(m)
		case e := <-r.events():
			r.peerSays(e)
		case f := <-r.fetched:
			r.stream(f)
		case <-ticker.C():
			r.tick()
		case <-ctx.Done():
			return
		}
		r.next(ctx)
		r.note()
	}
}

// events is where the peer's messages come from. While dvrsvc wants less, they wait.
func (r *Relay) events() <-chan event {
	if r.slow != 0 && r.cfg.Clock.Mono() < r.slow {
		return nil
	}
	return r.sub.in
}

// note publishes the state, and how far the peer has come.
func (r *Relay) note() {
	state := Idle
	switch {
	case r.sub.degraded():
		state = Degraded
	case r.sub.withheld.Load():
		state = Withheld
	case r.rec.call == nil || !r.feed.subscribed:
	case r.feed.withheld:
		state = Withheld
	case r.active:
		state = Active
	default:
		state = Offers
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.head = state, Head{r.feed.row, r.feed.head}
	r.heard = r.feed.subscribed && r.feed.known && !r.feed.withheld
}

// tick sends Progress, and lets go of what was held for a seal that does not come.
func (r *Relay) tick() {
	now := r.cfg.Clock.Mono()
	r.feed.heard = r.sub.lastHeard()
	if len(r.held) > 0 && now >= r.heldTill {
		r.open = nil
		r.release()
	}
	if r.rec.call != nil {
		p := r.feed.progress(now, r.cfg.Node, r.rows)
		if r.feed.known {
			p.PeerRow = segmentpb.PeerRow(r.peerRow(r.feed.row))
		}
		r.told = r.told || p.Alive
		r.rec.send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Progress{Progress: p}})
	}
}

// hello begins a call: what we hold is told anew, and nothing is being streamed.
func (r *Relay) hello(call recordCall) {
	r.rec.call = call
	r.epoch = 0 // epochs count within a call: dvrsvc may have been restarted
	r.active, r.told, r.takeover, r.wants = false, false, nil, nil
	r.halt()
	h := &dvrv1.Hello{
		Stream: r.cfg.Stream, Input: r.cfg.Input, Priority: r.cfg.Priority(), Incarnation: r.inc,
		Kind: dvrv1.Kind_KIND_LIVE, Format: segment.Format, PackagingHash: r.cfg.Packaging,
	}
	for _, o := range r.sortedOffers() {
		h.Ring = append(h.Ring, r.offerMessage(o))
	}
	r.rec.send(&dvrv1.RecordRequest{Message: &dvrv1.RecordRequest_Hello{Hello: h}})
}

// halt stops handing on: whatever was begun is begun again if it is wanted again.
func (r *Relay) halt() {
	r.open, r.held = nil, nil
	clear(r.forwards)
}

// setFull asks the peer for another mode.
func (r *Relay) setFull(full bool) {
	if r.full == full {
		return
	}
	r.full = full
	r.sub.setFull(full)
}

// dvrSays handles what dvrsvc said, or the end of the call.
func (r *Relay) dvrSays(m recorded) {
	if m.call != r.rec.call {
		return // of a call that has ended
	}
	if m.err != nil {
		r.rec.call = nil
		r.active, r.takeover, r.wants = false, nil, nil
		r.halt()
		r.setFull(false)
		return
	}
	r.slow = 0
	switch m := m.msg.GetMessage().(type) {
	case *dvrv1.RecordResponse_Welcome:
		if was := r.store; was != "" && was != string(m.Welcome.GetStoreId()) {
			r.cfg.Binder.Changed()
		}
		r.store = string(m.Welcome.GetStoreId())
	case *dvrv1.RecordResponse_Slow:
		r.slow = r.cfg.Clock.Mono() + slowFor
		r.lag()
	case *dvrv1.RecordResponse_Role:
		r.role(m.Role)
	case *dvrv1.RecordResponse_Named:
		r.named(m.Named)
	case *dvrv1.RecordResponse_Want:
		if !slices.Contains(r.wants, m.Want.GetSeq()) && !slices.Contains(r.takeover, m.Want.GetSeq()) {
			r.wants = append(r.wants, m.Want.GetSeq())
		}
	case *dvrv1.RecordResponse_Release:
		r.released(m.Release)
	}
}

// role takes a decision. As active, what was offered and lies behind the store's end is streamed first (I5).
func (r *Relay) role(m *dvrv1.Role) {
	if m.GetEpoch() < r.epoch {
		return
	}
	r.epoch, r.active, r.takeover = m.GetEpoch(), m.GetActive(), nil
	r.halt()
	r.setFull(false) // to active: the open segment is wanted from its start, so that the subscription starts anew
	r.cfg.Log.Info("live role", "active", r.active, "input", r.cfg.Input)
	if !r.active {
		return
	}
	for _, o := range r.sortedOffers() {
		if follows(o, m) {
			r.takeover = append(r.takeover, o.key.Seq)
		}
	}
}

// follows reports whether a segment contains or lies behind the point from which the active producer is to stream.
func follows(o *offer, m *dvrv1.Role) bool {
	after := m.GetAfter()
	switch {
	case m.GetFromSeq() > 0:
		return o.key.Seq >= m.GetFromSeq()
	case after == nil || o.key.Stretch < after.GetStretch():
		return false
	case o.key.Stretch > after.GetStretch():
		return true
	}
	t := timeline.Ticks(after.GetStartTicks())
	return timeline.Unwrap(timeline.Ticks(o.info.GetEndTicks()), t) > t
}

func (r *Relay) named(m *dvrv1.Named) {
	ours, err := toSlot(m.GetSlot())
	if err != nil {
		return
	}
	for _, f := range r.forwards {
		if f.seq == m.GetSeq() {
			r.cfg.Binder.Named(f.slot, ours)
			return
		}
	}
	r.mu.Lock()
	o := r.offers[m.GetSeq()]
	r.mu.Unlock()
	if o != nil {
		r.cfg.Binder.Named(o.slot, ours)
	}
}

// next starts what is due: a fetch, or the live tail once a takeover has caught up.
func (r *Relay) next(ctx context.Context) {
	if r.rec.call == nil || r.fetching != nil {
		return
	}
	if len(r.takeover) == 0 && r.active && r.placed() { // what is wanted beside comes beside it
		r.setFull(true)
	}
	for len(r.takeover) > 0 || len(r.wants) > 0 {
		list, live := &r.takeover, true
		if len(r.takeover) == 0 {
			list, live = &r.wants, false
		}
		seq := (*list)[0]
		*list = (*list)[1:]
		r.mu.Lock()
		o := r.offers[seq]
		r.mu.Unlock()
		if o == nil {
			continue
		}
		r.fetching = o
		go r.fetch(ctx, r.rec.call, o, live)
		return
	}
	if r.active && r.placed() { // none of the takeover was to be had
		r.setFull(true)
	}
}

// placed reports whether dvrsvc can know on which of its rows the peer's media is. The beginning of a segment that is under
// way does not tell: it may be of long ago. Where nothing is heard of there is none under way.
func (r *Relay) placed() bool {
	if r.told {
		return true
	}
	if !r.feed.known {
		return r.feed.subscribed && r.cfg.Clock.Mono()-r.feed.since >= toldBy
	}
	_, united := r.cfg.Binder.Translate(segment.Slot{Timeline: r.feed.row})
	return united
}

// retry waits before the n-th attempt, with jitter.
func retry(ctx context.Context, clk clock.Clock, d time.Duration) (next time.Duration, err error) {
	t := clk.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C():
		return min(2*d, retryMax), nil
	case <-ctx.Done():
		return d, ctx.Err()
	}
}

// quiet reports whether an error is part of the ordinary: a service that restarts, a peer that is away.
func quiet(err error) bool {
	return errors.Is(err, errs.ErrNotReady) || errors.Is(err, context.Canceled)
}
