package store

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/twinreel/twinreel/pkg/vfs"
)

// brokenDir is a disk that fails in one directory while it is broken: to list it, to open what is in it, or to write there.
type brokenDir struct {
	vfs.FS
	dir    string
	err    error
	ops    string // list, open, write
	broken bool
}

func (d *brokenDir) fails(op, path string) error {
	if d.broken && strings.Contains(d.ops, op) && (path == d.dir || filepath.Dir(path) == d.dir) {
		return &fs.PathError{Op: op, Path: path, Err: d.err}
	}
	return nil
}

// ReadDir implements vfs.FS.
func (d *brokenDir) ReadDir(path string) ([]fs.DirEntry, error) {
	if err := d.fails("list", path); err != nil {
		return nil, err
	}
	return d.FS.ReadDir(path)
}

// Open implements vfs.FS.
func (d *brokenDir) Open(path string) (vfs.File, error) {
	if err := d.fails("open", path); err != nil {
		return nil, err
	}
	return d.FS.Open(path)
}

// OpenAppend implements vfs.FS.
func (d *brokenDir) OpenAppend(path string) (vfs.File, error) {
	if err := d.fails("write", path); err != nil {
		return nil, err
	}
	return d.FS.OpenAppend(path)
}

// Create implements vfs.FS.
func (d *brokenDir) Create(path string) (vfs.File, error) {
	if err := d.fails("write", path); err != nil {
		return nil, err
	}
	return d.FS.Create(path)
}

// TestOneDirectoryKeepsNoStorageShut: a storage is opened although the directory of one stream is damaged, or somebody else's. The others
// are recorded; the one is told of, and is taken in with all it has, what was deleted and cut short included, once that can be done.
func TestOneDirectoryKeepsNoStorageShut(t *testing.T) {
	for name, c := range map[string]struct {
		ops string
		err error
	}{
		"cannot be listed":                   {"list", errIO},
		"cannot be listed, and needs repair": {"list", unix.EUCLEAN},
		"is another user's":                  {"list open write", fs.ErrPermission},
		"cannot be read":                     {"open", errIO},
	} {
		for _, lose := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				x := newSite(t)
				cam, other := x.st, must(x.s.Stream("other"))
				row := must2(cam.Timeline(x.row))
				if err := other.PutTimeline(Row{ID: row.ID, Mapping: row.Mapping}); err != nil {
					t.Fatal(err)
				}
				ours := []*made{x.whole(0), x.whole(1), x.whole(2)}
				theirs := []*made{x.whole(0), x.whole(1), x.whole(2)}
				for _, m := range ours {
					x.store(m, true)
				}
				x.clock.move(time.Minute)
				x.delete(x.at(2), x.at(4))
				if _, err := x.feed(x.whole(3), true, 4); err != nil { // is torn
					t.Fatal(err)
				}
				x.commit()
				x.st = other
				x.store(theirs[0], true)
				x.powerCut(nil)

				_ = x.s.Close()
				if lose {
					x.index = newIndexFS()
				}
				d := &brokenDir{FS: x.disk, dir: "/storage/cam", err: c.err, ops: c.ops, broken: true}
				if err := x.openOn(d); !errors.Is(err, c.err) {
					t.Fatalf("opened: %v", err)
				}
				if names := x.s.Names(); !slices.Equal(names, []string{"cam", "other"}) {
					t.Errorf("streams: %v", names)
				}
				if _, err := x.s.Opened("cam"); !errors.Is(err, c.err) || !strings.Contains(err.Error(), "/storage/cam") {
					t.Errorf("told of it: %v", err)
				}
				x.st = must(x.s.Opened("other"))
				x.store(theirs[1], true)
				x.s.tryApart()
				if _, err := x.s.Opened("cam"); err == nil {
					t.Error("it is open")
				}

				d.broken = false
				x.s.tryApart()
				for n, start := range []string{"first", "next"} {
					x.st = must(x.s.Opened("cam"))
					if got := x.held(ours); got != "xx-" || len(x.st.tails) > 0 || x.st.deleting {
						t.Errorf("%s start: held %s, %d tails", start, got, len(x.st.tails))
					}
					if got := x.st.Summary().Copies; got != uint64(3+n) {
						t.Errorf("%s start: %d copies, want two, what was whole of the torn one, and %d", start, got, n)
					}
					x.store(x.whole(4+n), true)
					if err := x.s.Check(context.Background()); err != nil {
						t.Errorf("%s start: %v", start, err)
					}
					x.st = must(x.s.Opened("other"))
					if got := x.held(theirs); got != "xx-" {
						t.Errorf("%s start: held %s of the other", start, got)
					}
					if start == "first" {
						_ = x.s.Close()
						x.open()
					}
				}
			})
		}
	}
}
