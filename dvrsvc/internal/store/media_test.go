package store

import (
	"context"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// TestLiveFileIsMP4 lets ffprobe count the packets of a live file with an open copy at its end.
func TestLiveFileIsMP4(t *testing.T) {
	ffprobe, err := exec.LookPath("ffprobe")
	if err != nil {
		t.Skip("ffprobe is not installed")
	}
	dir := t.TempDir()
	s, err := Open(context.Background(), Options{Path: dir, FS: vfs.OS{}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	x := &site{t: t, s: s, row: segment.TimelineID{1}}
	if x.st, err = s.Stream("cam"); err != nil {
		t.Fatal(err)
	}
	if err := x.st.PutTimeline(Row{ID: x.row, Mapping: timeline.Mapping{{U: timeline.Wrap, UTC: testEpoch.UnixNano()}}}); err != nil {
		t.Fatal(err)
	}
	frames := 0
	for cell := range 10 {
		m := x.whole(cell)
		x.store(m, true)
		frames += int(m.info.Tracks[0].Samples)
	}
	open := x.whole(10)
	if _, err := x.feed(open, true, -1); err != nil {
		t.Fatal(err)
	}
	x.commit()
	frames += int(open.info.Tracks[0].Samples)
	files, err := filepath.Glob(filepath.Join(dir, "cam", "*.mp4"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	for track := range 2 {
		out, err := exec.Command(ffprobe, "-v", "error", "-count_packets", "-select_streams", "a:"+strconv.Itoa(track),
			"-show_entries", "stream=nb_read_packets", "-of", "csv=p=0", files[0]).Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != strconv.Itoa(frames) {
			t.Errorf("track %d: ffprobe says %q (%v), want %d", track, got, err, frames)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	s, err := Open(context.Background(), Options{Path: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	x := &site{t: b, s: s, row: segment.TimelineID{1}}
	if x.st, err = s.Stream("cam"); err != nil {
		b.Fatal(err)
	}
	if err := x.st.PutTimeline(Row{ID: x.row, Mapping: timeline.Mapping{{U: timeline.Wrap, UTC: testEpoch.UnixNano()}}}); err != nil {
		b.Fatal(err)
	}
	cell := 0
	for b.Loop() {
		m := x.whole(cell)
		b.SetBytes(int64(m.info.Bytes))
		if r := x.store(m, true); r.err != nil {
			b.Fatal(r.err)
		}
		cell++
	}
}
