package store

import (
	"context"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/twinreel/twinreel/pkg/fmp4"
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

// video makes a whole segment of pictures that are shown two later than they are decoded, as any stream with B pictures
// has them.
func (x *site) video(n int) *made {
	x.t.Helper()
	const step, delay, pictures = 3600, 7200, 145
	b := timeline.Wrap + timeline.Ticks(n*pictures*step)
	m := &made{slot: segment.Slot{Timeline: x.row, Cell: uint16(b.Cell())}}
	sps, pps := []byte{0x67, 0x42, 0xc0, 0x0c, 0xda, 0x05, 0x06, 0x7e, 0x7c, 0x04, 0x40, 0, 0, 3, 0, 0x40, 0, 0, 0x0c, 0x83, 0xc5, 0x0a, 0xa8}, []byte{0x68, 0xce, 0x0f, 0xc8}
	data, codec, err := fmp4.H264Init(256, "", [][]byte{sps}, [][]byte{pps})
	if err != nil {
		x.t.Fatal(err)
	}
	init := segment.Init{PID: 256, Hash: segment.Sum(data), Data: data}
	start, end := b-delay, b-delay+pictures*step
	m.inits = []segment.Init{init}
	m.info = segment.Info{Start: b, End: b + pictures*step, Independent: true, Path: []string{"a"}, Format: segment.Format}
	m.info.Tracks = []segment.Track{{PID: 256, Codec: codec, Init: init.Hash, Start: start, End: end, Samples: pictures}}
	m.slot.InitSet = segment.MakeInitSet(m.info.Tracks)
	var all []byte
	for at := start; at < end; {
		cell, from := at/timeline.ChunkTicks, at
		var samples []fmp4.Sample
		for ; at/timeline.ChunkTicks == cell && at < end; at += step {
			samples = append(samples, fmp4.Sample{Duration: step, Size: 4, Flags: fmp4.FlagsSync, Offset: delay})
		}
		c := fmp4.AppendChunk(nil, fmp4.Video, 256, from, samples, make([]byte, 4*len(samples)))
		m.info.Chunks = append(m.info.Chunks, segment.Chunk{
			PID: 256, Cell: uint32(cell), Offset: uint64(len(all)), Size: uint32(len(c)), CRC: checksumOf(c), TfdtOffset: fmp4.TfdtOffset,
		})
		m.chunks, all = append(m.chunks, c), append(all, c...)
	}
	m.info.Bytes, m.info.Digest = uint64(len(all)), segment.Sum(all)
	return m
}

// TestLiveFileHoldsAnHour records pictures that are decoded before they are shown: they follow each other in one file,
// and one that goes back is in another.
func TestLiveFileHoldsAnHour(t *testing.T) {
	x := newSite(t)
	for n := range 20 {
		x.store(x.video(n), true)
	}
	if files := x.dataFiles(); len(files) != 1 {
		t.Errorf("%d data files for 20 segments in a row", len(files))
	}
	again := x.video(19)
	c, err := x.feed(again, true, 4)
	if err != nil {
		t.Fatal(err)
	}
	c.Break(nil)
	x.commit()
	if files := x.dataFiles(); len(files) != 2 {
		t.Errorf("%d data files with one that goes back", len(files))
	}
}
