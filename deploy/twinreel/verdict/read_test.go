package verdict

import (
	"slices"
	"testing"
	"time"

	"github.com/twinreel/twinreel/deploy/twinreel/witness"
	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/archive/archivetest"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// TestFailsWhenASegmentIsDeleted goes the whole way: bytes over gRPC, read by mp4ff, judged. A row and a turn of its own
// on the second site must not matter.
func TestFailsWhenASegmentIsDeleted(t *testing.T) {
	const length = 6 * timeline.TicksPerSecond
	utc := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	var servers [2]*archivetest.Server
	for i := range servers {
		servers[i] = &archivetest.Server{Name: "s"}
		for k := range timeline.Ticks(5) {
			servers[i].Add(archivetest.Place{
				Row: byte(i), Turn: int32(-i), Start: timeline.Wrap + 900000 + k*length, Length: length,
				UTC: utc.Add((k * length).Duration()),
			})
		}
	}
	read := func(i int) Site {
		s, err := Read(t.Context(), []string{"a", "b"}[i], archive.New(servers[i].Dial(t), "s"))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	a := read(0)
	var sent witness.Log
	for _, s := range a.Segments {
		sent.Units = append(sent.Units, s.Units...)
	}
	units := int(6*25 + 6*90000/archivetest.AACTicks + 6*90000/archivetest.MP2Ticks)
	if n := len(a.Segments[1].Units); n < units || n > units+2 {
		t.Errorf("%d units in a segment, want %d", n, units)
	}
	if v := Judge(sent, a, read(1)); len(v.Problems()) != 0 || v.Sent != len(sent.Units) || v.Slots != 5 {
		t.Errorf("of two alike: %q, %d units, %d slots", v.Problems(), v.Sent, v.Slots)
	}
	servers[1].Copies = slices.Delete(servers[1].Copies, 2, 3)
	v := Judge(sent, a, read(1))
	if v.Identical() || v.Sites[0].Lost != 0 || v.Sites[1].Lost != len(a.Segments[2].Units) || len(v.Problems()) != 2 {
		t.Errorf("of one with a segment deleted: %+v, %q", v, v.Problems())
	}
}
