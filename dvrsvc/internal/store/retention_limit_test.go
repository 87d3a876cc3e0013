package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// sized is a disk whose free room a test says; what the store has on it is in use.
type sized struct {
	vfs.FS
	total, others uint64
}

// Free implements vfs.FS.
func (d *sized) Free(string) (free, total uint64, err error) {
	used := d.others
	for _, name := range []string{"cam", "two"} {
		entries, _ := d.ReadDir("/storage/" + name)
		for _, e := range entries {
			if info, err := e.Info(); err == nil {
				used += uint64(info.Size())
			}
		}
	}
	return d.total - min(d.total, used), d.total, nil
}

// hours records one segment an hour, each in a file of its own, and closes the files.
func (x *site) hours(st *Stream, from, n int) []*made {
	x.t.Helper()
	var out []*made
	old := x.st
	x.st = st
	defer func() { x.st = old }()
	for h := from; h < from+n; h++ {
		m := x.whole(h * 619)
		x.store(m, true)
		out = append(out, m)
		x.clock.move(time.Hour)
		x.commit()
		x.commit()
	}
	return out
}

// bytes is what the data files of a stream have.
func (x *site) bytes(st *Stream) (n, files int) {
	for _, e := range must(x.disk.ReadDir(st.dir)) {
		if _, ok := fileNumber(e.Name()); ok {
			n += int(must(e.Info()).Size())
			files++
		}
	}
	return n, files
}

func (x *site) held(all []*made) string {
	out := ""
	for _, m := range all {
		if _, err := x.read(m.info.Digest); err == nil {
			out += "x"
		} else {
			out += "-"
		}
	}
	return out
}

// TestLimitBySize gives a stream room for five of eight files: the oldest whole files go, and are not taken again, after
// any restart; a wider limit takes them again (N8).
func TestLimitBySize(t *testing.T) {
	for name, restart := range map[string]func(*site){
		"power cut":         func(x *site) { x.powerCut(nil) },
		"index lost":        func(x *site) { x.down(true); x.open() },
		"index, state lost": func(x *site) { x.down(false); _ = x.disk.Remove("/storage/cam/state"); x.open() },
	} {
		t.Run(name, func(t *testing.T) {
			x := newSite(t)
			all := x.hours(x.st, 0, 8)
			one, files := x.bytes(x.st)
			one /= files
			rule := Rule{Age: 72 * time.Hour, Limit: Limit{Bytes: uint64(5*one + one/2)}}
			x.st.SetRetention(rule)
			x.sweep()
			if got := x.held(all); got != "---xxxxx" {
				t.Fatalf("kept %s", got)
			}
			if _, files := x.bytes(x.st); files != 5 {
				t.Errorf("%d files", files)
			}
			all = append(all, x.hours(x.st, 8, 1)...) // its head has the floor
			x.sweep()
			restart(x)
			x.st.SetRetention(rule)
			x.sweep()
			if got := x.held(all); got != "----xxxxx" {
				t.Fatalf("kept %s after a restart", got)
			}
			if _, err := x.begin(all[2], false); !errors.Is(err, errs.ErrExpired) {
				t.Errorf("backfill of what went to the limit: %v", err)
			}
			if _, err := x.begin(x.whole(5*619+3), false); err != nil {
				t.Errorf("backfill of what would be kept: %v", err)
			}
			rule.Limit.Bytes *= 2
			x.st.SetRetention(rule)
			x.store(all[2], false)
			x.sweep()
			if got := x.held(all); got != "--x-xxxxx" {
				t.Errorf("kept %s under a wider limit", got)
			}
		})
	}
}

// TestAgeOrSize: whichever is met first.
func TestAgeOrSize(t *testing.T) {
	x := newSite(t)
	x.sweep()
	all := x.hours(x.st, 0, 8)
	x.st.SetRetention(Rule{Age: 150 * time.Minute, Limit: Limit{Bytes: 1 << 40}})
	x.sweep()
	x.clock.move(time.Minute)
	x.sweep()
	if got := x.held(all); got != "------xx" {
		t.Errorf("kept %s", got)
	}
}

