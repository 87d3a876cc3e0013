package reconcile

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
	"github.com/twinreel/twinreel/replsvc/internal/plan"
)

// Why says why two archives may differ in a slot and be as they should. Empty: they should not.
type Why string

// The reasons for which a side has nothing of a slot.
const (
	DeletedThere Why = "deleted_there" // an operator deleted it there
	ExpiredThere Why = "expired_there" // the peer does not keep it as long, or took nothing so old any more
)

// Result is a comparison of two archives as an operator sees it.
type Result struct {
	Comparison
	// Start gives UTC of a difference by our mapping, else by the peer's.
	Start func(Difference) time.Time
	// Why a difference is none that replication could mend, as the peer says.
	Why func(Difference) Why
	// Covered reports whether the peer has all that is intact here of the slot of a difference.
	Covered func(Difference) bool
}

// Query says what to compare.
type Query struct {
	Local              inventory.Archive
	Registry           Registry
	Peer               *m4fclient.Session
	Stream, PeerStream string
	Retention          time.Duration // of our stream; 0: unknown
	Silent             bool          // no media moves here
	Now                time.Time
}

// aboutToGo is how near to the end of a retention the two sides may differ: they do not expire at the same moment.
const aboutToGo = 5 * time.Minute

// Once compares two archives slot by slot, now, and changes nothing. Blocks with equal digests count by their number of
// slots; all others are listed, with what only one side holds. While media moves, slots near the newer head are left out
// where they differ: they are on their way. Only what is to be here counts: what we deleted or let
// expire is no difference. What the peer deleted or let expire is one, with the reason.
func Once(ctx context.Context, q Query) (Result, error) {
	local, stream, peer, peerStream, registry := q.Local, q.Stream, q.Peer, q.PeerStream, q.Registry
	terms, err := peer.Terms(ctx, peerStream)
	if err != nil && !errors.Is(err, errs.ErrStreamUnknown) { // there may be an archive without config
		return Result{}, err
	}
	theirs, err := peer.Sampled(ctx, peerStream)
	if err != nil {
		return Result{}, err
	}
	ours, err := local.Sampled(ctx, stream)
	if err != nil {
		return Result{}, err
	}
	u := &uniter{
		stream: stream, peerStream: peerStream, ours: local, theirs: peer,
		rows: ours.Rows, offset: peer.Offset(), cache: map[blockKey][]inventory.Slot{},
	}
	bindings := map[segment.TimelineID]Binding{}
	united := map[segment.TimelineID]bool{}
	for i := range theirs.Rows {
		row := &theirs.Rows[i]
		b, ok, err := registry.Bound(ctx, stream, theirs.StoreID, row.ID)
		if errors.Is(err, errs.ErrStreamUnknown) { // an archive without config: nothing is bound there
			err = nil
		}
		if err == nil && !ok {
			b, ok, err = u.unite(ctx, row)
		}
		if err != nil {
			return Result{}, err
		}
		if !ok { // none of ours: all of it differs
			b = Binding{Row: row.ID}
		}
		bindings[row.ID], united[b.Row] = b, true
	}
	c := comparer{stream: stream, peerStream: peerStream, ours: local, theirs: peer, everything: true}
	d, err := c.compare(ctx, ours.Rows, theirs.Rows, bindings)
	if err != nil {
		return Result{}, err
	}
	for i := range ours.Rows { // rows that only we have
		row := &ours.Rows[i]
		if united[row.ID] || row.Empty() {
			continue
		}
		from, to := row.Blocks()
		slots, err := local.Slots(ctx, stream, row.ID, from, to)
		if err != nil {
			return Result{}, err
		}
		for _, s := range slots {
			d.ours[s.Slot] = s.Copies
		}
	}
	rows := map[segment.TimelineID]*inventory.Row{}
	for i := range theirs.Rows {
		rows[bindings[theirs.Rows[i].ID].Row] = &theirs.Rows[i]
	}
	for i := range ours.Rows {
		rows[ours.Rows[i].ID] = &ours.Rows[i]
	}
	utc := func(slot segment.Slot, u timeline.Ticks) time.Time {
		if row := rows[slot.Timeline]; row != nil {
			return row.UTC(u)
		}
		return time.Time{}
	}
	var since time.Time // before it nothing is to be here
	if q.Retention > 0 {
		since = q.Now.Add(aboutToGo - q.Retention)
	}
	if ours.LowWater.Unix() > 0 && ours.LowWater.After(since) {
		since = ours.LowWater.Add(aboutToGo)
	}
	var sinceThere time.Time // by the peer's clock
	if terms.Retention > 0 {
		sinceThere = q.Now.Add(peer.Offset() + aboutToGo - terms.Retention)
	}
	if theirs.LowWater.Unix() > 0 && theirs.LowWater.After(sinceThere) {
		sinceThere = theirs.LowWater.Add(aboutToGo)
	}
	thereAt := func(x Difference) (from, to time.Time) { // by the peer's clock
		for i := range theirs.Rows {
			if b := bindings[theirs.Rows[i].ID]; b.Row == x.Slot.Timeline {
				shift := timeline.Ticks(b.Turns) * timeline.Wrap
				return theirs.Rows[i].UTC(x.Start - shift), theirs.Rows[i].UTC(x.End - shift)
			}
		}
		return utc(x.Slot, x.Start).Add(peer.Offset()), utc(x.Slot, x.End).Add(peer.Offset())
	}
	edge := liveEdge(heads(ours.Rows, nil), heads(theirs.Rows, bindings))
	return Result{
		Comparison: d.evaluate(func(slot segment.Slot, end timeline.Ticks) bool {
			at := utc(slot, end)
			if !at.IsZero() && ours.Deleted.Touch(at.Add(-time.Millisecond), at) { // it is not to be here
				return true
			}
			return !q.Silent && edge(slot, end) || !at.IsZero() && at.Before(since) && !ours.Locked.Touch(at.Add(-time.Millisecond), at)
		}),
		Start: func(x Difference) time.Time { return utc(x.Slot, x.Start) },
		Why: func(x Difference) Why {
			from, to := thereAt(x)
			middle := from.Add(to.Sub(from) / 2) // a deletion ends within what stands across its ends
			switch {
			case len(x.There) > 0:
				return ""
			case theirs.Deleted.Touch(middle, middle.Add(1)):
				return DeletedThere
			case to.Before(sinceThere):
				return ExpiredThere
			}
			return ""
		},
		Covered: d.covered(),
	}, nil
}

// covered gives a function that reports whether the peer has all that is intact of what is here of a slot.
func (d *difference) covered() func(Difference) bool {
	slots := make(map[segment.Slot][]inventory.Copy, len(d.theirs))
	for _, s := range d.theirs {
		slots[s.Slot] = s.Copies
	}
	there, all := plan.Hold(slots), make([]inventory.Slot, 0, len(d.ours))
	for slot, copies := range d.ours {
		all = append(all, inventory.Slot{Slot: slot, Copies: copies})
	}
	here := plan.Listed(all)
	return func(x Difference) bool {
		return !slices.ContainsFunc(d.ours[x.Slot], func(c inventory.Copy) bool {
			why := there.Wants(x.Slot, c, here)
			return why != "" && why != plan.Evidence
		})
	}
}
