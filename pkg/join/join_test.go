package join

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const (
	video, audio = 256, 257
	frame, sound = 3600, 1920
	pictures     = 40
	begin        = timeline.Wrap + timeline.CellTicks
	end          = begin + pictures*frame
)

// unit is an access unit of a track as a copy has it.
type unit struct {
	at     timeline.Ticks // since begin
	long   timeline.Ticks
	data   string
	faulty bool
}

// clean is what a recorder has that lost nothing.
func clean() (v, a []unit) {
	for i := range timeline.Ticks(pictures) {
		v = append(v, unit{at: i * frame, long: frame, data: "picture " + string(rune('a'+i))})
	}
	for at := timeline.Ticks(0); at < pictures*frame; at += sound {
		a = append(a, unit{at: at, long: sound, data: "frame " + string(rune('a'+at/sound))})
	}
	return v, a
}

// copyOf writes a copy by the rules of FORMAT.md, with what is known against it but for the faulty units.
func copyOf(v, a []unit, e segment.Evidence, to timeline.Ticks) Copy {
	c := Copy{Info: segment.Info{Start: begin, End: to, Independent: true, Format: segment.Format}}
	type part struct {
		cell int64
		pid  uint16
		data []byte
	}
	var parts []part
	for pid, us := range map[uint16][]unit{video: v, audio: a} {
		kind, codec := fmp4.Audio, "mp4a.40.2"
		if pid == video {
			kind, codec = fmp4.Video, "avc1.64001f"
		}
		c.Info.Tracks = append(c.Info.Tracks, segment.Track{PID: pid, Codec: codec})
		for i := 0; i < len(us); {
			from, cell := i, cellOf(begin+us[i].at)
			var samples []fmp4.Sample
			var payload []byte
			for ; i < len(us) && cellOf(begin+us[i].at) == cell; i++ {
				long := us[i].long
				if i+1 < len(us) {
					long = us[i+1].at - us[i].at
				}
				samples = append(samples, fmp4.Sample{Duration: uint32(long), Size: uint32(len(us[i].data)), Flags: fmp4.FlagsSync})
				payload = append(payload, us[i].data...)
				if us[i].faulty {
					e.Faulty = append(e.Faulty, segment.FaultySample{PID: pid, DTS: begin + us[i].at, Reason: segment.ReasonContinuity})
				}
			}
			parts = append(parts, part{cell, pid, fmp4.AppendChunk(nil, kind, pid, begin+us[from].at, samples, payload)})
		}
	}
	slices.SortFunc(c.Info.Tracks, func(a, b segment.Track) int { return int(a.PID) - int(b.PID) })
	slices.SortFunc(parts, func(a, b part) int {
		if a.cell != b.cell {
			return int(a.cell - b.cell)
		}
		return int(a.pid) - int(b.pid)
	})
	for _, p := range parts {
		c.Data = append(c.Data, p.data...)
	}
	c.Info.Evidence, c.Info.Digest, c.Info.Bytes = e, segment.Sum(c.Data), uint64(len(c.Data))
	return c
}

var (
	unclear = segment.Evidence{StartUncertain: true}
	broken  = segment.Evidence{EndUncertain: true}
)

func missing(pid uint16, from, to timeline.Ticks) segment.Evidence {
	return segment.Evidence{Missing: []segment.MissingSpan{{PID: pid, From: begin + from, To: begin + to, Reason: segment.ReasonContinuity}}}
}

func unitsWithout(us []unit, from, to int) []unit { return slices.Delete(slices.Clone(us), from, to) }

func changed(us []unit, i int, f func(*unit)) []unit {
	us = slices.Clone(us)
	f(&us[i])
	return us
}

func damaged(u *unit) { u.data, u.faulty = u.data[:len(u.data)-1], true }

