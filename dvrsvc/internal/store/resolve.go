package store

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

type resolveOptions struct {
	noted   bool // its bytes were not written, since the same copy was stored
	anyAge  bool // the mark does not apply
	stored  bool // it was on disk before: it may be one that was kept, so no slot is too full for it
	renewed bool // its bytes take the place of those that are stored
}

// member is a copy among those that share media time with each other or lie in one slot.
type member struct {
	*index.Copy
	u       *segment.Info // in U
	content *segment.Content
	by      *member // the copy that takes its place
	changed bool
}

func (m *member) gone() bool { return m.by != nil }

// heir is the copy that stands for m in the end.
func (m *member) heir() *member {
	for m.by != nil {
		m = m.by
	}
	return m
}

// resolve decides what becomes of a copy beside those that are stored, and writes it to tx. Its bytes are durable.
//
// A copy gives way only where better copies that are presented, or one of its slot, contain it; so the set of intact samples
// never shrinks (R3), and what is played never gets worse.
func (st *Stream) resolve(tx *index.Tx, c *index.Copy, o resolveOptions) (Outcome, error) {
	if st.deadCopy(c) {
		return Outcome{}, fmt.Errorf("copy %s: %w", c.Info.Digest, errs.ErrDeleted)
	}
	if !o.anyAge && st.expiredCopy(c) {
		return Outcome{}, fmt.Errorf("copy %s: %w", c.Info.Digest, errs.ErrExpired)
	}
	st.mu.Lock()
	old, err := st.stored(tx, c.Slot, &c.Info)
	st.mu.Unlock()
	switch {
	case err != nil:
		return Outcome{}, fmt.Errorf("%w: %w", errIndex, err)
	case old != nil && !old.Quarantined && old.Slot == c.Slot:
		return st.again(tx, old, c, o)
	case old != nil && !old.Quarantined: // two rows of one timeline: it is durable where it is
		return Outcome{Copy: st.copyInfo(old), By: old.Info.Digest}, nil
	case o.noted:
		return Outcome{}, errNotStored
	case old != nil:
		c.Replaces, c.Live = old.Replaces, c.Live || old.Live
	}
	members, err := st.neighbours(tx, c)
	if err != nil {
		return Outcome{}, fmt.Errorf("%w: %w", errIndex, err)
	}
	fresh := members[0]
	st.thin(members)
	var surplus []*member
	if !o.stored {
		surplus = st.surplusOf(members, c.Slot)
	}
	if slices.Contains(surplus, fresh) {
		return Outcome{}, fmt.Errorf("copy %s in %s: %w", c.Info.Digest, c.Slot, errs.ErrConflictLimit)
	}
	for _, m := range surplus {
		st.s.log.Warn("slot holds too many copies, the worst is given up", "stream", st.name, "slot", c.Slot.String(), "digest", m.Info.Digest.String())
		if err := tx.Delete(st.name, m.Copy); err != nil {
			return Outcome{}, fmt.Errorf("%w: %w", errIndex, err)
		}
	}
	return st.settle(tx, slices.DeleteFunc(members, func(m *member) bool { return slices.Contains(surplus, m) }))
}

// settle removes the members that give way, and puts the others. What it tells is of the first.
func (st *Stream) settle(tx *index.Tx, members []*member) (Outcome, error) {
	first := members[0]
	out := Outcome{Kept: !first.gone()}
	for _, m := range members {
		if !m.gone() {
			continue
		}
		if err := st.giveWay(tx, m); err != nil {
			return Outcome{}, fmt.Errorf("%w: %w", errIndex, err)
		}
		if m == first {
			out.By = m.heir().Info.Digest
		} else {
			out.Replaced = append(out.Replaced, m.Info.Digest)
		}
	}
	if err := st.present(tx, members); err != nil {
		return Outcome{}, fmt.Errorf("%w: %w", errIndex, err)
	}
	out.Copy = st.copyInfo(first.Copy)
	return out, nil
}

