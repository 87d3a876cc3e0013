package join

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// ErrConflict is that copies contradict each other in what they hold for intact, or in cuts that are certain. All are to be
// kept.
var ErrConflict = errors.New("the copies contradict each other, and none of them is known to be wrong")

// ErrUnlike is that copies cannot be joined: they are not of one slot, or not what they say they are.
var ErrUnlike = errors.New("the copies are not of one slot, or their bytes are not what is said of them")

// Copy is a copy of a slot with its bytes in T.
type Copy struct {
	Info segment.Info
	Data []byte
}

// Result is a joined copy.
type Result struct {
	Copy
	// Left says that a copy has intact samples before or beyond the certain cuts of the slot: they belong to a neighbour, and
	// are not in the join.
	Left bool
	// Mended counts the access units that no copy has, and that came of the packets that the copies have together; Unlike the
	// places where those of copies differ.
	Mended, Unlike int
}

// Join joins copies of one slot; the order of them is of no matter. Path is that of the first. Errors: ErrConflict,
// ErrUnlike.
func Join(copies ...Copy) (Result, error) {
	if len(copies) == 0 {
		return Result{}, fmt.Errorf("join no copies: %w", ErrUnlike)
	}
	path := copies[0].Info.Path
	j, err := newJoiner(copies)
	if err != nil {
		return Result{}, err
	}
	r, err := j.join()
	if err != nil {
		return Result{}, err
	}
	r.Info.Path = path
	return r, nil
}

func newJoiner(copies []Copy) (*joiner, error) {
	if len(copies) == 0 {
		return nil, fmt.Errorf("join no copies: %w", ErrUnlike)
	}
	copies = distinct(copies)
	j := &joiner{sources: make([]*source, len(copies))}
	for i := range copies {
		s, err := parse(&copies[i])
		if err != nil {
			return nil, err
		}
		if j.sources[i] = s; s.slot != j.sources[0].slot {
			return nil, fmt.Errorf("join copies of %v and %v: %w", j.sources[0].slot, s.slot, ErrUnlike)
		}
	}
	return j, nil
}

// distinct gives the copies in an order of their own. Of equal bytes that are held for unlike things each copy counts: what
// one of them knows, is so.
func distinct(copies []Copy) []Copy {
	copies = slices.Clone(copies)
	slices.SortStableFunc(copies, func(a, b Copy) int {
		return cmp.Or(a.Info.Digest.Compare(b.Info.Digest), less(&a.Info.Evidence, &b.Info.Evidence), compareRuns(a.Info.Runs, b.Info.Runs))
	})
	return slices.CompactFunc(copies, func(a, b Copy) bool {
		return a.Info.Digest == b.Info.Digest && less(&a.Info.Evidence, &b.Info.Evidence) == 0 && compareRuns(a.Info.Runs, b.Info.Runs) == 0
	})
}

func compareRuns(a, b []segment.Run) int {
	if len(a) == 0 && len(b) == 0 {
		return 0
	}
	return bytes.Compare(segment.AppendRuns(nil, a), segment.AppendRuns(nil, b))
}

func less(a, b *segment.Evidence) int {
	switch {
	case a.Less(b):
		return -1
	case b.Less(a):
		return 1
	}
	return 0
}

// joiner is one join.
type joiner struct {
	sources []*source // by digest
	wide    *wide     // what the slots beside have; nil: they are not looked at

	start, end               timeline.Ticks
	startCertain, endCertain bool
	independent              bool
	ref                      uint16
	left                     bool
	runs                     []segment.Run // of all copies, united
	mended, unlike           int
	out                      []*joined // by PID
	refOut                   *joined   // that of the reference track; nil: it is not yet joined
}

func (j *joiner) join() (Result, error) {
	if len(j.sources) == 1 && j.wide == nil {
		return Result{Copy: *j.sources[0].copy}, nil
	}
	if r, ok, err := j.whole(); ok || err != nil {
		return r, err
	}
	if err := j.bounds(); err != nil {
		return Result{}, err
	}
	var runs [][]segment.Run
	for _, s := range j.sources {
		runs = append(runs, s.copy.Info.Runs)
	}
	if j.wide != nil {
		runs = append(runs, j.wide.besideRuns(j)...)
	}
	j.runs = segment.UniteRuns(runs...)
	if j.wide != nil {
		if err := j.recut(); err != nil {
			return Result{}, err
		}
	}
	first := j.sources[0]
	j.out = make([]*joined, len(first.copy.Info.Tracks))
	for _, ref := range []bool{true, false} { // data goes with the reference track
		for i := range first.copy.Info.Tracks {
			t := &first.copy.Info.Tracks[i]
			if (t.PID == j.ref) != ref {
				continue
			}
			out, err := j.track(t)
			if err != nil {
				return Result{}, fmt.Errorf("join PID %d of %s and others: %w", t.PID, first.copy.Info.Digest, err)
			}
			if j.out[i] = out; ref {
				j.refOut = out
			}
		}
	}
	return Result{Copy: j.build(), Left: j.left, Mended: j.mended, Unlike: j.unlike}, nil
}

