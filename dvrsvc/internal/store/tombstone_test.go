package store

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/pkg/vfs"
)

func (x *site) delete(from, to time.Time) Deleted {
	x.t.Helper()
	d, err := x.st.DeleteRange(context.Background(), from, to)
	if err != nil {
		x.t.Fatal(err)
	}
	return d
}

// TestDeletedStaysDeleted: what lies wholly within a range is deleted, what stands across its ends is not; it comes back
// neither from a peer nor by any restart; a file of which nothing is left is gone.
func TestDeletedStaysDeleted(t *testing.T) {
	for name, restart := range restarts {
		t.Run(name, func(t *testing.T) {
			x := newSite(t)
			x.st.SetRetention(Rule{Age: 72 * time.Hour})
			x.sweep()
			all := x.hours(x.st, 0, 1) // a file of its own
			for cell := 619; cell < 619+8; cell++ {
				all = append(all, x.whole(cell))
				x.store(all[len(all)-1], true)
				x.clock.move(5825 * time.Millisecond)
			}
			files := len(x.dataFiles())
			d := x.delete(x.at(619+2).Add(time.Second), x.at(619+6).Add(-time.Millisecond))
			if d.Copies != 2 || d.Bytes == 0 || d.From.Before(x.at(619+2)) || !d.To.Before(x.at(619+6)) {
				t.Errorf("deleted %+v", d)
			}
			want := "xxxx--xxx"
			if got := x.held(all); got != want {
				t.Fatalf("kept %s", got)
			}
			if len(x.dataFiles()) != files {
				t.Error("a file went with what is left in it")
			}
			x.store(x.whole(619+15), true) // its head has this tombstone alone
			files++
			if d := x.delete(x.at(0), x.at(1).Add(time.Second)); d.Copies != 1 || len(x.dataFiles()) != files-1 {
				t.Errorf("deleted %+v, %d files of %d are left", d, len(x.dataFiles()), files)
			}
			want = "-xxx--xxx"
			gone := []*made{all[0], all[4], all[5]}
			for range 2 {
				x.store(x.whole(619+20), true) // its head has the tombstones
				restart(x)
				x.st.SetRetention(Rule{Age: 72 * time.Hour})
				x.sweep()
				if got := x.held(all); got != want {
					t.Fatalf("kept %s", got)
				}
				for i, m := range gone {
					if r := x.store(m, false); !errors.Is(r.err, errs.ErrDeleted) {
						t.Errorf("%d is taken again: %+v", i, r)
					}
					if err := x.st.Refuses(x.st.At(x.row, m.info.Start), x.st.At(x.row, m.info.End)); !errors.Is(err, errs.ErrDeleted) {
						t.Errorf("%d is refused with %v", i, err)
					}
					if _, err := x.read(m.info.Digest); !errors.Is(err, errs.ErrDeleted) && (i > 0 || !errors.Is(err, errs.ErrUnknown)) {
						t.Errorf("%d is read with %v", i, err)
					}
				}
				if got := x.held(all); got != want {
					t.Fatalf("kept %s after backfill", got)
				}
			}
			var deleted time.Duration
			for _, g := range x.st.Gaps(time.Time{}, time.Time{}) {
				switch g.Reason {
				case "deleted":
					deleted += g.To.Sub(g.From)
				case "unknown":
				default:
					t.Errorf("gap %+v", g)
				}
				if g.Ticks <= 0 || (timeline.FromDuration(g.To.Sub(g.From))-g.Ticks).Duration().Abs() > time.Millisecond {
					t.Errorf("gap %+v", g)
				}
			}
			if cells := 2 * timeline.CellTicks.Duration(); (deleted - cells).Abs() > 100*time.Millisecond {
				t.Errorf("%s of the gaps are deleted, want %s", deleted, cells)
			}
		})
	}
}

