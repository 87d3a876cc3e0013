package packager

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// compare holds what one recorder has against what another has of the same source: wherever one is whole, and the other
// was there, the bytes are the same (I1). It returns how many segments of got are whole.
func compare(t *testing.T, want, got *recorder) (whole int) {
	t.Helper()
	byStart := map[timeline.Ticks]*recorded{}
	for _, s := range want.segs {
		if s.whole() {
			byStart[s.info.Start] = s
		}
	}
	for _, s := range got.segs {
		if !s.whole() {
			continue
		}
		whole++
		w := byStart[s.info.Start]
		switch {
		case w == nil:
			t.Errorf("segment %d at T %d is whole and begins where the other has no cut", s.key.Seq, s.info.Start)
		case w.info.Digest != s.info.Digest:
			t.Errorf("segment %d at T %d is whole on both sides and differs: %d bytes, %d bytes",
				s.key.Seq, s.info.Start, len(w.data), len(s.data))
		}
	}
	return whole
}

// allWhole holds a recorder that lost nothing to being whole but for its first segment, its last, and its second where
// the first cell boundary came less than a second after it joined: a RAP before that may have been missed. Of a forced cut
// it is the boundary two cells before. A cut at the last picture of all, whose end nothing proves, is not certain.
func allWhole(t *testing.T, what string, r *recorder) {
	t.Helper()
	for i, s := range r.segs {
		mayLack := i == 0 || i == len(r.segs)-1 || i == len(r.segs)-2 && r.segs[i+1].info.Tracks[0].Samples == 1
		if i == 1 {
			cell := s.info.Start / timeline.CellTicks * timeline.CellTicks
			if !s.info.Independent {
				cell -= 2 * timeline.CellTicks
			}
			mayLack = mayLack || cell-r.segs[0].info.Tracks[0].Start < reorder
		}
		if !mayLack && !s.whole() {
			t.Errorf("%s: segment %d of %d is not whole: %+v", what, i+1, len(r.segs), s.info.Evidence)
		}
	}
}

// rounds is how often a property is tried: a fourth of n in a short run.
func rounds(n int) int {
	if testing.Short() {
		return n / 4
	}
	return n
}

// TestJoin: I1 for recorders that joined anywhere, got datagrams of any size, from another multiplexer.
func TestJoin(t *testing.T) {
	t.Parallel()
	for _, clip := range clips {
		t.Run(clip.Name, func(t *testing.T) {
			ts := source(t, clip)
			want := record(t, ts, 1316)
			allWhole(t, "from the start", want)
			rnd := testkit.Rand(t)
			cuts := cutPackets(ts, want)
			for range rounds(28) {
				b := ts
				if rnd.IntN(2) == 0 {
					b = jitter(ts, 1+rnd.IntN(200), rnd)
				}
				at := rnd.IntN(len(b) / 2)
				if rnd.IntN(2) == 0 { // within a second around a cut, where what is certain is decided
					near := cuts[rnd.IntN((len(cuts)+1)/2)]*mpegts.PacketSize - len(b)/2/clip.Seconds
					at = max(0, near+rnd.IntN(len(b)/clip.Seconds))
				}
				got := record(t, b[at:], 1+rnd.IntN(4000))
				compare(t, want, got)
				allWhole(t, fmt.Sprintf("joined at byte %d", at), got)
			}
		})
	}
}

// cutPackets gives the packets with which the segments after the first begin.
func cutPackets(ts []byte, r *recorder) (out []int) {
	starts := map[timeline.Ticks]bool{}
	for _, s := range r.segs[1:] {
		starts[s.info.Track(256).Start&(timeline.Wrap-1)] = true
	}
	n := 0
	for p := range slices.Chunk(ts, mpegts.PacketSize) {
		if pidOf(p) == 256 {
			if s := stamps(p, 256); len(s) == 1 && starts[timeline.Ticks(s[0])] {
				out = append(out, n)
			}
		}
		n++
	}
	return out
}

