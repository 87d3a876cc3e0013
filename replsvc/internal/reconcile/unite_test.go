package reconcile

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
)

// memory is an archive of one row.
type memory struct {
	row   inventory.Row
	slots []inventory.Slot
	asked int
}

var _ inventory.Archive = (*memory)(nil)

func (m *memory) Rows(context.Context, string) (inventory.Rows, error) {
	row := m.row
	row.Samples = nil
	return inventory.Rows{StoreID: "s", Rows: []inventory.Row{row}}, nil
}

func (m *memory) Sampled(context.Context, string) (inventory.Rows, error) {
	return inventory.Rows{StoreID: "s", Rows: []inventory.Row{m.row}}, nil
}

func (m *memory) Digests(context.Context, string, segment.TimelineID, int64, int64) ([]inventory.Block, error) {
	return nil, nil
}

func (m *memory) Slots(_ context.Context, _ string, row segment.TimelineID, from, to int64) (out []inventory.Slot, err error) {
	m.asked++
	for _, s := range m.slots {
		if s.Slot.Timeline == row && s.Slot.Block() >= from && s.Slot.Block() < to {
			out = append(out, s)
		}
	}
	return out, nil
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// archive is a row with whole segments in the given cells (counted over turns); content names their bytes. Its clock says
// noon plus skew at cell 0 of turn 0.
func archive(id byte, skew time.Duration, content byte, absCells ...int64) *memory {
	m := &memory{row: inventory.Row{ID: segment.TimelineID{id}, AtTicks: timeline.Wrap, AtUTC: noon.Add(skew)}}
	for _, abs := range absCells {
		start := timeline.Wrap + timeline.Ticks(mod(abs, timeline.CellsPerTurn))*timeline.CellTicks
		turn := int32((abs - mod(abs, timeline.CellsPerTurn)) / timeline.CellsPerTurn)
		slot := segment.Slot{Timeline: m.row.ID, Turn: turn, Cell: uint16(mod(abs, timeline.CellsPerTurn))}
		d := segment.Digest{content, byte(slot.Cell), byte(slot.Cell >> 8)}
		m.slots = append(m.slots, inventory.Slot{Slot: slot, Copies: []inventory.Copy{
			{Info: segment.Info{Start: start, End: start + timeline.CellTicks, Digest: d}},
		}})
		from, to := inventory.U(slot, start), inventory.U(slot, start+timeline.CellTicks)
		if m.row.First == 0 {
			m.row.First, m.row.Last = from, to
		}
		m.row.First, m.row.Last = min(m.row.First, from), max(m.row.Last, to)
	}
	return m
}

func (m *memory) sampled(absCells ...int64) *memory {
	for _, abs := range absCells {
		for _, s := range m.slots {
			if s.Slot.AbsCell() == abs {
				m.row.Samples = append(m.row.Samples, inventory.Sample{
					AbsCell: abs, Start: s.Copies[0].Info.Start, Digest: s.Copies[0].Info.Digest,
				})
			}
		}
	}
	return m
}

func TestUnite(t *testing.T) {
	const turn = timeline.CellsPerTurn
	for _, c := range []struct {
		name         string
		ours, theirs *memory
		offset       time.Duration
		want         bool
		turns        int32
	}{
		{"a sample of both", archive(1, 0, 'x', 1, 2, 3).sampled(2), archive(2, 0, 'x', 2, 3, 4).sampled(2), 0, true, 0},
		{"samples chosen apart", archive(1, 0, 'x', 1, 2, 3).sampled(3), archive(2, 0, 'x', 2, 3, 4).sampled(2), 0, true, 0},
		{"clocks three hours apart, a sample shared", archive(1, 0, 'x', 1, 2), archive(2, 3*time.Hour, 'x', 1, 2).sampled(1), 0, true, 0},
		{"turns counted apart", archive(1, 0, 'x', turn+5, turn+6), archive(2, 0, 'x', 5, 6).sampled(5), 0, true, 1},
		{"turns counted apart, the other way", archive(1, 0, 'x', 5, 6), archive(2, 0, 'x', 2*turn+5, 2*turn+6).sampled(2*turn + 5), 0, true, -2},
		{"nothing shared, same clock", archive(1, 0, 'x', 1, 2), archive(2, time.Second, 'y', 4, 5), 0, true, 0},
		{"nothing shared, clock wrong and measured", archive(1, 0, 'x', 1, 2), archive(2, 3*time.Hour, 'y', 4, 5), 3 * time.Hour, true, 0},
		{"nothing shared, other clock", archive(1, 0, 'x', 1, 2), archive(2, 6*time.Second, 'y', 4, 5), 0, false, 0},
		{"same clock, contents contradict", archive(1, 0, 'x', 1, 2), archive(2, 0, 'y', 1, 2), 0, false, 0},
		{"on one line, two turns apart", archive(1, 0, 'x', 1, 2), archive(2, 0, 'y', 2*turn+4, 2*turn+5), 0, false, 0},
		{"on one line, two turns earlier", archive(1, 0, 'x', 2*turn+4), archive(2, 0, 'y', 1, 2), 0, false, 0},
		{"same clock in the next turn", archive(1, 0, 'x', 1, 2), archive(2, -timeline.Wrap.Duration(), 'y', 4, 5), 0, true, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := &uniter{
				ours: c.ours, theirs: c.theirs, rows: []inventory.Row{c.ours.row}, offset: c.offset,
				cache: map[blockKey][]inventory.Slot{},
			}
			got, ok, err := u.unite(t.Context(), &c.theirs.row)
			if err != nil {
				t.Fatal(err)
			}
			if ok != c.want || ok && (got.Turns != c.turns || got.Row != c.ours.row.ID) {
				t.Errorf("got %+v, %v; want turns %d, %v", got, ok, c.turns, c.want)
			}
		})
	}
}

