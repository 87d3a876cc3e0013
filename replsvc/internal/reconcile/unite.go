package reconcile

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
)

const (
	// clocksAgree is how far UTC of one moment may differ on two nodes for their rows to be one.
	clocksAgree = 5 * time.Second
	// maxProbes bounds how many of a row's samples are looked up one by one.
	maxProbes = 8
	// maxCandidates bounds how many of our rows they are looked up in.
	maxCandidates = 16
)

// Binding says which row of ours a row of the peer's is: add Turns to its turns to have ours.
type Binding struct {
	Row   segment.TimelineID
	Turns int32
}

// Translate gives our name for a slot of the peer's.
func (b Binding) Translate(s segment.Slot) segment.Slot {
	s.Timeline, s.Turn = b.Row, s.Turn+b.Turns
	return s
}

// uniter finds which row of one archive a row of another one is. It reads, and decides nothing for good.
type uniter struct {
	stream, peerStream string
	ours, theirs       inventory.Archive
	rows               []inventory.Row // ours, oldest first
	offset             time.Duration   // the peer's clock less ours
	cache              map[blockKey][]inventory.Slot
}

type blockKey struct {
	theirs bool
	row    segment.TimelineID
	block  int64
}

// unite finds our row for one of the peer's.
func (u *uniter) unite(ctx context.Context, peer *inventory.Row) (Binding, bool, error) {
	if b, ok, err := u.bySample(ctx, peer); ok || err != nil {
		return b, ok, err
	}
	return u.byClock(ctx, peer)
}

// bySample looks for a whole segment of the peer's row in ours. A source that repeats itself has it in several rows, of
// which the one is meant where it lay at the same time, or where clocks are wrong the nearest.
func (u *uniter) bySample(ctx context.Context, peer *inventory.Row) (best Binding, found bool, err error) {
	var nearest time.Duration
	sure := func(row *inventory.Row, ours, theirs inventory.Sample) bool {
		b, ok := match(row.ID, ours, theirs)
		if !ok {
			return false
		}
		off := row.UTC(ours.U()).Sub(peer.UTC(theirs.U()).Add(-u.offset)).Abs()
		if !found || off < nearest {
			best, found, nearest = b, true, off
		}
		return off < clocksAgree
	}
	for i := range u.rows {
		for _, ours := range u.rows[i].Samples {
			for _, theirs := range peer.Samples {
				if sure(&u.rows[i], ours, theirs) {
					return best, true, nil
				}
			}
		}
	}
	probes := 0
	for _, theirs := range slices.Backward(peer.Samples) {
		if probes++; probes > maxProbes {
			break
		}
		for k, row := range slices.Backward(u.rows) {
			if len(u.rows)-k > maxCandidates {
				break
			}
			from, to := row.Blocks()
			cell := mod(theirs.AbsCell, timeline.CellsPerTurn)
			for block := firstBlock(cell, from); block < to; block += inventory.TurnBlocks {
				slots, err := u.slots(ctx, false, row.ID, block)
				if err != nil && !errors.Is(err, inventory.ErrTooLarge) {
					return Binding{}, false, err
				}
				for _, s := range slots {
					for _, c := range s.Copies {
						ours := inventory.Sample{AbsCell: s.Slot.AbsCell(), Start: c.Info.Start, Digest: c.Info.Digest}
						if sure(&row, ours, theirs) {
							return best, true, nil
						}
					}
				}
			}
		}
	}
	return best, found, nil
}

// match unites by one segment: same bytes at the same T. Cells may differ by whole turns only.
func match(row segment.TimelineID, ours, theirs inventory.Sample) (Binding, bool) {
	d := ours.AbsCell - theirs.AbsCell
	if ours.Digest != theirs.Digest || ours.Start != theirs.Start || d%timeline.CellsPerTurn != 0 {
		return Binding{}, false
	}
	return Binding{Row: row, Turns: int32(d / timeline.CellsPerTurn)}, true
}

// firstBlock is the first block at or after from that holds the cell in some turn.
func firstBlock(cell, from int64) int64 {
	b := cell / segment.BlockCells
	return from + mod(b-from, inventory.TurnBlocks)
}

func mod(a, b int64) int64 { return ((a % b) + b) % b }

