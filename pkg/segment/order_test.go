package segment

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/twinreel/twinreel/pkg/timeline"
)

const frame = 3600

// drawInfo makes what is known of a copy of cell 0 with one or two tracks.
func drawInfo(t *rapid.T, label string) *Info {
	from := rapid.IntRange(0, 20).Draw(t, label+" from")
	n := rapid.IntRange(1, 20).Draw(t, label+" samples")
	i := &Info{Bytes: rapid.Uint64Range(1, 5).Draw(t, label+" bytes")}
	i.Digest[0] = byte(rapid.IntRange(0, 255).Draw(t, label+" digest"))
	i.Start, i.End = timeline.Ticks(from*frame), timeline.Ticks((from+n)*frame)
	i.Tracks = []Track{{PID: 256, Codec: "avc1.64001f", Start: i.Start, End: i.End, Samples: uint32(n)}}
	i.Evidence.StartUncertain = rapid.Bool().Draw(t, label+" start")
	i.Evidence.EndUncertain = rapid.Bool().Draw(t, label+" end")
	for _, k := range rapid.SliceOfNDistinct(rapid.IntRange(0, n-1), 0, min(3, n), rapid.ID[int]).Draw(t, label+" faulty") {
		i.Evidence.Faulty = append(i.Evidence.Faulty, FaultySample{PID: 256, DTS: i.Start + timeline.Ticks(k*frame), Reason: ReasonContinuity})
	}
	return i
}

func drawInfos(t *rapid.T) (slots []Slot, infos []*Info) {
	for k := range rapid.IntRange(1, 6).Draw(t, "copies") {
		slots = append(slots, Slot{Cell: uint16(rapid.IntRange(0, 2).Draw(t, "cell"))})
		infos = append(infos, drawInfo(t, string(rune('a'+k))))
	}
	return slots, infos
}

// Two copies broke off behind the same sample, and one had lost the next one.
func TestRankOfABrokenOffCopy(t *testing.T) {
	short := Info{Digest: Digest{3}, Bytes: 10, Tracks: []Track{{PID: 256, Samples: 6, End: 6 * 1024}}, Evidence: Evidence{EndUncertain: true}}
	long := short
	long.Digest, long.Tracks = Digest{2}, []Track{{PID: 256, Samples: 6, End: 7 * 1024}}
	if Rank(&short, &long) >= 0 {
		t.Error("the longer one is presented")
	}
}

func TestRankIsAnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawInfo(t, "a"), drawInfo(t, "b"), drawInfo(t, "c")
		if Rank(a, b) != -Rank(b, a) {
			t.Errorf("Rank(a, b) = %d, Rank(b, a) = %d", Rank(a, b), Rank(b, a))
		}
		if Rank(a, b) <= 0 && Rank(b, c) <= 0 && Rank(a, c) > 0 {
			t.Error("not transitive")
		}
		if a.Evidence.Whole() && !b.Evidence.Whole() && Rank(a, b) >= 0 {
			t.Error("whole does not come first")
		}
	})
}

// Two segments whose sound touches are both played; copies that share a frame are not.
func TestOverlap(t *testing.T) {
	const frame = 1920
	at := func(start, end timeline.Ticks, audio, frames int) *Info {
		from := timeline.Ticks(audio)
		return &Info{Start: start, End: end, Tracks: []Track{
			{PID: 256, Codec: "avc1.64001f", Start: start, End: end, Samples: uint32((end - start) / 3600)},
			{PID: 257, Codec: "mp4a.40.2", Start: from, End: from + timeline.Ticks(frames*frame), Samples: uint32(frames)},
		}}
	}
	first := at(0, 36000, 100, 19) // its sound ends at 36580
	first.Tracks = append(first.Tracks, Track{PID: 300, Codec: "urim.teletext", Start: 0, End: 36500, Samples: 9})
	for _, c := range []struct {
		name string
		next *Info
		want bool
	}{
		{"the sound goes on where it ended", at(36000, 72000, 36580, 19), false},
		{"10 ms early, as a loop may have it", at(36000, 72000, 36580-961, 19), false},
		{"with the last frame once more", at(36000, 72000, 36580-frame, 19), true},
		{"the picture once more", at(36000-3600, 72000, 36580, 19), true},
		{"data is no media time", func() *Info {
			next := at(36000, 72000, 36580, 19)
			next.Tracks = append(next.Tracks, Track{PID: 300, Codec: "urim.teletext", Start: 35000, End: 36000, Samples: 2})
			return next
		}(), false},
		{"a track without a sample", at(36000, 72000, 36580-frame, 0), false},
	} {
		if got := Overlap(first, c.next); got != c.want || Overlap(c.next, first) != c.want {
			t.Errorf("%s: got %t", c.name, got)
		}
	}
}

