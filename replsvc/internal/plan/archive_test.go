package plan

import (
	"cmp"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/join"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/replsvc/internal/inventory"
)

// archive keeps copies by the rule of dvrsvc ("Which copy stays" in FORMAT.md; dvrsvc/internal/store).
type archive struct {
	t       *testing.T
	slots   map[segment.Slot][]*member
	here    map[Place]Held // what transfer remembers
	surplus int            // copies that were given up, since their slot was full

	listed map[segment.Slot][]inventory.Copy // as it is now
}

type member struct {
	slot    segment.Slot
	copy    join.Copy
	content *segment.Content
	live    bool
	gone    bool
}

func (m *member) info() *segment.Info { return &m.copy.Info }

func slotOf(c *join.Copy) segment.Slot {
	return segment.Slot{Timeline: row, Cell: uint16(c.Info.Start.Cell()), InitSet: segment.MakeInitSet(c.Info.Tracks)}
}

// access is an access unit.
type access struct {
	pid  uint16
	dts  timeline.Ticks
	hash [16]byte
}

// intactOf gives the intact samples of a copy.
func intactOf(t *testing.T, c *join.Copy) (out []access) {
	t.Helper()
	for _, s := range samples(t, c) {
		if s.Intact {
			out = append(out, access{s.PID, s.DTS, s.Hash})
		}
	}
	return out
}

func samples(t *testing.T, c *join.Copy) (out []segment.Sample) {
	t.Helper()
	for data, err := range fmp4.Split(c.Data) {
		if err != nil {
			t.Fatal(err)
		}
		ch, err := fmp4.ParseChunk(data)
		if err != nil {
			t.Fatal(err)
		}
		for s := range ch.All() {
			h := segment.Sum(s.Data)
			x := segment.Sample{PID: ch.PID, DTS: s.DTS, Size: uint32(len(s.Data)), Hash: [16]byte(h[:16]), Intact: true}
			for _, f := range c.Info.Evidence.Faulty {
				x.Intact = x.Intact && (f.PID != x.PID || f.DTS != x.DTS)
			}
			out = append(out, x)
		}
	}
	return out
}

// held gives what is here, as a comparison lists it.
func (a *archive) held() map[segment.Slot][]inventory.Copy {
	if a.listed != nil {
		return a.listed
	}
	out := map[segment.Slot][]inventory.Copy{}
	for slot, ms := range a.slots {
		for _, m := range ms {
			i := m.copy.Info
			i.Chunks, i.Runs, i.Independent, i.Path = nil, nil, false, nil
			out[slot] = append(out[slot], inventory.Copy{Info: i, StartUTC: startUTC(int(slot.Cell))})
		}
	}
	a.listed = out
	return out
}

func (a *archive) find(slot segment.Slot, d segment.Digest) *member {
	for _, m := range a.slots[slot] {
		if m.copy.Info.Digest == d {
			return m
		}
	}
	return nil
}

// put is resolve of dvrsvc/internal/store.
func (a *archive) put(c join.Copy) {
	slot := slotOf(&c)
	if old := a.find(slot, c.Info.Digest); old != nil {
		a.tell(slot, &c.Info)
		return
	}
	a.settle(&member{slot: slot, copy: c, live: a.here == nil})
}

// bound gives m and then every copy that is bound to it by a slot or by shared media time, directly or through others.
func (a *archive) bound(m *member) []*member {
	var rest []*member
	for _, ms := range a.slots {
		for _, o := range ms {
			if o != m {
				rest = append(rest, o)
			}
		}
	}
	slices.SortFunc(rest, func(a, b *member) int { return a.slot.Compare(b.slot) })
	members := []*member{m}
	for i := 0; i < len(members); i++ {
		var left []*member
		for _, o := range rest {
			if o.slot == members[i].slot || segment.Overlap(o.info(), members[i].info()) {
				members = append(members, o)
			} else {
				left = append(left, o)
			}
		}
		rest = left
	}
	return members
}