// SameMoment is how far apart in UTC two rows of one timeline may place a segment. Farther apart the source has repeated
// itself with its clock set back: the bytes are equal, and the segment is another one.
const SameMoment = 5 * time.Second

// stored gives the copy that is stored of a segment: the one with its digest in its slot, else a good one of the same
// moment in another slot. nil: there is none. in is the index, or a transaction on it. The caller holds mu.
func (st *Stream) stored(in interface {
	Places(stream string, d segment.Digest) ([]index.Copy, error)
}, slot segment.Slot, info *segment.Info) (*index.Copy, error) {
	places, err := in.Places(st.name, info.Digest)
	if err != nil {
		return nil, err
	}
	var out *index.Copy
	for i := range places {
		switch c := &places[i]; {
		case c.Slot == slot && !c.Quarantined:
			return c, nil
		case c.Slot == slot && out == nil:
			out = c
		case c.Slot != slot && !c.Quarantined && st.sameMoment(c, slot, info):
			out = c
		}
	}
	return out, nil
}

// sameMoment reports whether a stored copy began when a segment in another slot did. The caller holds mu.
func (st *Stream) sameMoment(c *index.Copy, slot segment.Slot, info *segment.Info) bool {
	a, b := st.state.row(c.Slot.Timeline), st.state.row(slot.Timeline)
	if a == nil || b == nil {
		return false
	}
	at := b.Mapping.UTC(info.Start + timeline.Ticks(slot.Turn)*timeline.Wrap)
	return a.Mapping.UTC(c.U(c.Info.Start)).Sub(at).Abs() < SameMoment
}

// again handles a copy whose digest is stored: of the two evidences the smaller holds, with the bytes whose record says
// so. What is bound to it is judged anew: it may be contained now that less is known against this one.
func (st *Stream) again(tx *index.Tx, old, c *index.Copy, o resolveOptions) (Outcome, error) {
	if less := c.Info.Evidence.Less(&old.Info.Evidence); o.noted || !less && (!o.renewed || old.Info.Evidence.Less(&c.Info.Evidence)) {
		return Outcome{Copy: st.copyInfo(old), By: old.Info.Digest}, nil
	}
	old.Info, old.File, old.At, old.Live = c.Info, c.File, c.At, old.Live || c.Live
	members, err := st.neighbours(tx, old)
	if err != nil {
		return Outcome{}, fmt.Errorf("%w: %w", errIndex, err)
	}
	st.thin(members)
	out, err := st.settle(tx, members)
	if out.Kept {
		out.Kept, out.By = false, old.Info.Digest
	}
	return out, err
}

