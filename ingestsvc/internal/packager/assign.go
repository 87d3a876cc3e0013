package packager

import (
	"math"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// reference gives the newest sample of the reference track to a segment, which it may begin.
func (p *Packager) reference(t *track, lost bool) {
	s := t.last()
	u := unit{dts: s.dts, pts: s.pts, rap: s.rap, bare: s.cfg == nil, lost: lost, damaged: s.reason != 0}
	if s.rap && p.open != nil {
		u.newSet, u.ownSet = p.setChanged()
	}
	if st, ok := p.cut.next(u); ok {
		// A configuration that came back within a cell has no slot of its own: what has it goes on under the one before, damaged.
		if set := p.wantedSet(); !st.sameCell || !p.startedInCell(set) {
			p.start(st, s, set)
		}
	}
	if p.open == nil {
		p.stats.Dropped++
		p.pending -= t.drop()
		return
	}
	p.assign(t, p.open)
}

// start begins a segment at s.
func (p *Packager) start(st start, s *sample, set segment.InitSet) {
	n := &seg{start: s.pts, dts: s.dts, independent: st.independent, ref: s.cfg}
	n.evidence.StartUncertain = !st.certain
	p.starts++
	n.order, n.key.Stretch = p.starts, p.stretch
	if p.starts > 1 {
		n.key.SincePrevious = max(p.ref.arrived-p.begun, 1)
	}
	p.begun = p.ref.arrived
	n.shift = s.pts - tForm(s.pts)
	for _, t := range p.tracks {
		if t.sparse != nil && !t.removed {
			n.tracks = append(n.tracks, segTrack{t: t, pid: t.pid, cfg: t.cfg, start: n.start, end: n.start})
		}
	}
	if p.open != nil {
		p.close(p.open, n.start, st.ends)
	}
	if p.tail != nil {
		p.tail.next = n
	}
	if p.head == nil {
		p.head = n
	}
	p.tail, p.open = n, n
	if !st.sameCell {
		p.cellSets = p.cellSets[:0]
	}
	p.cellSets = append(p.cellSets, set)
}

func (p *Packager) close(s *seg, end timeline.Ticks, certain bool) {
	s.closed, s.end = true, end
	s.evidence.EndUncertain = !certain
}

func (p *Packager) startedInCell(set segment.InitSet) bool {
	for _, s := range p.cellSets {
		if s == set {
			return true
		}
	}
	return len(p.cellSets) >= 16
}

// wantedSet identifies the configuration that a segment starting now is expected to have.
func (p *Packager) wantedSet() segment.InitSet {
	var tracks []segment.Track
	for _, t := range p.tracks {
		if t.sparse != nil && !t.removed || t.live(p.newest) && t.cfg != nil {
			tracks = append(tracks, segment.Track{PID: t.pid, Init: t.cfg.Init.Hash})
		}
	}
	return segment.MakeInitSet(tracks)
}

// setChanged compares the tracks as they are now with those of the open segment. own: the reference track itself has
// another configuration.
func (p *Packager) setChanged() (changed, own bool) {
	if p.ref.cfg.Init.Hash != p.open.ref.Init.Hash {
		return true, true
	}
	for _, t := range p.tracks {
		if t == p.ref {
			continue
		}
		st := p.open.track(t.pid)
		switch {
		case t.removed:
			changed = changed || st != nil && st.t == t
		case t.sparse != nil:
			changed = changed || st == nil || st.cfg.Init.Hash != t.cfg.Init.Hash
		case !t.live(p.newest) || t.cfg == nil:
		case st != nil:
			changed = changed || st.cfg.Init.Hash != t.cfg.Init.Hash
		default:
			changed = changed || p.open.begun
		}
	}
	return changed, false
}

// advance gives samples to segments and lets out what is complete.
func (p *Packager) advance() {
	if p.ref == nil {
		return
	}
	frontier := p.ref.dts
	if !p.ref.seen {
		frontier = p.newest - silence
	}
	for _, t := range p.tracks {
		if t != p.ref && t.sparse == nil {
			p.assignAll(t, frontier)
		}
	}
	for p.head != nil && p.emit(false) {
	}
}

// assignAll gives the samples of a track that is not the reference to segments, as far as their place is certain: no cut
// can come at or before the frontier any more.
func (p *Packager) assignAll(t *track, frontier timeline.Ticks) {
	for t.assigned < len(t.q) {
		s := &t.q[t.assigned]
		if s.pts > frontier {
			return
		}
		cur := t.cur
		if t.video {
			var ok bool
			if cur, ok = p.videoSegment(t, s, frontier); !ok {
				return
			}
		} else {
			for n := p.after(cur); n != nil && s.pts >= n.start; n = n.next {
				cur = n
			}
		}
		t.known = max(t.known, s.pts)
		p.assign(t, cur)
	}
}

// after is the segment that follows s, or the oldest where s is nil.
func (p *Packager) after(s *seg) *seg {
	if s == nil {
		return p.head
	}
	return s.next
}

// videoSegment finds the segment of a sample of a video track that is not the reference: the next one from its first RAP
// at or after B on, or where a cell has none, from its first sample at or after B.
func (p *Packager) videoSegment(t *track, s *sample, frontier timeline.Ticks) (cur *seg, ok bool) {
	cur = t.cur
	for n := p.after(cur); n != nil; n = p.after(cur) {
		if s.pts < n.start && s.dts < n.start || !s.rap && s.dts < n.start {
			return cur, true
		}
		if !s.rap {
			found := frontier == math.MaxInt64
			for i := t.assigned; i < len(t.q) && !found; i++ {
				if q := &t.q[i]; q.rap && q.pts >= n.start {
					return cur, true
				}
				found = t.q[i].dts >= n.start+timeline.CellTicks
			}
			if !found {
				return cur, false
			}
		}
		cur = n
	}
	return cur, true
}

// assign gives the first sample without one its segment, or drops it where there is none for it any more.
func (p *Packager) assign(t *track, cur *seg) {
	s := &t.q[t.assigned]
	prev := t.cur
	t.cur = cur
	if cur == nil || s.cfg == nil || cur.sealed || cur.closed && t != p.ref && s.pts >= cur.end {
		p.lose(t)
		return
	}
	st := cur.track(t.pid)
	switch {
	case st == nil && !cur.begun:
		cur.addTrack(t, s)
	case st == nil, st.t != t, cur.emitted(s.dts, t.pid), st.samples > 0 && s.dts < st.end: // the end may have been guessed
		cur.late(t, s)
		p.lose(t)
		return
	}
	s.seg = cur
	if s.first && t != p.ref {
		cur.evidence.StartUncertain = true
	}
	if s.missing != 0 {
		p.spread(t, s, prev, cur)
	}
	t.assigned++
}

func (p *Packager) lose(t *track) {
	p.stats.Dropped++
	p.pending -= t.drop()
}

// spread notes what is missing before s in every segment that it may have belonged to.
func (p *Packager) spread(t *track, s *sample, from, to *seg) {
	if from == nil {
		from = to
	}
	for g := from; g != nil; g = g.next {
		lo, hi := s.missingFrom, s.dts
		if !t.video {
			if g != from {
				lo = max(lo, g.start)
			}
			if g.closed && g != to {
				hi = min(hi, g.end)
			}
			// A frame that belongs to the segment of s is missing only if one fits between the cut and s.
			if g == to && g != from && s.dts-timeline.Ticks(s.nominal)+2 < g.start {
				lo = hi
			}
		} else if t == p.ref && g == to && g != from {
			lo = hi // lost before the RAP: the cut is uncertain, or it belongs to the segment before
		}
		if lo < hi {
			g.addMissing(t.pid, lo, hi, s.missing)
		}
		if g == to {
			return
		}
	}
}
