package verdict

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinreel/twinreel/deploy/twinreel/witness"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const (
	video, sound = 0x100, 0x101
	frameTicks   = 3600
	perSegment   = 145 // pictures: a segment of 5.8 s
)

// run makes a minute of pictures and sounds across a wrap of the clock, and an archive that holds all of it but the
// pictures of the segment that was open.
func run() (witness.Log, Site) {
	start := int64(timeline.Wrap) - 20*90000
	hash := func(pid uint16, i int64) witness.Hash {
		return witness.HashOf(binary.BigEndian.AppendUint64([]byte{byte(pid)}, uint64(i)))
	}
	log := witness.Log{Streams: []witness.Stream{{PID: video, Name: "H.264", Counted: true}, {PID: sound, Name: "AAC", Counted: true}}}
	site := Site{}
	for i := range int64(1500) {
		for _, pid := range []uint16{video, sound} {
			log.Units = append(log.Units, witness.Unit{
				PID: pid, DTS: (start + i*frameTicks) & (1<<33 - 1), Hash: hash(pid, i),
			})
		}
	}
	for i := 0; i+perSegment <= 1500; i += perSegment {
		units := slices.Clone(log.Units[2*i : 2*(i+perSegment)])
		from := timeline.Ticks(units[0].DTS) + timeline.Wrap
		s := Segment{
			Start: from, Whole: i > 0, Units: units, At: time.Unix(int64(i)/25, 0),
			Digest: segment.Sum(binary.BigEndian.AppendUint64(nil, uint64(i))),
		}
		for _, pid := range []uint16{video, sound} {
			s.Tracks = append(s.Tracks, segment.Track{PID: pid, Start: from, End: from + perSegment*frameTicks})
		}
		site.Segments = append(site.Segments, s)
	}
	return log, site
}

func clone(s Site, name string) Site {
	s.Name, s.Segments = name, slices.Clone(s.Segments)
	for i := range s.Segments {
		s.Segments[i].Units = slices.Clone(s.Segments[i].Units)
	}
	return s
}

// without takes a track out of the segments from the given one on.
func without(s *Site, pid uint16, from int) {
	for i := range s.Segments[from:] {
		g := &s.Segments[from+i]
		g.Units = slices.DeleteFunc(g.Units, func(u witness.Unit) bool { return u.PID == pid })
		g.Tracks = slices.DeleteFunc(slices.Clone(g.Tracks), func(t segment.Track) bool { return t.PID == pid })
	}
}