// whole is the join where a copy is whole: nothing is to be added to it.
func (j *joiner) whole() (Result, bool, error) {
	i := slices.IndexFunc(j.sources, func(s *source) bool { return s.copy.Info.Evidence.Whole() })
	if i < 0 {
		return Result{}, false, nil
	}
	w := j.sources[i]
	if err := j.bounds(); err != nil {
		return Result{}, false, err
	}
	for pid := range w.tracks {
		l := j.limits(pid)
		for _, s := range j.sources {
			for k := range s.tracks[pid].samples {
				x := &s.tracks[pid].samples[k]
				switch {
				case x.reason != 0:
				case !l.has(x):
					j.left = true
				default:
					if h := w.tracks[pid].at(x.dts); h == nil || !h.equal(x) {
						return Result{}, false, fmt.Errorf("join with whole %s: PID %d at %d: %w", w.copy.Info.Digest, pid, x.dts, ErrConflict)
					}
				}
			}
		}
	}
	return Result{Copy: *w.copy, Left: j.left}, true, nil
}

// bounds finds the cuts. One that is certain holds; of those that are not, the outermost.
func (j *joiner) bounds() error {
	for i, s := range j.sources {
		info := &s.copy.Info
		e := &info.Evidence
		switch {
		case i == 0:
			j.start, j.end = info.Start, info.End
			j.startCertain, j.endCertain = !e.StartUncertain, !e.EndUncertain
			if r := info.Reference(); r != nil {
				j.ref = r.PID
			}
			continue
		case !e.StartUncertain && j.startCertain && info.Start != j.start, !e.EndUncertain && j.endCertain && info.End != j.end:
			return fmt.Errorf("join copies with other cuts: [%d, %d) and [%d, %d): %w", j.start, j.end, info.Start, info.End, ErrConflict)
		}
		j.start, j.startCertain = outer(j.start, j.startCertain, info.Start, !e.StartUncertain, func(a, b timeline.Ticks) timeline.Ticks { return min(a, b) })
		j.end, j.endCertain = outer(j.end, j.endCertain, info.End, !e.EndUncertain, func(a, b timeline.Ticks) timeline.Ticks { return max(a, b) })
	}
	for _, s := range j.sources {
		if s.copy.Info.Start < j.start && !s.early() { // it begins where no recorder may have cut
			return fmt.Errorf("join a copy that begins at %d with one that does at %d, certainly: %w", s.copy.Info.Start, j.start, ErrConflict)
		}
		j.independent = j.independent || s.copy.Info.Start == j.start && s.copy.Info.Independent
	}
	if j.end <= j.start {
		return fmt.Errorf("join copies that span [%d, %d): %w", j.start, j.end, ErrUnlike)
	}
	return nil
}

// early reports whether a copy may begin before the certain cut of its slot: where none of two cells had a random access point that
// its recorder saw, it has begun a segment without one.
func (s *source) early() bool { return s.copy.Info.Evidence.StartUncertain && !s.copy.Info.Independent }

func outer(a timeline.Ticks, aCertain bool, b timeline.Ticks, bCertain bool, pick func(a, b timeline.Ticks) timeline.Ticks) (timeline.Ticks, bool) {
	switch {
	case aCertain:
		return a, true
	case bCertain:
		return b, true
	}
	return pick(a, b), false
}

// limit is which samples of a track belong to the slot, as far as that is certain.
type limit struct {
	from, to timeline.Ticks // DTS of pictures and data
	next     timeline.Ticks // DTS of what follows the last one; ever: that is not known
	audio    bool           // then by its PTS, which is its DTS
}

func (l limit) has(s *sample) bool { return s.dts >= l.from && s.dts < l.to }

// limits says which samples of a track belong to the slot: sound by its time alone, pictures by where a copy with a certain
// cut, that lacks nothing beside it, has its first and its last; data with the reference track.
func (j *joiner) limits(pid uint16) limit {
	l := j.ownLimits(pid)
	if l.next = l.to; j.wide != nil {
		return j.besideLimits(pid, l)
	}
	return l
}

// ownLimits is limits as the copies of the slot tell.
func (j *joiner) ownLimits(pid uint16) limit {
	l := limit{from: never, to: ever}
	t := j.sources[0].tracks[pid]
	early := slices.ContainsFunc(j.sources, func(s *source) bool { return s.copy.Info.Start < j.start })
	if !t.video && !t.data {
		if early {
			l.from = j.start
		}
		if l.audio = true; j.endCertain {
			l.to = j.end
		}
		return l
	}
	by := pid
	if t.data {
		by = j.ref
	}
	for _, s := range j.sources {
		e, o := &s.copy.Info.Evidence, s.tracks[by]
		if n := len(o.intact); n > 0 {
			if !e.StartUncertain && !o.open[0] && (!t.data || early) {
				l.from = max(l.from, o.intact[0])
			}
			if !e.EndUncertain && !o.open[n] {
				l.to = min(l.to, o.end())
			}
		}
	}
	return l
}