// TestLimitOfTheStorage: of all streams together the oldest goes, whosever it is; a stream's own limit is its own.
func TestLimitOfTheStorage(t *testing.T) {
	x := newSite(t)
	two := must(x.s.Stream("two"))
	if err := two.PutTimeline(must2(x.st.Timeline(x.row))); err != nil {
		t.Fatal(err)
	}
	other := x.hours(two, 0, 4)
	cam := x.hours(x.st, 4, 4)
	one, files := x.bytes(x.st)
	one /= files
	limit := Limit{Bytes: uint64(6*one + one/2)}
	x.st.SetRetention(Rule{Storage: limit})
	two.SetRetention(Rule{Storage: limit})
	x.sweep()
	held := func() string {
		out := x.held(cam) + " "
		x.st, two = two, x.st
		out += x.held(other)
		x.st, two = two, x.st
		return out
	}
	if got := held(); got != "xxxx --xx" {
		t.Errorf("kept %s", got)
	}
	two.SetRetention(Rule{Storage: limit, Limit: Limit{Bytes: uint64(one + one/2)}})
	x.sweep()
	if got := held(); got != "xxxx ---x" {
		t.Errorf("kept %s under a limit of the other stream", got)
	}
}

func must2[T any](v T, ok bool) T {
	if !ok {
		panic("none")
	}
	return v
}

// TestShareOfTheDisk: what others have on the disk counts; what was removed while it is read does not lead to more.
func TestShareOfTheDisk(t *testing.T) {
	x := newSite(t)
	all := x.hours(x.st, 0, 8)
	one, files := x.bytes(x.st)
	one /= files
	disk := &sized{FS: x.disk, total: uint64(20 * one)}
	x.down(false)
	if err := x.openOn(disk); err != nil {
		t.Fatal(err)
	}
	x.st.SetRetention(Rule{Limit: Limit{Percent: 50}})
	x.sweep()
	if got := x.held(all); got != "xxxxxxxx" {
		t.Errorf("kept %s where all has room", got)
	}
	r := must(x.st.NewReader(all[0].info.Digest, 0))
	disk.others = uint64(3*one + one/2)
	x.sweep()
	if got := x.held(all); got != "--xxxxxx" {
		t.Errorf("kept %s", got)
	}
	disk.others += uint64(one) // the file that is read has not given its room
	x.sweep()
	if got := x.held(all); got != "--xxxxxx" {
		t.Errorf("kept %s while one is read", got)
	}
	_ = r.Close()
	disk.others -= uint64(one)
	x.sweep()
	if got := x.held(all); got != "--xxxxxx" {
		t.Errorf("kept %s when it was read", got)
	}
	x.st.SetRetention(Rule{Limit: Limit{Percent: 99}}) // more than data may take
	disk.others = uint64(14*one + one/2)
	x.sweep()
	if got := x.held(all); got != "-----xxx" && got != "------xx" {
		t.Errorf("kept %s under a share that the reserve is in", got)
	}
	x.commit()
	if x.s.Full() != nil {
		t.Error("a share leaves the disk full")
	}
}

// TestLimitsAndClocks: limits go on whatever the wall clock does, and a clock that ran ahead moves no floor beyond now.
func TestLimitsAndClocks(t *testing.T) {
	x := newSite(t)
	x.st.SetRetention(Rule{Age: 72 * time.Hour})
	x.sweep()
	all := x.hours(x.st, 0, 4)
	one, _ := x.bytes(x.st)
	one /= 4
	x.clock.wall = x.clock.wall.AddDate(-10, 0, 0)
	x.st.SetRetention(Rule{Age: 72 * time.Hour, Limit: Limit{Bytes: uint64(3*one + one/2)}})
	x.sweep()
	if got := x.held(all); got != "-xxx" {
		t.Errorf("kept %s while the clock is behind", got)
	}
	x.clock.wall = x.clock.wall.AddDate(14, 0, 0)
	x.st.SetRetention(Rule{Age: 72 * time.Hour, Limit: Limit{Bytes: uint64(2*one + one/2)}})
	x.sweep()
	if got := x.held(all); got != "--xx" {
		t.Errorf("kept %s while the clock is ahead", got)
	}
	future := x.again(x.whole(50*619), 5*365*24*time.Hour) // of a row that a wrong clock made
	x.store(future, true)
	x.clock.wall = x.clock.wall.AddDate(-4, 0, 0)
	x.clock.move(3 * time.Minute)
	x.commit()
	more := x.hours(x.st, 4, 3)
	x.sweep()
	if got := x.held(more); got[len(got)-1] != 'x' || x.st.Mark().After(x.clock.wall) {
		t.Errorf("kept %s; the low water is %s, now is %s", got, x.st.Mark(), x.clock.wall)
	}
	x.st.SetRetention(Rule{Age: 72 * time.Hour, Limit: Limit{Bytes: uint64(one / 2)}})
	now := x.whole(7 * 619)
	x.store(now, true)
	x.sweep()
	if x.held([]*made{now}) != "x" || x.st.Mark().After(x.clock.wall) {
		t.Errorf("what is recorded now went to a limit; the low water is %s, now is %s", x.st.Mark(), x.clock.wall)
	}
}