// settle decides what stays of what is bound to a copy that has come, or of which less is known.
func (a *archive) settle(fresh *member) {
	a.listed = nil
	members := a.bound(fresh)
	a.thin(members)
	if !slices.Contains(a.slots[fresh.slot], fresh) {
		a.slots[fresh.slot] = append(a.slots[fresh.slot], fresh)
	}
	for _, m := range members {
		if m.gone {
			a.slots[m.slot] = slices.DeleteFunc(a.slots[m.slot], func(o *member) bool { return o == m })
		}
	}
	for len(a.slots[fresh.slot]) > segment.MaxCopies {
		in := a.slots[fresh.slot]
		may := slices.DeleteFunc(slices.Clone(in), func(m *member) bool { return m.live })
		if len(may) == 0 {
			break
		}
		worst := slices.MaxFunc(may, func(m, o *member) int {
			return cmp.Or(cmp.Compare(a.over(m, in), a.over(o, in)), segment.Rank(m.info(), o.info()))
		})
		a.slots[fresh.slot] = slices.DeleteFunc(in, func(o *member) bool { return o == worst })
		a.surplus++
	}
}

// over counts the copies of a slot that m ran over, where these have all that it has up to where the last of them ends.
func (a *archive) over(m *member, in []*member) (n int) {
	var others []*segment.Content
	var to timeline.Ticks
	for _, o := range in {
		if o == m {
			continue
		}
		if segment.RanOver(m.info(), o.info()) {
			n++
		}
		others, to = append(others, a.contentOf(o)), max(to, o.info().Reference().End)
	}
	own := segment.Content{Samples: slices.DeleteFunc(slices.Clone(a.contentOf(m).Samples), func(s segment.Sample) bool { return s.DTS >= to })}
	if !own.Within(others...) {
		return 0
	}
	return n
}

// tell is what dvrsvc does with smaller evidence.
func (a *archive) tell(slot segment.Slot, info *segment.Info) {
	if old := a.find(slot, info.Digest); old != nil && info.Evidence.Less(&old.copy.Info.Evidence) {
		i := &old.copy.Info
		i.Evidence, i.Start, i.End, old.content = info.Evidence, info.Start, info.End, nil
		if info.Evidence.Whole() {
			i.Runs = nil
		}
		a.settle(old)
	}
}

func presented(members []*member) (out []*member) {
	slots, infos := make([]segment.Slot, len(members)), make([]*segment.Info, len(members))
	for i, m := range members {
		slots[i], infos[i] = m.slot, m.info()
	}
	for i, yes := range segment.Present(slots, infos) {
		if yes {
			out = append(out, members[i])
		}
	}
	return out
}

// thin marks the members that better ones contain, the best first.
func (a *archive) thin(members []*member) {
	order := slices.Clone(members)
	slices.SortFunc(order, func(a, b *member) int { return segment.Rank(a.info(), b.info()) })
	var kept []*member
	for _, m := range order {
		if m.gone = a.contained(m, kept); !m.gone {
			kept = append(kept, m)
		}
	}
}

// contained reports whether those of better copies that are played contain m, or one of its slot, where m is not played.
func (a *archive) contained(m *member, better []*member) bool {
	play := presented(better)
	over := slices.DeleteFunc(slices.Clone(play), func(o *member) bool { return !segment.Overlap(o.info(), m.info()) })
	inSlot := func(o *member) bool { return o.slot == m.slot }
	whole := slices.ContainsFunc(better, func(o *member) bool { return inSlot(o) && o.info().Evidence.Whole() })
	ranOver := func(o *member) bool { return !whole && inSlot(o) && segment.RanOver(o.info(), m.info()) }
	if len(over) > 0 && !slices.ContainsFunc(over, ranOver) && a.contain(over, m) {
		return true
	}
	return (len(over) > 0 || slices.ContainsFunc(play, inSlot)) &&
		slices.ContainsFunc(better, func(o *member) bool { return inSlot(o) && !ranOver(o) && a.contain([]*member{o}, m) })
}

func (a *archive) contentOf(m *member) *segment.Content {
	if m.content == nil {
		m.content = &segment.Content{Whole: m.copy.Info.Evidence.Whole(), Samples: samples(a.t, &m.copy)}
	}
	return m.content
}

func (a *archive) contain(play []*member, m *member) bool {
	var have []*segment.Content
	for _, p := range play {
		have = append(have, a.contentOf(p))
	}
	return a.contentOf(m).Within(have...)
}