// TestRepetition: a source that plays the same from the same place of its clock has rows with equal samples, which time
// tells apart, also where samples were chosen apart.
func TestRepetition(t *testing.T) {
	for _, ours := range [][]int64{{2}, {3}, nil} {
		first, second := archive(1, 0, 'x', 1, 2, 3).sampled(2), archive(2, time.Minute, 'x', 1, 2, 3).sampled(ours...)
		here := &memory{slots: slices.Concat(first.slots, second.slots)}
		for _, skew := range []time.Duration{0, 4 * time.Second, 20 * time.Second} {
			for i, want := range []segment.TimelineID{first.row.ID, second.row.ID} {
				peer := archive(3, time.Duration(i)*time.Minute+skew, 'x', 1, 2, 3).sampled(2)
				u := &uniter{ours: here, theirs: peer, rows: []inventory.Row{first.row, second.row}, cache: map[blockKey][]inventory.Slot{}}
				if got, ok, err := u.unite(t.Context(), &peer.row); err != nil || !ok || got.Row != want {
					t.Errorf("our samples %v, %s apart: showing %d is row %s, %v, %v", ours, skew, i, got.Row, ok, err)
				}
			}
		}
	}
}

// TestRestartingEncoder holds interleaving 4: rows of an encoder that restarts each few seconds from PTS 0 have the same
// place and nearly the same clock. UTC must not unite any two of them.
func TestRestartingEncoder(t *testing.T) {
	first, second := archive(1, 0, 'x', 1), archive(2, 4*time.Second, 'y', 1)
	peer := archive(3, 2*time.Second, 'z', 0)
	u := &uniter{ours: first, theirs: peer, rows: []inventory.Row{first.row, second.row}, cache: map[blockKey][]inventory.Slot{}}
	if got, ok, err := u.unite(t.Context(), &peer.row); ok || err != nil {
		t.Errorf("got %+v, %v, %v", got, ok, err)
	}
}
