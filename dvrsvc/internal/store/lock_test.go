package store

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/timeline"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// at is when a cell begins.
func (x *site) at(cell int) time.Time {
	return testEpoch.Add((timeline.Ticks(cell) * timeline.CellTicks).Duration())
}

func (x *site) lock(id string, from, to time.Time) {
	x.t.Helper()
	if _, err := x.st.Lock(Lock{ID: id, From: from, To: to, Owner: "news"}); err != nil {
		x.t.Fatal(err)
	}
}

// restarts are what may befall a store between two passes of retention. A file was begun since the last change of the state.
var restarts = map[string]func(*site){
	"nothing":           func(*site) {},
	"power cut":         func(x *site) { x.powerCut(nil) },
	"index lost":        func(x *site) { x.down(true); x.open() },
	"index, state lost": func(x *site) { x.down(true); _ = x.disk.Remove("/storage/cam/state"); x.open() },
}

// TestLockOutlivesRetention: what touches a lock is kept beyond age, also what arrives later from a peer; all else goes, and
// when it is unlocked it goes too.
func TestLockOutlivesRetention(t *testing.T) {
	for name, restart := range restarts {
		t.Run(name, func(t *testing.T) {
			x := newSite(t)
			rule := Rule{Age: time.Hour}
			x.st.SetRetention(rule)
			x.sweep()
			var all []*made
			for cell := range 12 {
				all = append(all, x.whole(cell))
				if cell != 5 {
					x.store(all[cell], true)
				}
				x.clock.move(5825 * time.Millisecond)
			}
			x.lock("news", x.at(4).Add(time.Second), x.at(6).Add(time.Second))
			x.store(x.whole(12), true)
			restart(x)
			x.st.SetRetention(rule)
			for range 70 {
				x.clock.move(time.Minute)
				x.sweep()
			}
			if got := x.held(all); got != "----x-x-----" {
				t.Fatalf("kept %s", got)
			}
			if _, err := x.begin(all[1], false); !errors.Is(err, errs.ErrExpired) {
				t.Errorf("backfill of what has expired: %v", err)
			}
			if err := x.st.Refuses(x.at(5), x.at(6)); err != nil {
				t.Errorf("what is locked is refused: %v", err)
			}
			if r := x.store(all[5], false); r.err != nil {
				t.Errorf("backfill of what is locked: %v", r.err)
			}
			restart(x)
			x.st.SetRetention(rule)
			x.sweep()
			if got := x.held(all); got != "----xxx-----" {
				t.Errorf("kept %s in the end", got)
			}
			if l := x.st.Locks(); len(l) != 1 || l[0].ID != "news" || l[0].Owner != "news" {
				t.Errorf("locks %+v", l)
			}
			if _, err := x.st.Unlock("news"); err != nil {
				t.Error(err)
			}
			x.sweep()
			if got := x.held(all); got != "------------" {
				t.Errorf("kept %s unlocked", got)
			}
			if _, err := x.st.Unlock("news"); !errors.Is(err, errs.ErrUnknown) {
				t.Errorf("unlocked twice: %v", err)
			}
		})
	}
}

// TestLockEnds: a lock ends at its time by the clock of retention, which no leap moves.
func TestLockEnds(t *testing.T) {
	x := newSite(t)
	x.st.SetRetention(Rule{Age: time.Hour})
	x.sweep()
	m := x.whole(0)
	x.store(m, true)
	until := x.clock.wall.Add(3 * time.Hour)
	if _, err := x.st.Lock(Lock{From: x.at(0), To: x.at(1), Until: until}); err != nil {
		t.Fatal(err)
	}
	x.clock.wall = x.clock.wall.AddDate(1, 0, 0)
	x.sweep()
	x.clock.wall = x.clock.wall.AddDate(-1, 0, 0)
	for x.clock.wall.Before(until) {
		x.sweep()
		if x.held([]*made{m}) != "x" {
			t.Fatalf("gone at %s", x.clock.wall)
		}
		x.clock.move(5 * time.Minute)
	}
	x.sweep()
	x.sweep()
	if x.held([]*made{m}) != "-" || len(x.st.Locks())+len(x.st.view().Locks) > 0 {
		t.Errorf("it does not end: %v", x.st.Locks())
	}
	if _, err := x.st.Lock(Lock{From: x.at(0), To: x.at(1), Until: until}); !errors.Is(err, errs.ErrInvalid) {
		t.Errorf("a lock that has ended: %v", err)
	}
}

// TestLockOfAnEternity: what can be told has no end that nanoseconds cannot tell, which would have passed long ago.
func TestLockOfAnEternity(t *testing.T) {
	x := newSite(t)
	x.st.SetRetention(Rule{Age: time.Hour})
	x.sweep()
	m := x.whole(0)
	x.store(m, true)
	for _, c := range []struct {
		year int
		err  error
	}{{2200, nil}, {2201, errs.ErrInvalid}, {2300, errs.ErrInvalid}, {9999, errs.ErrInvalid}} {
		until := time.Date(c.year, 12, 31, 0, 0, 0, 0, time.UTC)
		l, err := x.st.Lock(Lock{ID: "news", From: x.at(0), To: x.at(1), Until: until})
		if !errors.Is(err, c.err) || err == nil && !l.Until.Equal(until) {
			t.Errorf("a lock until %d: until %s, %v; want %v", c.year, l.Until, err, c.err)
		}
	}
	x.clock.move(2 * time.Hour)
	x.sweep()
	if x.held([]*made{m}) != "x" {
		t.Error("what was locked for ever went to retention")
	}
}