func TestPresentedAreDisjoint(t *testing.T) { // R2
	rapid.Check(t, func(t *rapid.T) {
		slots, infos := drawInfos(t)
		yes := Present(slots, infos)
		best := slices.MinFunc(infos, Rank)
		for i := range infos {
			if infos[i] == best && best.Evidence.Whole() && !yes[i] {
				t.Error("the best whole copy is not presented")
			}
			blocked := false
			for k := range infos {
				if k == i || !yes[k] || slots[k] != slots[i] && !Overlap(infos[k], infos[i]) {
					continue
				}
				blocked = true
				if yes[i] {
					t.Errorf("copies %d and %d are both presented", i, k)
				}
			}
			if !yes[i] && !blocked {
				t.Errorf("copy %d could be presented", i)
			}
		}
		// Any order of arrival gives the same.
		shift := rapid.IntRange(0, len(infos)-1).Draw(t, "rotate")
		again := Present(append(slices.Clone(slots[shift:]), slots[:shift]...), append(slices.Clone(infos[shift:]), infos[:shift]...))
		for i := range infos {
			if j := (i - shift + len(infos)) % len(infos); again[j] != yes[i] && !hasTwin(infos, i) {
				t.Errorf("copy %d depends on the order", i)
			}
		}
	})
}

// TestPresentedAreTheMost: of copies that are not whole no other choice has more intact samples, nor as many and less damage.
func TestPresentedAreTheMost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots, infos := drawInfos(t)
		yes := Present(slots, infos)
		conflict := func(i, k int) bool { return slots[i] == slots[k] || Overlap(infos[i], infos[k]) }
		var rest []int // of what is whole, or shares with what is whole and presented, there is no choice; nor of what has nothing
		for i := range infos {
			if infos[i].intactSamples() > 0 && !infos[i].Evidence.Whole() && !slices.ContainsFunc(infos, func(o *Info) bool {
				k := slices.Index(infos, o)
				return o.Evidence.Whole() && yes[k] && conflict(i, k)
			}) {
				rest = append(rest, i)
			}
		}
		worth := func(set []int) (intact int64, impaired timeline.Ticks) {
			for _, i := range set {
				intact, impaired = intact+infos[i].intactSamples(), impaired+infos[i].ImpairedTicks()
			}
			return intact, impaired
		}
		var got []int
		for _, i := range rest {
			if yes[i] {
				got = append(got, i)
			}
		}
		intact, impaired := worth(got)
		for bits := range 1 << len(rest) {
			var set []int
			for n, i := range rest {
				if bits>>n&1 == 1 {
					set = append(set, i)
				}
			}
			if slices.ContainsFunc(set, func(i int) bool {
				return slices.ContainsFunc(set, func(k int) bool { return i != k && conflict(i, k) })
			}) {
				continue
			}
			if n, d := worth(set); n > intact || n == intact && d < impaired {
				t.Errorf("presented are %v with %d intact samples and %d damaged ticks, %v have %d and %d", got, intact, impaired, set, n, d)
			}
		}
	})
}

