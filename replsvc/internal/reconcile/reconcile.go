package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
)

const (
	// soon is between comparisons while something differs; it doubles up to rarely while nothing does.
	soon   = 2 * time.Second
	rarely = 10 * time.Minute
	// settle lets several changes come together.
	settle = 500 * time.Millisecond
	// share is how many times as long as a comparison took the next one waits: an archive that is being refilled is not
	// listed over and over.
	share = 10
	// edge is how far behind the newer head the two archives may differ because a segment is on its way.
	edge = 12 * time.Second
)

// Registry keeps what rows are united, durably. dvrsvc is one.
type Registry interface {
	// Bound gives our row for a peer's, if it is known.
	Bound(ctx context.Context, stream, peerStore string, peer segment.TimelineID) (Binding, bool, error)
	// Bind makes b known.
	Bind(ctx context.Context, stream, peerStore string, peer segment.TimelineID, b Binding) error
	// Make makes a row of ours for a peer's: at is a moment on it, in the peer's turns and by our clock.
	Make(ctx context.Context, stream, peerStore string, peer segment.TimelineID, at timeline.Ticks, utc time.Time) (Binding, error)
}

// Config is what a Reconciler needs.
type Config struct {
	Stream, PeerStream string
	Replicate          func() bool          // rows of the peer's that are none of ours are to be stored too
	Retention          func() time.Duration // ours; 0: unknown
	Packaging          []byte               // hash of ours
	Peer               *m4fclient.Peer
	Local              inventory.Archive
	Registry           Registry
	// Making is shared by all that compare the stream, and has room for one: who makes rows.
	Making chan struct{}
	// ConfirmClock tells dvrsvc what the peer's clock shows, where retention of the stream waits for somebody to say it.
	ConfirmClock func(ctx context.Context, stream string, now time.Time) error
	// Learned is called after each comparison, without locks.
	Learned func()
	Clock   clock.Clock
	Log     *slog.Logger
}

// Knowledge is what is known of a peer after a comparison, in our numbering and by our clock.
type Knowledge struct {
	Peer      string // node id
	Store     string // ours
	Slots     []inventory.Slot
	Heads     map[segment.TimelineID]timeline.Ticks
	Mine      map[segment.Slot][]inventory.Copy
	MyHeads   map[segment.TimelineID]timeline.Ticks
	Retention time.Duration
	LowWater  time.Time // of ours
	Locked    inventory.Spans
	Deleted   inventory.Spans
	Otherwise bool // it packages the stream in another way
	Withheld  bool // it gives no media of the stream
	Conflicts int
	Agreed    bool // nothing differed but at the live edge, and both know the same copies to be whole
	More      bool // there were more rows or blocks than could be looked at, or rows that are none of ours
	Compared  time.Time
	Began     time.Duration                        // when the comparison did
	Theirs    map[segment.TimelineID]inventory.Row // its rows, in its numbering and by its clock
	// Why the peer lacks what it lacks, as far as it says, by our clock.
	TheirLowWater time.Time
	TheirDeleted  inventory.Spans

	settled bool // there is no need to look again soon
}

// Reconciler compares one stream with one peer.
type Reconciler struct {
	cfg   Config
	nudge chan struct{} // capacity 1
	named chan namedSlot

	mu        sync.Mutex // protects the fields below
	session   *m4fclient.Session
	stores    stores // bindings and knowledge are of these
	bindings  map[segment.TimelineID]Binding
	firstSeen map[segment.TimelineID]time.Duration
	barren    map[blockRef]barren
	round     int
	clockTold bool // that it could not be confirmed
	known     *Knowledge
	problem   error
}

type namedSlot struct{ peer, ours segment.Slot }

// stores are the ids of the two that are compared.
type stores struct{ ours, theirs string }

// New makes a reconciler; Run starts it.
func New(cfg Config) *Reconciler {
	return &Reconciler{
		cfg: cfg, nudge: make(chan struct{}, 1), named: make(chan namedSlot, 16),
		bindings: map[segment.TimelineID]Binding{}, firstSeen: map[segment.TimelineID]time.Duration{},
	}
}

