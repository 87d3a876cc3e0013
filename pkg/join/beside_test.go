package join

import (
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// TestBeginsEarly: a recorder that lost the random access points of two cells began a segment without one. What it has before the certain
// cut is of the neighbour, and the rest is joined.
func TestBeginsEarly(t *testing.T) {
	v, a := clean()
	early := copyOf(v, a, segment.Evidence{StartUncertain: true}, end)
	early.Info.Independent = false
	certain := copyOf(changed(v[16:], 4, damaged), a[30:], segment.Evidence{}, end)
	certain.Info.Start = begin + 16*frame
	r, err := Join(early, certain)
	if err != nil {
		t.Fatal(err)
	}
	if want := copyOf(v[16:], a[30:], segment.Evidence{}, end); r.Info.Digest != want.Info.Digest || r.Info.Start != certain.Info.Start || !r.Info.Evidence.Whole() || !r.Left {
		t.Errorf("got %+v, left %t", r.Info, r.Left)
	}
	early.Info.Independent = true
	if _, err := Join(early, certain); err == nil {
		t.Error("a random access point before the first is none")
	}
}

// TestBeginsEarlyOverDamage: what such a recorder has intact before the certain cut says nothing of what is damaged behind it.
func TestBeginsEarlyOverDamage(t *testing.T) {
	v, a := clean()
	spoiled := changed(a, 30, damaged)
	early := copyOf(v, spoiled, segment.Evidence{StartUncertain: true}, end)
	early.Info.Independent = false
	certain := copyOf(changed(v[16:], 4, damaged), spoiled[30:], segment.Evidence{}, end)
	certain.Info.Start = begin + 16*frame
	r, err := Join(early, certain)
	if err != nil {
		t.Fatal(err)
	}
	if e := &r.Info.Evidence; len(e.Faulty) != 1 || e.Faulty[0].PID != audio || len(e.Missing) != 0 {
		t.Errorf("got %+v, want the damaged frame", *e)
	}
}

// TestNoSoundBeyondTheCopies: a recorder that lost the picture with which the next segment begins says that its own lasts up to the one behind. Sound
// that it lacks there is of the next segment: with a frame of that the two could not be presented beside each other.
func TestNoSoundBeyondTheCopies(t *testing.T) {
	v, a := clean()
	e := missing(audio, pictures*frame, (pictures+1)*frame)
	e.Missing = append(e.Missing, missing(video, (pictures-1)*frame, (pictures+1)*frame).Missing...)
	e.EndUncertain = true
	own := moved(t, copyOf(v[:pictures-1], a, e, end+frame), timeline.CellTicks-pictures*frame)
	next := moved(t, copyOf(v, a, unclear, end), timeline.CellTicks)
	next.Info.Independent = false
	r, err := JoinBeside(nil, []Copy{own}, []Copy{next})
	if err != nil {
		t.Fatal(err)
	}
	if segment.Overlap(&r.Info, infoOf(t, next)) {
		t.Errorf("sound up to %d, and the next segment begins at %d", r.Info.Track(audio).End, next.Info.Start)
	}
}

// TestRunsOver: a recorder that lost all random access points of two slots has what belongs to them, and to the one behind them, in one copy.
func TestRunsOver(t *testing.T) {
	v, a := clean()
	const later = 3 * timeline.CellTicks
	all := func(us []unit) []unit {
		out := slices.Clone(us)
		for _, u := range us {
			u.at += later
			out = append(out, u)
		}
		return out
	}
	over := copyOf(all(v), all(a), broken, end+later)
	before := moved(t, copyOf(v, a, broken, end), 2*timeline.CellTicks)
	own := moved(t, copyOf(unitsWithout(v, 7, 9), changed(a, 3, damaged), missing(video, 7*frame, 9*frame), end), later)
	want := moved(t, copyOf(v, a, segment.Evidence{}, end), later)
	r, err := JoinBeside([]Copy{before, over}, []Copy{own}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parse(&r.Copy)
	if err != nil {
		t.Fatal(err)
	}
	sent, _ := parse(&want)
	for _, pid := range []uint16{video, audio} {
		if !slices.EqualFunc(got.tracks[pid].samples, sent.tracks[pid].samples, func(x, y sample) bool {
			return x.dts == y.dts && x.duration == y.duration && x.equal(&y)
		}) {
			t.Errorf("PID %d: got %d samples, not those that were sent", pid, len(got.tracks[pid].samples))
		}
	}
	if !r.Info.Evidence.Whole() {
		t.Errorf("got %+v", r.Info.Evidence)
	}
	over.Info.End = own.Info.Start // it says that it does not reach so far
	if r, err := JoinBeside([]Copy{before, over}, []Copy{own}, nil); err != nil || r.Info.Evidence.Whole() {
		t.Errorf("got %+v, %v", r.Info, err)
	}
}

// infoOf is what is said of a copy, its tracks with their times.
func infoOf(t *testing.T, c Copy) *segment.Info {
	s, err := parse(&c)
	if err != nil {
		t.Fatal(err)
	}
	info := c.Info
	for i := range info.Tracks {
		x := &info.Tracks[i]
		l := s.tracks[x.PID]
		x.Start, x.End, x.Samples = l.samples[0].dts, l.end(), uint32(len(l.samples))
	}
	return &info
}
