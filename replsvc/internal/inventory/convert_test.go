package inventory

import (
	"errors"
	"math"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

func TestBlockOf(t *testing.T) {
	block := timeline.CellTicks * segment.BlockCells
	for u, want := range map[timeline.Ticks]int64{
		timeline.Wrap: 0, timeline.Wrap + block - 1: 0, timeline.Wrap + block: 1, timeline.Wrap - 1: -1, 0: -TurnBlocks,
		2 * timeline.Wrap: TurnBlocks,
	} {
		if got := BlockOf(u); got != want {
			t.Errorf("U %d: block %d, want %d", u, got, want)
		}
		slot := segment.Slot{Turn: int32(floorDiv(int64(u-timeline.Wrap), int64(timeline.Wrap))), Cell: uint16(u.Cell())}
		if slot.Block() != want {
			t.Errorf("U %d: its slot is in block %d, want %d", u, slot.Block(), want)
		}
	}
}

// TestHostileMessages holds I1: what cannot be is refused, whoever says it.
func TestHostileMessages(t *testing.T) {
	id, digest := make([]byte, 16), make([]byte, 32)
	row := func(change func(*dvrv1.Timeline)) error {
		m := &dvrv1.Timeline{Id: id, AtTicks: 1 << 33, FirstTicks: 1 << 33, LastTicks: 1 << 34}
		change(m)
		_, err := FromTimelines([]*dvrv1.Timeline{m})
		return err
	}
	slot := func(change func(*dvrv1.SlotCopies)) error {
		m := &dvrv1.SlotCopies{
			Slot:   &dvrv1.Slot{Timeline: id, Cell: 600, InitSet: make([]byte, 8)},
			Copies: []*dvrv1.CopySummary{{Digest: digest, StartTicks: 1 << 33, EndTicks: 1<<33 + 1}},
		}
		change(m)
		_, err := FromSlots([]*dvrv1.SlotCopies{proto.CloneOf(m)}, segment.TimelineID{}, 1, 3)
		return err
	}
	if err := errors.Join(row(func(*dvrv1.Timeline) {}), slot(func(*dvrv1.SlotCopies) {})); err != nil {
		t.Fatalf("a good one is refused: %v", err)
	}
	for name, err := range map[string]error{
		"row with a short id": row(func(m *dvrv1.Timeline) { m.Id = id[:15] }),
		"row of 2^63":         row(func(m *dvrv1.Timeline) { m.LastTicks = math.MaxInt64 }),
		"row before all time": row(func(m *dvrv1.Timeline) { m.FirstTicks = math.MinInt64 }),
		"row of 300 years":    row(func(m *dvrv1.Timeline) { m.LastTicks = 300 * 365 * 24 * 3600 * 90_000 }),
		"sample of another age": row(func(m *dvrv1.Timeline) {
			m.Samples = []*dvrv1.TimelineSample{{BlockCell: 1 << 40, Digest: digest}}
		}),
		"sample without digest":    row(func(m *dvrv1.Timeline) { m.Samples = []*dvrv1.TimelineSample{{}} }),
		"slot of another row":      slot(func(m *dvrv1.SlotCopies) { m.Slot.Timeline = append([]byte{1}, id[1:]...) }),
		"slot beyond the blocks":   slot(func(m *dvrv1.SlotCopies) { m.Slot.Cell = 3 * 512 }),
		"slot before the blocks":   slot(func(m *dvrv1.SlotCopies) { m.Slot.Cell = 511 }),
		"cell that cannot be":      slot(func(m *dvrv1.SlotCopies) { m.Slot.Cell = 16384 }),
		"no slot":                  slot(func(m *dvrv1.SlotCopies) { m.Slot = nil }),
		"too many copies":          slot(func(m *dvrv1.SlotCopies) { m.Copies = make([]*dvrv1.CopySummary, maxCopies+1) }),
		"copy with a short digest": slot(func(m *dvrv1.SlotCopies) { m.Copies[0].Digest = digest[:31] }),
		"copy that ends first":     slot(func(m *dvrv1.SlotCopies) { m.Copies[0].EndTicks = 5 }),
		"copy out of the turn":     slot(func(m *dvrv1.SlotCopies) { m.Copies[0].StartTicks = 1 << 34 }),
		"copy without end":         slot(func(m *dvrv1.SlotCopies) { m.Copies[0].EndTicks = math.MaxInt64 }),
	} {
		if !errors.Is(err, errs.ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := FromBlocks([]*dvrv1.BlockDigest{{Block: 9}}, 1, 3); !errors.Is(err, errs.ErrInvalid) {
		t.Errorf("a block that was not asked for: got %v", err)
	}
	if _, err := FromBlocks([]*dvrv1.BlockDigest{{Block: 2}, {Block: 2}}, 1, 3); !errors.Is(err, errs.ErrInvalid) {
		t.Errorf("a block twice: got %v", err)
	}
}