// TestLockAndLimit: a file with something locked does not go, the next one does. When what is locked alone fills the limit,
// nothing is recorded, until there is room.
func TestLockAndLimit(t *testing.T) {
	for _, percent := range []bool{false, true} {
		x := newSite(t)
		all := x.hours(x.st, 0, 8)
		one, files := x.bytes(x.st)
		one /= files
		rule := Rule{Limit: Limit{Bytes: uint64(5*one + one/2)}}
		if percent {
			disk := &sized{FS: x.disk, total: uint64(11 * one)}
			rule.Limit = Limit{Percent: 50}
			x.down(false)
			if err := x.openOn(disk); err != nil {
				t.Fatal(err)
			}
		}
		x.lock("a", x.at(1*619).Add(time.Second), x.at(1*619).Add(2*time.Second))
		x.st.SetRetention(rule)
		x.sweep()
		if got := x.held(all); got != "-x--xxxx" {
			t.Fatalf("percent %v: kept %s", percent, got)
		}
		if _, err := x.begin(x.whole(8*619), true); err != nil {
			t.Errorf("percent %v: %v", percent, err)
		}
		x.lock("b", x.at(4*619), x.at(9*619))
		all = append(all, x.hours(x.st, 8, 1)...)
		x.sweep()
		if !percent { // a little more than what is locked
			rule.Limit.Bytes = uint64(6*one + one/4)
			x.st.SetRetention(rule)
		}
		x.sweep()
		if got := x.held(all); got != "-x--xxxxx" {
			t.Errorf("percent %v: kept %s", percent, got)
		}
		for range 2 { // also where nothing is to go any more
			if _, err := x.begin(x.whole(9*619), true); !errors.Is(err, errs.ErrFull) || !errors.Is(err, ErrLocksFill) {
				t.Errorf("percent %v: what is locked fills the limit: %v", percent, err)
			}
			x.sweep()
		}
		if _, err := x.st.Unlock("b"); err != nil {
			t.Fatal(err)
		}
		x.sweep()
		if _, err := x.begin(x.whole(9*619), true); err != nil {
			t.Errorf("percent %v: unlocked: %v", percent, err)
		}
		want := "-x---xxxx"
		if !percent {
			want = "-x--xxxxx"
		}
		if got := x.held(all); got != want {
			t.Errorf("percent %v: kept %s unlocked", percent, got)
		}
	}
}

// TestLockRefused: what cannot be a lock is refused, and changes nothing.
func TestLockRefused(t *testing.T) {
	x := newSite(t)
	for _, l := range []Lock{
		{}, {From: x.at(1)}, {From: x.at(1), To: x.at(1)}, {From: x.at(2), To: x.at(1)}, {From: time.Unix(-1, 0), To: x.at(1)},
		{From: x.at(1), To: x.at(2), ID: "a b"}, {From: x.at(1), To: x.at(2), Comment: "two\nlines"},
		{From: x.at(1), To: x.at(2), Owner: string(make([]byte, 300))}, {From: x.at(1), To: x.at(1).AddDate(150, 0, 0)},
	} {
		if _, err := x.st.Lock(l); !errors.Is(err, errs.ErrInvalid) {
			t.Errorf("%+v: %v", l, err)
		}
	}
	for i := range maxLocks {
		x.st.state.Locks = append(x.st.state.Locks, lock{ID: string(rune('a' + i))})
	}
	if _, err := x.st.Lock(Lock{From: x.at(1), To: x.at(2)}); !errors.Is(err, errs.ErrInvalid) {
		t.Errorf("one too many: %v", err)
	}
	x.st.state.Locks = nil
}

// TestNoRuleBeforeTheConfig: while the process was down the rules became wider. Until that is known nothing goes.
func TestNoRuleBeforeTheConfig(t *testing.T) {
	x := newSite(t)
	all := x.hours(x.st, 0, 8)
	one, _ := x.bytes(x.st)
	disk := &sized{FS: x.disk, total: uint64(2 * one)}
	x.down(false)
	if err := x.openOn(disk); err != nil {
		t.Fatal(err)
	}
	x.st.SetRetention(Rule{Age: 72 * time.Hour, Limit: Limit{Percent: 60}})
	x.sweep()
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	disk.others = uint64(one / 2) // meanwhile
	if err := x.openOn(disk); err != nil {
		t.Fatal(err)
	}
	x.clock.move(71 * time.Hour)
	clockIsRight(x.s)
	x.sweep()
	if got := x.held(all); got != "xxxxxxxx" {
		t.Fatalf("kept %s before the config has come", got)
	}
	if mark := x.st.Mark(); mark.After(testEpoch) {
		t.Errorf("the low water is %s before the config has come", mark)
	}
	x.st.SetRetention(Rule{Age: 720 * time.Hour, Limit: Limit{Percent: 80}})
	x.sweep()
	if got := x.held(all); got != "xxxxxxxx" {
		t.Errorf("kept %s by the wider rules", got)
	}
}

