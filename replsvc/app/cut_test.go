package app_test

import (
	"fmt"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/replsvc/internal/testdvr"
)

// stretch is a copy of a slot that begins with picture from of its cell and ends before picture to, which may be of the next cell. One
// of them may be damaged, one may be missing; -1: none.
func stretch(cell, from, to, faulty, missing int, e segment.Evidence) *testdvr.Copy {
	c := testdvr.Make(cell, 0, "x")
	i := &c.Info
	base := i.Start
	i.Chunks, c.Data, i.Evidence = nil, nil, e
	i.Start, i.End = base+timeline.Ticks(from)*step, base+timeline.Ticks(to)*step
	i.Tracks[0].Start, i.Tracks[0].End, i.Tracks[0].Samples = i.Start, i.End, 0
	for n := from; n < to; {
		var samples []fmp4.Sample
		var payload []byte
		first := -1
		for at := n; n < to && (n == at || n%8 != 0); n++ {
			if n == missing {
				if k := len(samples); k > 0 {
					samples[k-1].Duration += uint32(step)
				}
				i.Evidence.Missing = append(i.Evidence.Missing, segment.MissingSpan{PID: 256, From: base + timeline.Ticks(n)*step, To: base + timeline.Ticks(n+1)*step, Reason: segment.ReasonContinuity})
				continue
			}
			if first < 0 {
				first = n
			}
			data := fmt.Appendf(nil, "cell %d picture %d", cell+n/128, n%128)
			if n == faulty {
				data = []byte("x")
				i.Evidence.Faulty = append(i.Evidence.Faulty, segment.FaultySample{PID: 256, DTS: base + timeline.Ticks(n)*step, Reason: segment.ReasonContinuity})
			}
			samples = append(samples, fmp4.Sample{Duration: uint32(step), Size: uint32(len(data)), Flags: fmp4.FlagsSync})
			payload = append(payload, data...)
		}
		i.Tracks[0].Samples += uint32(len(samples))
		at, start := len(c.Data), base+timeline.Ticks(first)*step
		c.Data = fmp4.AppendChunk(c.Data, fmp4.Video, 256, start, samples, payload)
		i.Chunks = append(i.Chunks, segment.Chunk{
			PID: 256, Cell: uint32(start / timeline.ChunkTicks), Offset: uint64(at), Size: uint32(len(c.Data) - at),
			CRC: crc32.Checksum(c.Data[at:], crc32.MakeTable(crc32.Castagnoli)), TfdtOffset: fmp4.TfdtOffset,
		})
	}
	i.Bytes, i.Digest = uint64(len(c.Data)), segment.Sum(c.Data)
	return c
}

// TestLostCut: one site lost the picture with which a segment begins, and cut where the next could; the other is not certain of its
// cut. What follows is in unlike slots, and damaged in that of the other. Both come to what a recorder has that lost nothing.
func TestLostCut(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	before, behind := segment.Evidence{EndUncertain: true}, segment.Evidence{StartUncertain: true}
	lost := []*testdvr.Copy{stretch(105, 0, 128+8, -1, 128, before), stretch(106, 8, 128, -1, -1, behind)}
	unsure := []*testdvr.Copy{stretch(105, 0, 128, 127, -1, before), stretch(106, 0, 128, 5, -1, behind)}
	clean := []*testdvr.Copy{pictures(105, "b", nil, false), pictures(106, "b", nil, false)}
	others := slices.Delete(make10("b"), 5, 7)
	a := newSiteHolding(t, n, "a", config("b"), append(slices.Clone(others), lost...)...)
	b := newSiteHolding(t, n, "b", config("a"), append(slices.Clone(others), unsure...)...)
	for _, s := range []*site{a, b} {
		for _, c := range clean {
			eventually(t, soon, "it is whole", func() error { return whole(s, c) })
		}
	}
	for _, s := range []*site{a, b} {
		if st := s.status(); st.GetJoinConflicts() != 0 {
			t.Errorf("%s: status %v", s.node, st)
		}
	}
}

// TestRunsOverTwoSlots: one site lost the pictures with which two segments begin, so that its copy of the one before has all of both. What the other lacks
// of either comes from that.
func TestRunsOverTwoSlots(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	over := stretch(105, 0, 3*128, -1, 128, segment.Evidence{EndUncertain: true})
	cut := []*testdvr.Copy{stretch(105, 0, 128, 9, -1, segment.Evidence{}), stretch(106, 0, 128, 5, -1, segment.Evidence{}), stretch(107, 0, 128, 7, -1, segment.Evidence{})}
	others := slices.Delete(make10("b"), 5, 8)
	a := newSiteHolding(t, n, "a", config("b"), append(slices.Clone(others), over)...)
	b := newSiteHolding(t, n, "b", config("a"), append(slices.Clone(others), cut...)...)
	for _, s := range []*site{a, b} {
		for cell := 105; cell <= 107; cell++ {
			eventually(t, soon, "it is whole", func() error { return whole(s, pictures(cell, "b", nil, false)) })
		}
	}
}

// TestSlotBesideIsFull: what a peer's copy would add to the slot beside is not taken there. The copy itself is kept all the same.
func TestSlotBesideIsFull(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	before, behind := segment.Evidence{EndUncertain: true}, segment.Evidence{StartUncertain: true}
	lost := stretch(105, 0, 128+8, 50, 128, before)
	unsure := []*testdvr.Copy{stretch(105, 0, 128, 127, 50, before), stretch(106, 0, 128, 5, -1, behind)}
	others := slices.Delete(make10("b"), 5, 7)
	a := newSiteHolding(t, n, "a", config("b"), append(slices.Clone(others), unsure...)...)
	a.dvr.Fill(106)
	newSiteHolding(t, n, "b", config("a"), append(slices.Clone(others), lost)...)
	eventually(t, soon, "the peer's is here", func() error { return has(a.dvr, lost) })
}