func TestJudge(t *testing.T) {
	for _, tc := range []struct {
		name     string
		break_   func(log *witness.Log, a, b *Site)
		lost     int
		doubled  int
		equal    bool
		problems []string
	}{
		{"all is well", func(*witness.Log, *Site, *Site) {}, 0, 0, true, nil},
		{"a segment is deleted on one side", func(_ *witness.Log, _, b *Site) {
			b.Segments = slices.Delete(b.Segments, 3, 4)
		}, 2 * perSegment, 0, false, []string{"b lost 290 of 2900", "1 of 10 slots differ"}},
		{"the last segment is deleted on one side", func(_ *witness.Log, a, _ *Site) {
			a.Segments = a.Segments[:len(a.Segments)-1]
		}, 2 * perSegment, 0, false, []string{"a lost 290 of 2900", "1 of 10 slots differ"}},
		{"the first segment is deleted on one side", func(_ *witness.Log, a, _ *Site) {
			a.Segments = a.Segments[1:]
		}, 2 * perSegment, 0, false, []string{"a lost 290 of 2900", "1 of 10 slots differ"}},
		{"a segment is deleted on both sides", func(_ *witness.Log, a, b *Site) {
			a.Segments, b.Segments = slices.Delete(a.Segments, 3, 4), slices.Delete(b.Segments, 3, 4)
		}, 2 * perSegment, 0, true, []string{"a lost 290", "b lost 290"}},
		{"the last three segments are deleted on both sides", func(_ *witness.Log, a, b *Site) {
			a.Segments, b.Segments = a.Segments[:7], b.Segments[:7]
		}, 0, 0, true, []string{"19.4 s were sent after"}},
		{"a segment is there twice", func(_ *witness.Log, a, _ *Site) {
			a.Segments = slices.Insert(a.Segments, 4, a.Segments[3])
		}, 0, 2 * perSegment, false, []string{"a holds 290 access units twice", "1 of 11 slots differ"}},
		{"nobody recorded a track", func(_ *witness.Log, a, b *Site) {
			without(a, sound, 0)
			without(b, sound, 0)
		}, 10 * perSegment, 0, true, []string{"a lost 1450 of 2900", "b lost 1450 of 2900"}},
		{"nobody recorded a track to the end", func(_ *witness.Log, a, b *Site) {
			without(a, sound, 3)
			without(b, sound, 3)
		}, 7 * perSegment, 0, true, []string{"a lost 1015 of 2900", "b lost 1015 of 2900"}},
		{"a track that the witness cannot count", func(log *witness.Log, a, b *Site) {
			log.Streams[1].Counted = false
			log.Units = slices.DeleteFunc(log.Units, func(u witness.Unit) bool { return u.PID == sound })
		}, 0, 0, true, nil},
		{"units at another time", func(_ *witness.Log, a, b *Site) {
			a.Segments[2].Units[7].DTS += 2880
			b.Segments[2].Units[7].DTS += 2880
		}, 0, 0, true, nil},
		{"a unit far from its time", func(_ *witness.Log, a, _ *Site) {
			a.Segments[2].Units[7].DTS += 9001
		}, 1, 0, true, []string{"a lost 1", "a holds 1 access units that were not sent so"}},
		{"the clock of the source was set back", func(_ *witness.Log, a, b *Site) {
			again := a.Segments[3]
			again.At, again.Units, again.Digest = again.At.Add(time.Hour), nil, segment.Sum(nil)
			a.Segments, b.Segments = append(a.Segments, again), append(b.Segments, again)
		}, 0, 0, true, nil},
		{"the clock was set back, and each was away once", func(_ *witness.Log, _, b *Site) {
			b.Segments[3].At = b.Segments[3].At.Add(time.Hour)
		}, 0, 0, false, []string{"2 of 11 slots differ"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			log, site := run()
			a, b := clone(site, "a"), clone(site, "b")
			tc.break_(&log, &a, &b)
			v := Judge(log, a, b)
			if v.Lost() != tc.lost || v.Doubled() != tc.doubled || v.Identical() != tc.equal {
				t.Errorf("lost %d, doubled %d, identical %v; want %d, %d, %v", v.Lost(), v.Doubled(), v.Identical(), tc.lost, tc.doubled, tc.equal)
			}
			got := v.Problems()
			if len(got) != len(tc.problems) {
				t.Fatalf("problems %q, want %q", got, tc.problems)
			}
			for i, want := range tc.problems {
				if !strings.Contains(got[i], want) {
					t.Errorf("problem %q, want one with %q", got[i], want)
				}
			}
		})
	}
}

func TestJudgeSaysWhatItFound(t *testing.T) {
	log, site := run()
	log.Streams = append(log.Streams, witness.Stream{PID: 258, Name: "AC-3"})
	a, b := clone(site, "a"), clone(site, "b")
	a.Segments[2].Units[7].DTS += 2880 // a sound
	without(&b, sound, 9)
	v := Judge(log, a, b)
	if n := v.Sites[0]; n.Moved != 1 || n.MovedBy != 0.032 {
		t.Errorf("%d units moved by %g s, want 1 by 0.032", n.Moved, n.MovedBy)
	}
	want := []Track{{Name: "PID 256 H.264", Sent: 1450}, {Name: "PID 257 AAC", Sent: 1450, Lost: [2]int{0, perSegment}}}
	if !slices.Equal(v.Tracks, want) || !slices.Equal(v.NotJudged, []string{"PID 258 AC-3"}) {
		t.Errorf("tracks %v, not judged %q; want %v and the AC-3", v.Tracks, v.NotJudged, want)
	}
	if v := Judge(witness.Log{}, a, b); !v.Void() {
		t.Error("nothing was sent, and the verdict is not void")
	}
}
