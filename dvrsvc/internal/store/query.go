package store

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sort"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Places gives the copies with a digest, without quarantined ones: more than one where the source repeated itself.
func (st *Stream) Places(d segment.Digest) ([]CopyInfo, error) {
	places, err := st.s.db.Places(st.name, d)
	if err != nil {
		return nil, err
	}
	var out []CopyInfo
	for i := range places {
		if !places[i].Quarantined {
			out = append(out, st.copyInfo(&places[i]))
		}
	}
	return out, nil
}

// find gives a copy by its digest, whichever of those that are good. Errors: errs.ErrUnknown, errs.ErrDeleted, errs.ErrQuarantined, and
// *SupersededError.
func (st *Stream) find(d segment.Digest) (c index.Copy, err error) {
	places, err := st.s.db.Places(st.name, d)
	if err != nil {
		return c, err
	}
	if i := slices.IndexFunc(places, func(c index.Copy) bool { return !c.Quarantined }); i >= 0 {
		return places[i], nil
	}
	if len(places) > 0 {
		return c, fmt.Errorf("copy %s: %w", d, errs.ErrQuarantined)
	}
	by := d
	for range maxReplaces {
		next, err := st.s.db.ReplacedBy(st.name, by)
		if err != nil {
			break
		}
		by = next
	}
	if by != d {
		return c, &SupersededError{Digest: d, By: by}
	}
	if st.s.db.Buried(st.name, d) {
		return c, fmt.Errorf("copy %s: %w", d, errs.ErrDeleted)
	}
	return c, fmt.Errorf("copy %s: %w", d, errs.ErrUnknown)
}

// Copies gives what a slot holds, the presented copy first, quarantined ones last.
func (st *Stream) Copies(slot segment.Slot) ([]CopyInfo, error) {
	cell := slot.AbsCell()
	copies, err := st.s.db.Copies(st.name, slot.Timeline, cell, cell+1)
	if err != nil {
		return nil, err
	}
	copies = slices.DeleteFunc(copies, func(c index.Copy) bool { return c.Slot != slot })
	return st.ordered(copies), nil
}

// ordered puts the presented copy first and quarantined ones last.
func (st *Stream) ordered(copies []index.Copy) []CopyInfo {
	out := make([]CopyInfo, len(copies))
	for i := range copies {
		out[i] = st.copyInfo(&copies[i])
	}
	rank := func(c *CopyInfo) int {
		switch {
		case c.Presented:
			return 0
		case c.Quarantined:
			return 2
		}
		return 1
	}
	slices.SortStableFunc(out, func(a, b CopyInfo) int {
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), segment.Rank(&a.Info, &b.Info))
	})
	return out
}

// lines gives the rows that hold anything, by UTC of their first segment.
func (st *Stream) lines() []Row {
	rows := st.Timelines()
	rows = slices.DeleteFunc(rows, func(r Row) bool { return len(st.s.db.Blocks(st.name, r.ID)) == 0 })
	slices.SortStableFunc(rows, func(a, b Row) int { return a.Mapping.UTC(a.First).Compare(b.Mapping.UTC(b.First)) })
	return rows
}

// aside is how far a row has to step ahead for another one to be given in between.
const aside = timeline.TicksPerSecond

// stretch is what a row has without a step.
type stretch struct {
	at   time.Time // where it begins
	hits []index.Row
}

