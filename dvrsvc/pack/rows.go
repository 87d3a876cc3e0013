package pack

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/segmentpb"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// Uniting follows replsvc (reconcile), with the same bounds.
const (
	clocksAgree   = 5 * time.Second
	maxProbes     = 8
	maxCandidates = 16
	turnBlocks    = timeline.CellsPerTurn / segment.BlockCells
)

// row is a timeline row of a dvrsvc.
type row struct {
	id          segment.TimelineID
	mapping     timeline.Mapping
	first, last timeline.Ticks // U
	samples     []sample
}

// sample is a whole segment of a row.
type sample struct {
	cell   int64 // turn*16384 + cell
	start  timeline.Ticks
	digest segment.Digest
}

// u is where it starts on the row.
func (s sample) u() timeline.Ticks {
	t := timeline.Unwrap(s.start, 3*timeline.Wrap/2)
	return t + timeline.Ticks(floorDiv(s.cell, timeline.CellsPerTurn))*timeline.Wrap
}

func toRows(m *dvrv1.ListTimelinesResponse) (rows []row, id [16]byte, err error) {
	if len(m.GetStoreId()) != len(id) {
		return nil, id, fmt.Errorf("read timelines: the id of the store has %d bytes: %w", len(m.GetStoreId()), errs.ErrInvalid)
	}
	copy(id[:], m.GetStoreId())
	for _, t := range m.GetTimelines() {
		r := row{first: timeline.Ticks(t.GetFirstTicks()), last: timeline.Ticks(t.GetLastTicks())}
		if len(t.GetId()) != len(r.id) {
			return nil, id, fmt.Errorf("read timelines: an id has %d bytes: %w", len(t.GetId()), errs.ErrInvalid)
		}
		copy(r.id[:], t.GetId())
		for _, p := range t.GetMapping() {
			r.mapping, _ = r.mapping.With(timeline.Point{U: timeline.Ticks(p.GetTicks()), UTC: p.GetUtcNanos()})
		}
		if len(r.mapping) == 0 { // of an older dvrsvc
			r.mapping = timeline.Mapping{{U: timeline.Ticks(t.GetAtTicks()), UTC: t.GetAtUtcNanos()}}
		}
		for _, s := range t.GetSamples() {
			d, err := segmentpb.ToDigest(s.GetDigest())
			if err != nil {
				return nil, id, err
			}
			r.samples = append(r.samples, sample{s.GetBlockCell(), timeline.Ticks(s.GetStartTicks()), d})
		}
		rows = append(rows, r)
	}
	return rows, id, nil
}

// binding says which row of the store a row of the pack is: add turns to its turns.
type binding struct {
	row   segment.TimelineID
	turns int32
}

func (b binding) translate(s segment.Slot) segment.Slot {
	s.Timeline, s.Turn = b.row, s.Turn+b.turns
	return s
}

// uniter finds the rows of a pack in the store that it comes to, and has those made that are not there.
type uniter struct {
	stream    string
	index     dvrv1.IndexServiceClient
	recording dvrv1.RecordingServiceClient
	known     map[foreign]binding
}

// foreign names a row of another store.
type foreign struct {
	store [16]byte
	row   segment.TimelineID
}

// bind gives the row for a copy of a pack.
func (u *uniter) bind(ctx context.Context, p *store.Packed) (binding, error) {
	key := foreign{p.Part.Store, p.Part.Row.ID}
	if b, ok := u.known[key]; ok {
		return b, nil
	}
	b, err := u.find(ctx, p)
	if err != nil {
		return b, fmt.Errorf("unite timeline %s: %w", key.row, err)
	}
	u.known[key] = b
	return b, nil
}

