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

// makeRow makes a row that begins with the sighting, in turn 0. It is durable when makeRow returns.
func (s *Stream) makeRow(x sighting) (*row, timeline.Ticks, error) {
	u := segmentT(x.t)
	utc := s.clock.Now().Add(x.arrived - s.clock.Mono())
	r := store.Row{Mapping: timeline.Mapping{{U: u, UTC: utc.UnixNano()}}, Unsure: !s.archive.ClockIsRight()}
	s.random(r.ID[:])
	if err := s.archive.PutTimeline(r); err != nil {
		return nil, 0, fmt.Errorf("store timeline %s: %w", r.ID, err)
	}
	s.log.Info("timeline begins", "timeline", r.ID, "input", x.by)
	return s.addRow(r), u, nil
}

// setRestRight sets right, once the clock is, the rows that began by a wrong one and are followed no more. It waits for those that are: they
// tell by how much it was wrong.
func (s *Stream) setRestRight() {
	unsure := slices.DeleteFunc(slices.Clone(s.rows.rows), func(r *row) bool { return !r.Unsure })
	if len(unsure) == 0 || !s.archive.ClockIsRight() {
		return
	}
	now, mono := s.clock.Now(), s.clock.Mono()
	if slices.ContainsFunc(unsure, func(r *row) bool { return r.sighted && mono-r.at < 2*peerLag }) {
		return
	}
	seen := slices.DeleteFunc(slices.Clone(unsure), func(r *row) bool { return !r.sighted })
	rest := slices.DeleteFunc(unsure, func(r *row) bool { return r.sighted })
	held := map[segment.TimelineID]store.Row{}
	for _, r := range s.archive.Timelines() {
		held[r.ID] = r
	}
	for _, r := range slices.Concat(seen, rest) { // what is known first
		u := max(held[r.ID].Last, r.Mapping[0].U)
		off := time.Duration(0)
		switch {
		case r.sighted: // by this process, whose clock counts from then to now
			u = r.u
			off = now.Add(r.at - mono).Sub(r.Mapping.UTC(u))
		case !s.locked(held[r.ID]):
			off = r.wrongBy(u, s.wrongBy, now, s.cfg.Retention.Age)
		}
		if off.Abs() >= setRightFrom {
			r.setRight(u, off)
			if r.sighted {
				s.wrongBy = off
			}
			s.log.Warn("the clock was wrong when the timeline was recorded, its times are set right", "timeline", r.ID, "off", off, "seen", r.sighted)
		}
		r.Unsure = false
		s.keep(r)
	}
}

// locked reports whether an operator has locked something of what a row holds, by the times that it has.
func (s *Stream) locked(r store.Row) bool {
	if len(r.Mapping) == 0 {
		return false
	}
	from, to := r.Mapping.UTC(r.First), r.Mapping.UTC(r.Last)
	return slices.ContainsFunc(s.archive.Locks(), func(l store.Lock) bool { return l.From.Before(to) && from.Before(l.To) })
}

// addRow takes in a row that was made. An encoder that restarts each few seconds makes rows without end: those that
// retention has taken and nobody uses are forgotten.
func (s *Stream) addRow(made store.Row) *row {
	if len(s.rows.rows) >= 2*rowsKept {
		used := map[segment.TimelineID]bool{}
		for _, r := range s.archive.Timelines() {
			used[r.ID] = true
		}
		for _, p := range s.producers {
			for _, b := range p.stretches {
				used[b.row.ID] = true
			}
		}
		s.rows.rows = slices.DeleteFunc(s.rows.rows, func(r *row) bool { return !used[r.ID] && r != s.row && r != s.last })
	}
	return s.rows.add(made)
}

// begin opens a copy. Retention takes a row that has held nothing for long: one that is used again is put again, and
// with a point from now on, so that it stays as long as what is recorded on it.
func (s *Stream) begin(in *incoming, o store.BeginOptions) (Copy, error) {
	b := &in.begin
	o.Path, o.Independent, o.StartUncertain = b.Path, b.Independent, b.StartUncertain
	copy, err := s.archive.Begin(in.slot, b.Inits, b.Tracks, o)
	if !errors.Is(err, errs.ErrUnknown) {
		return copy, err
	}
	r := in.row
	r.Mapping, _ = r.Mapping.With(timeline.Point{U: in.start, UTC: r.Mapping.UTC(in.start).UnixNano()})
	if err := s.archive.PutTimeline(r.Row); err != nil {
		return nil, fmt.Errorf("store timeline %s: %w", r.ID, err)
	}
	s.keep(r) // an older state of it may be on its way
	s.log.Info("timeline taken up again", "timeline", r.ID)
	return s.archive.Begin(in.slot, b.Inits, b.Tracks, o)
}

