package store

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"golang.org/x/sys/unix"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// volumes are disks whose room a test says: that of the data files, and that of the index, which the ballast takes from.
type volumes struct {
	vfs.FS
	data, index, total uint64
}

// Free implements vfs.FS.
func (v *volumes) Free(path string) (free, total uint64, err error) {
	if strings.HasSuffix(path, metaDir) {
		f, err := v.Open(path + "/ballast")
		if err != nil {
			return v.index, v.total, nil
		}
		defer f.Close()
		return v.index - min(v.index, uint64(must(f.Size()))), v.total, nil
	}
	return v.data, v.total, nil
}

// volumes gives disks of 1 GiB to a site that is closed, with a ballast of 32 MiB to come.
func (x *site) volumes() *volumes {
	if err := x.disk.Remove("/storage/.twinreel/ballast"); err != nil {
		x.t.Fatal(err)
	}
	return &volumes{FS: x.disk, data: 1 << 30, index: 1 << 30, total: 1 << 30}
}

// onVolumes opens a site on disks with room.
func onVolumes(t *testing.T) (*site, *volumes, *bytes.Buffer) {
	x := newSite(t)
	x.down(false)
	v := x.volumes()
	if err := x.openOn(v); err != nil {
		t.Fatal(err)
	}
	log := &bytes.Buffer{}
	x.s.log = slog.New(slog.NewTextHandler(log, nil))
	return x, v, log
}

// TestFullAndBack fills either volume in the middle of a segment and behind it: what came before is kept, nothing else is
// taken, the gap has its reason, also after a restart, and the log has three lines.
func TestFullAndBack(t *testing.T) { // faults 7
	for reason, free := range map[string][2]uint64{ // below the reserve, and a little above it
		"disk_full":  {100 << 20, 110 << 20},
		"index_full": {(32 + 70) << 20, (32 + 80) << 20},
	} {
		t.Run(reason, func(t *testing.T) {
			x, v, log := onVolumes(t)
			first, cut, last := x.whole(0), x.whole(1), x.whole(20)
			x.store(first, true)
			c, err := x.feed(cut, true, 9)
			if err != nil {
				t.Fatal(err)
			}
			set := func(free uint64) {
				if reason == "disk_full" {
					v.data = free
				} else {
					v.index = free
				}
			}
			x.clock.move(6 * time.Second)
			set(free[0])
			x.commit()
			if err := x.s.Full(); !errors.Is(err, errs.ErrFull) {
				t.Fatalf("full: %v", err)
			}
			err = c.Append(cut.info.Chunks[9], cut.chunks[9], segment.Evidence{})
			if reason == "disk_full" && !errors.Is(err, errs.ErrFull) || reason == "index_full" && err != nil {
				t.Fatalf("append: %v", err)
			}
			c.Break(nil)
			x.commit()
			for i := range 100 {
				if _, err := x.begin(x.whole(2+i%10), i%2 == 0); !errors.Is(err, errs.ErrFull) {
					t.Fatalf("begin: %v", err)
				}
				x.clock.move(time.Second)
				x.commit()
			}
			set(free[1])
			x.commit()
			if x.s.Full() == nil {
				t.Error("it comes and goes")
			}
			set(1 << 30)
			x.commit()
			x.store(last, true)
			if live, other := x.s.Refused(); live < 50 || live > 51 || other != 50 {
				t.Errorf("refused %d and %d", live, other)
			}
			if got := strings.Count(log.String(), "level=WARN"); got != 3 || !strings.Contains(log.String(), "live_segments_refused") {
				t.Errorf("%d lines:\n%s", got, log)
			}
			copies, err := x.st.Copies(cut.slot)
			if err != nil || len(copies) != 1 || !copies[0].Info.Evidence.EndUncertain || len(copies[0].Info.Chunks) < 9 {
				t.Fatalf("the segment that was open: %+v, %v", copies, err)
			}
			for range 2 {
				gaps := x.st.Gaps(time.Time{}, time.Time{})
				if len(gaps) != 1 || gaps[0].Reason != reason || !gaps[0].From.Equal(copies[0].UTCEnd) ||
					!gaps[0].To.Equal(x.st.At(x.row, last.info.Start)) {
					t.Errorf("gaps %+v", gaps)
				}
				x.powerCut(nil)
			}
			x.clock.move(time.Hour)
			x.store(x.whole(700), true)
			if gaps := x.st.Gaps(time.Time{}, time.Time{}); len(gaps) != 2 || gaps[1].Reason != "unknown" {
				t.Errorf("a gap of another kind: %+v", gaps)
			}
		})
	}
}

