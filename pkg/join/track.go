package join

import (
	"cmp"
	"slices"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// joined is a track of the join.
type joined struct {
	segment.Track
	video, data bool
	samples     []sample // by DTS, with their durations in the join
	faulty      []segment.FaultySample
	missing     []segment.MissingSpan
}

// track joins one track.
func (j *joiner) track(t *segment.Track) (*joined, error) {
	pid := t.PID
	lanes := make([]*lane, len(j.sources))
	out := &joined{Track: *t}
	for i, s := range j.sources {
		lanes[i] = s.tracks[pid]
		out.Role = max(out.Role, s.copy.Info.Track(pid).Role)
	}
	out.video, out.data = lanes[0].video, lanes[0].data
	own := len(lanes)
	if j.wide != nil {
		for _, s := range j.wide.beside() {
			lanes = append(lanes, s.tracks[pid])
		}
	}
	l := j.limits(pid)
	m := j.mend(t, lanes, l)
	all := lanes
	if m != nil {
		all = append(slices.Clip(lanes), &m.lane)
		if n := len(m.lane.samples); j.wide != nil && n > 0 {
			l.to = max(l.to, m.lane.samples[n-1].dts+1) // where the cut is not certain
		}
	}
	intact, err := j.intact(all, own, l, out.data)
	if err != nil {
		return nil, err
	}
	g := gaps{j: j, lanes: lanes, mended: m, limit: l, intact: intact}
	g.find(out.data)
	damaged := g.damaged(out.data)
	out.samples = slices.Concat(intact, damaged)
	slices.SortFunc(out.samples, func(a, b sample) int { return cmp.Compare(a.dts, b.dts) })
	if len(out.samples) == 0 && !out.data {
		return nil, ErrUnlike
	}
	for i := range damaged {
		out.faulty = append(out.faulty, segment.FaultySample{PID: pid, DTS: damaged[i].dts, Reason: damaged[i].reason})
	}
	out.missing = g.missing(pid, out.samples)
	return out, nil
}

// intact gives the intact samples of all copies that belong to the slot. The first own lanes are of its copies.
func (j *joiner) intact(lanes []*lane, own int, l limit, data bool) ([]sample, error) {
	var all []sample
	for n, o := range lanes {
		for i := range o.samples {
			switch s := &o.samples[i]; {
			case s.reason != 0:
			case l.has(s):
				all = append(all, *s)
			case n < own:
				j.left = true
			}
		}
	}
	slices.SortStableFunc(all, func(a, b sample) int { return cmp.Compare(a.dts, b.dts) })
	out := all[:0]
	for i := range all {
		s := &all[i]
		n := len(out)
		if n > 0 && out[n-1].dts == s.dts {
			if !out[n-1].equal(s) {
				return nil, ErrConflict
			}
			continue
		}
		if n > 0 && !data && s.dts-out[n-1].dts < segment.Near && !slices.ContainsFunc(lanes, func(o *lane) bool {
			return o.at(s.dts) != nil && o.at(out[n-1].dts) != nil
		}) {
			return nil, ErrConflict // one access unit, and both say that its time is right
		}
		out = append(out, *s)
	}
	return out, nil
}

// gaps are those between the intact samples of a joined track, the first before and the last behind all of them.
type gaps struct {
	j      *joiner
	lanes  []*lane
	mended *mended // nil: nothing
	limit  limit
	intact []sample
	open   []bool
}

// span is gap i, without its ends.
func (g *gaps) span(i int) (from, to timeline.Ticks) {
	from, to = never, g.limit.to
	if g.limit.from != never {
		from = g.limit.from - 1
	}
	if i > 0 {
		from = g.intact[i-1].dts
	}
	if i < len(g.intact) {
		to = g.intact[i].dts
	}
	return from, to
}

// find tells which gaps are open: in all copies, and with room for a sample where samples are evenly apart.
func (g *gaps) find(data bool) {
	least, known := ever, false // how far samples are apart; known: two are that follow each other
	g.open = make([]bool, len(g.intact)+1)
	for i := range g.open {
		from, to := g.span(i)
		g.open[i] = to-from > 1 && !g.mended.closes(from, to, i == len(g.intact)) && !slices.ContainsFunc(g.lanes, func(l *lane) bool { return !l.isOpen(from, to) })
		if i > 0 && i < len(g.intact) {
			least, known = min(least, to-from), known || !g.open[i]
		}
	}
	for i := range g.open {
		g.open[i] = g.open[i] && (data || !known || g.room(i, least))
	}
}

// room reports whether a sample fits into gap i where samples are at least so far apart.
func (g *gaps) room(i int, least timeline.Ticks) bool {
	from, to := g.span(i)
	switch {
	case i > 0 && (i < len(g.intact) || g.j.wide != nil && g.limit.next != ever && !g.limit.audio):
		return to-from >= least+least/2
	case !g.limit.audio || len(g.intact) == 0: // of pictures a copy with a certain cut tells
		return true
	case i > 0:
		return to-from > least
	}
	return !g.j.startCertain || to-g.j.start >= least
}

// at finds the gap of a time; false: an intact sample is there, or so near that it is the same one.
func (g *gaps) at(t timeline.Ticks, data bool) (int, bool) {
	i, ok := slices.BinarySearchFunc(g.intact, t, func(s sample, t timeline.Ticks) int { return cmp.Compare(s.dts, t) })
	switch {
	case ok:
		return i, false
	case data:
		return i, true
	}
	return i, (i == 0 || t-g.intact[i-1].dts >= segment.Near) && (i == len(g.intact) || g.intact[i].dts-t >= segment.Near)
}

// damaged gives the damaged samples of the join, by DTS.
func (g *gaps) damaged(data bool) []sample {
	var all []sample
	for _, l := range g.lanes {
		for i := range l.samples {
			s := &l.samples[i]
			if s.reason == 0 || !g.limit.has(s) {
				continue
			}
			if k, ok := g.at(s.dts, data); ok && g.open[k] {
				all = append(all, *s)
			}
		}
	}
	slices.SortFunc(all, better)
	var out []sample // by DTS
	for i := range all {
		s := &all[i]
		near := segment.Near
		if data {
			near = 1
		}
		k, ok := slices.BinarySearchFunc(out, s.dts, func(o sample, t timeline.Ticks) int { return cmp.Compare(o.dts, t) })
		switch {
		case ok && out[k].equal(s):
			out[k].reason |= s.reason
		case ok, k > 0 && s.dts-out[k-1].dts < near, k < len(out) && out[k].dts-s.dts < near:
		default:
			out = slices.Insert(out, k, *s)
		}
	}
	return out
}

// better orders damaged samples: the longer first, then the smaller hash.
func better(a, b sample) int {
	return cmp.Or(cmp.Compare(len(b.data), len(a.data)), a.hash.Compare(b.hash), cmp.Compare(a.dts, b.dts), cmp.Compare(a.offset, b.offset), cmp.Compare(a.flags, b.flags))
}

// missing says what may be missing in the gaps that are open: what no copy knows, and no damaged sample and no uncertain cut
// of the join says already.
func (g *gaps) missing(pid uint16, samples []sample) (out []segment.MissingSpan) {
	unknown := g.lanes[0].unknown
	for _, l := range g.lanes[1:] {
		unknown = meet(unknown, l.unknown)
	}
	told := damage(samples, g.limit.to)
	cuts := edges(samples, !g.j.startCertain, !g.j.endCertain)
	for i, open := range g.open {
		if !open {
			continue
		}
		from, to := g.span(i)
		if i == 0 && g.limit.from != never {
			from = g.limit.from // and not what lies before it
		}
		said := flatten(slices.Concat(within(told, from, to), within(cuts, from, to)))
		left := without(within(unknown, from, to), said)
		if len(left) == 0 && len(said) == 0 {
			left = []stretch{{max(from, min(g.j.start, to-1)), min(to, max(g.j.end, from+1)), segment.ReasonContinuity}}
		}
		for _, s := range left {
			s.from, s.to = max(s.from, min(g.j.start, s.to-1)), min(s.to, max(g.j.end, s.from+1))
			why := s.why &^ uncertain
			if why == 0 {
				why = segment.ReasonContinuity
			}
			out = append(out, segment.MissingSpan{PID: pid, From: s.from, To: s.to, Reason: why})
		}
	}
	return out
}
