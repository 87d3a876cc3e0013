package reconcile

import (
	"context"
	"testing"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
)

// blocks is an archive of which only digests are asked.
type blocks struct {
	memory
	digests map[int64]string
}

func (b *blocks) Digests(_ context.Context, _ string, _ segment.TimelineID, from, to int64) (out []inventory.Block, err error) {
	for n := from; n < to; n++ {
		if d, ok := b.digests[n]; ok {
			out = append(out, inventory.Block{N: n, Digest: d, Slots: 512})
		}
	}
	return out, nil
}

// TestOnlyDifferingBlocksAreListed: 30 days that differ in one block cost the digests, that block, and the newest ones.
func TestOnlyDifferingBlocksAreListed(t *testing.T) {
	const days30 = 870
	make30 := func() *blocks {
		b := &blocks{digests: map[int64]string{}, memory: memory{row: inventory.Row{ID: segment.TimelineID{1}}}}
		b.row.First, b.row.Last = timeline.Wrap, timeline.Wrap+days30*segment.BlockCells*timeline.CellTicks
		for n := range int64(days30 - 1) {
			b.digests[n] = "same"
		}
		return b
	}
	ours, theirs := make30(), make30()
	theirs.digests[400] = "other"
	delete(ours.digests, 401)
	c := comparer{ours: ours, theirs: theirs}
	d, err := c.compare(t.Context(), []inventory.Row{ours.row}, []inventory.Row{theirs.row}, map[segment.TimelineID]Binding{
		theirs.row.ID: {Row: ours.row.ID},
	})
	if err != nil {
		t.Fatal(err)
	}
	if theirs.asked != 2 || ours.asked != 2 { // blocks 400 and 401 in one, the newest in the other
		t.Errorf("slots were asked %d and %d times, want 2", ours.asked, theirs.asked)
	}
	if want := (days30 - 1 - 2) * 512; d.slots != want {
		t.Errorf("%d slots count as equal, want %d", d.slots, want)
	}
}

// TestSplitRow: what the other side holds in another row is no difference: it can be had from neither side again.
func TestSplitRow(t *testing.T) {
	copyOf := func(n byte) []inventory.Copy { return []inventory.Copy{{Info: segment.Info{Digest: segment.Digest{n}}}} }
	slot := func(row byte, cell uint16) segment.Slot {
		return segment.Slot{Timeline: segment.TimelineID{row}, Cell: cell}
	}
	d := &difference{
		ours:   map[segment.Slot][]inventory.Copy{slot(1, 5): copyOf(5), slot(1, 6): copyOf(6)},
		theirs: []inventory.Slot{{Slot: slot(1, 5), Copies: copyOf(5)}, {Slot: slot(2, 6), Copies: copyOf(6)}, {Slot: slot(2, 7), Copies: copyOf(7)}},
	}
	got := d.evaluate(nil)
	if len(got.Differences) != 1 || got.Differences[0].Slot != slot(2, 7) {
		t.Errorf("got %+v, want that only cell 7 differs", got.Differences)
	}
}
