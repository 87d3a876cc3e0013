package store

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// TestStateIsSyncedBesideAppends writes the state by each of its ways, and looks whether Append could go on meanwhile:
// the live tail must not wait for a disk.
func TestStateIsSyncedBesideAppends(t *testing.T) {
	x := newSite(t)
	synced := 0
	x.fault.Fail = func(_ int64, op vfs.Op, path string) bool {
		if op == vfs.OpSync && strings.HasPrefix(filepath.Base(path), stateName) {
			synced++
			if !x.st.mu.TryLock() {
				t.Error("the stream is locked while its state is synced")
			} else {
				x.st.mu.Unlock()
			}
		}
		return false
	}
	if err := x.st.PutTimeline(Row{ID: x.row, Mapping: timeline.Mapping{{U: timeline.Wrap, UTC: testEpoch.UnixNano()}}}); err != nil {
		t.Fatal(err)
	}
	x.st.SetRetention(Rule{Age: time.Hour})
	x.clock.move(2 * time.Minute)
	x.sweep()
	if synced != 3 {
		t.Errorf("the state was written %d times, want 3", synced)
	}
}

// TestStateIsLostBesideNoFile: the state of a stream that is not recorded any more rots, or is removed by hand: no data file
// was begun since, and its locks and what was deleted are known all the same.
func TestStateIsLostBesideNoFile(t *testing.T) {
	for name, lose := range map[string]func(x *site){
		"removed": func(x *site) { _ = x.disk.Remove("/storage/cam/state") },
		"rotten": func(x *site) {
			b := must(readFile(x.disk, "/storage/cam/state"))
			b[len(b)/2] ^= 1
			rewrite(x.t.(*testing.T), x.disk, "/storage/cam/state", b)
		},
	} {
		for _, index := range []bool{true, false} {
			x := newSite(t)
			rule := Rule{Age: time.Hour}
			x.st.SetRetention(rule)
			x.sweep()
			all := []*made{x.whole(0), x.whole(1), x.whole(2), x.whole(3)}
			for _, m := range all {
				x.store(m, true)
			}
			x.closeFiles()
			x.lock("gone", x.at(3), x.at(4))
			x.lock("news", x.at(0), x.at(1))
			if _, err := x.st.Unlock("gone"); err != nil {
				t.Fatal(err)
			}
			x.delete(x.at(2), x.at(4))
			if err := x.s.Close(); err != nil {
				t.Fatal(err)
			}
			if !index {
				x.index = newIndexFS()
			}
			lose(x)
			x.open()
			x.st.SetRetention(rule)
			if l := x.st.Locks(); len(l) != 1 || l[0].ID != "news" {
				t.Errorf("%s: locks %+v", name, l)
			}
			if r := x.store(all[2], false); !errors.Is(r.err, errs.ErrDeleted) {
				t.Errorf("%s: what was deleted is taken: %v", name, r.err)
			}
			for range 90 {
				x.clock.move(time.Minute)
				x.sweep()
			}
			if got := x.held(all); got != "x---" {
				t.Errorf("%s: kept %s", name, got)
			}
		}
	}
}

// TestScrubWritesTheCopyOfTheStateAnew finds it rotten.
func TestScrubWritesTheCopyOfTheStateAnew(t *testing.T) {
	x := newSite(t)
	x.lock("news", x.at(0), x.at(1))
	path := "/storage/cam/" + spareName
	b := must(readFile(x.disk, path))
	b[len(b)/2] ^= 1
	rewrite(t, x.disk, path, b)
	x.scrubbing()
	if s, err := x.st.readSpare(); err != nil || len(s.Locks) != 1 || x.s.Scrubbed().Damaged != 1 {
		t.Errorf("%+v, %v, %+v", s.Locks, err, x.s.Scrubbed())
	}
}

// TestDamagedIDIsMadeAnew: streams know whose they are, and a store whose own note of it is lost opens.
func TestDamagedIDIsMadeAnew(t *testing.T) {
	path := "/storage/.twinreel/store"
	for name, harm := range map[string]func(x *site) vfs.FS{
		"damaged": func(x *site) vfs.FS {
			if err := x.disk.Corrupt(path, 1); err != nil {
				t.Fatal(err)
			}
			return x.disk
		},
		"empty": func(x *site) vfs.FS { return must2(x.disk, vfs.Replace(x.disk, path, nil) == nil) },
		"cut short": func(x *site) vfs.FS {
			return must2(x.disk, vfs.Replace(x.disk, path, []byte(`{"version":1,"id":"12"}`)) == nil)
		},
		"cannot be read": func(x *site) vfs.FS { return &closedDoor{FS: x.disk, name: path} },
	} {
		t.Run(name, func(t *testing.T) {
			x := newSite(t)
			m := x.whole(0)
			x.store(m, true)
			id := x.s.ID()
			x.down(false)
			x.open()
			_ = x.s.Close()
			if err := x.openOn(harm(x)); err != nil {
				t.Fatal(err)
			}
			if x.s.ID() != id || x.held([]*made{m}) != "x" {
				t.Errorf("id %x, was %x; held %s", x.s.ID(), id, x.held([]*made{m}))
			}
			_ = x.s.Close()
			x.open()
			if x.s.ID() != id {
				t.Errorf("id %x at the next start", x.s.ID())
			}
		})
	}
}

// TestStateThatCannotBeRead: a bad sector under the state of one stream keeps no storage shut: it is made of the data files and its copy. Where
// the disk does not give these either it may be that it gives nothing now, and nothing is made of less.
func TestStateThatCannotBeRead(t *testing.T) {
	const path = "/storage/cam/state"
	for _, lose := range []bool{false, true} {
		x := newSite(t)
		all := []*made{x.whole(0), x.whole(1), x.whole(2)}
		for _, m := range all {
			x.store(m, true)
		}
		x.clock.move(time.Minute)
		x.lock("news", x.at(0), x.at(1))
		x.delete(x.at(2), x.at(4))
		if err := x.s.Close(); err != nil {
			t.Fatal(err)
		}
		if lose {
			x.index = newIndexFS()
		}
		was := must(readFile(x.disk, path))
		for _, other := range []string{x.dataFiles()[0], path + ".spare"} {
			if err := x.openOn(&closedDoor{FS: &closedDoor{FS: x.disk, name: path}, name: other}); !errors.Is(err, errIO) {
				t.Errorf("opened without %s: %v", other, err)
			}
			if now := must(readFile(x.disk, path)); !bytes.Equal(now, was) {
				t.Errorf("the state is written without %s", other)
			}
		}
		if err := x.openOn(&closedDoor{FS: x.disk, name: path}); err != nil {
			t.Fatal(err)
		}
		for _, start := range []string{"first", "next"} {
			if got := x.held(all); got != "xx-" || len(x.st.Locks()) != 1 || len(x.st.Timelines()) != 1 {
				t.Errorf("%s start: held %s, locks %v, timelines %v", start, got, x.st.Locks(), x.st.Timelines())
			}
			_ = x.s.Close()
			x.open()
		}
	}
}
