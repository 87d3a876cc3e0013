package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
)

const (
	// ownNaming is how long a row of the peer's that grows is left to dvrsvc to name, which sees it live.
	ownNaming = 15 * time.Second
	// maxNewRows bounds the rows that are made in one round, and maxRows those of a stream: an encoder that restarts each
	// five minutes makes 9000 in a month. A row stays, so what a peer claims must not be able to make any number.
	maxNewRows = 64
	maxRows    = 10_000
	// aheadBy is how far ahead of now a row may begin.
	aheadBy = time.Minute
)

// knownBefore is why a row is united with one of ours when dvrsvc says so.
const knownBefore = "known before"

// unite finds our row for each of the peer's, and has it kept. left counts the rows that are to be made and were not.
func (r *Reconciler) unite(ctx context.Context, peer inventory.Archive, offset time.Duration, ours []inventory.Row, theirs inventory.Rows) (left int, err error) {
	u := &uniter{
		stream: r.cfg.Stream, peerStream: r.cfg.PeerStream, ours: r.cfg.Local, theirs: peer,
		rows: ours, offset: offset, cache: map[blockKey][]inventory.Slot{},
	}
	r.forgetRows(theirs.Rows)
	newest := newestRow(theirs.Rows)
	var unknown []*inventory.Row
	for i := range theirs.Rows {
		peer := &theirs.Rows[i]
		r.mu.Lock()
		_, bound := r.bindings[peer.ID]
		first, seen := r.firstSeen[peer.ID]
		if !seen {
			first = r.cfg.Clock.Mono()
			r.firstSeen[peer.ID] = first
		}
		r.mu.Unlock()
		if bound {
			continue
		}
		b, ok, err := r.cfg.Registry.Bound(ctx, r.cfg.Stream, theirs.StoreID, peer.ID)
		if err != nil {
			return 0, fmt.Errorf("look up timeline %s of the peer: %w", peer.ID, err)
		}
		why := knownBefore
		if !ok {
			why = "same segment or same clock"
			if b, ok, err = u.unite(ctx, peer); err != nil {
				return 0, err
			}
			if ok {
				if err := r.cfg.Registry.Bind(ctx, r.cfg.Stream, theirs.StoreID, peer.ID, b); err != nil {
					return 0, err
				}
			}
		}
		if !ok {
			if !r.wanted(peer, offset) {
				continue
			}
			if i == newest && r.cfg.Clock.Mono()-first < ownNaming && peer.UTC(peer.Last).Add(-offset).After(r.cfg.Clock.Now().Add(-ownNaming)) {
				left++ // it grows
			} else {
				unknown = append(unknown, peer)
			}
			continue
		}
		r.keep(peer.ID, b, why)
	}
	room := max(0, min(maxNewRows, maxRows-len(ours)))
	if room < len(unknown) {
		left += len(unknown) - room
		unknown = unknown[:room]
	}
	if len(unknown) == 0 {
		return left, nil
	}
	return left, r.makeRows(ctx, u, theirs.StoreID, unknown)
}

// makeRows makes rows of ours for some of the peer's, one peer at a time: several that have what a site lost would each have a row
// made for it otherwise. What has been made for another one since ours were listed is taken.
func (r *Reconciler) makeRows(ctx context.Context, u *uniter, store string, unknown []*inventory.Row) error {
	select {
	case r.cfg.Making <- struct{}{}:
		defer func() { <-r.cfg.Making }()
	case <-ctx.Done():
		return ctx.Err()
	}
	now, err := r.cfg.Local.Sampled(ctx, r.cfg.Stream)
	if err != nil {
		return err
	}
	known := map[segment.TimelineID]bool{}
	for i := range u.rows {
		known[u.rows[i].ID] = true
	}
	u.rows = slices.DeleteFunc(now.Rows, func(row inventory.Row) bool { return known[row.ID] })
	for _, peer := range unknown {
		b, ok, err := u.unite(ctx, peer)
		if err != nil {
			return err
		}
		why := "same as another peer's"
		if ok {
			err = r.cfg.Registry.Bind(ctx, r.cfg.Stream, store, peer.ID, b)
		} else {
			why = "made for the peer's"
			b, err = r.cfg.Registry.Make(ctx, r.cfg.Stream, store, peer.ID, peer.AtTicks, peer.AtUTC.Add(-u.offset))
		}
		if err != nil {
			return err
		}
		r.keep(peer.ID, b, why)
	}
	return nil
}