// TestEveryOperationOfALimitFails makes each operation of a sweep fail, once or from there on, and cuts the power: what the
// limit keeps is there, and what has gone does not come back (I5, N8).
func TestEveryOperationOfALimitFails(t *testing.T) {
	for _, forever := range []bool{false, true} {
		for n := int64(1); ; n++ {
			x := newSite(t)
			all := x.hours(x.st, 0, 6)
			one, _ := x.bytes(x.st)
			rule := Rule{Limit: Limit{Bytes: uint64(one/6*3 + one/12)}}
			x.st.SetRetention(rule)
			base := x.fault.Count()
			x.fault.Fail = func(at int64, _ vfs.Op, _ string) bool { return at == base+n || forever && at > base+n }
			_ = x.s.Sweep(context.Background())
			last := x.fault.Count() < base+n
			gone := x.held(all)
			what := fmt.Sprintf("operation %d (forever %v)", n, forever)
			if gone[3:] != "xxx" {
				t.Fatalf("%s: kept %s", what, gone)
			}
			for _, lose := range []bool{false, true} {
				if lose {
					x.down(true)
					x.open()
				} else {
					x.powerCut(nil)
				}
				got := x.held(all)
				for i := range got {
					if got[i] == 'x' && gone[i] == '-' {
						t.Fatalf("%s: what had gone is back: %s, was %s", what, got, gone)
					}
				}
				x.st.SetRetention(rule)
				x.sweep()
				x.clock.move(2 * time.Minute)
				x.sweep()
				if got := x.held(all); got != "---xxx" {
					t.Fatalf("%s: kept %s in the end", what, got)
				}
				if b, err := x.read(all[4].info.Digest); err != nil || segment.Sum(b) != all[4].info.Digest {
					t.Fatalf("%s: %v", what, err)
				}
				if err := x.s.Check(context.Background()); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if _, files := x.bytes(x.st); files != 3 {
					t.Fatalf("%s: %d files in the end", what, files)
				}
			}
			if last {
				break
			}
		}
	}
}

// TestSmallFilesUnderALimit: only whole files go, so none takes more than its share of a limit.
func TestSmallFilesUnderALimit(t *testing.T) {
	x := newSite(t)
	x.store(x.whole(0), true)
	one, _ := x.bytes(x.st)
	x.st.SetRetention(Rule{Limit: Limit{Bytes: uint64(40 * one)}})
	for cell := 1; cell < 100; cell++ {
		x.store(x.whole(cell), true)
		x.clock.move(5825 * time.Millisecond)
	}
	x.commit()
	x.sweep()
	if n, _ := x.bytes(x.st); n < 30*one || n > 44*one {
		t.Errorf("%d of %d segments are left", n/one, 40)
	}
}

// TestLimitWhileTheClockIsBehind starts with a clock that has lost years, as that of a host whose battery is empty: what is recorded
// before anybody tells it the time stays, and what goes is what was recorded first, after any restart, and when the clock is right again.
func TestLimitWhileTheClockIsBehind(t *testing.T) {
	for name, restart := range map[string]func(*site){
		"power cut":         func(x *site) { x.powerCut(nil) },
		"index lost":        func(x *site) { x.loseIndex() },
		"index, state lost": func(x *site) { x.down(false); _ = x.disk.Remove("/storage/cam/state"); x.open() },
	} {
		t.Run(name, func(t *testing.T) {
			x := newSite(t)
			before := x.hours(x.st, 0, 7)
			one, files := x.bytes(x.st)
			one /= files
			rule := Rule{Limit: Limit{Bytes: uint64(5*one + one/2)}}
			x.st.SetRetention(rule)
			x.sweep()
			before = append(before, x.hours(x.st, 7, 1)...) // its head has the floor
			x.clock.wall = x.clock.wall.AddDate(-6, 0, 0)
			restart(x)
			x.st.SetRetention(rule)
			late := Row{ID: segment.TimelineID{9}, Mapping: timeline.Mapping{{U: timeline.Wrap, UTC: x.clock.wall.Add(-20 * time.Hour).UnixNano()}}}
			if err := x.st.PutTimeline(late); err != nil {
				t.Fatal(err)
			}
			x.row = late.ID
			var since []*made
			check := func(when, want string) {
				t.Helper()
				x.sweep()
				if got := x.held(before) + " " + x.held(since); got != want {
					t.Fatalf("%s: kept %s, want %s", when, got, want)
				}
			}
			for i, want := range []string{"----xxxx x", "-----xxx xx", "------xx xxx"} {
				since = append(since, x.hours(x.st, 20+i, 1)...)
				check("the clock is behind", want)
			}
			restart(x)
			x.st.SetRetention(rule)
			check("restarted", "------xx xxx")
			x.clock.wall = x.clock.wall.AddDate(6, 0, 0)
			x.row = segment.TimelineID{10}
			if err := x.st.PutTimeline(Row{ID: x.row, Mapping: timeline.Mapping{{U: timeline.Wrap, UTC: x.clock.wall.Add(-23 * time.Hour).UnixNano()}}}); err != nil {
				t.Fatal(err)
			}
			check("the clock is right", "------xx xxx")
			for i, want := range []string{"-------x xxxx", "-------- xxxxx", "-------- -xxxxx", "-------- --xxxxx", "-------- ---xxxxx"} {
				since = append(since, x.hours(x.st, 23+i, 1)...)
				check("behind it", want)
			}
		})
	}
}