// TestLeftStream: a stream that is in the config no more is kept by its last rule, after a restart too, and however its state
// was restored.
func TestLeftStream(t *testing.T) {
	for name, restart := range restarts {
		t.Run(name, func(t *testing.T) {
			x := newSite(t)
			x.st.SetRetention(Rule{Age: 30 * time.Hour})
			x.sweep()
			all := x.hours(x.st, 0, 3)
			x.st.SetRetention(Rule{Age: 5 * time.Hour})
			x.clock.move(time.Minute)
			x.sweep()
			all = append(all, x.hours(x.st, 3, 1)...)
			restart(x)
			clockIsRight(x.s)
			x.st.Leave(Limit{})
			for range 3 {
				x.clock.move(30 * time.Minute)
				x.sweep()
			}
			if got := x.held(all); got != "-xxx" {
				t.Errorf("kept %s", got)
			}
			for range 12 {
				x.clock.move(30 * time.Minute)
				x.sweep()
			}
			if got := x.held(all); got != "----" {
				t.Errorf("kept %s in the end", got)
			}
		})
	}
}

// TestLimitOfOneThatCannotBeWritten: a stream whose state cannot be written keeps what it has; the others make room all the
// same.
func TestLimitOfOneThatCannotBeWritten(t *testing.T) {
	x := newSite(t)
	two := must(x.s.Stream("two"))
	if err := two.PutTimeline(must2(x.st.Timeline(x.row))); err != nil {
		t.Fatal(err)
	}
	cam := x.hours(x.st, 0, 3)
	other := x.hours(two, 3, 3)
	one, _ := x.bytes(two)
	rule := Rule{Limit: Limit{Bytes: uint64(one / 2)}}
	x.st.SetRetention(rule)
	two.SetRetention(rule)
	x.fault.Fail = func(_ int64, op vfs.Op, path string) bool {
		return op == vfs.OpCreate && path == "/storage/cam/state.tmp"
	}
	if err := x.s.Sweep(context.Background()); !errors.Is(err, vfs.ErrInjected) {
		t.Errorf("sweep: %v", err)
	}
	x.fault.Fail = nil
	if got := x.held(cam); got != "xxx" {
		t.Errorf("of the one %s is left", got)
	}
	x.st = two
	if got := x.held(other); got != "--x" {
		t.Errorf("of the other %s is left", got)
	}
}

// TestFileThatFailedRaisesNoFloor: how new the media of a file is that failed is a guess, hours ahead of now. It moves no
// floor beyond what is recorded now.
func TestFileThatFailedRaisesNoFloor(t *testing.T) {
	x := newSite(t)
	x.hours(x.st, 0, 3)
	m := x.whole(3 * 619)
	x.fault.Fail = func(_ int64, op vfs.Op, path string) bool {
		return op == vfs.OpSync || op == vfs.OpCreate && len(x.dataFiles()) > 3
	}
	if r, err := x.record(m, true); err != nil {
		t.Fatal(r, err)
	}
	_ = x.s.Commit(context.Background())
	x.fault.Fail = nil
	x.st.SetRetention(Rule{Limit: Limit{Bytes: 1}})
	x.sweep()
	if mark := x.st.Mark(); mark.After(x.clock.wall) {
		t.Errorf("the low water is %s, now is %s", mark, x.clock.wall)
	}
	now := x.whole(3*619 + 1)
	x.store(now, true)
	x.sweep()
	if x.held([]*made{now}) != "x" {
		t.Error("what is recorded now went to a limit")
	}
}

// TestLockOnADiskThatOthersFill: others fill the disk beyond a share, and something small is locked. It is recorded on, as
// without the lock.
func TestLockOnADiskThatOthersFill(t *testing.T) {
	x := newSite(t)
	all := x.hours(x.st, 0, 8)
	one, files := x.bytes(x.st)
	one /= files
	disk := &sized{FS: x.disk, total: uint64(100 * one), others: uint64(60 * one)}
	x.down(false)
	if err := x.openOn(disk); err != nil {
		t.Fatal(err)
	}
	x.lock("a", x.at(1*619).Add(time.Second), x.at(1*619).Add(2*time.Second))
	x.st.SetRetention(Rule{Limit: Limit{Percent: 50}})
	x.sweep()
	if got := x.held(all); got != "-x------" {
		t.Errorf("kept %s", got)
	}
	if _, err := x.begin(x.whole(8*619), true); err != nil {
		t.Error(err)
	}
	disk.others = uint64(49*one + one/2)
	x.sweep()
	if _, err := x.begin(x.whole(9*619), true); !errors.Is(err, ErrLocksFill) {
		t.Errorf("what is locked takes the rest of the share: %v", err)
	}
}