// Changed asks for a comparison soon: one of the archives has changed, or may be another.
func (r *Reconciler) Changed() {
	select {
	case r.nudge <- struct{}{}:
	default:
	}
}

// Translate gives our name for a slot of the peer's, if its row is united with one of ours.
func (r *Reconciler) Translate(peer segment.Slot) (segment.Slot, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, ok := r.bindings[peer.Timeline]
	return b.Translate(peer), ok
}

// Named learns that dvrsvc gave a segment of the peer's this slot: it saw both live, and knows best.
func (r *Reconciler) Named(peer, ours segment.Slot) {
	if known, ok := r.Translate(peer); ok && known == ours {
		return
	}
	select {
	case r.named <- namedSlot{peer, ours}:
	default: // it will be said again of the next segment
	}
}

// Known is what is known now; false: nothing.
func (r *Reconciler) Known() (Knowledge, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil || r.session == nil || r.session.Context().Err() != nil {
		return Knowledge{}, false
	}
	return *r.known, true
}

// Problem is why the last comparison failed, or nil.
func (r *Reconciler) Problem() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.problem
}

// Run compares until ctx ends.
func (r *Reconciler) Run(ctx context.Context) {
	wait, last := soon, ""
	for ctx.Err() == nil {
		session, err := r.cfg.Peer.Session(ctx)
		if err != nil {
			return
		}
		began := r.cfg.Clock.Mono()
		settled, err := r.compare(ctx, session)
		took := r.cfg.Clock.Mono() - began
		if ctx.Err() != nil {
			return
		}
		r.mu.Lock()
		r.problem = err
		if err != nil && r.known != nil && r.known.Agreed { // who knows
			known := *r.known
			known.Agreed, r.known = false, &known
		}
		r.mu.Unlock()
		switch {
		case err != nil:
			if errors.Is(err, errs.ErrWithheld) { // of what it let us know before nothing is to be had
				r.forget()
			}
			if err.Error() != last && session.Context().Err() == nil {
				r.cfg.Log.Warn("archives could not be compared", "peer_node", session.Node, "err", err)
				last = err.Error()
			}
			wait = soon
		case settled:
			wait, last = min(2*wait, rarely), ""
		default:
			wait, last = soon, ""
		}
		r.cfg.Learned()
		changed, ok := r.pause(ctx, session, max(wait, share*took), max(settle, share*took))
		if !ok {
			return
		}
		if changed {
			wait = soon
		}
	}
}

// pause waits for the next comparison, less when something changed, and binds rows meanwhile.
func (r *Reconciler) pause(ctx context.Context, session *m4fclient.Session, wait, less time.Duration) (changed, ok bool) {
	t := r.cfg.Clock.NewTimer(wait)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return changed, false
		case <-session.Context().Done():
			r.forget()
			return true, true
		case <-t.C():
			return changed, true
		case n := <-r.named:
			r.learn(ctx, n)
		case <-r.nudge:
			if !changed && less < wait {
				t.Reset(less)
			}
			changed = true
		}
	}
}

// forget drops what was learned over a session that has ended (I1), or from a peer that tells us nothing any more.
func (r *Reconciler) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.session, r.known = nil, nil
}

// learn binds a row by what dvrsvc named.
func (r *Reconciler) learn(ctx context.Context, n namedSlot) {
	if n.peer.Cell != n.ours.Cell {
		return // not the same segment: a number was used twice
	}
	b := Binding{Row: n.ours.Timeline, Turns: n.ours.Turn - n.peer.Turn}
	r.mu.Lock()
	store, known := r.stores.theirs, r.bindings[n.peer.Timeline]
	r.mu.Unlock()
	if store == "" || known == b {
		return
	}
	if err := r.cfg.Registry.Bind(ctx, r.cfg.Stream, store, n.peer.Timeline, b); err != nil {
		r.cfg.Log.Warn("timeline could not be bound", "peer_timeline", n.peer.Timeline, "err", err)
		return
	}
	r.keep(n.peer.Timeline, b, "named by the recorder")
	r.Changed()
}