// TestJoin holds I2 to I4.
func TestJoin(t *testing.T) {
	v, a := clean()
	whole := copyOf(v, a, segment.Evidence{}, end)
	lacks := copyOf(unitsWithout(v, 10, 12), a, missing(video, 10*frame, 12*frame), end)
	for _, c := range []struct {
		name string
		with []Copy
		err  error
		left bool
		want *Copy // nil: the clean one
	}{
		{"one lacks what another has", []Copy{lacks, copyOf(v, unitsWithout(a, 3, 4), missing(audio, 3*sound, 4*sound), end)}, nil, false, nil},
		{"damaged in unlike places", []Copy{copyOf(changed(v, 5, damaged), a, segment.Evidence{}, end), copyOf(v, changed(a, 5, damaged), segment.Evidence{}, end)}, nil, false, nil},
		{"each knows one cut", []Copy{copyOf(v, a, unclear, end), copyOf(v, a, broken, end)}, nil, false, nil},
		{"broken off", []Copy{copyOf(v[:20], a[:30], broken, begin+20*frame), copyOf(changed(v, 5, damaged), a, segment.Evidence{}, end)}, nil, false, nil},
		{"a frame at a guessed time, which another knows not to be there", []Copy{
			copyOf(v, changed(unitsWithout(a, 8, 9), 8, func(u *unit) { u.at, u.faulty = u.at-sound/2, true }), missing(audio, 8*sound, 8*sound+sound/2), end),
			copyOf(changed(v, 5, damaged), a, segment.Evidence{}, end),
		}, nil, false, nil},
		{"the last picture seems long where the next was lost", []Copy{
			copyOf(changed(v, pictures-1, func(u *unit) { u.long += frame }), a, broken, end+frame), copyOf(changed(v, 5, damaged), a, segment.Evidence{}, end),
		}, nil, false, nil},
		{"beyond the cut, which was lost", []Copy{
			copyOf(append(slices.Clone(v), unit{end - begin, frame, "picture of the next", false}), append(slices.Clone(a), unit{end - begin, sound, "frame of the next", false}), broken, end+frame),
			copyOf(changed(v, 5, damaged), a, segment.Evidence{}, end),
		}, nil, true, nil},
		{"whole, and one that is not", []Copy{whole, lacks}, nil, false, nil},
		{"lost in both", []Copy{lacks, copyOf(unitsWithout(changed(v, 5, damaged), 10, 12), a, missing(video, 10*frame, 12*frame), end)}, nil, false, &lacks},
		{"damaged in both: the longer", []Copy{
			copyOf(changed(changed(v, 5, damaged), 5, damaged), a, segment.Evidence{}, end), copyOf(changed(changed(v, 5, damaged), 7, damaged), a, segment.Evidence{}, end),
		}, nil, false, new(copyOf(changed(v, 5, damaged), a, segment.Evidence{}, end))},
		{"intact and unlike", []Copy{lacks, copyOf(changed(changed(v, 5, func(u *unit) { u.data = "another" }), 7, damaged), a, segment.Evidence{}, end)}, ErrConflict, false, nil},
		{"intact at another time", []Copy{lacks, copyOf(changed(changed(v, 5, func(u *unit) { u.at++ }), 7, damaged), a, segment.Evidence{}, end)}, ErrConflict, false, nil},
		{"more than a whole one has", []Copy{copyOf(v, unitsWithout(a, 5, 6), segment.Evidence{}, end), copyOf(changed(v, 5, damaged), a, segment.Evidence{}, end)}, ErrConflict, false, nil},
		{"two whole ones", []Copy{whole, copyOf(changed(v, 5, func(u *unit) { u.data = "another" }), a, segment.Evidence{}, end)}, ErrConflict, false, nil},
		{"certain cuts that differ", []Copy{lacks, copyOf(changed(v, 7, damaged), a, segment.Evidence{}, end+1)}, ErrConflict, false, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := &whole
			if c.want != nil {
				want = c.want
			}
			slices.Reverse(c.with)
			for range 2 {
				slices.Reverse(c.with)
				r, err := Join(c.with...)
				if !errors.Is(err, c.err) {
					t.Fatalf("got %v, want %v", err, c.err)
				}
				if err != nil {
					continue
				}
				if r.Info.Digest != want.Info.Digest || r.Left != c.left || r.Info.Bytes != uint64(len(r.Data)) {
					t.Errorf("got %+v, left %t", r.Info, r.Left)
				}
				if e := &r.Info.Evidence; e.Less(&want.Info.Evidence) || want.Info.Evidence.Less(e) {
					t.Errorf("evidence %+v, want %+v", *e, want.Info.Evidence)
				}
			}
		})
	}
}