// TestLimitOfATimelineSetRight records by a clock that is wrong, and sets the times right: what is here counts for the limit by the right
// times, and what is locked of it stays.
func TestLimitOfATimelineSetRight(t *testing.T) {
	for name, years := range map[string]int{"behind": -6, "ahead": 4} {
		t.Run(name, func(t *testing.T) {
			x := newSite(t)
			before := x.hours(x.st, 0, 8)
			one, files := x.bytes(x.st)
			one /= files
			rule := Rule{Limit: Limit{Bytes: uint64(5*one + one/2)}}
			x.st.SetRetention(rule)
			x.sweep()
			right := x.clock.wall.Add(-20 * time.Hour)
			x.clock.wall = x.clock.wall.AddDate(years, 0, 0)
			late := Row{ID: segment.TimelineID{9}, Mapping: timeline.Mapping{{U: timeline.Wrap, UTC: x.clock.wall.Add(-20 * time.Hour).UnixNano()}}}
			if err := x.st.PutTimeline(late); err != nil {
				t.Fatal(err)
			}
			x.row = late.ID
			since := x.hours(x.st, 20, 3)
			x.sweep()
			x.clock.wall = right.Add(23 * time.Hour)
			late.Mapping[0].UTC = right.UnixNano()
			if err := x.st.PutTimeline(late); err != nil {
				t.Fatal(err)
			}
			at := right.Add((since[1].info.Start - timeline.Wrap).Duration())
			x.lock("news", at, at.Add(time.Second))
			x.lock("earlier", testEpoch.AddDate(-2, 0, 0), testEpoch.AddDate(-1, 0, 0))
			for i, want := range []string{"-------x xxxx", "-------- xxxxx", "-------- -xxxxx", "-------- -x-xxxx"} {
				since = append(since, x.hours(x.st, 23+i, 1)...)
				x.sweep()
				if got := x.held(before) + " " + x.held(since); got != want {
					t.Errorf("kept %s, want %s", got, want)
				}
				if _, files := x.bytes(x.st); files > 5 && i < 3 { // the last is of the hour beside the lock
					t.Errorf("%d files", files)
				}
			}
			if x.st.Mark().After(x.clock.wall) {
				t.Errorf("the low water is %s, now is %s", x.st.Mark(), x.clock.wall)
			}
		})
	}
}

// TestLimitOfManyStreams: the files that are written to never go, and those of many streams would be more than the limit of their storage.
func TestLimitOfManyStreams(t *testing.T) {
	x := newSite(t)
	x.store(x.whole(0), true)
	one, _ := x.bytes(x.st)
	limit := uint64(80 * one)
	row := must2(x.st.Timeline(x.row))
	streams := []*Stream{x.st}
	for i := range 39 {
		st := must(x.s.Stream(fmt.Sprintf("s%d", i)))
		if err := st.PutTimeline(row); err != nil {
			t.Fatal(err)
		}
		streams = append(streams, st)
	}
	for _, st := range streams {
		st.SetRetention(Rule{Storage: Limit{Bytes: limit}})
	}
	most := 0
	for cell := 1; cell < 14; cell++ {
		sum := 0
		for _, st := range streams {
			x.st = st
			x.store(x.whole(cell), true)
			n, _ := x.bytes(st)
			sum += n
		}
		x.clock.move(5825 * time.Millisecond)
		x.sweep()
		x.commit()
		if cell > 8 {
			most = max(most, sum)
		}
	}
	if got := uint64(most); got > limit+uint64(50*one) || got < limit/2 {
		t.Errorf("%d of %d segments are left", got/uint64(one), limit/uint64(one))
	}
}