// Segments gives the presented copies that overlap [from, to), with all also the other ones: those of a row by media time, and
// what rows have without a step by UTC, so that a failover to a source with a clock of its own stands where it was. Zero
// times: no bound.
func (st *Stream) Segments(from, to time.Time, all bool) iter.Seq2[CopyInfo, error] {
	return func(yield func(CopyInfo, error) bool) {
		var list []stretch
		for _, row := range st.lines() {
			window := bounds(row.Mapping, from, to)
			var hits []index.Row
			err := st.s.db.Scan(st.name, row.ID, index.CellOf(window.From)-index.MaxCells, index.CellOf(window.To)+2, func(r index.Row) bool {
				if r.Range.Overlaps(window) && (all || r.Presented) {
					hits = append(hits, r)
				}
				return true
			})
			if err != nil {
				yield(CopyInfo{}, err)
				return
			}
			slices.SortStableFunc(hits, func(a, b index.Row) int { return cmp.Compare(a.Range.From, b.Range.From) })
			list = append(list, stretches(row.Mapping, hits)...)
		}
		slices.SortStableFunc(list, func(a, b stretch) int { return a.at.Compare(b.at) })
		for _, s := range list {
			for _, r := range s.hits {
				c, err := st.s.db.Get(st.name, r.Slot, r.Digest)
				if errors.Is(err, index.ErrNotFound) {
					continue // it went while we were on the way
				}
				if err != nil {
					yield(CopyInfo{}, err)
					return
				}
				if !yield(st.copyInfo(&c), nil) {
					return
				}
			}
		}
	}
}

// stretches divides what a row has where it steps ahead.
func stretches(m timeline.Mapping, hits []index.Row) (out []stretch) {
	for len(hits) > 0 {
		n, end := 1, hits[0].Range.To
		for n < len(hits) && hits[n].Range.From <= end+aside {
			end = max(end, hits[n].Range.To)
			n++
		}
		out = append(out, stretch{m.UTC(hits[0].Range.From), hits[:n]})
		hits = hits[n:]
	}
	return out
}

// Slots gives the copies of each slot of some blocks, by cell, the presented one first, without quarantined ones.
func (st *Stream) Slots(row segment.TimelineID, fromBlock, toBlock int64) iter.Seq2[[]CopyInfo, error] {
	return func(yield func([]CopyInfo, error) bool) {
		for _, b := range st.s.db.Blocks(st.name, row) {
			if b.No < fromBlock || b.No >= toBlock {
				continue
			}
			copies, err := st.s.db.Copies(st.name, row, b.No*segment.BlockCells, (b.No+1)*segment.BlockCells)
			if err != nil {
				yield(nil, err)
				return
			}
			copies = slices.DeleteFunc(copies, func(c index.Copy) bool { return c.Quarantined })
			for len(copies) > 0 {
				n := 1
				for n < len(copies) && copies[n].Slot == copies[0].Slot {
					n++
				}
				if !yield(st.ordered(copies[:n]), nil) {
					return
				}
				copies = copies[n:]
			}
		}
	}
}

// Digests gives the blocks of [fromBlock, toBlock) that hold anything; both 0: all.
func (st *Stream) Digests(row segment.TimelineID, fromBlock, toBlock int64) []BlockDigest {
	all := fromBlock == 0 && toBlock == 0
	var out []BlockDigest
	for _, b := range st.s.db.Blocks(st.name, row) {
		if b.Slots > 0 && (all || b.No >= fromBlock && b.No < toBlock) {
			out = append(out, BlockDigest{Block: b.No, Digest: b.Digest, Slots: b.Slots})
		}
	}
	return out
}

// Spread gives up to n whole presented copies of a row, spread over it, the newest included.
func (st *Stream) Spread(row segment.TimelineID, n int) ([]CopyInfo, error) {
	blocks := st.s.db.Blocks(st.name, row)
	if n <= 0 || len(blocks) == 0 {
		return nil, nil
	}
	// From each of some blocks, newest first, its newest and its oldest ones in turn until there are enough.
	step := max(1, len(blocks)*2/n)
	var rows []index.Row
	for i := len(blocks) - 1; i >= 0 && len(rows) < n; i -= step {
		var whole []index.Row
		err := st.s.db.Scan(st.name, row, blocks[i].No*segment.BlockCells, (blocks[i].No+1)*segment.BlockCells, func(r index.Row) bool {
			if r.Whole && r.Presented {
				whole = append(whole, r)
			}
			return true
		})
		if err != nil {
			return nil, err
		}
		want := max(2, n/max(1, (len(blocks)+step-1)/step))
		for k := 0; k < min(want, len(whole)) && len(rows) < n; k++ {
			rows = append(rows, whole[len(whole)-1-k*(len(whole)-1)/max(1, want-1)])
		}
	}
	var out []CopyInfo
	seen := map[segment.Digest]bool{}
	for _, r := range rows {
		if c, err := st.s.db.Get(st.name, r.Slot, r.Digest); err == nil && !seen[r.Digest] {
			seen[r.Digest] = true
			out = append(out, st.copyInfo(&c))
		}
	}
	return out, nil
}

