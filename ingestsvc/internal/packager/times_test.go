package packager

import (
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/testkit"
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
