package recorder

import (
	"errors"
	"fmt"
	"slices"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// makeRow makes a row that begins with the sighting, in turn 0. It is durable when makeRow returns.
func (s *Stream) makeRow(x sighting) (*row, timeline.Ticks, error) {
	u := segmentT(x.t)
	utc := s.clock.Now().Add(x.arrived - s.clock.Mono())
	r := store.Row{Mapping: timeline.Mapping{{U: u, UTC: utc.UnixNano()}}}
	s.random(r.ID[:])
	if err := s.archive.PutTimeline(r); err != nil {
		return nil, 0, fmt.Errorf("store timeline %s: %w", r.ID, err)
	}
	s.log.Info("timeline begins", "timeline", r.ID, "input", x.by)
	return s.addRow(r), u, nil
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
	changed := in.row.Row
	changed.Mapping, _ = changed.Mapping.With(timeline.Point{U: in.start, UTC: changed.Mapping.UTC(in.start).UnixNano()})
	if err := s.putRow(in.row, changed); err != nil {
		return nil, err
	}
	s.log.Info("timeline taken up again", "timeline", in.row.ID)
	return s.archive.Begin(in.slot, b.Inits, b.Tracks, o)
}

// Binding asks for the local row of a peer's row, or tells it.
type Binding struct {
	PeerStore      [16]byte
	PeerTimeline   segment.TimelineID
	Timeline       segment.TimelineID // the local row that it was found equal to; zero: ask, or make one
	TurnDifference int32
	Make           bool
	At             timeline.Point // of a row that is made
}

// Bind gives the local row of a peer's row and what to add to the peer's turn. The zero id: none is bound. It is
// durable when Bind returns.
func (s *Stream) Bind(b Binding) (segment.TimelineID, int32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rows.rows {
		for i, old := range r.Bindings {
			if old.PeerStore != b.PeerStore || old.PeerTimeline != b.PeerTimeline {
				continue
			}
			if b.Timeline.IsZero() || b.Timeline == r.ID && b.TurnDifference == old.TurnDifference {
				return r.ID, old.TurnDifference, nil
			}
			// It was found equal to another row since: that one is named first, so that it is never unbound.
			if b.Timeline != r.ID {
				if err := s.addBinding(b); err != nil {
					return segment.TimelineID{}, 0, err
				}
			}
			changed := r.Row
			changed.Bindings = append(append([]store.Binding(nil), r.Bindings[:i]...), r.Bindings[i+1:]...)
			if b.Timeline == r.ID {
				changed.Bindings = append(changed.Bindings, b.stored())
			}
			return b.Timeline, b.TurnDifference, s.putRow(r, changed)
		}
	}
	switch {
	case !b.Timeline.IsZero():
		return b.Timeline, b.TurnDifference, s.addBinding(b)
	case !b.Make:
		return segment.TimelineID{}, 0, nil
	}
	made := store.Row{Mapping: timeline.Mapping{b.At}, Bindings: []store.Binding{b.stored()}}
	made.Bindings[0].TurnDifference = 0
	s.random(made.ID[:])
	if err := s.archive.PutTimeline(made); err != nil {
		return segment.TimelineID{}, 0, fmt.Errorf("store timeline %s: %w", made.ID, err)
	}
	s.addRow(made)
	s.log.Info("timeline made for a peer's", "timeline", made.ID, "peer_timeline", b.PeerTimeline)
	return made.ID, 0, nil
}

func (b Binding) stored() store.Binding {
	return store.Binding{PeerStore: b.PeerStore, PeerTimeline: b.PeerTimeline, TurnDifference: b.TurnDifference}
}

func (s *Stream) addBinding(b Binding) error {
	r := s.rows.row(b.Timeline)
	if r == nil {
		return fmt.Errorf("bind timeline %s: %w", b.Timeline, errs.ErrUnknown)
	}
	changed := r.Row
	changed.Bindings = append(append([]store.Binding(nil), r.Bindings...), b.stored())
	return s.putRow(r, changed)
}

func (s *Stream) putRow(r *row, changed store.Row) error {
	if err := s.archive.PutTimeline(changed); err != nil {
		return fmt.Errorf("store timeline %s: %w", r.ID, err)
	}
	r.Row = changed
	return nil
}
