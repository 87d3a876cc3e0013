package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// wasted gives a site with a closed live file of which most is dead: damaged segments that whole ones have replaced. The last
// two live.
func wasted(x *site) (dead, live, whole []*made) {
	for cell := range 6 {
		from, to := cellFrames(cell)
		m := x.make(from, to, []int{from + 9, from + 10}, nil)
		x.store(m, true)
		if cell < 4 {
			dead = append(dead, m)
			whole = append(whole, x.whole(cell))
		} else {
			live = append(live, m)
		}
	}
	for _, m := range whole {
		x.store(m, false)
	}
	x.closeFiles()
	return dead, live, whole
}

// closeFiles lets every data file be closed.
func (x *site) closeFiles() {
	x.clock.move(3 * time.Minute)
	for range 3 {
		x.commit()
	}
}

func (x *site) reclaims() {
	x.t.Helper()
	if err := x.s.scrubWith(x.s.reclaimRound); err != nil {
		x.t.Fatal(err)
	}
}

// TestReclaim writes a file anew of which most is dead: it becomes small, all that lived is there, in order, what did not is
// still led to what contains it, also without the index; a reader of the old file goes on, and nothing is written twice.
func TestReclaim(t *testing.T) {
	x := newSite(t)
	dead, live, whole := wasted(x)
	all := slices.Concat(live, whole)
	before, files := x.bytes(x.st)
	old := x.dataFiles()
	reader := must(x.st.NewReader(live[0].info.Digest, 0))
	defer reader.Close()
	x.reclaims()
	if got := x.s.Reclaimed(); got.Files != 1 || got.Freed == 0 || got.Read == 0 {
		t.Fatalf("reclaimed %+v", got)
	}
	after, left := x.bytes(x.st)
	if before-after < before/4 || left != files || before-after != int(x.s.Reclaimed().Freed) {
		t.Errorf("%d bytes in %d files, were %d in %d", after, left, before, files)
	}
	if _, err := x.disk.Open(old[0]); err == nil {
		t.Error("the old file is there")
	}
	var b []byte
	for {
		_, data, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the reader of the old file: %v", err)
		}
		b = append(b, data...)
	}
	if segment.Sum(b) != live[0].info.Digest {
		t.Error("the reader of the old file got other bytes")
	}
	good := func(when string) {
		t.Helper()
		for i, m := range all {
			if b, err := x.read(m.info.Digest); err != nil || segment.Sum(b) != m.info.Digest {
				t.Errorf("%s: copy %d: %v", when, i, err)
			}
		}
		for i, m := range dead {
			var by *SupersededError
			if _, err := x.read(m.info.Digest); !errors.As(err, &by) || by.By != whole[i].info.Digest {
				t.Errorf("%s: dead copy %d: %v", when, i, err)
			}
		}
		if err := x.s.Check(context.Background()); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		first, second := must(x.st.find(live[0].info.Digest)), must(x.st.find(live[1].info.Digest))
		if name := x.st.fileName(first.File); first.File != second.File || first.At[0] > second.At[0] || !strings.HasSuffix(name, "-live.mp4") || !first.Live {
			t.Errorf("%s: not in order in one live file: %s, %d and %d", when, name, first.At[0], second.At[0])
		}
	}
	good("as it is")
	x.powerCut(nil)
	good("after a power cut")
	x.reclaims()
	if got := x.s.Reclaimed(); got.Files != 0 {
		t.Errorf("reclaimed again: %+v", got)
	}
	x.down(true)
	x.open()
	good("without the index")
	x.scrubbing()
	if got := x.s.Scrubbed(); got.Damaged != 0 || got.Rotten != 0 {
		t.Errorf("the scrub does not believe it: %+v", got)
	}
}

