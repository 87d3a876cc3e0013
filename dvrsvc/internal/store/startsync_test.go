package store

import (
	"slices"
	"strings"
	"sync"
	"testing"

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