func (u *uniter) find(ctx context.Context, p *store.Packed) (binding, error) {
	m, err := u.index.ListTimelines(ctx, &dvrv1.ListTimelinesRequest{Stream: u.stream})
	if err != nil {
		return binding{}, rpcerr.FromStatus(err)
	}
	rows, id, err := toRows(m)
	if err != nil {
		return binding{}, err
	}
	theirs := fromPart(p)
	if id == p.Part.Store && slices.ContainsFunc(rows, func(r row) bool { return r.id == theirs.id }) {
		return binding{row: theirs.id}, nil
	}
	ask := &dvrv1.BindTimelineRequest{Stream: u.stream, PeerStoreId: p.Part.Store[:], PeerTimeline: theirs.id[:]}
	if b, ok, err := u.ask(ctx, ask); ok || err != nil {
		return b, err
	}
	if b, ok, err := u.unite(ctx, rows, &theirs); err != nil {
		return b, err
	} else if ok {
		ask.Timeline, ask.TurnDifference = b.row[:], b.turns
	} else {
		ask.Make = true
		for _, at := range theirs.mapping {
			ask.Mapping = append(ask.Mapping, &dvrv1.TimelinePoint{Ticks: int64(at.U), UtcNanos: at.UTC})
		}
	}
	b, ok, err := u.ask(ctx, ask)
	if err == nil && !ok {
		err = fmt.Errorf("dvrsvc named no row: %w", errs.ErrInvalid)
	}
	return b, err
}

// fromPart gives the row of a part as it is known from the copy that comes first, which is a sample if it is whole.
func fromPart(p *store.Packed) row {
	r := row{id: p.Part.Row.ID, mapping: p.Part.Row.Mapping}
	for _, s := range p.Part.Samples {
		if d, err := segment.ParseDigest(s.Digest); err == nil {
			r.samples = append(r.samples, sample{s.AbsCell, s.Start, d})
		}
	}
	if p.Info.Evidence.Whole() {
		r.samples = append(r.samples, sample{p.Slot.AbsCell(), p.Info.Start, p.Info.Digest})
	}
	shift := timeline.Ticks(p.Slot.Turn) * timeline.Wrap
	r.first, r.last = p.Info.Start+shift, p.Info.End+shift
	for _, s := range r.samples {
		r.first, r.last = min(r.first, s.u()), max(r.last, s.u()+timeline.CellTicks)
	}
	return r
}

func (u *uniter) ask(ctx context.Context, m *dvrv1.BindTimelineRequest) (b binding, ok bool, err error) {
	a, err := u.recording.BindTimeline(ctx, m)
	if err != nil {
		return b, false, rpcerr.FromStatus(err)
	}
	if len(a.GetTimeline()) != len(b.row) {
		return b, false, nil
	}
	copy(b.row[:], a.GetTimeline())
	b.turns = a.GetTurnDifference()
	return b, true, nil
}

// unite looks for a whole segment of theirs in our rows, and else for the row that was at that place at that time. Nothing
// at another time will do, as it does for replsvc where clocks are wrong: of a source that repeats itself a pack may bring
// the showing that is not here.
func (u *uniter) unite(ctx context.Context, rows []row, theirs *row) (binding, bool, error) {
	if b, ok, err := u.bySample(ctx, rows, theirs); ok || err != nil {
		return b, ok, err
	}
	var found []binding
	for i := range rows {
		ours := &rows[i]
		end := theirs.mapping[len(theirs.mapping)-1]
		at := ours.mapping.At(time.Unix(0, end.UTC))
		turns := floorDiv(int64(at-end.U+timeline.Wrap/2), int64(timeline.Wrap))
		shift := timeline.Ticks(turns) * timeline.Wrap
		if (at-end.U-shift).Duration().Abs() >= clocksAgree ||
			theirs.first+shift-ours.last >= timeline.Wrap || ours.first-(theirs.last+shift) >= timeline.Wrap {
			continue
		}
		b := binding{ours.id, int32(turns)}
		ok, err := u.agree(ctx, theirs, b)
		if err != nil {
			return b, false, err
		}
		if ok {
			found = append(found, b)
		}
	}
	if len(found) != 1 { // an encoder that restarts each few seconds makes rows that UTC cannot tell apart
		return binding{}, false, nil
	}
	return found[0], true, nil
}

