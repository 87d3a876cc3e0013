package reconcile

import (
	"context"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
)

// Result is a comparison of two archives as an operator sees it.
type Result struct {
	Comparison
	// Start gives UTC of a difference by our mapping, else by the peer's.
	Start func(Difference) time.Time
}

// Once compares two archives slot by slot, now, and changes nothing. Blocks with equal digests count by their number of
// slots; all others are listed, with what only one side holds. While media moves on either side (silent is false), slots
// near the newer head are left out where they differ: they are on their way.
func Once(ctx context.Context, local inventory.Archive, stream string, peer *m4fclient.Session, peerStream string, registry Registry, silent bool) (Result, error) {
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
		rows: ours.Rows, offset: peer.Offset, cache: map[blockKey][]inventory.Slot{},
	}
	bindings := map[segment.TimelineID]Binding{}
	united := map[segment.TimelineID]bool{}
	for i := range theirs.Rows {
		row := &theirs.Rows[i]
		b, ok, err := registry.Bound(ctx, stream, theirs.StoreID, row.ID)
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
	skip := liveEdge(heads(ours.Rows, nil), heads(theirs.Rows, bindings))
	if silent {
		skip = nil
	}
	res := Result{Comparison: d.evaluate(skip)}
	rows := map[segment.TimelineID]*inventory.Row{}
	for i := range theirs.Rows {
		rows[bindings[theirs.Rows[i].ID].Row] = &theirs.Rows[i]
	}
	for i := range ours.Rows {
		rows[ours.Rows[i].ID] = &ours.Rows[i]
	}
	res.Start = func(x Difference) time.Time {
		if row := rows[x.Slot.Timeline]; row != nil {
			return row.UTC(x.Start)
		}
		return time.Time{}
	}
	return res, nil
}
