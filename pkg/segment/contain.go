package segment

import (
	"slices"

	"github.com/twinreel/twinreel/pkg/timeline"
)

// Shift returns i with its times moved by d; the chunk table is shared and not moved.
func (i *Info) Shift(d timeline.Ticks) *Info {
	out := *i
	out.Start += d
	out.End += d
	out.Tracks = slices.Clone(i.Tracks)
	for k := range out.Tracks {
		out.Tracks[k].Start += d
		out.Tracks[k].End += d
	}
	out.Evidence.Faulty = slices.Clone(i.Evidence.Faulty)
	for k := range out.Evidence.Faulty {
		out.Evidence.Faulty[k].DTS += d
	}
	out.Evidence.Missing = slices.Clone(i.Evidence.Missing)
	for k := range out.Evidence.Missing {
		out.Evidence.Missing[k].From += d
		out.Evidence.Missing[k].To += d
	}
	return &out
}

// Sample is one access unit of a copy, as copies are compared.
type Sample struct {
	PID  uint16
	DTS  timeline.Ticks // U
	Size uint32
	Hash [16]byte // of its bytes
	// Intact: it is not among the faulty samples of the copy.
	Intact bool
}

// Near is the distance in ticks below which two samples of a track of pictures or sound are one: the time of a damaged one
// may have been counted from another sample than that of the same one elsewhere.
const Near timeline.Ticks = 100

// Content is what a copy holds.
type Content struct {
	Samples []Sample
	Whole   bool
}

// sampleAt is a place on a track.
type sampleAt struct {
	pid uint16
	dts timeline.Ticks
}

// Within reports whether others together contain c: each intact sample of it, equal and intact. A damaged one must
// have something in its place too (within Near), or a whole copy among the others, since damage may have been in its time itself.
func (c *Content) Within(others ...*Content) bool {
	whole := false
	have := map[sampleAt][]*Sample{}
	times := map[uint16][]timeline.Ticks{} // sorted
	for _, o := range others {
		whole = whole || o.Whole
		for i := range o.Samples {
			s := &o.Samples[i]
			at := sampleAt{s.PID, s.DTS}
			have[at] = append(have[at], s)
			times[s.PID] = append(times[s.PID], s.DTS)
		}
	}
	for _, t := range times {
		slices.Sort(t)
	}
	for i := range c.Samples {
		s := &c.Samples[i]
		here := have[sampleAt{s.PID, s.DTS}]
		if !s.Intact {
			t := times[s.PID]
			i, _ := slices.BinarySearch(t, s.DTS-Near+1)
			if (i == len(t) || t[i] >= s.DTS+Near) && !whole {
				return false
			}
			continue
		}
		if !slices.ContainsFunc(here, func(h *Sample) bool { return h.Intact && h.Size == s.Size && h.Hash == s.Hash }) {
			return false
		}
	}
	return true
}

// Covers judges by evidence alone whether stored copies contain an offered one. have are the durable copies of its slot
// and of the slots that it may reach into, in the same turn as want (see Info.Shift). Where it says no, only
// the bytes can tell.
func Covers(have []*Info, want *Info) bool {
	for _, h := range have {
		if h.Digest == want.Digest {
			return true
		}
	}
	if want.Evidence.Whole() {
		return false // two whole copies that differ are a conflict: both are kept
	}
	if coveredByWhole(have, want) {
		return true
	}
	return slices.ContainsFunc(have, func(h *Info) bool { return covers(h, want) })
}

// coveredByWhole reports whether whole copies, one after the other, span every track of want and have no fewer samples.
func coveredByWhole(have []*Info, want *Info) bool {
	for k := range want.Tracks {
		t := &want.Tracks[k]
		var set timeline.Set
		var samples uint64
		for _, h := range have {
			o := h.Track(t.PID)
			if o == nil || !h.Evidence.Whole() || o.Init != t.Init {
				continue
			}
			set = set.Add(timeline.Range{From: o.Start, To: o.End})
			samples += uint64(o.Samples)
		}
		if !t.Data() && !set.Covers(timeline.Range{From: t.Start, To: t.End}) || samples < uint64(t.Samples) {
			return false
		}
	}
	return len(want.Tracks) > 0
}

// covers reports whether one copy that is not whole is nowhere worse than want.
func covers(h, want *Info) bool {
	e, w := &h.Evidence, &want.Evidence
	if (e.StartUncertain && !w.StartUncertain) || (e.EndUncertain && !w.EndUncertain) {
		return false
	}
	for k := range want.Tracks {
		t := &want.Tracks[k]
		o := h.Track(t.PID)
		if o == nil || o.Init != t.Init || o.Samples < t.Samples || t.Samples > 0 && (o.Start > t.Start || o.End < t.End) {
			return false
		}
		var missing timeline.Set
		for _, m := range w.Missing {
			if m.PID == t.PID {
				missing = missing.Add(timeline.Range{From: m.From, To: m.To})
			}
		}
		for _, m := range e.Missing {
			if m.PID == t.PID && !missing.Covers(timeline.Range{From: m.From, To: m.To}) {
				return false
			}
		}
	}
	for _, f := range e.Faulty {
		if !slices.ContainsFunc(w.Faulty, func(g FaultySample) bool { return g.PID == f.PID && g.DTS == f.DTS }) {
			return false
		}
	}
	return len(want.Tracks) > 0
}
