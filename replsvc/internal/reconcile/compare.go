package reconcile

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
)

const (
	// maxBlocks bounds the slots that are looked at in one round: 64 blocks are two days and 30 MB. The oldest, which may
	// be about to expire, and the newest, which are wanted first, are looked at in each round, the others in turns.
	maxBlocks    = 64
	oldestBlocks = maxBlocks / 4
	turnBlocks   = maxBlocks / 4
	// openBlocks is how many of the newest blocks may not have a digest yet.
	openBlocks = 2
)

// difference is what two archives hold of the blocks that are not known to be equal, in our numbering.
type difference struct {
	ours   map[segment.Slot][]inventory.Copy
	theirs []inventory.Slot
	slots  int   // slots of equal blocks
	more   int   // blocks that differ and were not looked at
	large  error // why some of them could not be
	spans  []span
	barren map[blockRef]barren   // blocks that differ and were not looked at since there is nothing to be had from them
	gone   map[segment.Slot]bool // what the peer alone holds, for we have deleted it: no difference, and nothing to be had
}

// span is a half-open range of blocks of a united row, in our numbering.
type span struct {
	peer     segment.TimelineID
	binding  Binding
	unknown  bool // we have no such row
	from, to int64
	// digests of both sides, of it and the blocks beside, where the span is one block that both have closed.
	digests string
}

// comparer compares united rows.
type comparer struct {
	stream, peerStream string
	ours, theirs       inventory.Archive
	everything         bool // also where digests agree, and what only we hold
	// since is how far back our retention reaches, by our clock; the zero time: to the beginning.
	since  time.Time
	locked inventory.Spans // what is wanted also before
	offset time.Duration   // the peer's clock less ours
	barren map[blockRef]barren
	round  int
}