// TestLastFrame holds I1: the last frame of sound, which no copy has as its last, while what comes before it is missing, is as long as a
// frame is. Else it stays too long when that comes later.
func TestLastFrame(t *testing.T) {
	v, a := clean()
	n := len(a)
	beyond := append(slices.Clone(a), unit{end - begin, sound, "frame of the next", false})
	lost := func(from, to int) segment.Evidence {
		return missing(audio, timeline.Ticks(from)*sound, timeline.Ticks(to)*sound)
	}
	over := lost(n-2, n-1)
	over.EndUncertain = true
	ranOver := copyOf(append(slices.Clone(v), unit{end - begin, frame, "picture of the next", false}), unitsWithout(beyond, n-2, n-1), over, end+frame)
	cut := copyOf(v, unitsWithout(a, n-2, n), lost(n-2, n), end)
	third := copyOf(changed(v, 5, damaged), unitsWithout(a, n-1, n), lost(n-1, n), end)
	two, err := Join(ranOver, cut)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Join(two.Copy, third)
	if want := copyOf(v, a, segment.Evidence{}, end); err != nil || r.Info.Digest != want.Info.Digest || !r.Info.Evidence.Whole() {
		t.Errorf("got %+v, %v", r.Info, err)
	}
}

// hostile is a copy some cells away whose bytes and evidence say anything.
func hostile(rnd *rand.Rand, cells timeline.Ticks) Copy {
	any64 := func() timeline.Ticks {
		return []timeline.Ticks{never, ever, 0, -1, begin, end, begin + timeline.Ticks(rnd.Int64N(int64(end-begin)))}[rnd.IntN(7)]
	}
	v, a := clean()
	for _, us := range [][]unit{v, a} {
		for i := range us {
			us[i].at += cells * timeline.CellTicks
		}
	}
	if rnd.IntN(8) == 0 {
		v = nil
	}
	c := copyOf(v, a, segment.Evidence{StartUncertain: rnd.IntN(2) == 0, EndUncertain: rnd.IntN(2) == 0}, end+cells*timeline.CellTicks)
	c.Info.Start, c.Info.Independent = begin+cells*timeline.CellTicks, rnd.IntN(3) > 0
	if rnd.IntN(8) == 0 || v == nil && rnd.IntN(4) > 0 {
		c.Info.Tracks[0].Codec = segment.DataCodec + "any"
	}
	for range rnd.IntN(3) {
		c.Data[rnd.IntN(len(c.Data))] = byte(rnd.Uint32())
	}
	if rnd.IntN(4) == 0 {
		c.Data = c.Data[:rnd.IntN(len(c.Data))]
	}
	for range rnd.IntN(3) {
		pid := uint16(video + rnd.IntN(3))
		c.Info.Evidence.Faulty = append(c.Info.Evidence.Faulty, segment.FaultySample{PID: pid, DTS: any64(), Reason: segment.Reason(rnd.IntN(2))})
		c.Info.Evidence.Missing = append(c.Info.Evidence.Missing, segment.MissingSpan{PID: pid, From: any64(), To: any64()})
	}
	if rnd.IntN(4) == 0 {
		c.Info.End = any64()
	}
	for range rnd.IntN(3) {
		r := segment.Run{PID: uint16(video + rnd.IntN(3)), DTS: any64()}
		for range rnd.IntN(3) {
			r.Links = append(r.Links, segment.Link{DTS: any64(), At: rnd.Uint32N(1 << 20), Whole: rnd.IntN(2) == 0})
		}
		for i := range uint32(rnd.IntN(20)) {
			b := []byte{0, 0, 1, 0xE0, 0, 0, 0x80, 0x80, 5, 0x21, 0, 1, 0, 1, 0, 0, 0, 1, 0x65, 0x88}[:rnd.IntN(21)]
			r.Packets = append(r.Packets, segment.Packet{At: i + rnd.Uint32N(2), Counter: uint8(i & 15), Start: rnd.IntN(3) == 0, Data: b})
		}
		c.Info.Runs = append(c.Info.Runs, r)
	}
	c.Info.Digest = segment.Sum(c.Data)
	return c
}