// compare is one round. It reports whether there is no need to look again soon. An error of inventory.ErrTooLarge is about
// some blocks: all others are known.
func (r *Reconciler) compare(ctx context.Context, session *m4fclient.Session) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(session.Context(), cancel)()
	began := r.cfg.Clock.Mono()
	theirs, err := session.Rows(ctx, r.cfg.PeerStream)
	if err != nil {
		return false, err
	}
	ours, err := r.cfg.Local.Rows(ctx, r.cfg.Stream)
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	if now := (stores{ours.StoreID, theirs.StoreID}); r.stores != now { // what was known was of another pair
		r.stores, r.known = now, nil
		r.bindings, r.firstSeen, r.barren = map[segment.TimelineID]Binding{}, map[segment.TimelineID]time.Duration{}, nil
	}
	r.session = session
	if r.known != nil && !slices.Equal(r.known.Deleted, ours.Deleted) { // it may be wanted again
		r.barren = nil
	}
	r.mu.Unlock()
	if ours.ClockInDoubt {
		if err := r.confirmClock(ctx, session); err != nil {
			return false, err
		}
	}
	r.forgetTaken(ours.Rows, theirs.Rows, session.Offset())
	if r.strange(theirs.Rows) { // a row that is taken for another, or for none, stays so
		if err := session.Measure(ctx); err != nil {
			return false, err
		}
		was := stores{ours.StoreID, theirs.StoreID}
		if theirs, err = session.Sampled(ctx, r.cfg.PeerStream); err != nil {
			return false, err
		}
		if ours, err = r.cfg.Local.Sampled(ctx, r.cfg.Stream); err != nil {
			return false, err
		}
		if was != (stores{ours.StoreID, theirs.StoreID}) {
			return false, fmt.Errorf("compare %s: a store was replaced meanwhile: %w", r.cfg.Stream, errs.ErrNotReady)
		}
	}
	left, err := r.unite(ctx, session, session.Offset(), ours.Rows, theirs)
	if err != nil {
		return false, err
	}
	terms, err := session.Terms(ctx, r.cfg.PeerStream)
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	bindings := maps.Clone(r.bindings)
	c := comparer{
		stream: r.cfg.Stream, peerStream: r.cfg.PeerStream, ours: r.cfg.Local, theirs: session, offset: session.Offset(),
		barren: r.barren, round: r.round,
	}
	r.round++
	r.mu.Unlock()
	if keep := r.cfg.Retention(); keep > 0 {
		c.since = r.cfg.Clock.Now().Add(-keep)
	}
	if ours.LowWater.Unix() > 0 && ours.LowWater.After(c.since) {
		c.since = ours.LowWater
	}
	c.locked = ours.Locked
	store := ours.StoreID
	if ours, err = r.cfg.Local.Rows(ctx, r.cfg.Stream); err != nil {
		return false, err
	}
	if ours.StoreID != store {
		return false, fmt.Errorf("compare %s: our store was replaced meanwhile: %w", r.cfg.Stream, errs.ErrNotReady)
	}
	d, err := c.compare(ctx, ours.Rows, theirs.Rows, bindings)
	if err != nil {
		return false, err
	}
	d.more += left
	k := r.knowledge(session, d, ours, theirs.Rows, bindings)
	k.Store, k.Retention, k.Otherwise = ours.StoreID, terms.Retention, !terms.Packages(r.cfg.Packaging)
	k.Withheld, k.Began = terms.Withheld, began
	k.TheirLowWater = theirs.LowWater.Add(-session.Offset())
	for _, d := range theirs.Deleted {
		k.TheirDeleted = append(k.TheirDeleted, inventory.Span{From: d.From.Add(-session.Offset()), To: d.To.Add(-session.Offset())})
	}
	if r.foreign(theirs.Rows, bindings, session.Offset()) { // what they hold was compared with nothing
		k.Agreed, k.More = false, true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known, r.barren = k, d.yieldedNothing()
	return k.settled, d.large
}

