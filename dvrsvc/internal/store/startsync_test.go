package store

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// orderFS notes in which order data files are started and synced.
type orderFS struct {
	vfs.FS
	note func(string)
}

type orderFile struct {
	vfs.File
	note func(string)
	data bool
}

func (f orderFS) Create(path string) (vfs.File, error) {
	file, err := f.FS.Create(path)
	return orderFile{file, f.note, strings.HasSuffix(path, ".mp4")}, err
}

func (f orderFile) StartSync() error {
	if f.data {
		f.note("start")
	}
	return f.File.StartSync()
}

func (f orderFile) Sync() error {
	if f.data {
		f.note("sync")
	}
	return f.File.Sync()
}

// TestDiskBeginsWithAllFiles commits two files, a live and a backfilled one: the disk has begun with both before one of them
// is waited for, so that the file system's journal is written for them together.
func TestDiskBeginsWithAllFiles(t *testing.T) {
	x := newSite(t)
	x.down(false)
	var mu sync.Mutex // protects calls
	var calls []string
	note := func(call string) {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, call)
	}
	if err := x.openOn(orderFS{x.disk, note}); err != nil {
		t.Fatal(err)
	}
	for i, live := range []bool{true, false} {
		m := x.whole(i)
		c, err := x.feed(m, live, -1)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Seal(m.info, func(Outcome, error) {}); err != nil {
			t.Fatal(err)
		}
	}
	calls = nil
	x.commit()
	if n := slices.Index(calls, "sync"); n < 2 || len(calls) < 4 {
		t.Errorf("a commit did %v", calls)
	}
}

// TestStreamsBeginSideBySide has the disk begin with the file of one stream only when it is asked to begin with that of the
// other: what waits for the journal of the file system must not hold up a thousand others.
func TestStreamsBeginSideBySide(t *testing.T) {
	x := newSite(t)
	x.down(false)
	var begun sync.WaitGroup
	begun.Add(2)
	met := make(chan struct{})
	go func() { begun.Wait(); close(met) }()
	var starts atomic.Int32
	note := func(call string) {
		if call != "start" || starts.Add(1) > 2 {
			return
		}
		begun.Done()
		select {
		case <-met:
		case <-time.After(10 * time.Second):
			t.Error("one stream waits for the other")
		}
	}
	if err := x.openOn(orderFS{x.disk, note}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cam", "other"} {
		st, err := x.s.Stream(name)
		if err != nil {
			t.Fatal(err)
		}
		if x.st = st; name == "other" {
			if err := st.PutTimeline(Row{ID: x.row, Mapping: timeline.Mapping{{U: timeline.Wrap, UTC: testEpoch.UnixNano()}}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := x.feed(x.whole(0), true, 3); err != nil {
			t.Fatal(err)
		}
	}
	x.commit()
}
