package app_test

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/fmp4"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/replsvc/internal/testdvr"
)

const step = timeline.CellTicks / 128

// pictures is a copy of a cell with 128 pictures; of those in damaged, by their number, it has other bytes.
func pictures(cell int, path string, damaged map[int]string, faulty bool) *testdvr.Copy {
	c := testdvr.Make(cell, 0, path)
	i := &c.Info
	i.Chunks, c.Data = nil, nil
	i.Tracks[0].Samples = 128
	for n := 0; n < 128; {
		from := n
		var samples []fmp4.Sample
		var payload []byte
		for ; n < 128 && (n == from || n%8 != 0); n++ {
			data := []byte(fmt.Sprintf("cell %d picture %d", cell, n))
			if other, ok := damaged[n]; ok {
				if data = []byte(other); faulty {
					i.Evidence.Faulty = append(i.Evidence.Faulty, segment.FaultySample{PID: 256, DTS: i.Start + timeline.Ticks(n)*step, Reason: segment.ReasonContinuity})
				}
			}
			samples = append(samples, fmp4.Sample{Duration: uint32(step), Size: uint32(len(data)), Flags: fmp4.FlagsSync})
			payload = append(payload, data...)
		}
		at := len(c.Data)
		start := i.Start + timeline.Ticks(from)*step
		c.Data = fmp4.AppendChunk(c.Data, fmp4.Video, 256, start, samples, payload)
		i.Chunks = append(i.Chunks, segment.Chunk{
			PID: 256, Cell: uint32(start / timeline.ChunkTicks), Offset: uint64(at), Size: uint32(len(c.Data) - at),
			CRC: crc32.Checksum(c.Data[at:], crc32.MakeTable(crc32.Castagnoli)), TfdtOffset: fmp4.TfdtOffset,
		})
	}
	i.Bytes, i.Digest = uint64(len(c.Data)), segment.Sum(c.Data)
	return c
}

// TestDamagedInUnlikePlaces: both sites come to the copy of a recorder that lost nothing, whoever joins first, and that is the
// end: it is made once on each, and the other's may come when ours was made just now. What was joined is offered to dvrsvc, too.
func TestDamagedInUnlikePlaces(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	clean := pictures(105, "b", nil, false)
	others := slices.Delete(slices.Clone(all), 5, 6)
	ofA, ofB := pictures(105, "a", map[int]string{3: "x", 64: "y"}, true), pictures(105, "b", map[int]string{5: "z"}, true)
	a := newSiteHolding(t, n, "a", config("b"), append(slices.Clone(others), ofA)...)
	b := newSiteHolding(t, n, "b", config("a"), append(slices.Clone(others), ofB)...)
	for _, s := range []*site{a, b} {
		eventually(t, soon, "it is whole", func() error { return whole(s, clean) })
	}
	eventually(t, soon, "what was joined is offered", func() error {
		_, atA := a.dvr.Has(ofB.Info.Digest)
		_, atB := b.dvr.Has(ofA.Info.Digest)
		if atA+atB == 0 {
			return errors.New("nothing but the join was")
		}
		return nil
	})
	time.Sleep(3 * time.Second) // further comparisons and plans
	joined := uint64(0)
	for _, s := range []*site{a, b} {
		st := s.status()
		joined += st.GetJoinedSegments()
		if _, puts := s.dvr.Has(clean.Info.Digest); puts > 2 || st.GetJoinedSegments() > 1 || st.GetJoinConflicts() != 0 {
			t.Errorf("%s: recorded %d times; status %v", s.node, puts, st)
		}
		if got := s.dvr.Slots()[105]; len(got) > 2 {
			t.Errorf("%s: %d copies", s.node, len(got))
		}
	}
	if joined == 0 {
		t.Error("nothing was joined")
	}
}

// TestPacketsOfBoth: a join has the packets that are kept on either side of what both have damaged; what only one has comes with
// the copy.
func TestPacketsOfBoth(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	packet := func(c *testdvr.Copy, at uint32) {
		c.Info.Runs = append(c.Info.Runs, segment.Run{PID: 256, DTS: c.Info.Start + 64*step, Packets: []segment.Packet{{At: at, Counter: uint8(at), Data: []byte("x")}}})
	}
	one, two := pictures(105, "a", map[int]string{3: "x", 64: "y"}, true), pictures(105, "b", map[int]string{5: "z", 64: "yy"}, true)
	lone := pictures(106, "b", map[int]string{5: "z"}, true)
	packet(one, 1)
	packet(two, 2)
	packet(lone, 3)
	others := slices.Delete(slices.Clone(all), 5, 7)
	a := newSiteHolding(t, n, "a", config("b"), append(slices.Clone(others), one)...)
	b := newSiteHolding(t, n, "b", config("a"), append(slices.Clone(others), two, lone)...)
	for _, s := range []*site{a, b} {
		eventually(t, soon, "it has them", func() error {
			d := s.dvr.Runs(105)
			if len(d) != 1 || len(d[0].Packets) != 2 || s.status().GetJoinedSegments() == 0 && s == a {
				return fmt.Errorf("%s has %v of what both damaged", s.node, d)
			}
			if d := s.dvr.Runs(106); len(d) != 1 || len(d[0].Packets) != 1 {
				return fmt.Errorf("%s has %v of what one damaged", s.node, d)
			}
			return nil
		})
	}
	if st := a.status(); st.GetMendedUnits() != 0 || st.GetUnlikePackets() != 0 || st.GetJoinConflicts() != 0 {
		t.Errorf("status %v", st)
	}
}