// confirmClock tells dvrsvc, which holds back what age would take, what the peer's clock shows. That they differ is told, and
// is no reason not to compare.
func (r *Reconciler) confirmClock(ctx context.Context, session *m4fclient.Session) error {
	if err := session.Measure(ctx); err != nil {
		return err
	}
	err := r.cfg.ConfirmClock(ctx, r.cfg.Stream, session.Now())
	if ctx.Err() != nil {
		return err
	}
	switch text := fmt.Sprint(err); {
	case err == nil:
		r.cfg.Log.Info("the peer's clock says that ours is right", "peer_node", session.Node, "clock_offset", session.Offset())
	case !r.clockTold:
		r.cfg.Log.Warn("the clock of this host could not be confirmed", "peer_node", session.Node, "clock_offset", session.Offset(), "err", text)
	}
	r.clockTold = err != nil
	return nil
}

// knowledge puts a difference into our numbering and clock.
func (r *Reconciler) knowledge(session *m4fclient.Session, d *difference, mine inventory.Rows, theirs []inventory.Row, bindings map[segment.TimelineID]Binding) *Knowledge {
	ours := mine.Rows
	k := &Knowledge{
		LowWater: mine.LowWater, Locked: mine.Locked, Deleted: mine.Deleted,
		Peer: session.Node, Slots: d.theirs, Mine: d.ours, Conflicts: d.conflicts(), More: d.more > 0,
		Heads: heads(theirs, bindings), MyHeads: heads(ours, nil), Compared: r.cfg.Clock.Now(),
		Theirs: make(map[segment.TimelineID]inventory.Row, len(theirs)),
	}
	for i := range theirs {
		k.Theirs[theirs[i].ID] = theirs[i]
	}
	rows := map[segment.TimelineID]*inventory.Row{}
	for i := range ours {
		rows[ours[i].ID] = &ours[i]
	}
	for i := range k.Slots {
		s := &k.Slots[i]
		for j := range s.Copies {
			c := &s.Copies[j]
			if row := rows[s.Slot.Timeline]; row != nil && !row.AtUTC.IsZero() {
				c.StartUTC = row.UTC(inventory.U(s.Slot, c.Info.Start))
			} else {
				c.StartUTC = c.StartUTC.Add(-session.Offset())
			}
		}
	}
	d.deletedHere(mine.Deleted)
	all := d.evaluate(nil)
	equal := d.more == 0 && all.Apart == 0 && len(d.evaluate(liveEdge(k.MyHeads, k.Heads)).Differences) == 0
	k.Agreed = equal && len(d.barren) == 0
	// One segment may be on its way; where more are, one side has been away, and what is not missing yet soon is.
	k.settled = equal && len(all.Differences) <= 1
	return k
}

// heads is the end of the newest segment of each row, in our numbering.
func heads(rows []inventory.Row, bindings map[segment.TimelineID]Binding) map[segment.TimelineID]timeline.Ticks {
	m := make(map[segment.TimelineID]timeline.Ticks, len(rows))
	for i := range rows {
		id, last := rows[i].ID, rows[i].Last
		if bindings != nil {
			b, ok := bindings[id]
			if !ok {
				continue
			}
			id, last = b.Row, last+timeline.Ticks(b.Turns)*timeline.Wrap
		}
		if !rows[i].Empty() {
			m[id] = max(m[id], last)
		}
	}
	return m
}

// liveEdge tells slots that are about to come by themselves: near the newer head, and with nothing later on one side.
func liveEdge(ours, theirs map[segment.TimelineID]timeline.Ticks) func(segment.Slot, timeline.Ticks) bool {
	return func(s segment.Slot, end timeline.Ticks) bool {
		here, there := ours[s.Timeline], theirs[s.Timeline]
		return max(here, there)-end < timeline.FromDuration(edge) && min(here, there) <= end
	}
}