// TestDeleteNothingThatIsRecorded: a range to the end of time ends before the segment that is being recorded, which goes on.
func TestDeleteNothingThatIsRecorded(t *testing.T) {
	x := newSite(t)
	x.st.SetRetention(Rule{})
	var all []*made
	for cell := range 4 {
		all = append(all, x.whole(cell))
	}
	x.store(all[0], true)
	if r, err := x.record(all[1], true); err != nil { // sealed and not committed
		t.Fatal(r, err)
	}
	c, err := x.feed(all[2], true, 5)
	if err != nil {
		t.Fatal(err)
	}
	x.clock.move(time.Hour) // ahead of what is recorded: it comes late
	if d := x.delete(x.at(0), x.at(0).AddDate(20, 0, 0)); d.Copies != 2 || d.To.After(x.at(2).Add(time.Second/10)) {
		t.Errorf("deleted %+v", d)
	}
	for i := 5; i < len(all[2].chunks); i++ {
		if err := c.Append(all[2].info.Chunks[i], all[2].chunks[i], all[2].info.Evidence); err != nil {
			t.Fatal(err)
		}
	}
	told := errors.New("not told")
	if err := c.Seal(all[2].info, func(_ Outcome, err error) { told = err }); err != nil {
		t.Fatal(err)
	}
	x.commit()
	if told != nil {
		t.Error(told)
	}
	x.store(all[3], true)
	x.loseIndex()
	if got := x.held(all); got != "--xx" {
		t.Errorf("kept %s", got)
	}
}

// TestLiveWithinATombstone: the clock was set back, and the stream is recorded where something was deleted. That stays.
func TestLiveWithinATombstone(t *testing.T) {
	x := newSite(t)
	x.st.SetRetention(Rule{})
	old := x.whole(0)
	x.store(old, true)
	x.clock.move(time.Minute)
	x.delete(x.at(0), x.at(9))
	live := x.again(x.whole(3), 0)
	x.store(live, true)
	for _, restart := range []func(){func() {}, x.loseIndex, func() { x.powerCut(nil) }} {
		restart()
		if got := x.held([]*made{old, live}); got != "-x" {
			t.Errorf("kept %s", got)
		}
	}
}

// TestDeleteWhatIsLocked: a range that touches a lock is refused as a whole.
func TestDeleteWhatIsLocked(t *testing.T) {
	x := newSite(t)
	x.st.SetRetention(Rule{})
	all := []*made{x.whole(0), x.whole(1), x.whole(2)}
	for _, m := range all {
		x.store(m, true)
	}
	x.clock.move(time.Minute)
	x.lock("news", x.at(2).Add(time.Second), x.at(3))
	_, err := x.st.DeleteRange(context.Background(), x.at(0), x.at(4))
	var locked *LockedError
	if !errors.Is(err, errs.ErrLocked) || !errors.As(err, &locked) || locked.Lock.ID != "news" {
		t.Errorf("delete: %v", err)
	}
	if got := x.held(all); got != "xxx" || len(x.st.view().Deleted) > 0 {
		t.Errorf("kept %s", got)
	}
	if d := x.delete(x.at(0), x.at(2).Add(time.Second/2)); d.Copies != 2 {
		t.Errorf("beside it: %+v", d)
	}
	if _, err := x.st.DeleteRange(context.Background(), x.at(1), x.at(0)); !errors.Is(err, errs.ErrInvalid) {
		t.Errorf("a range that turns back: %v", err)
	}
}

// TestTombstoneEnds: it is kept until the longest retention has passed, and no longer; and while something of it may be on
// disk.
func TestTombstoneEnds(t *testing.T) {
	x := newSite(t)
	x.st.SetRetention(Rule{Age: 2 * time.Hour})
	x.sweep()
	all := []*made{x.whole(0), x.whole(1)}
	for _, m := range all {
		x.store(m, true)
	}
	x.clock.move(time.Minute)
	x.delete(x.at(0), x.at(1).Add(time.Second))
	x.st.SetRetention(Rule{Age: 6 * time.Hour})
	x.st.SetRetention(Rule{Age: time.Hour})
	x.commit()
	hours := 0
	for ; len(x.st.view().Deleted) > 0 && hours < 20; hours++ {
		for range 60 {
			x.clock.move(time.Minute)
			x.commit()
			x.sweep()
		}
	}
	if hours != 6 {
		t.Errorf("it was kept for %d hours", hours)
	}
	if _, err := x.read(all[0].info.Digest); errors.Is(err, errs.ErrDeleted) {
		t.Errorf("its digest is remembered: %v", err)
	}
}