// TestJoinHostile holds I6: bytes and evidence that say anything, also of slots beside.
func TestJoinHostile(t *testing.T) {
	rnd := testkit.Rand(t)
	joined := map[bool]int{}
	for range 2000 {
		several := func(n int, cells timeline.Ticks) (cs []Copy) {
			for range n {
				cs = append(cs, hostile(rnd, cells))
			}
			return cs
		}
		before, cs, behind := several(rnd.IntN(2), -1), several(1+rnd.IntN(3), 0), several(rnd.IntN(3), timeline.Ticks(1+rnd.IntN(2)))
		r, err := JoinBeside(before, cs, behind)
		if err != nil {
			continue
		}
		wide := len(before)+len(behind) > 0
		joined[wide]++
		if r.Info.Bytes > 0 && (len(cs) > 1 || wide) {
			if _, err := parse(&r.Copy); err != nil {
				t.Fatalf("what was joined is none: %v", err)
			}
		}
	}
	if joined[false] == 0 || joined[true] == 0 {
		t.Errorf("joined %v: the test shows nothing", joined)
	}
}

// TestFewPictures: where no two pictures that follow each other came, it is not known how far they are apart, and so not that nothing is missing between two.
func TestFewPictures(t *testing.T) {
	v, a := clean()
	few := append(slices.Clone(v[:1]), v[pictures-1])
	lost := missing(video, frame, (pictures-1)*frame)
	one := copyOf(few, a, lost, end)
	lost.Missing = slices.Clone(lost.Missing)
	lost.StartUncertain = true
	two := copyOf(few, a[1:], lost, end)
	r, err := Join(one, two)
	if err != nil {
		t.Fatal(err)
	}
	if e := &r.Info.Evidence; len(e.Missing) != 1 || e.Missing[0] != lost.Missing[0] {
		t.Errorf("got %+v, want what both lack", *e)
	}
}

// TestJoinLaws holds I1 for losses at random.
func TestJoinLaws(t *testing.T) {
	v, a := clean()
	rnd := testkit.Rand(t)
	lose := func(us []unit, pid uint16, e *segment.Evidence, rnd *rand.Rand) (out []unit) {
		for _, u := range us {
			switch rnd.IntN(6) {
			case 0:
				e.Missing = append(e.Missing, segment.MissingSpan{PID: pid, From: begin + u.at, To: begin + u.at + u.long, Reason: segment.ReasonContinuity})
				continue
			case 1:
				damaged(&u)
				u.data = u.data[:1+rnd.IntN(len(u.data))]
			}
			out = append(out, u)
		}
		return out
	}
	for range 150 {
		var cs []Copy
		for range 3 {
			e := segment.Evidence{StartUncertain: rnd.IntN(2) == 0, EndUncertain: rnd.IntN(2) == 0}
			lv, la := lose(v, video, &e, rnd), lose(a, audio, &e, rnd)
			cs = append(cs, copyOf(lv, la, e, end))
		}
		all, err := Join(cs...)
		if err != nil {
			t.Fatal(err)
		}
		ab, _ := Join(cs[1], cs[0])
		bc, _ := Join(cs[1], cs[2])
		left, _ := Join(cs[2], ab.Copy)
		right, _ := Join(cs[0], bc.Copy)
		again, _ := Join(all.Copy, cs[1], ab.Copy)
		for law, r := range map[string]Result{"associative": left, "associative from the right": right, "idempotent": again} {
			if e := &r.Info.Evidence; r.Info.Digest != all.Info.Digest || e.Less(&all.Info.Evidence) || all.Info.Evidence.Less(e) {
				t.Fatalf("not %s: %+v, %+v", law, r.Info, all.Info)
			}
		}
	}
}