// TestWrap: the same with the 33-bit clock wrapping at any access unit, and cells falling anywhere.
func TestWrap(t *testing.T) {
	t.Parallel()
	for _, clip := range clips {
		t.Run(clip.Name, func(t *testing.T) {
			ts := source(t, clip)
			times := stamps(ts, 256)
			rnd := testkit.Rand(t)
			for range rounds(12) {
				wrapAt := times[rnd.IntN(len(times))] + rnd.Int64N(3) - 1
				moved := shift(ts, int64(timeline.Wrap)-wrapAt)
				want := record(t, moved, 1316)
				allWhole(t, fmt.Sprintf("wrap at %d", wrapAt), want)
				got := record(t, moved[rnd.IntN(len(moved)/2):], 188+rnd.IntN(2000))
				compare(t, want, got)
				allWhole(t, fmt.Sprintf("wrap at %d, joined", wrapAt), got)
				for i, s := range want.segs[1:] {
					before := want.segs[i]
					if d := (s.info.Start - before.info.End) % timeline.Wrap; d != 0 {
						t.Errorf("wrap at %d: segment %d is %d ticks from the one before", wrapAt, s.key.Seq, d)
					}
					if s.key.Stretch != 0 {
						t.Errorf("wrap at %d: a wrap is no jump", wrapAt)
					}
				}
			}
		})
	}
}

// TestLoss: I1 and I2 for a recorder that loses packets at random. A run in which a PID lost 16 packets, or a multiple, in a
// row is not held to them: no counter shows that.
func TestLoss(t *testing.T) {
	t.Parallel()
	for _, clip := range clips {
		t.Run(clip.Name, func(t *testing.T) {
			ts := source(t, clip)
			want := record(t, ts, 1316)
			packets := slices.Collect(slices.Chunk(ts, mpegts.PacketSize))
			rnd := testkit.Rand(t)
			whole := 0
			for range rounds(24) {
				start := rnd.IntN(len(packets) / 4)
				burst, losses := 1+rnd.IntN(20), 1+rnd.IntN(8)
				var got []byte
				lose, hidden := 0, false
				run := map[uint16]int{} // packets lost since the PID's last one
				for i, p := range packets[start:] {
					if rnd.IntN(len(packets)) < losses && i > 200 {
						lose = 1 + rnd.IntN(burst)
					}
					if lose > 0 {
						lose--
						run[pidOf(p)]++
						continue
					}
					hidden = hidden || run[pidOf(p)] > 0 && run[pidOf(p)]%16 == 0
					run[pidOf(p)] = 0
					got = append(got, p...)
				}
				if hidden {
					continue
				}
				whole += compare(t, want, record(t, got, 1316))
			}
			if whole == 0 {
				t.Error("not one segment was whole: the test shows nothing")
			}
		})
	}
}

// TestLostRAP: a recorder that loses just the RAP at which the other cuts, wherever that is, must know that it does not
// know; from the next cell on both are alike again.
func TestLostRAP(t *testing.T) {
	t.Parallel()
	for _, clip := range clips {
		t.Run(clip.Name, func(t *testing.T) {
			ts := source(t, clip)
			rnd := testkit.Rand(t)
			for range rounds(4) {
				moved := shift(ts, rnd.Int64N(1<<33))
				want := record(t, moved, 1316)
				packets := slices.Collect(slices.Chunk(moved, mpegts.PacketSize))
				var raps []int
				for i, p := range packets {
					if isRAP(p) {
						raps = append(raps, i)
					}
				}
				lost := cutPackets(moved, want)
				for range 2 { // also where there was no cut
					lost = append(lost, raps[rnd.IntN(len(raps))])
				}
				for _, at := range lost {
					got := slices.Concat(packets[:at]...)
					inside := true
					for i, p := range packets[at:] {
						if pidOf(p) == 256 && p[1]&0x40 != 0 {
							inside = i == 0
						}
						if !inside || pidOf(p) != 256 {
							got = append(got, p...)
						}
					}
					compare(t, want, record(t, got, 1316))
				}
			}
		})
	}
}