// TestStartCarriesOutATombstone: the process ends between the tombstone and the index.
func TestStartCarriesOutATombstone(t *testing.T) {
	for name, restart := range restarts {
		if name == "nothing" || name == "index, state lost" { // no file was begun since
			continue
		}
		x := newSite(t)
		x.st.SetRetention(Rule{})
		all := x.hours(x.st, 0, 2)
		if _, err := x.st.bury(span{x.at(0).UnixNano(), x.at(2).UnixNano()}); err != nil {
			t.Fatal(err)
		}
		restart(x)
		if got := x.held(all); got != "-x" {
			t.Errorf("%s: kept %s", name, got)
		}
		if n := len(x.dataFiles()); n != 1 {
			t.Errorf("%s: %d data files", name, n)
		}
	}
}

// TestFileThatKnowsMore: a file of which a part was deleted stays while it knows what took the place of the rest.
func TestFileThatKnowsMore(t *testing.T) {
	x := newSite(t)
	x.st.SetRetention(Rule{})
	from, to := cellFrames(0)
	damaged := x.make(from, to, []int{from + 9}, nil)
	x.store(damaged, false)
	x.store(x.whole(5), false)
	x.store(x.whole(0), true)
	x.clock.move(time.Hour)
	for range 3 { // files are closed
		x.commit()
	}
	if d := x.delete(x.at(5), x.at(7)); d.Copies != 1 {
		t.Errorf("deleted %+v", d)
	}
	x.loseIndex()
	var by *SupersededError
	if _, err := x.read(damaged.info.Digest); !errors.As(err, &by) {
		t.Errorf("what was replaced is read with %v", err)
	}
}

