package store

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// crowd fills a slot with copies of which none contains another: 4 that are kept, and the parts of one that are to come.
func (x *site) crowd() (kept []*made, whole *made, part func(from, to int) *made) {
	first, _ := cellFrames(4)
	part = func(from, to int) *made { return x.make(first+from, first+to, nil, nil).uncertain(true, true) }
	kept = []*made{part(5, 60), part(10, 70), part(15, 80), part(110, 140)}
	return kept, part(0, 100), part
}

// TestRebuildRefusesNothing loses the index of a slot whose copies came in an order in which each found room: in the
// order of the data files there are at times too many (I1, I5).
func TestRebuildRefusesNothing(t *testing.T) {
	x := newSite(t)
	kept, whole, part := x.crowd()
	x.store(part(0, 50), false)
	x.store(whole, true)
	for _, m := range kept {
		if r := x.store(m, false); r.err != nil {
			t.Fatal(r.err)
		}
	}
	last := kept[3]
	x.down(false)
	x.open()
	if _, err := x.read(last.info.Digest); err != nil {
		t.Errorf("released and kept, gone after the index was rebuilt: %v", err)
	}
}

// TestTornCopyInAFullSlot dies in the middle of a copy for which its slot has no room: it is recorded once, and its file
// is closed.
func TestTornCopyInAFullSlot(t *testing.T) {
	x := newSite(t)
	kept, _, part := x.crowd()
	for _, m := range kept {
		if r := x.store(m, false); !r.out.Kept {
			t.Fatalf("%+v", r)
		}
	}
	if _, err := x.feed(part(0, 20), true, -1); err != nil {
		t.Fatal(err)
	}
	x.commit()
	var files int
	for range 3 {
		x.powerCut(nil)
		if n := len(x.dataFiles()); files != 0 && n != files {
			t.Errorf("%d data files, and %d after another start", files, n)
		} else {
			files = n
		}
	}
	if copies, err := x.st.Copies(kept[0].slot); err != nil || len(copies) != segment.MaxCopies+1 {
		t.Errorf("%d copies, %v", len(copies), err)
	}
}

// TestFullSlotRefuses holds I6 for a copy that was not on disk before.
func TestFullSlotRefuses(t *testing.T) {
	x := newSite(t)
	kept, _, part := x.crowd()
	for _, m := range kept {
		x.store(m, false)
	}
	if r := x.store(part(0, 20), false); !errors.Is(r.err, errs.ErrConflictLimit) {
		t.Errorf("%+v", r)
	}
}

