package segment

import (
	"cmp"
	"slices"

	"github.com/twinreel/twinreel/pkg/timeline"
)

// MaxCopies is how many different copies one slot keeps.
const MaxCopies = 4

// Rank orders the copies of a slot: negative when a is presented rather than b. Whole comes first, then more intact
// samples, fewer damaged or missing ticks, more bytes, less media time, smaller digest.
//
// Intact samples stand before damage, since a copy that broke off after a second has no damage in it, and yet is worse
// than one that lacks a single picture. Of two copies that broke off behind the same sample, the one in which that is shorter is better: where it
// is longer the next one was lost. It is what a join makes of them.
func Rank(a, b *Info) int {
	return cmp.Or(
		compareBool(b.Evidence.Whole(), a.Evidence.Whole()),
		cmp.Compare(b.intactSamples(), a.intactSamples()),
		cmp.Compare(a.ImpairedTicks(), b.ImpairedTicks()),
		cmp.Compare(b.Bytes, a.Bytes),
		cmp.Compare(a.ticks(), b.ticks()),
		a.Digest.Compare(b.Digest),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func (i *Info) intactSamples() int64 {
	var n int64
	for _, t := range i.Tracks {
		n += int64(t.Samples)
	}
	return n - int64(len(i.Evidence.Faulty))
}

// ticks is the media time of all tracks.
func (i *Info) ticks() (n timeline.Ticks) {
	for _, t := range i.Tracks {
		n += t.End - t.Start
	}
	return n
}

// DamagedTicks is the media time that is here and not intact on some track. A sample counts with the mean length of
// the samples of its track.
func (i *Info) DamagedTicks() timeline.Ticks { return i.damaged(nil).Len() }

// MissingTicks is the media time that is not here on some track.
func (i *Info) MissingTicks() timeline.Ticks { return i.missing(nil).Len() }

// ImpairedTicks is the media time that is damaged or missing on some track.
func (i *Info) ImpairedTicks() timeline.Ticks { return i.missing(i.damaged(nil)).Len() }

func (i *Info) damaged(s timeline.Set) timeline.Set {
	for _, f := range i.Evidence.Faulty {
		s = s.Add(timeline.Range{From: f.DTS, To: f.DTS + i.SampleTicks(f.PID)})
	}
	return s
}

func (i *Info) missing(s timeline.Set) timeline.Set {
	for _, m := range i.Evidence.Missing {
		s = s.Add(timeline.Range{From: m.From, To: m.To})
	}
	return s
}

// SampleTicks is the mean length of the samples of a track, at least 1.
func (i *Info) SampleTicks(pid uint16) timeline.Ticks {
	t := i.Track(pid)
	if t == nil || t.Samples == 0 {
		return 1
	}
	if t.Data() {
		return 1 // it has a place, and no length
	}
	return max(1, (t.End-t.Start)/timeline.Ticks(t.Samples))
}

// Reference returns the reference track (FORMAT.md, rule 3): the video track of the lowest PID, else the first track that
// is not data.
// It is nil when there is no track.
func (i *Info) Reference() *Track {
	var first *Track
	for k := range i.Tracks {
		t := &i.Tracks[k]
		if t.Video() {
			return t
		}
		if first == nil || first.Data() && !t.Data() {
			first = t
		}
	}
	return first
}

// Overlap reports whether two copies of one turn share media on a track: whether samples of one begin among those of the
// other. Sound that goes on before the last frame of the segment before has been heard, as where a source loops a file
// whose sound is longer than its picture, is not shared.
func Overlap(a, b *Info) bool {
	for k := range a.Tracks {
		t := &a.Tracks[k]
		if t.Data() {
			continue // it goes with the reference track
		}
		if o := b.Track(t.PID); o != nil && t.starts().Overlaps(o.starts()) {
			return true
		}
	}
	return false
}

// starts is where samples of the track begin. The duration of a picture reaches to the next one in any case (FORMAT.md,
// rule 5), that of a frame of sound is its nominal one.
func (t *Track) starts() timeline.Range {
	r := timeline.Range{From: t.Start, To: t.End}
	if !t.Video() && t.Samples > 0 {
		r.To = max(t.Start, t.End-(t.End-t.Start)/timeline.Ticks(t.Samples)) + 1
	}
	return r
}

// RanOver reports whether a copy may have run over the cut with which another of its slot ends: its reference track ends later, in another cell,
// or sound of it begins behind that cut, and it is not certain of its end. One that ends in the cell in which it begins broke off, and with no cut.
// So one may that began before the random access point with which the other begins, without one, and is not certain of that.
func RanOver(a, b *Info) bool {
	if a.Evidence.StartUncertain && !a.Independent && b.Independent && a.Start < b.Start {
		return true
	}
	s, t := a.Reference(), b.Reference()
	return a.Evidence.EndUncertain && s != nil && t != nil && (s.End > t.End || slices.ContainsFunc(a.Tracks, func(x Track) bool {
		return !x.Video() && !x.Data() && x.starts().To > b.End
	})) && s.End/timeline.CellTicks > a.Start/timeline.CellTicks && b.End/timeline.CellTicks > b.Start/timeline.CellTicks
}

// Less compares the evidence of two copies with one digest: the smaller holds, on every site the same. Whole is the
// smallest.
func (e *Evidence) Less(o *Evidence) bool {
	count := func(e *Evidence) int {
		n := len(e.Faulty) + len(e.Missing)
		if e.StartUncertain {
			n++
		}
		if e.EndUncertain {
			n++
		}
		return n
	}
	if c := cmp.Compare(count(e), count(o)); c != 0 {
		return c < 0
	}
	if c := cmp.Or(compareBool(e.StartUncertain, o.StartUncertain), compareBool(e.EndUncertain, o.EndUncertain),
		cmp.Compare(len(e.Faulty), len(o.Faulty))); c != 0 {
		return c < 0
	}
	for i, f := range e.Faulty {
		g := o.Faulty[i]
		if c := cmp.Or(cmp.Compare(f.PID, g.PID), cmp.Compare(f.DTS, g.DTS), cmp.Compare(f.Reason, g.Reason)); c != 0 {
			return c < 0
		}
	}
	for i, f := range e.Missing {
		g := o.Missing[i]
		if c := cmp.Or(cmp.Compare(f.PID, g.PID), cmp.Compare(f.From, g.From), cmp.Compare(f.To, g.To), cmp.Compare(f.Reason, g.Reason)); c != 0 {
			return c < 0
		}
	}
	return false
}