// TestPresentOverALostCut: one copy ran over a cut that its recorder lost.
func TestPresentOverALostCut(t *testing.T) {
	copyOf := func(from, to, faulty int) *Info {
		i := &Info{Start: timeline.Ticks(from) * frame, End: timeline.Ticks(to) * frame, Digest: Digest{byte(from), byte(to)}}
		i.Tracks = []Track{{PID: 256, Start: i.Start, End: i.End, Samples: uint32(to - from)}}
		i.Evidence.EndUncertain = true
		for k := range faulty {
			i.Evidence.Faulty = append(i.Evidence.Faulty, FaultySample{PID: 256, DTS: i.Start + timeline.Ticks(k)*frame})
		}
		return i
	}
	slots := []Slot{{Cell: 1}, {Cell: 1}, {Cell: 2}, {Cell: 2}}
	long, first, late, second := copyOf(0, 150, 0), copyOf(0, 100, 1), copyOf(150, 200, 9), copyOf(100, 200, 1)
	if got := Present(slots, []*Info{long, first, late, second}); !slices.Equal(got, []bool{false, true, false, true}) {
		t.Errorf("presented: %v; of 200 samples 191 are intact in the first and the third, 198 in the others", got)
	}
}

// hasTwin reports whether another copy ranks exactly alike.
func hasTwin(infos []*Info, i int) bool {
	for k := range infos {
		for l := range k {
			if Rank(infos[k], infos[l]) == 0 {
				return true
			}
		}
	}
	return false
}

// contentOf gives the samples of a copy: bytes are those of the place, unless it is faulty.
func contentOf(i *Info) *Content {
	c := &Content{Whole: i.Evidence.Whole()}
	for at := i.Start; at < i.End; at += frame {
		s := Sample{PID: 256, DTS: at, Size: 9, Hash: [16]byte{byte(at / frame)}, Intact: true}
		if slices.ContainsFunc(i.Evidence.Faulty, func(f FaultySample) bool { return f.DTS == at }) {
			s.Hash[1], s.Intact = 1, false
		}
		c.Samples = append(c.Samples, s)
	}
	return c
}

func TestCoversIsNeverTooGenerous(t *testing.T) { // R1: what evidence releases, the bytes contain
	covered := 0
	rapid.Check(t, func(t *rapid.T) {
		_, infos := drawInfos(t)
		want, have := infos[0], infos[1:]
		for k := range have {
			if have[k].Digest == want.Digest {
				have[k].Digest[1] = byte(k + 1)
			}
		}
		if !Covers(have, want) {
			return
		}
		covered++
		var contents []*Content
		for _, h := range have {
			contents = append(contents, contentOf(h))
		}
		if !contentOf(want).Within(contents...) {
			t.Errorf("%+v is said to be contained", want)
		}
	})
	if covered == 0 {
		t.Error("nothing was ever covered: the test tests nothing")
	}
}

func TestWithin(t *testing.T) {
	sample := func(at int, hash byte, intact bool) Sample {
		return Sample{PID: 1, DTS: timeline.Ticks(at), Size: 1, Hash: [16]byte{hash}, Intact: intact}
	}
	a := &Content{Samples: []Sample{sample(1, 1, true), sample(2, 2, true)}}
	for _, c := range []struct {
		name   string
		others []*Content
		want   bool
	}{
		{"nothing", nil, false},
		{"itself", []*Content{a}, true},
		{"one lacks a sample", []*Content{{Samples: []Sample{sample(1, 1, true)}}}, false},
		{"two together", []*Content{{Samples: []Sample{sample(1, 1, true)}}, {Samples: []Sample{sample(2, 2, true)}}}, true},
		{"other bytes", []*Content{{Samples: []Sample{sample(1, 1, true), sample(2, 9, true)}}}, false},
		{"equal but not intact", []*Content{{Samples: []Sample{sample(1, 1, true), sample(2, 2, false)}}}, false},
		{"whole with other bytes", []*Content{{Whole: true, Samples: []Sample{sample(1, 1, true), sample(2, 9, true)}}}, false},
	} {
		if got := a.Within(c.others...); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	bad := &Content{Samples: []Sample{sample(1, 1, true), sample(2+int(Near), 7, false)}}
	if bad.Within(a) {
		t.Error("a damaged sample has nothing in its place")
	}
	if near := (&Content{Samples: []Sample{sample(1, 1, true), sample(1+int(Near), 7, false)}}); !near.Within(a) {
		t.Error("a damaged sample whose time was counted from another one keeps a copy")
	}
	if !bad.Within(&Content{Whole: true, Samples: a.Samples}) {
		t.Error("a damaged sample at a time of its own keeps a copy beside a whole one")
	}
}

func TestEvidenceLess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := &drawInfo(t, "a").Evidence, &drawInfo(t, "b").Evidence
		if a.Less(b) && b.Less(a) || a.Less(a) {
			t.Error("not an order")
		}
		if a.Whole() && !b.Whole() && !a.Less(b) {
			t.Error("whole is not the smallest")
		}
	})
}