// TestDeleteGoesOn: the caller of a large deletion goes away; the rest goes with the next passes.
func TestDeleteGoesOn(t *testing.T) {
	x := newSite(t)
	x.st.SetRetention(Rule{})
	m := x.whole(0)
	x.store(m, true)
	x.clock.move(time.Minute)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := x.st.DeleteRange(ctx, x.at(0), x.at(3)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	x.sweep()
	if got := x.held([]*made{m}); got != "-" {
		t.Errorf("kept %s", got)
	}
}

// TestStateOfALaterProgram: a state with locks is none for a program that does not know them, and without any it is as it
// always was.
func TestStateOfALaterProgram(t *testing.T) {
	x := newSite(t)
	version := func() int {
		b := must(readFile(x.disk, "/storage/cam/state"))
		return must(decodeState(b)).Version
	}
	if version() != 1 {
		t.Errorf("version %d without locks", version())
	}
	x.lock("a", x.at(0), x.at(1))
	if version() != 2 {
		t.Errorf("version %d with a lock", version())
	}
	if _, err := x.st.Unlock("a"); err != nil || version() != 1 {
		t.Errorf("version %d unlocked, %v", version(), err)
	}
}

// TestBetweenTwoTombstones: what lies within neither of two deletions stays, and nobody is told that it was deleted: a peer
// repairs it.
func TestBetweenTwoTombstones(t *testing.T) {
	x := newSite(t)
	x.st.SetRetention(Rule{})
	all := []*made{x.whole(0), x.whole(1), x.whole(2)}
	for _, m := range all {
		x.store(m, true)
	}
	x.clock.move(time.Minute)
	x.delete(x.at(0), x.at(1).Add(4*time.Second))
	x.delete(x.at(1).Add(2*time.Second), x.at(3).Add(time.Second/2))
	if got := x.held(all); got != "-x-" {
		t.Fatalf("kept %s", got)
	}
	_, deleted := x.st.Kept()
	from, to := x.st.At(x.row, all[1].info.Start), x.st.At(x.row, all[1].info.End)
	for _, d := range deleted {
		if !from.Before(d.From) && !to.After(d.To) {
			t.Errorf("what is here is said to be deleted: %v", d)
		}
	}
}

// TestTombstoneOfATombstone: one that takes the place of another is kept for as long.
func TestTombstoneOfATombstone(t *testing.T) {
	x := newSite(t)
	x.st.SetRetention(Rule{Age: 6 * time.Hour})
	x.sweep()
	m := x.whole(0)
	x.store(m, true)
	x.clock.move(time.Minute)
	x.delete(x.at(0), x.at(1).Add(time.Second))
	x.st.SetRetention(Rule{Age: time.Hour})
	x.delete(x.at(0), x.at(2))
	for range 3 * 60 {
		x.clock.move(time.Minute)
		x.commit()
		x.sweep()
	}
	x.st.SetRetention(Rule{Age: 6 * time.Hour})
	if r := x.store(m, false); !errors.Is(r.err, errs.ErrDeleted) {
		t.Errorf("what was deleted is taken: %v", r.err)
	}
}

// TestDeletedAtTheEdge: a range ends where a segment does, and the mapping gets a further point: a time may then be a
// nanosecond away from where it was.
func TestDeletedAtTheEdge(t *testing.T) {
	for cell := 10; cell < 24; cell++ {
		x := newSite(t)
		x.st.SetRetention(Rule{})
		m, next := x.whole(cell), x.whole(cell+1)
		x.store(m, true)
		x.clock.move(10 * time.Minute)
		if _, err := x.feed(next, true, 4); err != nil {
			t.Fatal(err)
		}
		if d := x.delete(x.st.At(x.row, m.info.Start), x.at(99)); d.Copies != 1 {
			t.Fatalf("deleted %+v", d)
		}
		row, _ := x.st.Timeline(x.row)
		for u := next.info.Start; u < next.info.Start+7; u++ {
			now := row
			now.Mapping, _ = row.Mapping.With(timeline.Point{U: u, UTC: row.Mapping.UTC(u).UnixNano()})
			if err := x.st.PutTimeline(now); err != nil {
				t.Fatal(err)
			}
			if err := x.st.Refuses(x.st.At(x.row, m.info.Start), x.st.At(x.row, m.info.End)); !errors.Is(err, errs.ErrDeleted) {
				t.Fatalf("cell %d, point %d: %v", cell, u-next.info.Start, err)
			}
		}
	}
}

// heldUp is a disk that gives nothing of what is opened from now on until it may.
type heldUp struct {
	vfs.FS
	on      atomic.Bool
	reached chan struct{}
	may     chan struct{}
}

// Open implements vfs.FS.
func (h *heldUp) Open(path string) (vfs.File, error) {
	f, err := h.FS.Open(path)
	if err == nil && h.on.Load() {
		f = &heldUpFile{f, h}
	}
	return f, err
}

type heldUpFile struct {
	vfs.File
	h *heldUp
}

// ReadAt implements vfs.File.
func (f *heldUpFile) ReadAt(p []byte, at int64) (int, error) {
	select {
	case f.h.reached <- struct{}{}:
	default:
	}
	<-f.h.may
	return f.File.ReadAt(p, at)
}

// TestDeletionHoldsUpNoCommit: files of which all was deleted are read before they go, and that may take long.
func TestDeletionHoldsUpNoCommit(t *testing.T) {
	x := newSite(t)
	x.hours(x.st, 0, 3)
	x.down(false)
	slow := &heldUp{FS: x.disk, reached: make(chan struct{}, 1), may: make(chan struct{})}
	if err := x.openOn(slow); err != nil {
		t.Fatal(err)
	}
	x.st.SetRetention(Rule{})
	slow.on.Store(true)
	deleted, committed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := x.st.DeleteRange(context.Background(), x.at(0), x.at(2*619))
		deleted <- err
	}()
	<-slow.reached
	go func() { committed <- x.s.Commit(context.Background()) }()
	select {
	case err := <-committed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(2 * time.Second):
		t.Error("no commit while a file is looked at")
	}
	close(slow.may)
	if err := <-deleted; err != nil {
		t.Error(err)
	}
	if n := len(x.dataFiles()); n != 1 {
		t.Errorf("%d files are left", n)
	}
}