// TestFullAtTheEnd: a process that ends while the storage is full leaves an outage that goes on until there is room.
func TestFullAtTheEnd(t *testing.T) {
	x, v, _ := onVolumes(t)
	x.store(x.whole(0), true)
	v.data = 0
	x.clock.move(6 * time.Second)
	x.commit()
	x.down(false)
	x.clock.move(time.Minute)
	v.FS = x.disk
	if err := x.openOn(v); err != nil {
		t.Fatal(err)
	}
	v.data = 1 << 30
	x.clock.move(time.Minute)
	x.commit()
	x.store(x.whole(30), true)
	if gaps := x.st.Gaps(time.Time{}, time.Time{}); len(gaps) != 1 || gaps[0].Reason != "disk_full" {
		t.Errorf("gaps %+v", gaps)
	}
	if o := x.s.room.outages; len(o) != 1 || o[0].To-o[0].From != int64(2*time.Minute) {
		t.Errorf("outages %+v", o)
	}
}

// starving is a disk of the index that is full while as much as is wanted has not been given up.
type starving struct {
	x    *site
	v    *volumes
	need int64 // of ballast, that has to go; 0: it is not full
	met  int
}

func (s *starving) fs() pebblevfs.FS {
	return errorfs.Wrap(s.x.index, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if s.need > 0 && op.Kind == errorfs.OpFileWrite && s.x.s.ballast() > s.v.ballastLeft(s.need) {
			s.met++
			return &vfsError{op.Path}
		}
		return nil
	}))
}

func (v *volumes) ballastLeft(need int64) int64 { return int64(v.total/32) - need }

type vfsError struct{ path string }

func (e *vfsError) Error() string { return "write " + e.path + ": no space left on device" }
func (e *vfsError) Unwrap() error { return unix.ENOSPC }

