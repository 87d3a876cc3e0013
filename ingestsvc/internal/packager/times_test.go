package packager

import "testing"

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
