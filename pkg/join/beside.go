package join

import (
	"cmp"
	"slices"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const (
	// blindCells are how many whole cells without a random access point others begin a segment behind.
	blindCells = 2
	// maxApart is how many cells lie between two slots that may follow each other: behind the blind ones segments begin in even cells.
	maxApart = 4
	// runsBeside is how long before a cell, or behind a cut, packets of the first units behind it may begin, or be known to have ended.
	runsBeside = 3 * timeline.TicksPerSecond
)

// wide is what the slots beside that of the join add to it.
type wide struct {
	before, behind []*source // by digest, in the times of the join
	// over are copies of slots before those, which run over the slot: all random access points between were lost to them. They know no cut of it.
	over []*source
	// next are copies of the slot behind those behind, if a recorder may have begun these where no segment begins.
	next []*source
	// from and to are the DTS of the reference track's samples with which this slot and the next begin; never and ever: that is not known.
	from, to timeline.Ticks
	// fromKnown and toKnown: the cuts lie there, though it may not be certain.
	fromKnown, toKnown bool
}

// JoinBeside is Join with what copies of the slot before and of the one behind have of the same access units: where a site lost the
// random access point with which a segment begins, what follows is in another slot than where it was received. An access unit
// is then taken from wherever it is intact, its packets from wherever they are, and where those show that a cut is where nothing
// else can have begun before, it is certain. Where the slots beside contradict the copies, nothing of them is used.
func JoinBeside(before, copies, behind []Copy) (Result, error) {
	if len(before)+len(behind) == 0 || slices.ContainsFunc(copies, func(c Copy) bool { return c.Info.Evidence.Whole() }) {
		return Join(copies...)
	}
	j, err := newJoiner(copies)
	if err != nil {
		return Result{}, err
	}
	j.wide = &wide{from: never, to: ever}
	if !j.near(before, behind) {
		return Join(copies...)
	}
	r, err := j.join()
	if err != nil {
		r, err = Join(copies...)
		r.Unlike++
		return r, err
	}
	r.Info.Path = copies[0].Info.Path
	return r, nil
}

// near takes the copies beside that may have something of the slot; false: there are none, or it has no track but data.
func (j *joiner) near(before, behind []Copy) bool {
	w, own := j.wide, j.sources
	if r := own[0].copy.Info.Reference(); r == nil || r.Data() {
		return false
	}
	start := slices.ContainsFunc(own, func(s *source) bool { return s.copy.Info.Evidence.StartUncertain })
	end := slices.ContainsFunc(own, func(s *source) bool { return s.copy.Info.Evidence.EndUncertain })
	w.before, w.over = j.parseBeside(before, -1)
	w.behind, w.next = j.parseBeside(behind, 1)
	if !start && !slices.ContainsFunc(w.before, func(s *source) bool { return s.copy.Info.Evidence.EndUncertain }) {
		w.before = nil
	}
	if !end && !slices.ContainsFunc(w.behind, func(s *source) bool { return s.copy.Info.Evidence.StartUncertain }) {
		w.behind, w.next = nil, nil
	}
	return len(w.before)+len(w.over)+len(w.behind) > 0
}

// parseBeside takes copies of the same tracks on one side apart: those of the nearest slot, and of those farther off these that run over this one, or
// lie behind one that may be none.
func (j *joiner) parseBeside(copies []Copy, side int64) (nearest, far []*source) {
	own := &j.sources[0].copy.Info
	first := own.Start
	for _, s := range j.sources {
		first = min(first, s.copy.Info.Start)
	}
	apart := func(s *source) int64 { return side * (absCell(s.copy.Info.Start) - absCell(own.Start)) }
	var all []*source
	for _, c := range distinct(copies) {
		at := timeline.Unwrap(c.Info.Start, own.Start)
		if n := side * (absCell(at) - absCell(own.Start)); n < 1 || n > maxApart || len(c.Info.Tracks) != len(own.Tracks) {
			continue
		}
		s, err := parse(&c)
		if err != nil {
			continue
		}
		as := j.sources[0].slot
		if as.cell = s.slot.cell; s.slot != as {
			continue
		}
		s.shift(at - c.Info.Start)
		for _, l := range s.tracks { // it knows nothing of this slot, whatever it knows of its cuts
			l.open[0], l.open[len(l.open)-1] = true, true
			l.unknown = flatten(append(slices.Clone(l.unknown), edges(l.samples, true, true)...))
		}
		all = append(all, s)
	}
	slices.SortStableFunc(all, func(a, b *source) int { return cmp.Compare(apart(a), apart(b)) })
	for _, s := range all {
		switch e := &s.copy.Info; {
		case apart(s) == apart(all[0]):
			nearest = append(nearest, s)
		case side < 0 && e.Evidence.EndUncertain && e.End > first,
			side > 0 && !slices.ContainsFunc(nearest, func(o *source) bool { return !o.early() }) && (len(far) == 0 || apart(s) == apart(far[0])):
			far = append(far, s)
		}
	}
	return nearest, far
}

func absCell(t timeline.Ticks) int64 { return int64(t / timeline.CellTicks) }

// shift moves all times of a copy: to those of another turn.
func (s *source) shift(d timeline.Ticks) {
	c := Copy{Info: *s.copy.Info.Shift(d), Data: s.copy.Data}
	c.Info.Runs = slices.Clone(c.Info.Runs)
	for i := range c.Info.Runs {
		r := &c.Info.Runs[i]
		r.DTS += d
		r.Links = slices.Clone(r.Links)
		for k := range r.Links {
			r.Links[k].DTS += d
		}
	}
	s.copy = &c
	for _, l := range s.tracks {
		for i := range l.samples {
			l.samples[i].dts += d
		}
		for i := range l.intact {
			l.intact[i] += d
		}
		for i := range l.unknown {
			l.unknown[i].from += d
			l.unknown[i].to += d
		}
	}
}

// all are the copies of the slot, and those beside.
func (j *joiner) all() []*source {
	if j.wide == nil {
		return j.sources
	}
	return slices.Concat(j.sources, j.wide.beside())
}

func (w *wide) beside() []*source { return slices.Concat(w.before, w.over, w.behind, w.next) }

// besideRuns are the runs of the copies beside that may have packets of the slot, or of where it begins or ends.
func (w *wide) besideRuns(j *joiner) (out [][]segment.Run) {
	least := timeline.Ticks(absCell(j.start))*timeline.CellTicks - runsBeside
	most := j.end
	for _, s := range w.behind {
		most = max(most, s.copy.Info.Start)
	}
	most += runsBeside
	for _, s := range w.beside() {
		var kept []segment.Run
		for _, r := range s.copy.Info.Runs {
			if r.DTS < least || r.DTS > most {
				continue
			}
			if n := len(kept); len(r.Packets) > 0 && (n == 0 || kept[n-1].PID != r.PID) { // the one that it follows may be left out
				r.Packets = slices.Clone(r.Packets)
				r.Packets[0].Follows = false
			}
			kept = append(kept, r)
		}
		out = append(out, kept)
	}
	return out
}

// recut finds the cuts of the slot in what all copies have of the reference track.
func (j *joiner) recut() error {
	w := j.wide
	t := j.sources[0].copy.Info.Track(j.ref)
	if n := slices.IndexFunc(j.sources, func(s *source) bool { return !s.copy.Info.Evidence.StartUncertain }); n >= 0 {
		w.from = j.sources[n].tracks[j.ref].samples[0].dts
	}
	for _, s := range j.sources {
		if l := s.tracks[j.ref]; !s.copy.Info.Evidence.EndUncertain && t.Video() {
			w.to = min(w.to, l.end())
		}
	}
	var lanes []*lane
	for _, s := range j.all() { // each knows its own slot alone
		l := *s.tracks[j.ref]
		l.open = slices.Clone(l.open)
		l.open[0], l.open[len(l.open)-1] = true, true
		lanes = append(lanes, &l)
	}
	everywhere := limit{from: never, to: ever, next: ever, audio: !t.Video()}
	mended, unlike := j.mended, j.unlike
	m := j.mend(t, lanes, everywhere)
	j.mended, j.unlike = mended, unlike // they are counted with the track
	all := lanes
	if m != nil {
		all = append(all, &m.lane)
	}
	intact, err := j.intact(all, 0, everywhere, false)
	if err != nil {
		return err
	}
	g := gaps{j: j, lanes: lanes, mended: m, limit: everywhere, intact: intact}
	g.find(false)
	single := 0 // where the others belong that begin segments of their own accord is not known
	for i := range j.sources[0].copy.Info.Tracks {
		if j.sources[0].copy.Info.Tracks[i].Video() {
			single++
		}
	}
	own := absCell(j.start)
	if len(w.before) > 0 && !j.startCertain && single <= 1 {
		forced := never
		for _, s := range w.before {
			if e := &s.copy.Info; !e.Evidence.StartUncertain && !e.Independent {
				forced = s.tracks[j.ref].samples[0].dts
			}
		}
		if s := g.cut(absCell(w.before[0].copy.Info.Start), own, t.Video(), forced, w.before, j.sources, false); s != nil {
			w.from, j.start, j.startCertain, j.independent = s.dts, s.pts(), true, s.flags == fmp4.FlagsSync
		} else if s := g.likelyCut(w.before, j.sources); s != nil && s.pts() <= j.start {
			w.from, w.fromKnown, j.start, j.independent = s.dts, true, s.pts(), s.flags == fmp4.FlagsSync
		}
	}
	if len(w.behind) > 0 && !j.endCertain && single <= 1 {
		forced := never
		if j.startCertain && !j.independent {
			forced = w.from
		}
		behind := w.behind
		if len(w.next) > 0 && g.none(behind) {
			behind = w.next
		}
		if s := g.cut(own, absCell(behind[0].copy.Info.Start), t.Video(), forced, j.sources, behind, true); s != nil {
			w.to, j.end, j.endCertain = s.dts, s.pts(), true
		} else if s := g.likelyCut(j.sources, behind); s != nil && s.pts() <= j.end {
			w.to, w.toKnown, j.end = s.dts, true, s.pts()
		}
	}
	return nil
}

func (s *sample) pts() timeline.Ticks { return s.dts + timeline.Ticks(s.offset) }

// cut finds the sample with which the slot of cell q begins, behind that of cell p; nil: it is not certain. forced is with which that
// begins, where it is certain that it does without a random access point; else never. ends: it is to be certain that the lower slot ends there, too.
func (g *gaps) cut(p, q int64, video bool, forced timeline.Ticks, lower, upper []*source, ends bool) *sample {
	n, known, told := g.toldCut(video, lower, upper)
	first := slices.IndexFunc(g.intact, func(s sample) bool { return s.flags == fmp4.FlagsSync && absCell(s.pts()) > p })
	if !known {
		n = first
	}
	again := false
	if k, ok := g.forcedCut(q, forced, video); ok && (k == n || !known && (n < 0 || k < n)) {
		// Of a slot more than the blind cells before the lower one tells nothing: one of its own may have begun between, and that one ends here.
		n, again = k, !ends || q <= p+1+blindCells || (first < 0 || first >= k) && g.intactBefore(k, p+1, video)
	}
	if n < 1 || absCell(g.intact[n].pts()) != q || g.open[n] {
		return nil
	}
	s := &g.intact[n]
	for _, o := range upper { // none can have cut before
		if e := &o.copy.Info; e.Start < s.pts() && !o.early() || !e.Evidence.StartUncertain && e.Start != s.pts() {
			return nil
		}
	}
	for _, o := range lower {
		if e := &o.copy.Info; !e.Evidence.EndUncertain && e.End != s.pts() {
			return nil
		}
	}
	if again || told || known && (q <= p+1 || first == n && g.intactBefore(n, p+1, video)) || !known && g.firstOfCell(n, p, q, video) {
		return s
	}
	return nil
}

// likelyCut finds the sample with which a recorder would begin the upper slot that had received all of this, where it is not certain that the
// lower one ends there: the first random access point behind the cell of that, or where none of two cells has one. nil: it is another slot.
func (g *gaps) likelyCut(lower, upper []*source) *sample {
	if slices.ContainsFunc(lower, func(s *source) bool { return !s.copy.Info.Evidence.EndUncertain }) {
		return nil
	}
	p, q := absCell(lower[0].copy.Info.Start), absCell(upper[0].copy.Info.Start)
	n := slices.IndexFunc(g.intact, func(s sample) bool { return s.flags == fmp4.FlagsSync && absCell(s.pts()) > p })
	if k := g.likelyForced(p, q, lower); k > 0 && (n < 0 || k < n) {
		s := &g.intact[k]
		for _, o := range upper { // that may be damaged
			if l := o.tracks[g.j.ref]; l.samples[0].dts < s.dts && l.samples[0].dts >= timeline.Ticks(q)*timeline.CellTicks {
				s = &l.samples[0]
			}
		}
		return startsWith(upper, s)
	}
	if n < 1 || absCell(g.intact[n].pts()) != q {
		return nil
	}
	return startsWith(upper, &g.intact[n])
}

// startsWith gives s, unless one of the copies is certain that they begin with another sample.
func startsWith(copies []*source, s *sample) *sample {
	if slices.ContainsFunc(copies, func(o *source) bool { return !o.copy.Info.Evidence.StartUncertain && o.copy.Info.Start != s.pts() }) {
		return nil
	}
	return s
}

// likelyForced finds the intact sample with which cell q begins if nobody received a random access point of the two cells before; less than one: there is none, or
// nothing is known of so long.
func (g *gaps) likelyForced(p, q int64, lower []*source) int {
	from := timeline.Ticks(q) * timeline.CellTicks
	begunSo := p == q-blindCells && !slices.ContainsFunc(lower, func(s *source) bool { return s.copy.Info.Independent })
	k := slices.IndexFunc(g.intact, func(s sample) bool { return s.dts >= from })
	if q&1 != 0 || k < 1 || absCell(g.intact[k].pts()) != q || !begunSo && g.intact[0].dts > from-blindCells*timeline.CellTicks || g.followsOne(k, q) {
		return -1
	}
	return k
}

// followsOne reports whether there is a random access point before n in the two cells before q, so that q begins with one.
func (g *gaps) followsOne(n int, q int64) bool {
	return slices.ContainsFunc(g.intact[:n], func(s sample) bool { return s.flags == fmp4.FlagsSync && absCell(s.pts()) >= q-blindCells })
}

// none reports whether no segment begins in the slot of these copies: each was begun without a random access point, that cell has none, and one of the two before has.
func (g *gaps) none(copies []*source) bool {
	if slices.ContainsFunc(copies, func(s *source) bool { return !s.early() }) {
		return false
	}
	q := absCell(copies[0].copy.Info.Start)
	k := slices.IndexFunc(g.intact, func(s sample) bool { return s.dts >= timeline.Ticks(q)*timeline.CellTicks })
	return k > 0 && g.followsOne(k, q) && !slices.ContainsFunc(g.intact, func(s sample) bool { return s.flags == fmp4.FlagsSync && absCell(s.pts()) == q })
}

// toldCut gives the sample at which a recorder has cut for certain. ends: it is certain that the lower slot ends there, too; else one
// between the two may have been lost.
func (g *gaps) toldCut(video bool, lower, upper []*source) (n int, ok, ends bool) {
	at := never
	for _, o := range upper {
		if !o.copy.Info.Evidence.StartUncertain {
			at = o.tracks[g.j.ref].samples[0].dts
		}
	}
	for _, o := range lower {
		switch e := &o.copy.Info; {
		case e.Evidence.EndUncertain:
		case video:
			at, ends = o.tracks[g.j.ref].end(), true
		default:
			at, ends = e.End, true
		}
	}
	n = slices.IndexFunc(g.intact, func(s sample) bool { return s.dts == at })
	return n, n >= 0, ends
}

// firstOfCell reports whether random access point n is the first that may begin cell q, as far as a recorder would know that had received
// all of this (FORMAT.md, "Evidence").
func (g *gaps) firstOfCell(n int, p, q int64, video bool) bool {
	return g.followsOne(n, q) && g.intactBefore(n, p+1, video)
}

// intactBefore reports whether nothing that could belong to a cell can be missing before sample n.
func (g *gaps) intactBefore(n int, cell int64, video bool) bool {
	for i := n; i > 0 && !g.open[i]; i-- {
		if g.intact[i-1].dts <= timeline.Ticks(cell)*timeline.CellTicks-margin(video) {
			return true
		}
	}
	return false
}

// margin is how long before a cell units may have been sent that belong to it.
func margin(video bool) timeline.Ticks {
	if video {
		return timeline.TicksPerSecond
	}
	return timeline.TicksPerSecond / 10
}

// forcedCut finds the sample with which cell q begins without a random access point: nothing can be missing since before the blind cells before it, and there was
// none; or the slot before began so for certain with those, at first.
func (g *gaps) forcedCut(q int64, first timeline.Ticks, video bool) (n int, ok bool) {
	if q&1 != 0 {
		return 0, false
	}
	n = slices.IndexFunc(g.intact, func(s sample) bool { return s.dts >= timeline.Ticks(q)*timeline.CellTicks })
	seen := timeline.Ticks(q-blindCells)*timeline.CellTicks - margin(video)
	if n < 1 || g.followsOne(n, q) { // by its PTS
		return 0, false
	}
	for i := n; i > 0 && !g.open[i]; i-- {
		switch s := &g.intact[i-1]; {
		case s.dts <= seen, s.dts == first:
			return n, true
		case s.flags == fmp4.FlagsSync:
			return 0, false
		}
	}
	return 0, false
}

// besideLimits says which samples of a track are of the slot where those of the slots beside are at hand: l, and not beyond what the
// copies of the slot know, where a cut is not certain.
func (j *joiner) besideLimits(pid uint16, l limit) limit {
	w, t := j.wide, j.sources[0].tracks[pid]
	first, last := ever, never
	for _, s := range j.sources {
		if o := s.tracks[pid]; len(o.samples) > 0 {
			first, last = min(first, o.samples[0].dts), max(last, o.samples[len(o.samples)-1].dts)
		}
	}
	if o := j.refOut; t.data && o != nil && len(o.samples) > 0 {
		first, last = min(first, o.samples[0].dts), max(last, o.samples[len(o.samples)-1].dts)
	}
	switch by := pid == j.ref || t.data; {
	case l.audio && (j.startCertain || w.fromKnown):
		l.from = j.start
	case l.audio:
		l.from = min(j.start, first)
	case by && w.from != never:
		l.from = w.from
	case l.from == never:
		l.from = first
	}
	l.next = l.to
	switch by := pid == j.ref || t.data; {
	case l.audio && (j.endCertain || w.toKnown):
		l.to = j.end
	case l.audio:
		l.to = last + 1
	case by && w.to != ever:
		l.to, l.next = w.to, w.to
	case l.to == ever:
		l.to = last + 1
	}
	return l
}