// Binding asks for the local row of a peer's row, or tells it.
type Binding struct {
	PeerStore      [16]byte
	PeerTimeline   segment.TimelineID
	Timeline       segment.TimelineID // the local row that it was found equal to; zero: ask, or make one
	TurnDifference int32
	Make           bool
	At             timeline.Mapping // of a row that is made
}

// Bind gives the local row of a peer's row and what to add to the peer's turn. The zero id: none is bound. It is
// durable when Bind returns.
func (s *Stream) Bind(b Binding) (segment.TimelineID, int32, error) {
	s.putting.Lock()
	defer s.putting.Unlock()
	id, difference, changed, err := s.bindings(b)
	if err != nil {
		return segment.TimelineID{}, 0, err
	}
	for _, r := range changed {
		if err := s.archive.PutTimeline(r); err != nil {
			return segment.TimelineID{}, 0, fmt.Errorf("store timeline %s: %w", r.ID, err)
		}
		s.mu.Lock()
		if known := s.rows.row(r.ID); known != nil {
			known.Bindings = r.Bindings // the mapping may have been slewed meanwhile
		} else {
			s.addRow(r)
			s.log.Info("timeline made for a peer's", "timeline", r.ID, "peer_timeline", b.PeerTimeline)
		}
		s.mu.Unlock()
	}
	return id, difference, nil
}

// bindings answers Bind, and gives the rows that are to be put for it, in this order.
func (s *Stream) bindings(b Binding) (id segment.TimelineID, difference int32, changed []store.Row, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !b.Timeline.IsZero() {
		r := s.rows.row(b.Timeline)
		if r == nil {
			return id, 0, nil, fmt.Errorf("bind timeline %s: %w", b.Timeline, errs.ErrUnknown)
		}
		changed = append(changed, b.in(r.Row))
	}
	for _, r := range s.rows.rows {
		i := slices.IndexFunc(r.Bindings, b.samePeer)
		switch {
		case i < 0:
			continue
		case b.Timeline.IsZero(), b.Timeline == r.ID && b.TurnDifference == r.Bindings[i].TurnDifference:
			return r.ID, r.Bindings[i].TurnDifference, nil, nil
		case b.Timeline != r.ID: // it was found equal to another row since: that one is named first, so that it is never unbound
			left := r.Row
			left.Bindings = slices.DeleteFunc(slices.Clone(r.Bindings), b.samePeer)
			changed = append(changed, left)
		}
	}
	if b.Timeline.IsZero() && b.Make {
		made := store.Row{Mapping: b.At}
		s.random(made.ID[:])
		b.Timeline, b.TurnDifference = made.ID, 0
		changed = append(changed, b.in(made))
	}
	return b.Timeline, b.TurnDifference, changed, nil
}

// samePeer reports whether a binding is of the same row of the same peer.
func (b Binding) samePeer(o store.Binding) bool {
	return o.PeerStore == b.PeerStore && o.PeerTimeline == b.PeerTimeline
}

// in gives a row with the binding in it.
func (b Binding) in(r store.Row) store.Row {
	r.Bindings = append(slices.DeleteFunc(slices.Clone(r.Bindings), b.samePeer),
		store.Binding{PeerStore: b.PeerStore, PeerTimeline: b.PeerTimeline, TurnDifference: b.TurnDifference})
	return r
}

// keep has a row made durable as it is then, soon, without anyone waiting for it. s.mu is held.
func (s *Stream) keep(r *row) {
	s.unkept[r] = true
	select {
	case s.keepRows <- struct{}{}:
	default:
	}
}

// putKept makes durable what keep was told of.
func (s *Stream) putKept() {
	s.putting.Lock()
	defer s.putting.Unlock()
	s.mu.Lock()
	rows := make([]store.Row, 0, len(s.unkept))
	for r := range s.unkept {
		rows = append(rows, r.Row)
	}
	clear(s.unkept)
	s.mu.Unlock()
	for _, r := range rows {
		if err := s.archive.PutTimeline(r); err != nil { // the next slew brings it again
			s.log.Error("timeline could not be stored", "timeline", r.ID, "error", err)
		}
	}
}
