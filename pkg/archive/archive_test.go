package archive_test

import (
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/twinreel/twinreel/pkg/archive"
	"github.com/twinreel/twinreel/pkg/archive/archivetest"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

// Who keeps a list of segments without their chunk tables keeps no chunk tables, which are most of it.
func TestListWithoutChunks(t *testing.T) {
	srv := &archivetest.Server{Name: "s"}
	srv.Add(archivetest.Place{Start: timeline.Wrap, Length: 6 * timeline.TicksPerSecond, UTC: time.Unix(1800000000, 0)})
	var list []archive.Segment
	var tables []weak.Pointer[segment.Chunk]
	for s, err := range archive.New(srv.Dial(t), "s").Locate(t.Context(), archive.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		tables = append(tables, weak.Make(&s.Info.Chunks[0]))
		s.Info.Chunks = nil
		list = append(list, s)
	}
	runtime.GC()
	for _, w := range tables {
		if w.Value() != nil {
			t.Error("the chunk table is still there")
		}
	}
	if len(list) != 1 || segment.Digest(list[0].Ref) != list[0].Info.Digest {
		t.Errorf("%d segments, the first has the reference %x", len(list), list[0].Ref)
	}
}