// TestBallast fills the volume of the index to the last byte, twice: the commit goes on with the room of the ballast, nothing
// new is taken, and with room it is made again.
func TestBallast(t *testing.T) {
	x := newSite(t)
	x.down(false)
	v := x.volumes()
	full := &starving{x: x, v: v}
	x.wrapIndex = full.fs
	if err := x.openOn(v); err != nil {
		t.Fatal(err)
	}
	if got := x.s.ballast(); got != 32<<20 {
		t.Fatalf("ballast of %d bytes", got)
	}
	var kept []*made
	for i, need := range []int64{1 << 20, 20 << 20} {
		m := x.whole(i * 10)
		c, err := x.feed(m, true, -1)
		if err != nil {
			t.Fatal(err)
		}
		told := 0
		full.met = 0
		full.need, v.index = need, 32<<20
		if err := c.Seal(m.info, func(_ Outcome, err error) {
			if told++; err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		x.commit()
		kept = append(kept, m)
		if told != 1 || x.exits != 0 || full.met == 0 {
			t.Fatalf("told %d times, %d exits; a full disk was met %d times", told, x.exits, full.met)
		}
		if got := x.s.ballast(); got != v.ballastLeft([]int64{16 << 20, 24 << 20}[i]) {
			t.Errorf("%d bytes of ballast are left", got)
		}
		if _, err := x.begin(x.whole(1), true); !errors.Is(err, errIndexFull) {
			t.Errorf("begin: %v", err)
		}
		x.s.tendBallast()
		if got := x.s.ballast(); got == 32<<20 {
			t.Error("the ballast takes the room again that is lacking")
		}
		full.need = 0
		if i == 0 { // the next was begun before
			x.s.room.why.Store(fullness{})
		}
	}
	v.index = 1 << 30
	x.commit()
	x.s.tendBallast()
	if got := x.s.ballast(); got != 32<<20 {
		t.Errorf("ballast of %d bytes when there is room again", got)
	}
	x.powerCut(nil)
	for _, m := range kept {
		if _, err := x.read(m.info.Digest); err != nil {
			t.Error(err)
		}
	}
	if err := x.s.Check(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestIndexThatCannotBeOpened: want of room or of descriptors at the start takes no index (faults 7, 14).
func TestIndexThatCannotBeOpened(t *testing.T) {
	x := newSite(t)
	m := x.whole(0)
	x.store(m, true)
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	x.s = nil
	v := x.volumes()
	v.index = 1 << 20
	if err := x.openOn(v); !errors.Is(err, errs.ErrFull) {
		t.Fatalf("open without room: %v", err)
	}
	none := &fs.PathError{Op: "open", Path: "MANIFEST", Err: unix.EMFILE}
	x.wrapIndex = func() pebblevfs.FS {
		return errorfs.Wrap(x.index, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpOpen {
				return none
			}
			return nil
		}))
	}
	files := len(must(x.index.List("/storage/.twinreel/index")))
	if err := x.tryOpen(); !errors.Is(err, unix.EMFILE) {
		t.Fatalf("open without descriptors: %v", err)
	}
	if got := len(must(x.index.List("/storage/.twinreel/index"))); got < files {
		t.Errorf("%d files of the index are left of %d", got, files)
	}
	x.wrapIndex = nil
	x.open()
	if _, err := x.read(m.info.Digest); err != nil {
		t.Error(err)
	}
}

// crammed is a disk that others fill: without a byte left no file can be made.
type crammed struct {
	vfs.FS
	total, others uint64
}

// Free implements vfs.FS.
func (d *crammed) Free(string) (free, total uint64, err error) {
	used := d.others
	for _, dir := range []string{"/storage/cam", "/storage/.twinreel"} {
		entries, _ := d.ReadDir(dir)
		for _, e := range entries {
			used += uint64(must(e.Info()).Size())
		}
	}
	return d.total - min(d.total, used), d.total, nil
}

// Create implements vfs.FS.
func (d *crammed) Create(path string) (vfs.File, error) {
	if free, _, _ := d.Free(path); free == 0 {
		return nil, &vfsError{path}
	}
	return d.FS.Create(path)
}

// onCrammed gives a site of eight hours whose disk others fill to the last byte when fill is called.
func onCrammed(t *testing.T) (x *site, all []*made, fill func()) {
	x = newSite(t)
	x.down(false)
	if err := x.disk.Remove("/storage/.twinreel/ballast"); err != nil {
		t.Fatal(err)
	}
	d := &crammed{FS: x.disk, total: 1 << 30}
	if err := x.openOn(d); err != nil {
		t.Fatal(err)
	}
	x.st.SetRetention(Rule{Age: 1000 * time.Hour})
	x.sweep()
	return x, x.hours(x.st, 0, 8), func() {
		free, _, _ := d.Free("/storage")
		d.others = free
		x.commit()
	}
}

// TestDiskThatOthersFillGivesWay: age and limits make room on a disk on which not even the state can be written.
func TestDiskThatOthersFillGivesWay(t *testing.T) {
	for want, rule := range map[string]Rule{
		"------xx": {Age: 150 * time.Minute},
		"--------": {Limit: Limit{Percent: 90}},
	} {
		x, all, fill := onCrammed(t)
		if err := x.disk.Remove("/storage/.twinreel/ballast"); err != nil {
			t.Fatal(err)
		}
		fill()
		x.st.SetRetention(rule)
		for range 2 {
			x.sweep()
			x.clock.move(time.Minute)
		}
		if got := x.held(all); got != want {
			t.Errorf("kept %s, want %s", got, want)
		}
		x.loseIndex()
		if got := x.held(all); got != want {
			t.Errorf("kept %s, want %s, when the index was lost", got, want)
		}
	}
}

// TestOperatorOnAFullDisk: what is unlocked and deleted makes room on a disk that has not a byte left.
func TestOperatorOnAFullDisk(t *testing.T) {
	x, all, fill := onCrammed(t)
	x.lock("news", x.at(0), x.at(2*619))
	fill()
	if _, err := x.st.Unlock("news"); err != nil {
		t.Error(err)
	}
	fill()
	if d, err := x.st.DeleteRange(context.Background(), x.at(0), x.at(619)); err != nil || d.Copies != 1 {
		t.Errorf("deleted %+v, %v", d, err)
	}
	x.powerCut(nil)
	if got := x.held(all); got != "-xxxxxxx" || len(x.st.Locks()) > 0 {
		t.Errorf("kept %s, locks %v", got, x.st.Locks())
	}
}