// bySample gives the row that holds a sample of theirs at the same time.
func (u *uniter) bySample(ctx context.Context, rows []row, theirs *row) (binding, bool, error) {
	for i := range rows {
		for _, o := range rows[i].samples {
			for _, s := range theirs.samples {
				if b, ok := match(&rows[i], o, theirs, s); ok {
					return b, true, nil
				}
			}
		}
	}
	newest := slices.SortedFunc(slices.Values(rows), func(a, b row) int { return cmp.Compare(b.lastUTC(), a.lastUTC()) })
	for i := range newest[:min(len(newest), maxCandidates)] {
		ours := &newest[i]
		for _, s := range theirs.probes() {
			for block := firstBlock(s.cell, blockOf(ours.first)); block <= blockOf(ours.last); block += turnBlocks {
				slots, err := u.slots(ctx, ours.id, block)
				if err != nil {
					return binding{}, false, err
				}
				for _, o := range slots {
					if b, ok := match(ours, o.sample, theirs, s); ok {
						return b, true, nil
					}
				}
			}
		}
	}
	return binding{}, false, nil
}

// match unites by one segment: same bytes at the same T, at the same time. Cells may differ by whole turns only.
func match(ours *row, o sample, theirs *row, s sample) (binding, bool) {
	d := o.cell - s.cell
	if o.digest != s.digest || o.start != s.start || d%timeline.CellsPerTurn != 0 ||
		ours.mapping.UTC(o.u()).Sub(theirs.mapping.UTC(s.u())).Abs() >= clocksAgree {
		return binding{}, false
	}
	return binding{ours.id, int32(d / timeline.CellsPerTurn)}, true
}

// probes are those of the samples that are looked up one by one: newest and oldest, and what comes first.
func (r *row) probes() []sample {
	n := len(r.samples)
	if n <= maxProbes {
		return r.samples
	}
	return slices.Concat(r.samples[:maxProbes/2], r.samples[n-maxProbes/2:])
}

func (r *row) lastUTC() int64 { return r.mapping.UTC(r.last).UnixNano() }

// agree reports whether no whole segment of theirs contradicts what the row holds of the same slot.
func (u *uniter) agree(ctx context.Context, theirs *row, b binding) (bool, error) {
	for _, s := range theirs.probes() {
		cell := s.cell + int64(b.turns)*timeline.CellsPerTurn
		slots, err := u.slots(ctx, b.row, floorDiv(cell, segment.BlockCells))
		if err != nil {
			return false, err
		}
		whole, same := false, false
		for _, o := range slots {
			if o.cell == cell && o.whole {
				whole, same = true, same || o.digest == s.digest
			}
		}
		if whole && !same {
			return false, nil
		}
	}
	return true, nil
}

// held is a copy that is listed in a row.
type held struct {
	sample
	whole bool
}

func (u *uniter) slots(ctx context.Context, id segment.TimelineID, block int64) (out []held, err error) {
	m, err := u.index.ListSlots(ctx, &dvrv1.ListSlotsRequest{Stream: u.stream, Timeline: id[:], FromBlock: block, ToBlock: block + 1})
	if err != nil {
		return nil, rpcerr.FromStatus(err)
	}
	for _, s := range m.GetSlots() {
		slot, err := segmentpb.ToSlot(s.GetSlot())
		if err != nil {
			return nil, err
		}
		for _, c := range s.GetCopies() {
			d, err := segmentpb.ToDigest(c.GetDigest())
			if err != nil {
				return nil, err
			}
			e := segmentpb.ToEvidence(c.GetEvidence())
			out = append(out, held{sample{slot.AbsCell(), timeline.Ticks(c.GetStartTicks()), d}, e.Whole()})
		}
	}
	return out, nil
}

// blockOf is the digest block in which U lies: T starts at 2^33, so turn 0 begins with block 0 there.
func blockOf(u timeline.Ticks) int64 {
	return floorDiv(int64(u-timeline.Wrap), segment.BlockCells*int64(timeline.CellTicks))
}

// firstBlock is the first block at or after from that holds the cell in some turn.
func firstBlock(cell, from int64) int64 {
	b := floorDiv(cell, segment.BlockCells)
	d := b - from
	return from + d - floorDiv(d, turnBlocks)*turnBlocks
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}
