package packager

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/join"
	"github.com/twinreel/twinreel/pkg/mpegts"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// drops says which packets, or datagrams, a site loses.
type drops []bool

func lose(n, from int, share float64, longest int, rnd *rand.Rand) drops {
	d := make(drops, n)
	for i := from; i < n; i++ {
		if rnd.Float64() < share {
			for k := 1 + rnd.IntN(longest); k > 0 && i < n; k-- {
				d[i] = true
				i++
			}
		}
	}
	return d
}

func both(a, b drops) drops {
	out := slices.Clone(a)
	for i := range out {
		out[i] = a[i] && b[i]
	}
	return out
}

// sure reports whether continuity counters tell how many packets of each PID are missing in each hole.
func (d drops) sure(packets [][]byte) bool {
	run := map[uint16]int{}
	for i, p := range packets {
		if d[i] {
			run[pidOf(p)]++
			if run[pidOf(p)] >= 16 {
				return false
			}
			continue
		}
		run[pidOf(p)] = 0
	}
	return true
}

// hidden reports whether a hole shows in no continuity counter.
func (d drops) hidden(packets [][]byte) bool {
	run := map[uint16]int{}
	for i, p := range packets {
		switch n := run[pidOf(p)]; {
		case d[i]:
			run[pidOf(p)]++
		case n > 0 && n%16 == 0:
			return true
		default:
			run[pidOf(p)] = 0
		}
	}
	return false
}

// receive records what a site gets of packets.
func (d drops) receive(t testing.TB, packets [][]byte) *recorder {
	var got []byte
	for i, p := range packets {
		if !d[i] {
			got = append(got, p...)
		}
	}
	return record(t, got, 1316)
}

// receiveRTP records what a site gets of datagrams whose sequence tells what is missing.
func (d drops) receiveRTP(t testing.TB, datagrams [][]byte) *recorder {
	t.Helper()
	r := &recorder{t: t}
	p := New(Options{}, r)
	x := mpegts.NewDemuxer(p, mpegts.Options{})
	missing := uint32(0)
	for i, b := range datagrams {
		if d[i] {
			missing++
			continue
		}
		if missing > 0 {
			x.SequenceLoss(missing)
			missing = 0
		}
		x.WriteDatagram(1, uint16(65500+i), b) // numbers wrap
	}
	x.Flush()
	p.Flush()
	return r
}

// packets gives the packets that are lost with datagrams.
func (d drops) packets() (out drops) {
	for _, lost := range d {
		for range 1316 / mpegts.PacketSize {
			out = append(out, lost)
		}
	}
	return out
}

// intactOf gives the intact samples of a recorder in the slots of its own.
func intactOf(t *testing.T, r *recorder) map[au]string {
	out := map[au]string{}
	for _, s := range r.segs {
		maps.Copy(out, intactIn(t, &join.Copy{Info: s.info, Data: s.data}))
	}
	return out
}

// joinAll joins what two sites have, slot by slot.
func joinAll(t *testing.T, a, b *recorder) (out []join.Result) {
	type slot struct {
		cell int64
		set  segment.InitSet
	}
	slots := map[slot][]join.Copy{}
	for _, r := range []*recorder{a, b} {
		for _, s := range r.segs {
			at := slot{s.info.Start.Cell(), s.key.InitSet}
			slots[at] = append(slots[at], join.Copy{Info: s.info, Data: s.data})
		}
	}
	for at, cs := range slots {
		r, err := join.Join(cs...)
		if err != nil {
			t.Errorf("cell %d: %v", at.cell, err)
			continue
		}
		if at.cell%4 == 0 { // it takes seven joins
			laws(t, cs, r)
		}
		out = append(out, r)
		if r.Left { // what belongs to a neighbour stays where it is
			for _, c := range cs {
				out = append(out, join.Result{Copy: c})
			}
		}
	}
	return out
}

// cutsAt gives the starts of segments around an access unit. Where those of sites differ, a cut was lost on one of them, and
// what it lost there is of another slot.
func cutsAt(r *recorder, at au) (out []timeline.Ticks) {
	for _, s := range r.segs {
		if d := s.info.Start - at.dts; d > -2*timeline.CellTicks && d < timeline.CellTicks {
			out = append(out, s.info.Start)
		}
	}
	return out
}

// TestPacketsOfTwoSites: two sites lose packets, each others. What their copies give together is what one would have that lost
// only what both lost: the same access units are intact, byte for byte.
func TestPacketsOfTwoSites(t *testing.T) {
	for _, clip := range clips {
		for _, rtp := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/rtp=%t", clip.Name, rtp), func(t *testing.T) {
				ts := source(t, clip)
				sent := intactOf(t, record(t, ts, 1316))
				packets := slices.Collect(slices.Chunk(ts, mpegts.PacketSize))
				datagrams := slices.Collect(slices.Chunk(ts, 1316))
				rnd := testkit.Rand(t)
				byUnit, byPacket, left, apart, unsure := 0, 0, 0, 0, 0
				latm := clip.Name == "latm"
				for round := range rounds(4) {
					share := []float64{0.01, 0.002, 0.0005}[round/4%3]
					if !rtp && round%4 > 0 {
						continue
					}
					var ra, rb, want *recorder
					if rtp {
						a, b := lose(len(datagrams), 30, share, 9, rnd), lose(len(datagrams), 30, share, 9, rnd)
						for both(a, b).packets().hidden(packets) {
							b = lose(len(datagrams), 30, share, 9, rnd)
						}
						ra, rb, want = a.receiveRTP(t, datagrams), b.receiveRTP(t, datagrams), both(a, b).receive(t, datagrams)
					} else {
						a, b := lose(len(packets), 200, share, 3, rnd), lose(len(packets), 200, share, 3, rnd)
						if !a.sure(packets) || !b.sure(packets) {
							continue
						}
						ra, rb, want = a.receive(t, packets), b.receive(t, packets), both(a, b).receive(t, packets)
					}
					ia, ib, should := intactOf(t, ra), intactOf(t, rb), intactOf(t, want)
					got := map[au]string{}
					for _, r := range joinAll(t, ra, rb) {
						maps.Copy(got, intactIn(t, &r.Copy))
					}
					for at, data := range got {
						if sent[at] != data {
							t.Errorf("PID %d at %d is not what was sent", at.pid, at.dts)
						}
					}
					for at := range sent {
						_, here := got[at]
						_, inA := ia[at]
						_, inB := ib[at]
						switch _, ok := should[at]; {
						case ok && !here && !slices.Equal(cutsAt(ra, at), cutsAt(rb, at)):
							apart++
						case ok && !here && latm && at.pid != 256: // not before the next StreamMuxConfig
							apart++
						case ok && !here: // where several holes lie between packets that both have, or both lost three datagrams of others
							unsure++
						case here && !ok:
							t.Errorf("PID %d at %d is intact, and packets of it were lost on both", at.pid, at.dts)
						case here && inA != inB:
							byUnit++
						case here && !inA:
							byPacket++
						case !here:
							left++
						}
					}
				}
				t.Logf("%d access units mended by access unit, %d by packet, %d of which packets were lost on both, %d in unlike slots, or in LATM before its configuration, %d not sure", byUnit, byPacket, left, apart, unsure)
				most := 2
				if rtp { // both lose up to nine datagrams in a row there
					most += byPacket / 4
				}
				if unsure > most {
					t.Errorf("%d access units are not mended, and no packet of theirs was lost on both", unsure)
				}
				if byPacket == 0 {
					t.Error("nothing was mended by packet: the test shows nothing")
				}
			})
		}
	}
}
