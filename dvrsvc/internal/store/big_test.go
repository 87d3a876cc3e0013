package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
)

const (
	bigCells   = 30 * 24 * time.Hour / (1 << 19 * time.Second / 90_000) // of 30 days
	bigDamaged = 2500                                                   // each so-manieth segment is damaged
	bigMissing = 5000                                                   // each so-manieth is missing
	bigBatch   = 4000
	bigTurn    = 1 << 14 // cells
)

// TestBig makes a store of months, whose index is real and whose data files are holes, opens it and asks for ranges.
// TWINREEL_BIG is how many segments, TWINREEL_BIG_DIR where the store is to stay, for `make bench` to go on with.
func TestBig(t *testing.T) {
	segments, dir := 20_000, t.TempDir()
	if v := os.Getenv("TWINREEL_BIG"); v != "" {
		var err error
		if segments, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	if v := os.Getenv("TWINREEL_BIG_DIR"); v != "" {
		dir = v
	}
	end := time.Now().Truncate(time.Second)
	streams := (segments + int(bigCells) - 1) / int(bigCells)
	cells := segments / streams
	s := openBig(t, dir)
	m := newSite(t).whole(0)
	began := time.Now()
	for i := range streams {
		fillBig(t, s, fmt.Sprintf("bench%d", i), m, end, cells)
	}
	t.Logf("%d streams of %d segments made in %s", streams, cells, time.Since(began).Round(time.Millisecond))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = openBig(t, dir)
	defer s.Close()
	opened := s.IndexRowsRead()
	for i := range streams {
		st, err := s.Stream(fmt.Sprintf("bench%d", i))
		if err != nil {
			t.Fatal(err)
		}
		if n, want := int(st.Summary().Copies), cells-cells/bigMissing; n != want {
			t.Errorf("%s has %d segments, want %d", st.name, n, want)
		}
		var covered, want time.Duration
		ranges := st.Ranges(time.Time{}, time.Time{})
		for _, r := range ranges {
			covered += r.To.Sub(r.From)
		}
		want = time.Duration(cells-cells/bigMissing) * timeline.CellTicks.Duration()
		damaged := cells/bigDamaged - cells/bigMissing // some of the damaged ones are missing
		if (covered-want).Abs() > time.Second || len(ranges) < 2*damaged {
			t.Errorf("%s: %s covered in %d ranges, want %s, with %d damaged segments", st.name, covered, len(ranges), want, damaged)
		}
	}
	if os.Getenv("TWINREEL_BIG_DIR") == "" {
		checkReads(t, s, cells, opened, end)
	} else {
		timeRanges(t, s, end)
	}
}

// timeRanges prints how long the store itself takes for ranges of 30 days, for `make bench` to show beside what a call takes.
func timeRanges(t *testing.T, s *Store, end time.Time) {
	names := s.Names()
	times, results := make([]time.Duration, 5000), 0
	for i := range times {
		st, err := s.Stream(names[i%len(names)])
		if err != nil {
			t.Fatal(err)
		}
		to := end.Add(-time.Duration(i) * time.Second)
		began := time.Now()
		results += len(st.Ranges(to.Add(-30*24*time.Hour), to))
		times[i] = time.Since(began)
	}
	slices.Sort(times)
	fmt.Printf("in the store: %d ranges, %s, %s, %s\n", results/len(times), times[len(times)/2], times[len(times)*99/100], times[len(times)-1])
}

func openBig(t *testing.T, dir string) *Store {
	s, err := Open(context.Background(), Options{Path: dir, Clock: clock.System{}, Node: "bench", ClockAgrees: func() bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fillBig gives a stream so many segments, the last of which ends at a moment, in a data file for each hour.
func fillBig(t *testing.T, s *Store, name string, like *made, end time.Time, cells int) {
	st, err := s.Stream(name)
	if err != nil {
		t.Fatal(err)
	}
	cell := timeline.CellTicks.Duration()
	began := end.Add(-time.Duration(cells) * cell)
	id := segment.Sum([]byte(name))
	row := segment.TimelineID(id[:])
	if err := st.PutTimeline(Row{ID: row, Mapping: timeline.Mapping{{U: timeline.Wrap, UTC: began.UnixNano()}}}); err != nil {
		t.Fatal(err)
	}
	var file *index.File
	var tx *index.Tx
	n := 0
	flush := func() {
		if tx != nil {
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			tx.Close()
		}
		tx, n = nil, 0
	}
	finish := func() { // the file as it would be when it was closed
		f, err := os.Create(filepath.Join(st.dir, file.Name))
		if err == nil {
			err = f.Truncate(file.Indexed)
		}
		if err == nil {
			err = f.Close()
		}
		if err == nil {
			err = tx.PutFile(name, *file)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range cells {
		if tx == nil {
			tx = s.db.Begin()
			if i == 0 {
				for _, init := range like.inits {
					if err := tx.PutInit(name, init); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		at := began.Add(time.Duration(i) * cell)
		if hour := at.UTC().Format("20060102T15"); file == nil || file.Name[:len(hour)] != hour {
			if file != nil {
				finish()
			}
			no := uint64(1)
			if file != nil {
				no = file.No + 1
			}
			file = &index.File{No: no, Name: fmt.Sprintf("%s-%08d-live.mp4", hour, no), Indexed: 4096, Closed: true}
		}
		if i%bigMissing != bigMissing-1 {
			c := bigCopy(like, row, i, file)
			if err := tx.Put(name, c); err != nil {
				t.Fatal(err)
			}
			file.Indexed += int64(c.Info.Bytes)
			file.Newest = at.Add(cell).UnixNano()
		}
		if n++; n == bigBatch && i != cells-1 {
			flush()
		}
	}
	finish()
	flush()
}

// bigCopy is a segment like another one, in cell i.
func bigCopy(like *made, row segment.TimelineID, i int, f *index.File) *index.Copy {
	c := &index.Copy{Slot: like.slot, Info: like.info, Live: true, Presented: true, File: f.No}
	c.Slot.Timeline, c.Slot.Turn, c.Slot.Cell = row, int32(i/bigTurn), uint16(i%bigTurn)
	shift := timeline.Ticks(i%bigTurn) * timeline.CellTicks
	c.Info.Start = timeline.Wrap + shift
	c.Info.End = c.Info.Start + timeline.CellTicks
	c.Info.Tracks = slices.Clone(like.info.Tracks)
	for k := range c.Info.Tracks {
		c.Info.Tracks[k].Start, c.Info.Tracks[k].End = c.Info.Start, c.Info.End
	}
	c.Info.Chunks = slices.Clone(like.info.Chunks)
	at := f.Indexed
	for k := range c.Info.Chunks {
		c.Info.Chunks[k].Cell += uint32(shift / timeline.ChunkTicks)
		c.At = append(c.At, at)
		at += int64(c.Info.Chunks[k].Size)
	}
	if i%bigDamaged == bigDamaged-1 {
		c.Info.Evidence.Missing = []segment.MissingSpan{{PID: c.Info.Tracks[0].PID, From: c.Info.Start + 9000, To: c.Info.Start + 18_000}}
	}
	c.Info.Digest = segment.Sum(binary.BigEndian.AppendUint64(slices.Clone(row[:]), uint64(i)))
	return c
}

// checkReads counts the rows of the index that the opening has read and that questions read: never all.
func checkReads(t *testing.T, s *Store, cells int, opened uint64, end time.Time) {
	streams := len(s.Names())
	blocks := streams * (cells/segment.BlockCells + 2)
	hours := streams * int(time.Duration(cells)*timeline.CellTicks.Duration()/time.Hour+2)
	read := func(what string, most int, f func()) {
		before := s.IndexRowsRead()
		f()
		if n := s.IndexRowsRead() - before; n > uint64(most) {
			t.Errorf("%s read %d rows of the index, at most %d were to be read", what, n, most)
		}
	}
	if n := opened; n > uint64(blocks+3*hours+100) {
		t.Errorf("to open it read %d rows of the index; it has %d segments, %d blocks and %d files", n, streams*cells, blocks, hours)
	}
	st, err := s.Stream("bench0")
	if err != nil {
		t.Fatal(err)
	}
	read("ranges of all", 0, func() { st.Ranges(time.Time{}, time.Time{}) })
	read("gaps of all", 0, func() { st.Gaps(time.Time{}, time.Time{}) })
	read("a summary", 0, func() { st.Summary() })
	hour := int(time.Hour / timeline.CellTicks.Duration())
	read("the segments of an hour", 3*hour, func() {
		n := 0
		for _, err := range st.Segments(end.Add(-5*time.Hour), end.Add(-4*time.Hour), false) {
			if n++; err != nil {
				t.Fatal(err)
			}
		}
		if n < hour-1 || n > hour+3 {
			t.Errorf("%d segments in an hour", n)
		}
	})
	oldest := st.Summary().First
	sweep := func() {
		if err := s.Sweep(context.Background()); err != nil {
			t.Error(err)
		}
	}
	st.SetRetention(Rule{Age: time.Since(oldest) + time.Hour})
	read("retention that takes nothing", 3*hours, sweep)
	st.SetRetention(Rule{Age: time.Since(oldest) - time.Hour})
	had := st.Summary().Copies
	read("retention that takes an hour", 10*hour+5*hours, sweep)
	if n := int(had - st.Summary().Copies); n < hour-3 || n > hour+3 {
		t.Errorf("%d segments have expired, want %d", n, hour)
	}
}
