package app_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
	"github.com/twinreel/twinreel/replsvc/internal/testdvr"
)

// TestPeerReturnsWithNewStore holds I1 of reconcile: what was known dies with the store, and the empty one is refilled.
func TestPeerReturnsWithNewStore(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	a, b := newSite(t, n, "a", config("b")), newSite(t, n, "b", config("a"))
	a.dvr.Put(all...)
	b.dvr.Put(all...)
	eventually(t, soon, "the archives agree", func() error {
		if s := a.status(); !s.GetInAgreement() {
			return fmt.Errorf("status %v", s)
		}
		return nil
	})
	b.stop()
	b.dvr.Wipe()
	b.dvr.Silence(true)
	b.start()
	eventually(t, soon+20*time.Second, "b is refilled", hasAll(b.dvr, all))
	eventually(t, soon, "nothing is asked of what b had", func() error {
		if s := a.status(); s.GetState() != "connected" || s.GetRefusedSegments() != 0 {
			return fmt.Errorf("status %v", s)
		}
		return nil
	})
	if got := len(a.dvr.Slots()); got != 10 {
		t.Errorf("a has %d slots, want 10: an empty peer cost something", got)
	}
}

// TestKnowledgeDiesWithThePeersStore holds I1 of reconcile while the session lives: what the old store of a peer had is not planned
// any more, though of the new one nothing is known yet.
func TestKnowledgeDiesWithThePeersStore(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	a, b := newSite(t, n, "a", config("b")), newSite(t, n, "b", config())
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	if _, err := a.repl.Pause(ctx, &replv1.PauseRequest{}); err != nil {
		t.Fatal(err)
	}
	a.dvr.Put(all[0], all[9])
	b.dvr.Put(all...)
	planned := func(want int) func() error {
		return func() error {
			if got := len(a.plan()); got != want {
				return fmt.Errorf("%d segments are planned, want %d", got, want)
			}
			return nil
		}
	}
	eventually(t, soon, "what b has is planned", planned(8))
	b.dvr.Unlisted()
	b.dvr.Wipe()
	b.dvr.Put(all[9])
	eventually(t, 20*time.Second, "what b had is forgotten", planned(0))
}

// TestOwnStoreReplaced holds I1 of reconcile for our own side: dvrsvc comes back on an empty disk while replsvc runs. The
// rows that the peer's were bound to are gone, and so is all that came before.
func TestOwnStoreReplaced(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	a, b := newSite(t, n, "a", config("b")), newSite(t, n, "b", config())
	b.dvr.Put(all...)
	a.dvr.Put(all[0], all[9])
	eventually(t, soon, "a has all", hasAll(a.dvr, all))
	a.dvr.Wipe()
	a.dvr.Silence(true)
	a.dvr.Restart()
	eventually(t, soon, "a is refilled", hasAll(a.dvr, all))
}

// TestRowsTaken: retention takes rows on which nothing is left. What is to be kept again since more is, or a range is locked, comes on
// rows of now: what the peer's were bound to is not remembered over that.
func TestRowsTaken(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	a, b := newSite(t, n, "a", config("b")), newSite(t, n, "b", config())
	b.dvr.Put(all...)
	a.dvr.Put(all...)
	eventually(t, soon, "the archives agree", func() error {
		if s := a.status(); !s.GetInAgreement() {
			return fmt.Errorf("status %v", s)
		}
		return nil
	})
	a.dvr.Outgrow()
	a.dvr.Silence(true)
	a.dvr.Restart()
	b.dvr.Restart() // archives are compared
	eventually(t, 30*time.Second, "a has all again", hasAll(a.dvr, all))
}

// A peer's new store has new rows: to dvrsvc its feed is that of another producer, since one that jumped from row to row
// would have left the row on which the source still is.
func TestFeedOfANewStore(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	b := newSite(t, n, "b", config())
	a := newSite(t, n, "a", config("b"))
	head := testdvr.Make(100, 0, "b").Info.Start
	feed := func() (incarnation uint64, stretch uint32, err error) {
		head += 900
		b.dvr.Beat(head, "b")
		in := a.dvr.Input("m4f://b:7000/tv", dvrv1.Kind_KIND_LIVE)
		if in == nil || !in.Progress.GetAlive() {
			return 0, 0, errors.New("the feed is not alive")
		}
		return in.Incarnation, in.Progress.GetStretch(), nil
	}
	var first uint64
	eventually(t, soon, "the feed is alive", func() (err error) { first, _, err = feed(); return err })
	for _, c := range []struct {
		name    string
		replace func()
	}{
		{"with all of the peer", func() { b.stop(); b.dvr.Wipe(); b.start() }},
		{"under a replsvc that goes on", func() { b.dvr.Wipe(); b.dvr.Restart() }},
	} {
		c.replace()
		var now uint64
		eventually(t, 20*time.Second, c.name+": the feed of the new store is another producer's first stretch", func() error {
			inc, stretch, err := feed()
			if now = inc; err == nil && (inc <= first || stretch != 1) {
				err = fmt.Errorf("incarnation %d after %d, stretch %d", inc, first, stretch)
			}
			return err
		})
		first = now
	}
}