// neighbours gives c first and then every copy that is bound to it by a slot or by shared media time, directly or
// through others.
func (st *Stream) neighbours(tx *index.Tx, c *index.Copy) ([]*member, error) {
	cell := c.Slot.AbsCell()
	var rest []index.Row
	err := tx.Scan(st.name, c.Slot.Timeline, cell-index.MaxCells, cell+index.MaxCells+1, func(r index.Row) bool {
		if !r.Quarantined && r.Digest != c.Info.Digest {
			rest = append(rest, r)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	members := []*member{newMember(c)}
	for i := 0; i < len(members); i++ {
		m := members[i]
		var left []index.Row
		for _, r := range rest {
			if !m.near(&r) {
				left = append(left, r)
				continue
			}
			full, err := tx.Get(st.name, r.Slot, r.Digest)
			if err != nil {
				return nil, err
			}
			if o := newMember(&full); o.Slot == m.Slot || segment.Overlap(o.u, m.u) {
				members = append(members, o)
			} else {
				left = append(left, r)
			}
		}
		rest = left
	}
	return members, nil
}

// slack is how far the tracks of a copy may reach beyond its reference track.
const slack = 2 * timeline.CellTicks

// near reports, by the compact row, whether a copy may be bound to m.
func (m *member) near(r *index.Row) bool {
	return r.Slot == m.Slot || r.Range.Overlaps(timeline.Range{From: m.u.Start - slack, To: m.u.End + slack})
}

func newMember(c *index.Copy) *member {
	return &member{Copy: c, u: c.Info.Shift(timeline.Ticks(c.Slot.Turn) * timeline.Wrap)}
}

// presented picks those of members that would be played.
func presented(members []*member) []*member {
	slots, infos := make([]segment.Slot, len(members)), make([]*segment.Info, len(members))
	for i, m := range members {
		slots[i], infos[i] = m.Slot, m.u
	}
	var out []*member
	for i, yes := range segment.Present(slots, infos) {
		if yes {
			out = append(out, members[i])
		}
	}
	return out
}

// thin marks the members that better ones contain, the best first: what becomes of one depends on those alone that are better, and
// never on which of them came first. So sites that were offered the same copies keep the same ones. A whole copy never gives way to one that is
// not, though it may hold as much: its cuts are certain.
func (st *Stream) thin(members []*member) {
	order := slices.Clone(members)
	slices.SortFunc(order, func(a, b *member) int { return segment.Rank(a.u, b.u) })
	var kept []*member
	for _, m := range order {
		if m.by = st.inHeir(m, kept); m.by == nil {
			kept = append(kept, m)
		}
	}
}

// inHeir gives the copy that stands for m where better ones contain it, so that without it no less is played: those that are played in
// its place, or, since it is not played then, one of its slot. One that may have run over the cut with which m ends, or begun before that with which it
// begins, is no heir of it, unless one of the slot is whole: what lies there could not be played beside it.
func (st *Stream) inHeir(m *member, better []*member) *member {
	play := presented(better)
	over := slices.DeleteFunc(slices.Clone(play), func(o *member) bool { return !segment.Overlap(o.u, m.u) })
	inSlot := func(o *member) bool { return o.Slot == m.Slot }
	whole := slices.ContainsFunc(better, func(o *member) bool { return inSlot(o) && o.u.Evidence.Whole() })
	ranOver := func(o *member) bool { return !whole && inSlot(o) && segment.RanOver(o.u, m.u) }
	if len(over) == 0 && !slices.ContainsFunc(play, inSlot) {
		return nil
	}
	if len(over) > 0 && !slices.ContainsFunc(over, ranOver) && st.contain(over, m) {
		return over[max(0, slices.IndexFunc(over, inSlot))]
	}
	for _, o := range better {
		if inSlot(o) && !ranOver(o) && st.contain([]*member{o}, m) {
			return o
		}
	}
	return nil
}

// surplusOf gives the copies by which a slot is too full, of those that did not come live from here and stand for no other: first those that may have run over
// the cuts of the most others of the slot, as joins of it are on the way to the right ones, and have no more than these up to there, then the worst.
func (st *Stream) surplusOf(members []*member, slot segment.Slot) []*member {
	in := slices.DeleteFunc(slices.Clone(members), func(m *member) bool { return m.gone() || m.Slot != slot })
	over := map[*member]int{}
	var may []*member
	for _, m := range in {
		for _, o := range in {
			if o != m && segment.RanOver(m.u, o.u) {
				over[m]++
			}
		}
		if !m.Live && !slices.ContainsFunc(members, func(o *member) bool { return o.by == m }) {
			may = append(may, m)
		}
	}
	for _, m := range may {
		if over[m] > 0 && len(in) > segment.MaxCopies && !st.within(m, in) {
			over[m] = 0
		}
	}
	slices.SortFunc(may, func(a, b *member) int { return cmp.Or(cmp.Compare(over[b], over[a]), segment.Rank(b.u, a.u)) })
	return may[:min(len(may), max(0, len(in)-segment.MaxCopies))]
}

// within reports whether others of a slot together have what m has up to where the last of them ends. What lies beyond is of a neighbour.
func (st *Stream) within(m *member, in []*member) bool {
	all, err := st.content(m)
	if err != nil {
		return false
	}
	var others []*segment.Content
	var to timeline.Ticks
	for _, o := range in {
		if o == m {
			continue
		}
		c, err := st.content(o)
		if err != nil {
			return false
		}
		others = append(others, c)
		if r := o.u.Reference(); r != nil {
			to = max(to, r.End)
		}
	}
	own := segment.Content{Samples: slices.DeleteFunc(slices.Clone(all.Samples), func(s segment.Sample) bool { return s.DTS >= to })}
	return own.Within(others...)
}

// giveWay removes a member, also the quarantined row of one that came again, and makes its digest, and those that it
// stands for, lead to the copy that contains it.
func (st *Stream) giveWay(tx *index.Tx, m *member) error {
	heir := m.heir()
	if m.Live && !heir.Live { // it stands for what came live: no full slot gives it up
		heir.Live, heir.changed = true, true
	}
	old, err := tx.Get(st.name, m.Slot, m.Info.Digest)
	if err == nil {
		err = tx.Delete(st.name, &old)
	}
	if err != nil && !errors.Is(err, index.ErrNotFound) {
		return err
	}
	for _, d := range append([]segment.Digest{m.Info.Digest}, m.Replaces...) {
		if !slices.Contains(heir.Replaces, d) && len(heir.Replaces) < maxReplaces {
			heir.Replaces = append(heir.Replaces, d)
			heir.changed = true
		}
		if err := tx.Replace(st.name, d, heir.Copy); err != nil {
			return err
		}
	}
	return nil
}

// maxReplaces bounds the list of digests that a copy has taken the place of.
const maxReplaces = 256

// contain compares sample by sample. What cannot be read contains nothing and is in nothing.
func (st *Stream) contain(play []*member, m *member) bool {
	want, err := st.content(m)
	if err != nil {
		return false
	}
	var have []*segment.Content
	for _, p := range play {
		c, err := st.content(p)
		if err != nil {
			return false
		}
		have = append(have, c)
	}
	return want.Within(have...)
}

// present puts the members that are left, with what is played among them.
func (st *Stream) present(tx *index.Tx, members []*member) error {
	left := slices.DeleteFunc(slices.Clone(members), func(m *member) bool { return m.gone() })
	play := presented(left)
	for i, m := range left {
		yes := slices.Contains(play, m)
		if m.Presented == yes && !m.changed && i > 0 {
			continue
		}
		m.Presented = yes
		if err := tx.Put(st.name, m.Copy); err != nil {
			return err
		}
	}
	return nil
}

// content reads the samples of a copy.
func (st *Stream) content(m *member) (*segment.Content, error) {
	if m.content != nil {
		return m.content, nil
	}
	f, err := st.s.fs.Open(filepath.Join(st.dir, st.fileName(m.File)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	type at struct {
		pid uint16
		dts timeline.Ticks
	}
	faulty := map[at]bool{}
	for _, x := range m.u.Evidence.Faulty {
		faulty[at{x.PID, x.DTS}] = true
	}
	out := &segment.Content{Whole: m.Info.Evidence.Whole()}
	var parsed fmp4.Chunk
	var buf []byte
	for i, ch := range m.Info.Chunks {
		if buf, err = readChunk(f, m.At[i], ch, buf); err != nil {
			return nil, err
		}
		if err := parsed.Parse(buf); err != nil {
			return nil, err
		}
		for s := range parsed.All() {
			u := m.U(s.DTS)
			h := segment.Sum(s.Data)
			out.Samples = append(out.Samples, segment.Sample{
				PID: ch.PID, DTS: u, Size: s.Size, Hash: [16]byte(h[:16]), Intact: !faulty[at{ch.PID, u}],
			})
		}
	}
	m.content = out
	return out, nil
}
