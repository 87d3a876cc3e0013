package reconcile

import (
	"context"
	"errors"
	"testing"
	"time"

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
	copyOf := func(n byte) []inventory.Copy {
		return []inventory.Copy{{Info: segment.Info{Digest: segment.Digest{n}}}}
	}
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

// TestJudgedApart: a block whose copies are whole on one side alone is done with on the side that knows, and on the other
// once it has heard.
func TestJudgedApart(t *testing.T) {
	side := func(uncertain bool) *blocks {
		b := &blocks{memory: *archive(1, 0, 'x', 0, 2*segment.BlockCells, 4*segment.BlockCells), digests: map[int64]string{0: "whole"}}
		if uncertain {
			b.slots[0].Copies[0].Info.Evidence.StartUncertain, b.digests[0] = true, "not whole"
		}
		return b
	}
	for _, c := range []struct {
		name          string
		ours, theirs  *blocks
		apart, barren int
	}{
		{"we are to hear", side(true), side(false), 1, 0},
		{"they are to hear", side(false), side(true), 1, 1},
		{"both know", side(false), side(false), 0, 0},
	} {
		d, err := (&comparer{ours: c.ours, theirs: c.theirs}).compare(t.Context(), []inventory.Row{c.ours.row}, []inventory.Row{c.theirs.row},
			map[segment.TimelineID]Binding{c.theirs.row.ID: {Row: c.ours.row.ID}})
		if err != nil {
			t.Fatal(err)
		}
		got := d.evaluate(nil)
		if got.Apart != c.apart || len(got.Differences) != 0 || len(d.yieldedNothing()) != c.barren {
			t.Errorf("%s: %d apart, %d differ, %d left out; want %d, 0, %d",
				c.name, got.Apart, len(got.Differences), len(d.yieldedNothing()), c.apart, c.barren)
		}
	}
}

// TestEveryBlockHasItsTurn: in most blocks the peer lacks what we hold, for ever; what it alone holds in one of them is
// found all the same, and at the end nothing is listed but what is open.
func TestEveryBlockHasItsTurn(t *testing.T) {
	const n, there = 300, 100
	make300 := func(digest string) *blocks {
		b := &blocks{digests: map[int64]string{}, memory: memory{row: inventory.Row{ID: segment.TimelineID{1}}}}
		b.row.First, b.row.Last = timeline.Wrap, timeline.Wrap+(n-1)*segment.BlockCells*timeline.CellTicks
		for k := range int64(n) {
			b.digests[k] = digest
		}
		return b
	}
	ours, theirs := make300("fuller"), make300("with gaps")
	abs := int64(there * segment.BlockCells)
	slot := segment.Slot{
		Timeline: theirs.row.ID, Turn: int32(abs / timeline.CellsPerTurn), Cell: uint16(abs % timeline.CellsPerTurn),
	}
	theirs.slots = []inventory.Slot{{Slot: slot, Copies: []inventory.Copy{{Info: segment.Info{Digest: segment.Digest{7}}}}}}
	c, found, listed := comparer{ours: ours, theirs: theirs}, -1, 0
	for ; c.round < 20; c.round++ {
		d, err := c.compare(t.Context(), []inventory.Row{ours.row}, []inventory.Row{theirs.row}, map[segment.TimelineID]Binding{
			theirs.row.ID: {Row: ours.row.ID},
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(d.theirs) > 0 && found < 0 {
			found = c.round
		}
		c.barren, listed = d.yieldedNothing(), len(d.spans)
		if _, ok := c.barren[blockRef{theirs.row.ID, there}]; ok {
			t.Fatalf("block %d is left out although something of it is wanted", there)
		}
	}
	if found < 0 || listed != 1+openBlocks {
		t.Errorf("found in round %d; %d blocks are listed at the end, want %d", found, listed, 1+openBlocks)
	}
}

// TestBarrenBesideAChange: what reaches over the end of a block decides what is wanted of the next one. Of a block from which nothing was
// to be had for that something may be when it is gone.
func TestBarrenBesideAChange(t *testing.T) {
	const cell = segment.BlockCells - 1 // the last of block 0
	side := func(cells ...int64) *blocks {
		b := &blocks{memory: *archive(1, 0, 'x', cells...), digests: map[int64]string{}}
		b.row.First, b.row.Last = timeline.Wrap, timeline.Wrap+4*segment.BlockCells*timeline.CellTicks+1
		for i := range b.slots {
			info := &b.slots[i].Copies[0].Info
			info.Tracks = []segment.Track{{PID: 1, Start: info.Start, End: info.End, Samples: 100}}
		}
		return b
	}
	ours, theirs := side(cell), side(cell+1)
	ours.digests, theirs.digests = map[int64]string{0: "a", 1: "b"}, map[int64]string{0: "c", 1: "d"}
	long, part := &ours.slots[0].Copies[0].Info, &theirs.slots[0].Copies[0].Info
	long.End += timeline.CellTicks
	long.Tracks[0].End, long.Tracks[0].Samples = long.End, 200
	part.Evidence.StartUncertain = true
	c := comparer{ours: ours, theirs: theirs}
	compare := func() *difference {
		t.Helper()
		d, err := c.compare(t.Context(), []inventory.Row{ours.row}, []inventory.Row{theirs.row}, map[segment.TimelineID]Binding{theirs.row.ID: {Row: ours.row.ID}})
		if err != nil {
			t.Fatal(err)
		}
		c.barren = d.yieldedNothing()
		return d
	}
	compare()
	if _, ok := c.barren[blockRef{theirs.row.ID, 1}]; !ok {
		t.Fatalf("what ours contains is wanted: %v", c.barren)
	}
	if d := compare(); len(d.theirs) > 0 {
		t.Errorf("%d slots of it are listed again", len(d.theirs))
	}
	ours.slots, ours.digests[0] = nil, "e" // it has rotted
	if d := compare(); len(d.theirs) != 1 {
		t.Error("nobody asks for the part of it that the peer has")
	}
}

// TestStuckBlocksLeaveRoom: blocks of which something is wanted and cannot be had keep no other from its turn.
func TestStuckBlocksLeaveRoom(t *testing.T) {
	var spans []span
	for n := range int64(300) {
		spans = append(spans, span{from: n, to: n + 1})
	}
	seen := map[int64]bool{}
	for round := range 300 / turnBlocks {
		w := window(spans, round)
		if len(w) > maxBlocks || w[0].from != 0 || w[len(w)-1].from != 299 {
			t.Fatalf("round %d looks at %d blocks, from %d to %d", round, len(w), w[0].from, w[len(w)-1].from)
		}
		for _, s := range w {
			seen[s.from] = true
		}
	}
	if len(seen) != 300 {
		t.Errorf("%d of 300 blocks were looked at", len(seen))
	}
}

// TestExpiredBlocksAreNotCompared: of a peer that keeps more than we do only what we keep is looked at.
func TestExpiredBlocksAreNotCompared(t *testing.T) {
	ours, theirs := &blocks{}, &blocks{digests: map[int64]string{}}
	theirs.row = inventory.Row{
		ID: segment.TimelineID{1}, AtTicks: timeline.Wrap, AtUTC: noon, First: timeline.Wrap,
		Last: timeline.Wrap + 99*segment.BlockCells*timeline.CellTicks,
	}
	for n := range int64(100) {
		theirs.digests[n] = "theirs"
	}
	c := comparer{ours: ours, theirs: theirs, since: noon.Add((90 * segment.BlockCells * timeline.CellTicks).Duration())}
	d, err := c.compare(t.Context(), nil, []inventory.Row{theirs.row}, map[segment.TimelineID]Binding{theirs.row.ID: {Row: theirs.row.ID}})
	if err != nil || len(d.spans) != 10 || d.more != 0 {
		t.Errorf("%d blocks are looked at, %d more, %v; want 10", len(d.spans), d.more, err)
	}
	at := func(block float64) time.Time {
		return noon.Add(time.Duration(block * float64((segment.BlockCells * timeline.CellTicks).Duration())))
	}
	c.locked = inventory.Spans{{From: at(3.5), To: at(4.5)}, {From: at(20.1), To: at(20.2)}, {From: at(95), To: at(97)}}
	d, err = c.compare(t.Context(), nil, []inventory.Row{theirs.row}, map[segment.TimelineID]Binding{theirs.row.ID: {Row: theirs.row.ID}})
	if err != nil || len(d.spans) != 13 || d.spans[0].from != 3 || d.spans[2].from != 20 || d.spans[3].from != 90 {
		t.Errorf("with locks %d blocks are looked at: %+v, %v; want 13", len(d.spans), d.spans, err)
	}
}

// large is an archive of which one block exceeds a message.
type large struct {
	blocks
	block int64
}

func (l *large) Slots(ctx context.Context, stream string, row segment.TimelineID, from, to int64) ([]inventory.Slot, error) {
	if from <= l.block && l.block < to {
		return nil, inventory.ErrTooLarge
	}
	return l.blocks.Slots(ctx, stream, row, from, to)
}

// TestLargeBlockCostsItself: a block that no message carries is left out, on both sides, and no other with it.
func TestLargeBlockCostsItself(t *testing.T) {
	theirs := archive(1, 0, 'x', 0, 1*segment.BlockCells, 2*segment.BlockCells)
	ours := &large{blocks: blocks{memory: memory{row: theirs.row}}, block: 1}
	d, err := (&comparer{ours: ours, theirs: theirs}).compare(t.Context(), []inventory.Row{ours.row}, []inventory.Row{theirs.row},
		map[segment.TimelineID]Binding{theirs.row.ID: {Row: ours.row.ID}})
	if err != nil {
		t.Fatal(err)
	}
	if d.more != 1 || !errors.Is(d.large, inventory.ErrTooLarge) || len(d.spans) != 1 || len(d.theirs) != 1 || d.theirs[0].Slot.Block() != 2 {
		t.Errorf("%d left out (%v), listed %v; want that block 2 is listed", d.more, d.large, d.theirs)
	}
}

// TestDeletedIsNoDifference: what we have deleted and the peer has not is listed once, not for ever; what is missing beside it
// still is.
func TestDeletedIsNoDifference(t *testing.T) {
	const n = 2 * segment.BlockCells
	var all []int64
	for cell := int64(0); cell < n+segment.BlockCells*openBlocks; cell++ {
		all = append(all, cell)
	}
	theirs := &blocks{memory: *archive(1, 0, 7, all...), digests: map[int64]string{0: "all", 1: "all"}}
	at := func(cell int64) time.Time { return noon.Add((timeline.Ticks(cell) * timeline.CellTicks).Duration()) }
	for i := range theirs.slots {
		theirs.slots[i].Copies[0].StartUTC = at(int64(i))
	}
	for _, missing := range []int64{0, 5} { // of the first block, beside what was deleted
		ours := &blocks{memory: *archive(1, 0, 7, all[100+missing:]...), digests: map[int64]string{0: "a part", 1: "all"}}
		c := comparer{ours: ours, theirs: theirs}
		d, err := c.compare(t.Context(), []inventory.Row{ours.row}, []inventory.Row{theirs.row}, map[segment.TimelineID]Binding{theirs.row.ID: {Row: ours.row.ID}})
		if err != nil {
			t.Fatal(err)
		}
		d.deletedHere(inventory.Spans{{From: at(0), To: at(100)}})
		if got := len(d.evaluate(nil).Differences); got != int(missing) {
			t.Errorf("%d differences, want %d", got, missing)
		}
		if _, barren := d.yieldedNothing()[blockRef{theirs.row.ID, 0}]; barren != (missing == 0) {
			t.Errorf("with %d missing: left out %v", missing, barren)
		}
	}
}