// TestReclaimAllDead: of a file in which nothing lives what its digests lead to is left, and that goes on when what they lead to
// is replaced in turn and its file is written anew, too.
func TestReclaimAllDead(t *testing.T) {
	x := newSite(t)
	from, to := cellFrames(0)
	worst, better, whole := x.make(from, to, []int{from + 9, from + 10, from + 11}, nil), x.make(from, to, []int{from + 9}, nil), x.whole(0)
	for _, m := range []*made{worst, better, whole} {
		x.store(m, m == worst)
		x.closeFiles()
		x.reclaims()
	}
	if got := x.s.Reclaimed(); got.Files != 2 {
		t.Errorf("reclaimed %+v", got)
	}
	for range 2 {
		for _, m := range []*made{worst, better} {
			var by *SupersededError
			if _, err := x.read(m.info.Digest); !errors.As(err, &by) || by.By != whole.info.Digest {
				t.Errorf("%v", err)
			}
		}
		x.down(true)
		x.open()
	}
}

// TestReclaimKeepsOff: nothing is reclaimed without room for the copy, of files that are worth it too little, faster than its
// rate, or while the disk is slow.
func TestReclaimKeepsOff(t *testing.T) {
	x := newSite(t)
	wasted(x)
	disk := &sized{FS: x.disk, total: 1 << 30, others: 950 << 20}
	fs := x.s.fs
	x.s.fs = disk
	x.reclaims()
	if got := x.s.Reclaimed(); got.Files+got.Read != 0 {
		t.Errorf("without room: %+v", got)
	}
	x.s.fs = fs
	x.s.commitTook.Store(int64(2 * time.Second))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := x.s.calm(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a slow disk is waited for: %v", err)
	}
	x.s.commitTook.Store(0)
	c := &slowClock{testClock: x.clock}
	x.s.o.ReclaimRate, x.s.clock = 100_000, c
	x.reclaims()
	want := time.Duration(x.s.Reclaimed().Read) * 10 * time.Microsecond
	if off := want - c.waited; off < 0 || off > 50*time.Millisecond {
		t.Errorf("waited %s for %d bytes at 100 kB/s", c.waited, x.s.Reclaimed().Read)
	}

	x = newSite(t)
	for cell := range 6 {
		from, to := cellFrames(cell)
		x.store(x.make(from, to, []int{from + 9}, nil), true)
	}
	x.store(x.whole(2), false)
	x.closeFiles()
	x.reclaims()
	if got := x.s.Reclaimed(); got.Files != 0 {
		t.Errorf("a sixth is dead: %+v", got)
	}
}