// Ranges gives what is covered in [from, to), coalesced. Zero times: no bound.
func (st *Stream) Ranges(from, to time.Time) []Range { return st.ranges(from, to, index.Coalesce) }

// Parts is Ranges, apart by whether media came late, and none of them longer than a block.
func (st *Stream) Parts(from, to time.Time) []Range {
	return st.ranges(from, to, func(runs iter.Seq[index.Run]) iter.Seq[index.Run] { return runs })
}

func (st *Stream) ranges(from, to time.Time, join func(iter.Seq[index.Run]) iter.Seq[index.Run]) []Range {
	var out []Range
	for _, row := range st.lines() {
		window := bounds(row.Mapping, from, to)
		for r := range join(st.runs(row.ID, window)) {
			cut := timeline.Range{From: max(r.From, window.From), To: min(r.To, window.To)}
			if cut.Len() == 0 {
				continue
			}
			share := float64(cut.Len()) / float64(r.Len())
			x := Range{From: row.Mapping.UTC(cut.From), To: row.Mapping.UTC(cut.To), Damaged: r.Damaged}
			x.DamagedTicks = timeline.Ticks(float64(r.Impaired) * share)
			x.ReplicatedTicks = timeline.Ticks(float64(r.Replicated) * share)
			x.LateTicks = timeline.Ticks(float64(r.Late) * share)
			out = append(out, x)
		}
	}
	return out
}

// everything is a window that holds all media.
var everything = bounds(timeline.Mapping{}, time.Time{}, time.Time{})

