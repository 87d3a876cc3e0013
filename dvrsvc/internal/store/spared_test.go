package store

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twinreel/twinreel/dvrsvc/internal/index"
)

// liveWithin gives a site in which a stream was recorded live where something had been deleted, for its clock was set back.
func liveWithin(t *testing.T) (x *site, live []*made) {
	x = newSite(t)
	x.st.SetRetention(Rule{})
	x.store(x.whole(0), true)
	x.clock.move(time.Minute)
	x.delete(x.at(0), x.at(9))
	for cell := 1; cell < 5; cell++ {
		m := x.again(x.whole(cell), 0).uncertain(true, false)
		x.store(m, true)
		live = append(live, m)
	}
	x.closeFiles()
	x.sweep()
	return x, live
}

// forget takes copies out of the index.
func (x *site) forget(all []*made) {
	x.t.Helper()
	x.s.commitMu.Lock()
	defer x.s.commitMu.Unlock()
	tx := x.s.db.Begin()
	for _, m := range all {
		if _, err := x.st.remove(tx, index.Row{Slot: m.slot, Digest: m.info.Digest}); err != nil {
			x.t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		x.t.Fatal(err)
	}
}

// TestLiveWithinATombstoneIsWrittenAgain: what was recorded live where something had been deleted stays when it is written
// again, whatever for, also without the index.
func TestLiveWithinATombstoneIsWrittenAgain(t *testing.T) {
	for what, again := range map[string]func(x *site, m *made){
		"its evidence becomes smaller": func(x *site, m *made) {
			offered, told := m.info, make(chan error, 1)
			offered.Evidence.StartUncertain = false
			if !x.st.Absorb(m.slot, &offered, func(err error) { told <- err }) {
				x.t.Fatal("it is not here")
			}
			for err := errors.New("not told"); err != nil; x.commit() {
				select {
				case err = <-told:
					if err != nil {
						x.t.Fatal(err)
					}
				default:
				}
			}
			if c := must(x.st.find(m.info.Digest)); c.Info.Evidence.StartUncertain {
				x.t.Error("it does not")
			}
		},
		"its file is damaged elsewhere": func(x *site, m *made) {
			if err := x.s.scrubWith(func(ctx context.Context) error { return x.st.renew(ctx, new(must(x.st.find(m.info.Digest)))) }); err != nil {
				x.t.Error(err)
			}
		},
		"most of its file is dead": func(x *site, _ *made) {
			if x.reclaims(); x.s.Reclaimed().Files != 1 {
				x.t.Error("it is not written anew")
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			x, live := liveWithin(t)
			x.forget(live[:3])
			again(x, live[3])
			for _, restart := range []func(){func() {}, func() { x.powerCut(nil) }, x.loseIndex} {
				restart()
				if _, err := x.read(live[3].info.Digest); err != nil {
					x.t.Error(err)
				}
			}
		})
	}
}

// TestFileNumbersBehindATombstone: every file went by a deletion, and the process began anew. What is recorded live then is
// younger than the tombstone, though its clock was set back.
func TestFileNumbersBehindATombstone(t *testing.T) {
	for name, restart := range map[string]func(*site){
		"index there": func(x *site) { _ = x.s.Close(); x.open() },
		"index lost":  func(x *site) { x.loseIndex() },
	} {
		x := newSite(t)
		x.st.SetRetention(Rule{})
		for cell := range 3 {
			x.store(x.whole(cell), true)
			x.clock.move(3 * time.Minute)
			x.commit()
		}
		x.closeFiles()
		x.delete(x.at(0), x.at(9))
		if n := len(x.dataFiles()); n != 0 {
			t.Fatalf("%d files are left", n)
		}
		restart(x)
		m := x.again(x.whole(1), 0)
		if r := x.store(m, true); r.err != nil {
			t.Errorf("%s: %v", name, r.err)
		}
		x.loseIndex()
		if _, err := x.read(m.info.Digest); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
