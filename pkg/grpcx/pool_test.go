package grpcx

import "testing"

func TestFramePool(t *testing.T) {
	for _, n := range []int{1, smallFrame, smallFrame + 1, frameBytes, frameBytes + 1, 1 << 20, 2 << 20} {
		for range 3 { // a shorter one may have gone back before
			b := frames.Get(n)
			if len(*b) != n {
				t.Fatalf("got %d bytes, want %d", len(*b), n)
			}
			*b = (*b)[:n/2]
			frames.Put(b)
		}
	}
	if per := testing.AllocsPerRun(100, func() { frames.Put(frames.Get(frameBytes)) }); per > 1 {
		t.Errorf("%v allocations to take a buffer of a frame and give it back", per)
	}
}
