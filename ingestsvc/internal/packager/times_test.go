package packager

import (
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// TestPicturesWithoutATime: several pictures in a PES have one time between them (I1). What the others are given depends
// on what a recorder has seen before, and must not pass for known.
func TestPicturesWithoutATime(t *testing.T) {
	run := func(from, timed int) *recorder {
		r := &recorder{t: t}
		p := New(Options{}, r)
		p.Program(program(videoStream))
		for i := from; i < 25*40; i++ {
			data := picture
			if i%24 == 0 {
				data = idr
			}
			u := videoUnit(5*cell+int64(i)*3600, 0, data)
			u.HasPTS = i%timed == 0
			p.AccessUnit(u)
		}
		p.Flush()
		return r
	}
	for _, timed := range []int{2, 3, 4, 5, 24, 100} {
		first := run(0, timed)
		for _, from := range []int{1, 24, 5 * 24, 5*24 + 6} {
			compare(t, first, run(from, timed))
		}
		for _, s := range first.segs {
			// A picture in timed has a time, and of these the last before each guess does not know its length.
			if n, faulty := int(s.info.Tracks[0].Samples), len(s.info.Evidence.Faulty); faulty < n-n/timed-1 {
				t.Errorf("one time for %d pictures: %d of %d are faulty", timed, faulty, n)
			}
		}
	}
}

// TestJumpsBack: however far the source's clock was taken back before, what follows is cut and written as by a recorder
// that was not there.
func TestJumpsBack(t *testing.T) {
	run := func(jumps int64) *recorder {
		l := newLive(t, 5*cell, 25)
		for n := range jumps {
			l.jump(-n * (1<<32 - 100_000)) // the farthest that is not ahead
			l.run(1)
		}
		l.jump(1 << 40)
		l.n = 0
		l.run(100)
		l.p.Flush()
		return l.r
	}
	if n := compare(t, run(0), run(12)); n < 10 {
		t.Errorf("%d whole segments", n)
	}
}

// TestStepBack: a clock that is set back loses no picture of those that came, and what follows is cut and written as by a
// recorder that came since.
func TestStepBack(t *testing.T) {
	for _, c := range []struct {
		by    int64
		jumps uint64
	}{{0, 0}, {3600, 0}, {9000, 0}, {12_700, 1}, {45_000, 1}, {90_000, 1}, {900_000, 1}} {
		l := newLive(t, 5*cell, 25)
		l.run(10.4) // into a group of pictures
		l.jump(l.at - c.by)
		since := newLive(t, l.at, 25)
		since.n = l.n
		l.run(30)
		since.run(30)
		n := 0
		for _, s := range l.end() {
			n += int(s.info.Track(videoPID).Samples)
		}
		if n != 40*25+10 || l.p.Stats().Jumps != c.jumps {
			t.Errorf("back by %d ticks: %d of %d pictures, %d jumps", c.by, n, 40*25+10, l.p.Stats().Jumps)
		}
		since.p.Flush()
		if n := compare(t, l.r, since.r); n < 3 {
			t.Errorf("back by %d ticks: %d whole segments", c.by, n)
		}
	}
}

// TestReorderedWithoutDTS: pictures that come in the order of decoding with no other time than that of presentation are no
// steps of the clock.
func TestReorderedWithoutDTS(t *testing.T) {
	for _, reordered := range []int64{1, 3, 7, 15} {
		r := &recorder{t: t}
		p := New(Options{}, r)
		p.Program(program(videoStream))
		n := 0
		for i := int64(0); i < 25*30; i += reordered + 1 {
			for k := range reordered + 1 {
				data, at := picture, i+k-1
				if k == 0 {
					at = i + reordered
				}
				if k == 0 && i%48 == 0 {
					data = idr
				}
				p.AccessUnit(videoUnit(5*cell+at*3600, 0, data))
				n++
			}
		}
		p.Flush()
		got := 0
		for _, s := range r.segs {
			got += int(s.info.Tracks[0].Samples)
		}
		if got != n || p.Stats().Jumps != 0 || p.Stats().Whole < 3 {
			t.Errorf("%d behind each other: %d of %d pictures, %+v", reordered, got, n, p.Stats())
		}
	}
}

// TestStepBackOfATrack: sound that is set back alone gives way, is damaged for as long, and costs the pictures nothing.
func TestStepBackOfATrack(t *testing.T) {
	l := newLive(t, 5*cell, 25)
	l.run(10.4)
	l.base -= 30_000
	l.run(30)
	segs := l.end()
	damaged := 0
	for _, s := range segs {
		for _, f := range s.info.Evidence.Faulty {
			if f.PID != audioPID || f.Reason != segment.ReasonSyntax {
				t.Errorf("%+v", f)
			}
			damaged++
		}
	}
	// 0.34 s of frames of 23 ms, and the one before them, which ends where they begin.
	if damaged < 12 || damaged > 17 || l.p.Stats().Jumps != 0 {
		t.Errorf("%d frames are damaged, %d jumps", damaged, l.p.Stats().Jumps)
	}
}

// TestSoundOfALoop: where a file begins again its sound may overlap by part of a frame, and that damages nothing.
func TestSoundOfALoop(t *testing.T) {
	for _, by := range []int64{2090, 4180, 8000} { // to the same time, by a frame, by three
		for _, noVideo := range []bool{false, true} {
			l := newLive(t, 5*cell, 25)
			l.noVideo = noVideo
			l.run(10.4)
			l.base -= by
			l.run(30)
			segs := l.end()
			for i, s := range segs[1 : len(segs)-1] {
				if !s.whole() {
					t.Errorf("back by %d ticks, no pictures: %v: segment %d of %d: %+v", by, noVideo, i+1, len(segs), s.info.Evidence)
				}
			}
			if l.p.Stats().Jumps != 0 {
				t.Errorf("back by %d ticks: %d jumps", by, l.p.Stats().Jumps)
			}
		}
	}
}

// TestStepTogether: the tracks of a program are set back together, but each where its packets lie in the multiplex. None is
// taken for one that has yet to follow, and none for one that was lost.
func TestStepTogether(t *testing.T) {
	const frame = 1024 * 90000 / 48000
	for _, by := range []int64{-900_000, -45_000, -12_700, 200_000, 1_200_000, 9_000_000} {
		for _, lags := range [][2]int{{-12, -12}, {-12, 12}, {-3, 0}, {0, 3}, {3, -3}, {12, 12}, {50, 50}} {
			r := &recorder{t: t}
			p := New(Options{}, r)
			p.Program(program(videoStream, audioStream))
			clock := func(i, later int) int64 { // it steps at 10.4 s, and again at 14.4 s
				at := 5 * cell
				for n, lag := range lags {
					if i >= 260+100*n+later*lag {
						at += by
					}
				}
				return at
			}
			frames := int64(0)
			for i := range 1000 {
				data := picture
				if i%25 == 0 {
					data = idr
				}
				p.AccessUnit(videoUnit(clock(i, 0)+int64(i)*3600, 3600, data))
				for ; frames*frame < int64(i)*3600; frames++ {
					p.AccessUnit(audioUnit(clock(i, 1) + frames*frame))
				}
			}
			p.Flush()
			pictures, sound := 0, int64(0)
			for _, s := range r.segs {
				pictures += int(s.info.Track(videoPID).Samples)
				if a := s.info.Track(audioPID); a != nil {
					sound += int64(a.Samples)
				}
			}
			jumps, most := uint64(0), int64(3) // of sound that no segment has: at the start
			for _, lag := range lags {
				if by < 0 || by > 900_000 {
					jumps++
					most += 2*max(int64(lag), int64(-lag), 3) + 4 // 40 ms, and frames of 21 ms
				}
			}
			if lags[0] > 36 {
				most += 50 // longer than the sound is waited for: it is back at the next RAP
			}
			if pictures != 1000 || p.Stats().Jumps != jumps || sound < frames-most {
				t.Errorf("by %d, the sound %d pictures later: %d of 1000 pictures, %d of %d frames, %+v", by, lags, pictures, sound, frames, p.Stats())
			}
		}
	}
}

// TestOneWrongTime: a picture whose time alone is elsewhere is no jump. It is damaged, in its place, and nothing else is other than where its
// time is right.
func TestOneWrongTime(t *testing.T) {
	right := newLive(t, 5*cell, 25)
	right.run(40)
	right.p.Flush()
	for _, by := range []int64{-1 << 32, -90_000_000, -45_000, 1_000_000, 324_000_000, 1 << 32} {
		for _, rap := range []bool{false, true} {
			l := newLive(t, 5*cell, 25)
			l.run(10.4)
			for rap && l.n%l.gop != 0 {
				l.run(0.04)
			}
			at := l.at
			l.wrong = by
			l.run(40 - float64(l.n)/25)
			l.p.Flush()
			if n := l.p.Stats().Jumps; n != 0 {
				t.Errorf("by %d, RAP %t: %d jumps", by, rap, n)
				continue
			}
			compare(t, right.r, l.r)
			faulty, n := 0, 0
			for _, s := range l.r.segs {
				n += int(s.info.Track(videoPID).Samples)
				for _, f := range s.info.Evidence.Faulty {
					if faulty++; f.PID != videoPID || f.DTS != tForm(timeline.Ticks(at)) {
						t.Errorf("by %d, RAP %t: PID %d is damaged at %d, want %d", by, rap, f.PID, f.DTS, tForm(timeline.Ticks(at)))
					}
				}
			}
			if faulty != 1 || n != 1000 {
				t.Errorf("by %d, RAP %t: %d pictures, %d damaged", by, rap, n, faulty)
			}
		}
	}
}

// TestWrongTimeOfTheLastPicture: where no picture follows the one that shows a jump, the sound does not wait for one.
func TestWrongTimeOfTheLastPicture(t *testing.T) {
	l := newLive(t, 5*cell, 25)
	l.run(10.4)
	l.wrong = 1 << 31
	l.run(0.04)
	l.noVideo = true
	if l.run(10); len(l.p.held) > 0 {
		t.Errorf("%d units wait for a picture", len(l.p.held))
	}
}

// TestOneWrongTimeOfUnevenSteps: 59.94 pictures a second have steps of 1501 and 1502 ticks.
func TestOneWrongTimeOfUnevenSteps(t *testing.T) {
	for wrong := int64(500); wrong < 504; wrong++ {
		r := &recorder{t: t}
		p := New(Options{}, r)
		p.Program(program(videoStream))
		for i := range int64(2400) {
			data, at := picture, 5*cell+i*3003/2
			if i%60 == 0 {
				data = idr
			}
			if i == wrong {
				at += 1 << 31
			}
			p.AccessUnit(videoUnit(at, 0, data))
		}
		p.Flush()
		faulty := 0
		for _, s := range r.segs {
			faulty += len(s.info.Evidence.Faulty)
		}
		if faulty != 1 || p.Stats().Jumps != 0 {
			t.Errorf("picture %d: %d damaged, %+v", wrong, faulty, p.Stats())
		}
	}
}

// TestJumpOfWhatIsNone: the access unit that shows a jump may be none that can be kept.
func TestJumpOfWhatIsNone(t *testing.T) {
	l := newLive(t, 5*cell, 25)
	l.run(10.4)
	l.jump(l.at - 900_000)
	l.p.AccessUnit(videoUnit(l.at-3600, 3600, nil))
	l.run(10)
	if l.p.Stats().Jumps != 1 {
		t.Errorf("%d jumps", l.p.Stats().Jumps)
	}
}

// TestShortLoop: a source that begins again and again within a second is a stretch each time, and nothing piles up.
func TestShortLoop(t *testing.T) {
	l := newLive(t, 5*cell, 25)
	for range 200 {
		l.jump(5 * cell)
		l.n = 0
		l.run(0.6)
	}
	if waits := l.p.pending; waits > 100_000 {
		t.Errorf("%d bytes wait", waits)
	}
	segs := l.end()
	if len(segs) != 200 || l.p.Stats().Jumps != 199 {
		t.Errorf("%d segments, %d jumps", len(segs), l.p.Stats().Jumps)
	}
	for i, s := range segs {
		if n := s.info.Track(videoPID).Samples; n != 15 || s.key.Stretch != uint32(i) {
			t.Fatalf("segment %d: %d pictures, stretch %d", i, n, s.key.Stretch)
		}
	}
}

// TestTimesAreCounted: MPEG-2 with one time for a group of pictures is recorded as if each had its own.
func TestTimesAreCounted(t *testing.T) {
	var timed, grouped testkit.Clip
	for _, c := range clips {
		switch c.Name {
		case "mpeg2":
			timed = c
		case "mpeg2" + aPESaGroup:
			grouped = c
		}
	}
	want, got := record(t, source(t, timed), 1316), record(t, source(t, grouped), 1316)
	allWhole(t, "grouped", got)
	if n := compare(t, want, got); n < 4 {
		t.Errorf("%d whole segments", n)
	}
}

// TestRepeatedFields: where film begins in video, with its fields repeated, the longer step is no loss.
func TestRepeatedFields(t *testing.T) {
	picture := func(kind byte, repeated bool) []byte {
		b := []byte{0, 0, 1, 0, 0, kind<<3 | 7, 0xFF, 0xF8, 0, 0, 1, 0xB5, 0x8F, 0xFF, 0xF3, 0x80, 0x80, 0, 0, 1, 1, 0x22, 0x33}
		if repeated {
			b[15] |= 2
		}
		return b
	}
	sequence := []byte{0, 0, 1, 0xB3, 0x2D, 0x02, 0x40, 0x34, 0x02, 0x71, 0x23, 0x80, 0, 0, 1, 0xB5, 0x14, 0x8A, 0, 1, 0, 0}
	for _, film := range []bool{true, false} {
		r := &recorder{t: t}
		p := New(Options{}, r)
		p.Program(program(mpegts.Stream{PID: videoPID, Codec: mpegts.CodecMPEGVideo}))
		dts := 5 * cell
		for i := range 30 * 30 {
			data := picture(2, false)
			if i%15 == 0 {
				data = append(slices.Clone(sequence), picture(1, false)...)
			}
			step := int64(3003)
			if i > 450 && i%2 == 0 {
				step = 4505
				if film && i%15 != 0 {
					data = picture(2, true)
				}
			}
			p.AccessUnit(videoUnit(dts, 0, data))
			dts += step
		}
		p.Flush()
		lost := 0
		for _, s := range r.segs {
			lost += len(s.info.Evidence.Missing)
		}
		if (lost == 0) != film {
			t.Errorf("repeated fields %v: %d spans are missing", film, lost)
		}
	}
}