// TestJoinedHere: what came to one site from two inputs is joined there, and nothing is fetched for it.
func TestJoinedHere(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	one, two := pictures(105, "a", map[int]string{3: "x"}, true), pictures(105, "b", map[int]string{5: "z"}, true)
	others := slices.Delete(slices.Clone(all), 5, 6)
	a := newSiteHolding(t, n, "a", config("b"), append(slices.Clone(others), one, two)...)
	b := newSiteHolding(t, n, "b", config(), append(slices.Clone(others), one, two)...)
	clean := pictures(105, "b", nil, false)
	eventually(t, soon, "it is whole", func() error { return whole(a, clean) })
	eventually(t, soon, "it is counted", func() error { // once it is durable
		if st := a.status(); st.GetJoinedSegments() != 1 {
			return fmt.Errorf("status %v", st)
		}
		return nil
	})
	if st := a.status(); st.GetFetchedSegments() != 0 || b.dvr.Reads() != 0 {
		t.Errorf("%d reads at the peer; status %v", b.dvr.Reads(), st)
	}
}

// TestJoinIsTriedAgain: copies of which dvrsvc cannot read one just now are joined when it can, not an hour later.
func TestJoinIsTriedAgain(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	one, two := pictures(105, "a", map[int]string{3: "x"}, true), pictures(105, "b", map[int]string{5: "z"}, true)
	others := slices.Delete(slices.Clone(all), 5, 6)
	newSiteHolding(t, n, "b", config(), append(slices.Clone(others), one, two)...)
	a := newSiteHolding(t, n, "a", config(), append(slices.Clone(others), one, two)...)
	a.dvr.Claim(one.Info.Digest, errs.ErrNotReady)
	a.configure(config("b"))
	eventually(t, soon, "they are read", func() error {
		if a.dvr.Reads() == 0 {
			return errors.New("nothing was")
		}
		return nil
	})
	time.Sleep(time.Second)
	a.dvr.Claim(one.Info.Digest, nil)
	eventually(t, 20*time.Second, "it is whole", func() error { return whole(a, pictures(105, "b", nil, false)) })
}

// TestContradictionIsKept: two copies that hold unlike pictures for intact are both kept on both sites, counted, and not tried
// over and over.
func TestContradictionIsKept(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	others := slices.Delete(slices.Clone(all), 5, 6)
	one, two := pictures(105, "a", map[int]string{3: "x"}, true), pictures(105, "b", map[int]string{5: "z"}, true)
	other := pictures(105, "b", map[int]string{7: "another one"}, false)
	other.Info.Evidence = two.Info.Evidence
	a := newSiteHolding(t, n, "a", config("b"), append(slices.Clone(others), one)...)
	b := newSiteHolding(t, n, "b", config("a"), append(slices.Clone(others), other)...)
	for _, s := range []*site{a, b} {
		eventually(t, soon, "both are kept", func() error {
			for _, c := range []*testdvr.Copy{one, other} {
				if err := has(s.dvr, c); err != nil {
					return err
				}
			}
			return nil
		})
	}
	time.Sleep(3 * time.Second)
	for _, s := range []*site{a, b} {
		if st := s.status(); st.GetJoinConflicts() == 0 || st.GetJoinConflicts() > 2 || st.GetJoinedSegments() != 0 {
			t.Errorf("%s: status %v", s.node, st)
		}
		if got := s.dvr.Slots()[105]; len(got) != 2 {
			t.Errorf("%s: %d copies", s.node, len(got))
		}
	}
}

// TestJoinWaitsForNoDisk: what was joined waits for its release beside the next join, not before it.
func TestJoinWaitsForNoDisk(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	a, b := newSite(t, n, "a", config("b")), newSite(t, n, "b", config())
	others := slices.Delete(slices.Clone(all), 4, 6)
	a.dvr.Late()
	var clean []*testdvr.Copy
	for cell := 104; cell < 106; cell++ {
		a.dvr.Put(pictures(cell, "a", map[int]string{3: "x"}, true))
		b.dvr.Put(pictures(cell, "b", map[int]string{5: "z"}, true))
		clean = append(clean, pictures(cell, "b", nil, false))
	}
	a.dvr.Put(others...)
	b.dvr.Put(others...)
	eventually(t, soon, "both are joined", func() error {
		for _, c := range clean {
			if err := has(a.dvr, c); err != nil {
				return err
			}
		}
		return nil
	})
}
