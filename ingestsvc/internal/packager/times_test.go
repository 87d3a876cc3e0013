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