// TestReclaimMeetsTheWorld replaces, lets rot and expires what is being moved, before the commit that would move it: the index
// leads to the newest, and nothing comes back.
func TestReclaimMeetsTheWorld(t *testing.T) {
	for _, what := range []string{"replaced", "rotten", "expired", "stored elsewhere"} {
		t.Run(what, func(t *testing.T) {
			x := newSite(t)
			_, live, _ := wasted(x)
			ws := must(x.st.wasteful())
			if len(ws) != 1 {
				t.Fatalf("%d files", len(ws))
			}
			f := must(x.st.openRead(ws[0].file.No))
			r := &slowReader{ctx: context.Background(), s: x.s, f: f, count: &x.s.reclaimed.read}
			p, copies, worth, err := x.st.survey(r, ws[0])
			if err != nil || !worth || len(copies) != 2 {
				t.Fatalf("%d live, %t, %v", len(copies), worth, err)
			}
			w, _, err := x.st.refill(&p, copies, ws[0].file)
			if err != nil {
				t.Fatal(err)
			}
			told := make(chan error, 2)
			for i := range copies {
				if err := x.st.moveCopy(w, p.head.inits, &copies[i], r, told); err != nil {
					t.Fatal(err)
				}
			}
			d := live[0].info.Digest
			switch what {
			case "replaced":
				x.s.commitMu.Lock()
				tx := x.s.db.Begin()
				c := must(tx.Get("cam", live[0].slot, d))
				if _, err := x.st.remove(tx, index.Row{Slot: c.Slot, Digest: d}); err != nil {
					t.Fatal(err)
				}
				err = tx.Commit()
				x.s.commitMu.Unlock()
				if err != nil {
					t.Fatal(err)
				}
			case "rotten":
				x.rot(live[0])
				_, _ = x.read(d)
			case "stored elsewhere":
				other := must(x.st.find(d))
				x.s.commitMu.Lock()
				tx := x.s.db.Begin()
				other.At = slices.Clone(other.At)
				other.At[0]++ // wherever that is
				err = errors.Join(tx.Put("cam", &other), tx.Commit())
				x.s.commitMu.Unlock()
				if err != nil {
					t.Fatal(err)
				}
			case "expired":
				x.st.SetRetention(Rule{Age: time.Hour})
				x.sweep()
				x.clock.move(time.Hour)
				x.sweep()
			}
			w.refill = false
			x.commit()
			if what == "stored elsewhere" {
				c := must(x.st.find(d))
				if c.File != ws[0].file.No || c.At[0] != copies[0].At[0]+1 {
					t.Errorf("it leads to %d of file %d", c.At[0], c.File)
				}
				x.s.commitMu.Lock()
				tx := x.s.db.Begin()
				err := errors.Join(tx.Put("cam", &copies[0]), tx.Commit())
				x.s.commitMu.Unlock()
				if err != nil || x.st.replaced(ws[0], w) != nil {
					t.Fatal(err)
				}
				if _, err := x.read(d); err != nil { // something leads to the old file: it stays
					t.Error(err)
				}
				return
			}
			_, err = x.read(d)
			if err == nil {
				t.Errorf("%s, and read again", what)
			}
			if err := x.st.replaced(ws[0], w); err != nil {
				t.Error(err)
			}
			if _, err := x.read(live[1].info.Digest); (err != nil) != (what == "expired") {
				t.Errorf("the other: %v", err)
			}
			_ = f.Close()
		})
	}
}

// TestEveryMomentOfAReclaim cuts the power at each operation of a reclaim, and loses the index: each copy is there once, and what
// is dead leads to what contains it, also where nothing in the file lives.
func TestEveryMomentOfAReclaim(t *testing.T) {
	for _, none := range []bool{false, true} {
		everyMoment(t, none)
	}
}

func everyMoment(t *testing.T, none bool) {
	for n := int64(1); ; n++ {
		x := newSite(t)
		dead, live, whole := wasted(x)
		if none {
			for cell := 4; cell < 6; cell++ {
				m := x.whole(cell)
				x.store(m, false)
				whole = append(whole, m)
			}
			dead, live = append(dead, live...), nil
			x.closeFiles()
		}
		base, disk, db := x.fault.Count(), x.disk, x.index
		var cut *vfs.Mem
		x.fault.Fail = func(at int64, _ vfs.Op, _ string) bool {
			if at == base+n {
				cut = disk.Crash(nil)
			}
			return at >= base+n
		}
		_ = x.s.scrubWith(x.s.reclaimRound)
		done := x.fault.Count() < base+n
		_ = x.s.Close()
		x.disk, x.index = disk.Crash(nil), db
		if cut != nil {
			x.disk = cut
		}
		x.index = newIndexFS()
		x.open()
		count := map[segment.Digest]int{}
		for c, err := range x.st.Segments(time.Time{}, time.Time{}, true) {
			if err != nil {
				t.Fatal(err)
			}
			count[c.Info.Digest]++
		}
		for i, m := range slices.Concat(live, whole) {
			if _, err := x.read(m.info.Digest); err != nil || count[m.info.Digest] != 1 {
				t.Fatalf("operation %d: copy %d is there %d times: %v", n, i, count[m.info.Digest], err)
			}
		}
		for i, m := range dead {
			var by *SupersededError
			if _, err := x.read(m.info.Digest); !errors.As(err, &by) || by.By != whole[i].info.Digest {
				t.Fatalf("operation %d: dead copy %d: %v", n, i, err)
			}
		}
		if len(count) != len(live)+len(whole) {
			t.Fatalf("operation %d: %d copies", n, len(count))
		}
		if done {
			t.Log(fmt.Sprint(n-1, " operations"))
			break
		}
	}
}