// byClock finds the row of ours that was at the same place of the source's clock at the same time. More than one: none,
// since an encoder that restarts each few seconds makes rows that UTC cannot tell apart.
func (u *uniter) byClock(ctx context.Context, peer *inventory.Row) (Binding, bool, error) {
	var found []Binding
	for i := range u.rows {
		row := &u.rows[i]
		at := row.At(peer.AtUTC.Add(-u.offset))
		turns := roundDiv(at-peer.AtTicks, timeline.Wrap)
		if off := at - peer.AtTicks - turns*timeline.Wrap; off.Duration().Abs() >= clocksAgree {
			continue
		}
		b := Binding{Row: row.ID, Turns: int32(turns)}
		if !near(row, peer, b) {
			continue
		}
		ok, err := u.agree(ctx, row, peer, b)
		if err != nil && !errors.Is(err, inventory.ErrTooLarge) {
			return Binding{}, false, err
		}
		if ok {
			found = append(found, b)
		}
	}
	if len(found) != 1 {
		return Binding{}, false, nil
	}
	return found[0], true, nil
}

// near reports whether less than a turn lies between what the rows hold: stretches that are farther apart may lie on one
// line by chance, or since the encoder takes its clock from UTC.
func near(row, peer *inventory.Row, b Binding) bool {
	from, to := extent(row)
	pf, pt := extent(peer)
	shift := timeline.Ticks(b.Turns) * timeline.Wrap
	return pf+shift-to < timeline.Wrap && from-(pt+shift) < timeline.Wrap
}

// extent is where a row has segments, or is known to have been.
func extent(r *inventory.Row) (from, to timeline.Ticks) {
	if r.Empty() {
		return r.AtTicks, r.AtTicks
	}
	return r.First, r.Last
}

// agree reports whether what both hold of the same slots does not contradict.
func (u *uniter) agree(ctx context.Context, row, peer *inventory.Row, b Binding) (bool, error) {
	shift := int64(b.Turns) * inventory.TurnBlocks
	from, to := row.Blocks()
	pf, pt := peer.Blocks()
	from, to = max(from, pf+shift), min(to, pt+shift)
	for block := max(from, to-2); block < to; block++ {
		ours, err := u.slots(ctx, false, row.ID, block)
		if err != nil {
			return false, err
		}
		theirs, err := u.slots(ctx, true, peer.ID, block-shift)
		if err != nil {
			return false, err
		}
		if contradict(ours, theirs, b) {
			return false, nil
		}
	}
	return true, nil
}

// contradict reports whether a slot has whole copies on both sides and none in common, or starts at another T.
func contradict(ours, theirs []inventory.Slot, b Binding) bool {
	whole := map[segment.Slot][]inventory.Copy{}
	for _, s := range ours {
		whole[s.Slot] = wholeOnes(s.Copies)
	}
	for _, s := range theirs {
		here, there := whole[b.Translate(s.Slot)], wholeOnes(s.Copies)
		if len(here) == 0 || len(there) == 0 {
			continue
		}
		if !slices.ContainsFunc(here, func(h inventory.Copy) bool {
			return slices.ContainsFunc(there, func(t inventory.Copy) bool { return h.Info.Digest == t.Info.Digest })
		}) {
			return true
		}
	}
	return false
}

func wholeOnes(cs []inventory.Copy) []inventory.Copy {
	var out []inventory.Copy
	for _, c := range cs {
		if c.Info.Evidence.Whole() {
			out = append(out, c)
		}
	}
	return out
}

// slots lists a block once.
func (u *uniter) slots(ctx context.Context, theirs bool, row segment.TimelineID, block int64) ([]inventory.Slot, error) {
	key := blockKey{theirs, row, block}
	if s, ok := u.cache[key]; ok {
		return s, nil
	}
	archive, stream := u.ours, u.stream
	if theirs {
		archive, stream = u.theirs, u.peerStream
	}
	s, err := archive.Slots(ctx, stream, row, block, block+1)
	if err == nil {
		u.cache[key] = s
	}
	return s, err
}

func roundDiv(a, b timeline.Ticks) timeline.Ticks {
	q := a / b
	switch r := a % b; {
	case 2*r >= b:
		q++
	case -2*r >= b:
		q--
	}
	return q
}