// compare finds the blocks that differ and lists their slots.
func (c *comparer) compare(ctx context.Context, ours, theirs []inventory.Row, bindings map[segment.TimelineID]Binding) (*difference, error) {
	d := &difference{ours: map[segment.Slot][]inventory.Copy{}, barren: map[blockRef]barren{}}
	var spans []span
	for i := range theirs {
		b, ok := bindings[theirs[i].ID]
		if !ok || theirs[i].Empty() && !c.everything {
			continue
		}
		var mine *inventory.Row
		if k := slices.IndexFunc(ours, func(r inventory.Row) bool { return r.ID == b.Row }); k >= 0 {
			mine = &ours[k]
		}
		s, err := c.differing(ctx, &theirs[i], mine, b, d)
		if err != nil {
			return nil, err
		}
		spans = append(spans, s...)
	}
	if !c.everything {
		all := len(spans)
		spans = window(spans, c.round)
		d.more = all - len(spans)
	}
	d.spans = spans
	for _, s := range join(spans) {
		if err := c.list(ctx, s, d); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// window chooses the blocks of a round.
func window(spans []span, round int) []span {
	if len(spans) <= maxBlocks {
		return spans
	}
	newest := len(spans) - (maxBlocks - oldestBlocks - turnBlocks)
	at := oldestBlocks + round*turnBlocks%(newest-oldestBlocks)
	return slices.Concat(spans[:oldestBlocks], spans[at:min(at+turnBlocks, newest)], spans[newest:])
}

// differing gives the blocks of a row that are not known to be equal, one span each, oldest first.
func (c *comparer) differing(ctx context.Context, peer, mine *inventory.Row, b Binding, d *difference) ([]span, error) {
	shift := int64(b.Turns) * inventory.TurnBlocks
	from, to := peer.Blocks()
	from, to = from+shift, to+shift
	if c.everything && mine != nil && !mine.Empty() {
		mf, mt := mine.Blocks()
		if peer.Empty() {
			from, to = mf, mt
		}
		from, to = min(from, mf), max(to, mt)
	}
	wanted := func(n int64) int64 { return n }
	if !c.everything && !c.since.IsZero() { // what has expired here is not wanted
		at := func(t time.Time) int64 { return inventory.BlockOf(peer.At(t.Add(c.offset))) + shift }
		if mine != nil {
			at = func(t time.Time) int64 { return inventory.BlockOf(mine.At(t)) }
		}
		wanted = c.wanted(at)
		from = max(from, wanted(from))
	}
	if from >= to {
		return nil, nil
	}
	theirs, err := c.theirs.Digests(ctx, c.peerStream, peer.ID, from-shift, to-shift)
	if err != nil {
		return nil, err
	}
	var ours []inventory.Block
	if mine != nil {
		if ours, err = c.ours.Digests(ctx, c.stream, b.Row, from, to); err != nil {
			return nil, err
		}
	}
	here, there := byBlock(ours, 0), byBlock(theirs, shift)
	blocks := maps.Clone(here)
	maps.Copy(blocks, there)
	for n := max(from, to-openBlocks); n < to; n++ {
		blocks[n] = inventory.Block{}
	}
	var spans []span
	for _, n := range slices.Sorted(maps.Keys(blocks)) {
		h, hok := here[n]
		t, tok := there[n]
		switch {
		case wanted(n) > n:
			continue
		case hok && tok && h.Digest == t.Digest && n < to-openBlocks:
			d.slots += int(t.Slots)
			continue
		case !tok && n < to-openBlocks && (!c.everything || !hok):
			continue // the peer holds nothing of it
		}
		s := span{peer: peer.ID, binding: b, unknown: mine == nil, from: n, to: n + 1}
		if tok && n < to-openBlocks {
			for k := n - 1; k <= n+1; k++ {
				s.digests += here[k].Digest + " " + there[k].Digest + " "
			}
		}
		if was, ok := c.barren[s.ref()]; ok && s.digests != "" && was.digests == s.digests {
			d.barren[s.ref()] = was
			continue
		}
		spans = append(spans, s)
	}
	return spans, nil
}

// wanted gives a function that gives the first block from n on that has something to be kept: what our retention reaches, or
// what is locked. at gives the block of a moment.
func (c *comparer) wanted(at func(time.Time) int64) func(n int64) int64 {
	return func(n int64) int64 {
		first := max(n, at(c.since))
		for _, l := range c.locked {
			if to := at(l.To); to >= n {
				first = min(first, max(n, at(l.From)))
			}
		}
		return first
	}
}

func byBlock(bs []inventory.Block, shift int64) map[int64]inventory.Block {
	m := make(map[int64]inventory.Block, len(bs))
	for _, b := range bs {
		m[b.N+shift] = b
	}
	return m
}

// join makes one span of neighbours.
func join(spans []span) []span {
	var out []span
	for _, s := range spans {
		if n := len(out); n > 0 && out[n-1].peer == s.peer && out[n-1].to == s.from {
			out[n-1].to = s.to
			continue
		}
		out = append(out, s)
	}
	return out
}

// list takes the slots of a span from both sides. A block of which one side has more than a message carries is left out
// on both, so that nothing that is here is taken to be missing.
func (c *comparer) list(ctx context.Context, s span, d *difference) error {
	err := c.take(ctx, s, d)
	switch {
	case c.everything || !errors.Is(err, inventory.ErrTooLarge):
		return err
	case s.to-s.from == 1:
		d.more, d.large = d.more+1, err
		d.spans = slices.DeleteFunc(d.spans, func(x span) bool { return x.ref() == s.ref() })
		return nil
	}
	for n := s.from; n < s.to; n++ {
		one := s
		one.from, one.to = n, n+1
		if err := c.list(ctx, one, d); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparer) take(ctx context.Context, s span, d *difference) error {
	shift := int64(s.binding.Turns) * inventory.TurnBlocks
	theirs, err := c.theirs.Slots(ctx, c.peerStream, s.peer, s.from-shift, s.to-shift)
	if err != nil {
		return err
	}
	var ours []inventory.Slot
	if !s.unknown {
		if ours, err = c.ours.Slots(ctx, c.stream, s.binding.Row, s.from, s.to); err != nil {
			return err
		}
	}
	for i := range theirs {
		theirs[i].Slot = s.binding.Translate(theirs[i].Slot)
	}
	d.theirs = append(d.theirs, theirs...)
	for _, o := range ours {
		d.ours[o.Slot] = o.Copies
	}
	return nil
}

// Difference is a slot that two archives do not hold alike.
type Difference struct {
	Slot        segment.Slot
	Start, End  timeline.Ticks // U
	Here, There []segment.Digest
}

// Comparison is the outcome of a comparison slot by slot.
type Comparison struct {
	Slots, Equal int
	Differences  []Difference // by slot
	// Apart counts the equal slots with a copy that one side alone knows to be whole.
	Apart int
}

// evaluate compares digest sets slot by slot, leaving out what skip says. Where one side has two rows for what is one on
// the other, the same bytes lie in different slots, and are no difference.
func (d *difference) evaluate(skip func(slot segment.Slot, end timeline.Ticks) bool) Comparison {
	out := Comparison{Slots: d.slots, Equal: d.slots}
	there := make(map[segment.Slot][]inventory.Copy, len(d.theirs))
	for _, s := range d.theirs {
		there[s.Slot] = s.Copies
	}
	slots := maps.Clone(there)
	maps.Copy(slots, d.ours)
	heldHere, heldThere := held(d.ours), held(there)
	for slot := range slots {
		h, t := digests(d.ours[slot]), digests(there[slot])
		any := slices.Concat(d.ours[slot], there[slot])
		if len(any) == 0 || d.gone[slot] {
			continue
		}
		equal := subset(h, heldThere) && subset(t, heldHere)
		if !equal && skip != nil && skip(slot, inventory.U(slot, any[0].Info.End)) {
			continue
		}
		out.Slots++
		if equal {
			out.Equal++
			if slices.ContainsFunc(h, func(d segment.Digest) bool { return heldHere[d] != heldThere[d] }) {
				out.Apart++
			}
			continue
		}
		out.Differences = append(out.Differences, Difference{
			Slot: slot, Start: inventory.U(slot, any[0].Info.Start), End: inventory.U(slot, any[0].Info.End), Here: h, There: t,
		})
	}
	slices.SortFunc(out.Differences, func(a, b Difference) int { return a.Slot.Compare(b.Slot) })
	return out
}

// held gives the digests of all copies, and whether each is whole.
func held(slots map[segment.Slot][]inventory.Copy) map[segment.Digest]bool {
	whole := map[segment.Digest]bool{}
	for _, copies := range slots {
		for i := range copies {
			info := &copies[i].Info
			whole[info.Digest] = whole[info.Digest] || info.Evidence.Whole()
		}
	}
	return whole
}

func subset(ds []segment.Digest, of map[segment.Digest]bool) bool {
	return !slices.ContainsFunc(ds, func(d segment.Digest) bool { _, ok := of[d]; return !ok })
}

// conflict reports whether both sides hold whole copies of a slot that differ.
func (d *difference) conflict(s inventory.Slot) bool {
	h, t := wholeOnes(d.ours[s.Slot]), wholeOnes(s.Copies)
	return len(h) > 0 && len(t) > 0 && !slices.Equal(digests(h), digests(t)) || len(h) > 1
}

// conflicts counts them.
func (d *difference) conflicts() (n int) {
	for _, s := range d.theirs {
		if d.conflict(s) {
			n++
		}
	}
	for _, b := range d.barren {
		n += b.conflicts
	}
	return n
}

func digests(cs []inventory.Copy) []segment.Digest {
	out := make([]segment.Digest, len(cs))
	for i := range cs {
		out[i] = cs[i].Info.Digest
	}
	slices.SortFunc(out, segment.Digest.Compare)
	return slices.Compact(out)
}
