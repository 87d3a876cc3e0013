package reconcile

import (
	"context"
	"errors"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
)

// Result is a comparison of two archives as an operator sees it.
type Result struct {
	Comparison
	// Start gives UTC of a difference by our mapping, else by the peer's.
	Start func(Difference) time.Time
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
// where they differ: they are on their way. Only what both are to keep counts: of two retentions the shorter one.
func Once(ctx context.Context, q Query) (Result, error) {
	local, stream, peer, peerStream, registry := q.Local, q.Stream, q.Peer, q.PeerStream, q.Registry
	terms, err := peer.Terms(ctx, peerStream)
	if err != nil && !errors.Is(err, errs.ErrStreamUnknown) { // there may be an archive without config
		return Result{}, err
	}
	theirs, err := peer.Rows(ctx, peerStream)
	if err != nil {
		return Result{}, err
	}
	ours, err := local.Rows(ctx, stream)
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
	var since time.Time
	if keep := shorter(q.Retention, terms.Retention); keep > 0 {
		since = q.Now.Add(aboutToGo - keep)
	}
	if ours.LowWater.Unix() > 0 && ours.LowWater.After(since) {
		since = ours.LowWater.Add(aboutToGo)
	}
	edge := liveEdge(heads(ours.Rows, nil), heads(theirs.Rows, bindings))
	return Result{
		Comparison: d.evaluate(func(slot segment.Slot, end timeline.Ticks) bool {
			at := utc(slot, end)
			if !at.IsZero() && ours.Deleted.Touch(at.Add(-time.Millisecond), at) { // it is not to be here
				return true
			}
			return !q.Silent && edge(slot, end) || !at.IsZero() && at.Before(since)
		}),
		Start: func(x Difference) time.Time { return utc(x.Slot, x.Start) },
	}, nil
}

// shorter is the smaller of two retentions, of which 0 is unknown.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