// runs gives what is covered by the blocks of which a copy may reach into a window, block by block.
func (st *Stream) runs(row segment.TimelineID, window timeline.Range) iter.Seq[index.Run] {
	blocks := st.s.db.Blocks(st.name, row)
	first, last := index.CellOf(window.From)-index.MaxCells, index.CellOf(window.To)+1
	from := sort.Search(len(blocks), func(i int) bool { return (blocks[i].No+1)*segment.BlockCells > first })
	to := sort.Search(len(blocks), func(i int) bool { return blocks[i].No*segment.BlockCells > last })
	return func(yield func(index.Run) bool) {
		for i := from; i < to; i++ {
			for _, r := range blocks[i].Runs {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// piece is a stretch that a row covers.
type piece struct {
	timeline.Range // U
	row            *Row
	from, to       time.Time
}

// pieces gives what all rows cover, by where it begins. A step within a row that is too short for a sample is covered.
func (st *Stream) pieces() (out []piece) {
	rows := st.lines()
	for i := range rows {
		row := &rows[i]
		var before *index.Run
		for r := range index.Coalesce(st.runs(row.ID, everything)) {
			p := piece{r.Range, row, row.Mapping.UTC(r.From), row.Mapping.UTC(r.To)}
			if before != nil && r.From <= before.To+before.Frame-1 {
				p.from = row.Mapping.UTC(min(r.From, before.To))
			}
			out = append(out, p)
			before = &r
		}
	}
	slices.SortStableFunc(out, func(a, b piece) int { return a.from.Compare(b.from) })
	return out
}

// Gaps gives what of [from, to) no row covers, between the first and the last segment of the archive. Zero times: no bound.
func (st *Stream) Gaps(from, to time.Time) []Gap {
	var out []Gap
	var last *piece // of those so far the one that ends last
	pieces := st.pieces()
	for i := range pieces {
		p := &pieces[i]
		if last != nil && p.from.After(last.to) {
			out = append(out, st.between(last, p, from, to)...)
		}
		if last == nil || p.to.After(last.to) {
			last = p
		}
	}
	return reasons(out, st.view().deleted())
}

// between gives the gap between two pieces, as far as it lies in a window.
func (st *Stream) between(a, b *piece, from, to time.Time) []Gap {
	if a.row == b.row {
		m := a.row.Mapping
		window := bounds(m, from, to)
		hole := timeline.Range{From: max(a.To, window.From), To: min(b.From, window.To)}
		if hole.Len() == 0 {
			return nil
		}
		g := Gap{From: m.UTC(hole.From), To: m.UTC(hole.To), Ticks: hole.Len()}
		g.Reason = st.s.reasonOf(g.From, g.To)
		return []Gap{g}
	}
	g := Gap{From: a.to, To: b.from, Reason: "timeline_change"}
	if from.After(g.From) {
		g.From = from
	}
	if !to.IsZero() && to.Before(g.To) {
		g.To = to
	}
	if !g.To.After(g.From) {
		return nil
	}
	g.Ticks = timeline.FromDuration(g.To.Sub(g.From))
	return []Gap{g}
}

// reasons divides gaps by what of them was deleted.
func reasons(gaps []Gap, deleted []span) []Gap {
	if len(deleted) == 0 {
		return gaps
	}
	var out []Gap
	for _, g := range gaps {
		piece := func(to time.Time, reason string) {
			if to.After(g.From) {
				p := Gap{From: g.From, To: to, Reason: reason, Ticks: min(g.Ticks, timeline.FromDuration(to.Sub(g.From)))}
				if g.From = to; to.Equal(g.To) {
					p.Ticks = g.Ticks
				}
				g.Ticks -= p.Ticks
				out = append(out, p)
			}
		}
		for _, d := range deleted {
			if from, to := max(d.From, g.From.UnixNano()), min(d.To, g.To.UnixNano()); from < to {
				piece(time.Unix(0, from).UTC(), g.Reason)
				piece(time.Unix(0, to).UTC(), "deleted")
			}
		}
		piece(g.To, g.Reason)
	}
	return out
}

// Summary gives the archive in a line.
func (st *Stream) Summary() Summary {
	var s Summary
	for _, row := range st.lines() {
		if row.Last > row.First {
			if f := row.Mapping.UTC(row.First); s.First.IsZero() || f.Before(s.First) {
				s.First = f
			}
			if l := row.Mapping.UTC(row.Last); l.After(s.Last) {
				s.Last = l
			}
		}
		for _, b := range st.s.db.Blocks(st.name, row.ID) {
			s.Segments += uint64(b.Presented)
			s.Copies += uint64(b.Copies)
			s.Bytes += b.Bytes
			s.Quarantined += uint64(b.Rotten)
		}
	}
	return s
}

// Init gives an init segment by its hash. Errors: errs.ErrUnknown.
func (st *Stream) Init(hash segment.Digest) (segment.Init, error) {
	i, err := st.s.db.Init(st.name, hash)
	if errors.Is(err, index.ErrNotFound) {
		return i, fmt.Errorf("init segment %s: %w", hash, errs.ErrUnknown)
	}
	return i, err
}

// Inits gives the init segments of a copy's tracks.
func (st *Stream) Inits(info *segment.Info) ([]segment.Init, error) {
	out := make([]segment.Init, len(info.Tracks))
	for k := range info.Tracks {
		i, err := st.Init(info.Tracks[k].Init)
		if err != nil {
			return nil, err
		}
		out[k] = i
	}
	return out, nil
}