// TestFullSlotKeepsWhatCameLive fills the slot of a copy that came live and has since given way to one that was fetched,
// or been fetched again itself (I6, R3).
func TestFullSlotKeepsWhatCameLive(t *testing.T) {
	for name, after := range map[string]func(*site, *made, func(int, int) *made){
		"given way": func(x *site, _ *made, part func(int, int) *made) { x.store(part(0, 30), false) },
		"fetched again": func(x *site, live *made, _ func(int, int) *made) {
			x.rot(live)
			_, _ = x.read(live.info.Digest)
			if r := x.store(live, false); r.out.Copy.Live {
				x.t.Error("what was fetched is told as live: the tail would not pass it on")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newSite(t)
			_, _, part := x.crowd()
			live := part(0, 20)
			x.store(live, true)
			after(x, live, part)
			for i := range 4 {
				x.store(part(40+10*i, 100+10*i), false)
			}
			var by *SupersededError
			_, err := x.read(live.info.Digest)
			if errors.As(err, &by) {
				_, err = x.read(by.By)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// editIndex closes the store and changes the index beneath it.
func (x *site) editIndex(edit func(*pebble.DB) error) {
	x.t.Helper()
	if err := x.s.Close(); err != nil {
		x.t.Fatal(err)
	}
	db, err := pebble.Open("/storage/.twinreel/index", &pebble.Options{FS: x.index, FormatMajorVersion: pebble.FormatNewest})
	if err != nil {
		x.t.Fatal(err)
	}
	if err := errors.Join(edit(db), db.Close()); err != nil {
		x.t.Fatal(err)
	}
}

// TestCommitThatFailed: what a failed commit did not take into the index is found when the store is opened again, whatever
// came behind it in the file, though nobody brings it a second time.
func TestCommitThatFailed(t *testing.T) {
	x := newSite(t)
	m := x.whole(1)
	x.store(x.whole(0), true)
	row := append([]byte("icam\x00"), m.info.Digest[:]...) // cannot be parsed, so that m cannot be looked up
	x.editIndex(func(db *pebble.DB) error { return db.Set(row, []byte{1}, pebble.Sync) })
	x.open()
	r, err := x.record(m, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.feed(x.whole(2), true, 5); err != nil {
		t.Fatal(err)
	}
	if err := x.s.Commit(context.Background()); err == nil || r.err == nil {
		t.Fatalf("the commit did not fail: %v, %v", err, r.err)
	}
	x.editIndex(func(db *pebble.DB) error { return db.Delete(row, pebble.Sync) })
	if err := x.disk.Remove("/storage/.twinreel/index.bad"); err != nil { // or all would be made anew
		t.Fatal(err)
	}
	x.open()
	if b, err := x.read(m.info.Digest); err != nil || segment.Sum(b) != m.info.Digest {
		t.Errorf("read: %v", err)
	}
}

// TestRebuildIsTold takes a copy out of the index: a start that is told to make the index anew has it again (I5).
func TestRebuildIsTold(t *testing.T) {
	x := newSite(t)
	m := x.whole(0)
	x.store(m, true)
	x.store(x.whole(1), true)
	tx := x.s.db.Begin()
	_, err := x.st.remove(tx, index.Row{Slot: m.slot, Digest: m.info.Digest})
	if err = errors.Join(err, tx.Commit(), x.s.Close()); err != nil {
		t.Fatal(err)
	}
	x.open()
	if _, err := x.read(m.info.Digest); !errors.Is(err, errs.ErrUnknown) {
		t.Fatalf("before: %v", err)
	}
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	x.s, err = Open(context.Background(), Options{Path: "/storage", FS: x.disk, IndexFS: x.index, Clock: x.clock, Node: "a", Rebuild: true})
	if err != nil {
		t.Fatal(err)
	}
	x.st = must(x.s.Stream("cam"))
	if _, err := x.read(m.info.Digest); err != nil {
		t.Error(err)
	}
}

// TestFilesOfAnotherStorage starts with data files of another storage beside those of this one, with the same numbers, as somebody puts them
// there who moves a stream by hand: none is read for another, what was deleted here stays deleted, and all is as it is at the next start.
func TestFilesOfAnotherStorage(t *testing.T) {
	for name, c := range map[string]struct {
		lose         bool
		mine, theirs int // hours
	}{
		"later":               {mine: 0, theirs: 10},
		"earlier":             {mine: 10, theirs: 0},
		"later, index lost":   {lose: true, mine: 0, theirs: 10},
		"earlier, index lost": {lose: true, mine: 10, theirs: 0},
	} {
		t.Run(name, func(t *testing.T) {
			x, y := newSite(t), newSite(t)
			mine, theirs := []*made{x.whole(c.mine * 619), x.whole(c.mine*619 + 1)}, y.hours(y.st, c.theirs, 4)
			for _, m := range mine {
				x.store(m, true)
			}
			mine = append(mine, x.hours(x.st, c.mine+1, 2)...)
			x.clock.move(24 * time.Hour)
			x.store(x.whole(30*619), true)
			x.delete(x.at(int(mine[0].slot.Cell)-1), testEpoch.Add((mine[0].info.End - timeline.Wrap).Duration()))
			_ = x.s.Close()
			for _, path := range y.dataFiles() {
				if err := vfs.Replace(x.disk, path, must(readFile(y.disk, path))); err != nil {
					t.Fatal(err)
				}
			}
			if c.lose {
				x.index = newIndexFS()
			}
			for _, start := range []string{"first", "next"} {
				x.open()
				if got := x.held(mine) + " " + x.held(theirs); got != "-xxx xxxx" {
					t.Errorf("%s start: held %s", start, got)
				}
				numbers := map[uint64]bool{}
				for _, path := range x.dataFiles() {
					no, _ := fileNumber(filepath.Base(path))
					if numbers[no] {
						t.Errorf("%s start: %d is the number of two", start, no)
					}
					numbers[no] = true
				}
				x.scrubbing()
				if got := x.s.Scrubbed(); got.Rotten+got.Damaged > 0 {
					t.Errorf("%s start: %+v", start, got)
				}
				_ = x.s.Close()
			}
			x.open()
		})
	}
}