func TestReferenceIsNoData(t *testing.T) {
	data, sound := Track{PID: 1, Codec: "urim.klv"}, Track{PID: 2, Codec: "ac-3"}
	for _, c := range []struct {
		tracks []Track
		want   uint16
	}{{[]Track{data, sound}, 2}, {[]Track{sound, data}, 2}, {[]Track{data}, 1}} {
		if got := (&Info{Tracks: c.tracks}).Reference(); got.PID != c.want {
			t.Errorf("%+v: PID %d", c.tracks, got.PID)
		}
	}
}

// TestRanOver: of two that end in unlike places the later one may have run over a cut where it is not certain of its end and is beyond its cell.
func TestRanOver(t *testing.T) {
	copyTo := func(end timeline.Ticks, uncertain bool) *Info {
		return &Info{
			Start: timeline.CellTicks + 90000, End: end, Evidence: Evidence{EndUncertain: uncertain},
			Tracks: []Track{{PID: 256, Codec: "avc1.64001f", Start: timeline.CellTicks + 90000, End: end}},
		}
	}
	cut := copyTo(2*timeline.CellTicks+1000, false)
	withSound := func(end, to timeline.Ticks) *Info { // which lost the pictures behind the cut
		c := copyTo(end, true)
		c.End = to
		c.Tracks = append(c.Tracks, Track{PID: 257, Codec: "mp4a.40.2", Start: c.Start, End: to, Samples: uint32((to - c.Start) / 1920)})
		return c
	}
	from := func(start timeline.Ticks, rap, uncertain bool) *Info {
		c := copyTo(2*timeline.CellTicks+1000, false)
		c.Start, c.Independent, c.Evidence.StartUncertain = start, rap, uncertain
		return c
	}
	point := from(timeline.CellTicks+90000, true, true)
	for name, c := range map[string]struct {
		a, b *Info
		want bool
	}{
		"before the cut":                 {from(timeline.CellTicks, false, true), point, true},
		"certain of its start":           {from(timeline.CellTicks, false, false), point, false},
		"with a random access point":     {from(timeline.CellTicks, true, true), point, false},
		"neither has one":                {from(timeline.CellTicks, false, true), from(timeline.CellTicks+90000, false, true), false},
		"of two the one that is later":   {point, from(timeline.CellTicks, false, true), false},
		"over the cut":                   {copyTo(2*timeline.CellTicks+91000, true), cut, true},
		"its sound alone":                {withSound(2*timeline.CellTicks+1000, 2*timeline.CellTicks+31000), cut, true},
		"its last frame of sound":        {withSound(2*timeline.CellTicks+1000, 2*timeline.CellTicks+1900), cut, false},
		"as far":                         {copyTo(2*timeline.CellTicks+1000, true), cut, false},
		"certain":                        {copyTo(2*timeline.CellTicks+91000, false), cut, false},
		"both broken off in their cell":  {copyTo(2*timeline.CellTicks-90000, true), copyTo(timeline.CellTicks+180000, true), false},
		"one broke off in its cell":      {copyTo(2*timeline.CellTicks+91000, true), copyTo(timeline.CellTicks+180000, true), false},
		"of two the one that ends first": {cut, copyTo(2*timeline.CellTicks+91000, true), false},
	} {
		if got := RanOver(c.a, c.b); got != c.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}
