package app_test

import (
	"fmt"
	"testing"
	"time"
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