// strange reports whether the peer has a row of which it is not known which of ours it is.
func (r *Reconciler) strange(theirs []inventory.Row) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(theirs, func(row inventory.Row) bool {
		_, bound := r.bindings[row.ID]
		return !bound
	})
}

// wanted reports whether a row of the peer's has anything that is to be stored here.
func (r *Reconciler) wanted(peer *inventory.Row, offset time.Duration) bool {
	return r.cfg.Replicate() && r.ofNow(peer, offset)
}

// foreign reports whether the peer has rows that are none of ours, and are made none, of times that are kept here.
func (r *Reconciler) foreign(theirs []inventory.Row, bindings map[segment.TimelineID]Binding, offset time.Duration) bool {
	for i := range theirs {
		if _, bound := bindings[theirs[i].ID]; !bound && r.ofNow(&theirs[i], offset) {
			return true
		}
	}
	return false
}

// ofNow reports whether a row of the peer's has anything of times that are kept here.
func (r *Reconciler) ofNow(peer *inventory.Row, offset time.Duration) bool {
	now, keep := r.cfg.Clock.Now(), r.cfg.Retention()
	return !peer.Empty() &&
		!peer.UTC(peer.First).Add(-offset).After(now.Add(aheadBy)) &&
		(keep == 0 || peer.UTC(peer.Last).Add(-offset).After(now.Add(-keep)))
}

func (r *Reconciler) keep(peer segment.TimelineID, b Binding, why string) {
	r.mu.Lock()
	r.bindings[peer] = b
	r.mu.Unlock()
	level := slog.LevelInfo
	if why == knownBefore { // it was told when it was new, and may be asked for again each time until something is there
		level = slog.LevelDebug
	}
	r.cfg.Log.Log(context.Background(), level, "timelines united", "peer_timeline", peer, "timeline", b.Row, "turns", b.Turns, "why", why)
}

// forgetRows drops what is remembered of rows that the peer has no more.
func (r *Reconciler) forgetRows(theirs []inventory.Row) {
	known := make(map[segment.TimelineID]bool, len(theirs))
	for i := range theirs {
		known[theirs[i].ID] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.bindings, func(id segment.TimelineID, _ Binding) bool { return !known[id] })
	maps.DeleteFunc(r.firstSeen, func(id segment.TimelineID, _ time.Duration) bool { return !known[id] })
}

// forgetTaken drops what rows of the peer's are bound to that are no rows here any more, where something of them is wanted: retention
// takes a row on which nothing is left, and dvrsvc, started anew, knows nothing of it.
func (r *Reconciler) forgetTaken(ours, theirs []inventory.Row, offset time.Duration) {
	here := make(map[segment.TimelineID]bool, len(ours))
	for i := range ours {
		here[ours[i].ID] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range theirs {
		if b, bound := r.bindings[theirs[i].ID]; bound && !here[b.Row] && r.wanted(&theirs[i], offset) {
			delete(r.bindings, theirs[i].ID)
		}
	}
}

// newestRow is the index of the row whose mapping was touched last: the one that may be growing.
func newestRow(rows []inventory.Row) int {
	if len(rows) == 0 {
		return -1
	}
	newest := slices.MaxFunc(rows, func(a, b inventory.Row) int { return a.AtUTC.Compare(b.AtUTC) })
	return slices.IndexFunc(rows, func(r inventory.Row) bool { return r.ID == newest.ID })
}
