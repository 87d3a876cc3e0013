package app_test

import (
	"errors"
	"testing"
	"time"
)

// TestPeerConfirmsClock: retention that waits since the clock leapt hears what the peer's clock shows, and nothing is said where
// nobody waits.
func TestPeerConfirmsClock(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	a, b := newSiteHolding(t, n, "a", config("b"), all...), newSiteHolding(t, n, "b", config("a"), all...)
	eventually(t, soon, "both have compared", func() error {
		if !a.status().GetInAgreement() || !b.status().GetInAgreement() {
			return errors.New("they have not")
		}
		return nil
	})
	if heard := append(a.dvr.Heard(), b.dvr.Heard()...); len(heard) > 0 {
		t.Errorf("no clock leapt, and %v was said", heard)
	}
	a.dvr.DoubtClock()
	eventually(t, soon, "the clock is confirmed", func() error {
		if len(a.dvr.Heard()) == 0 {
			return errors.New("nothing was said")
		}
		return nil
	})
	if heard := a.dvr.Heard(); len(heard) != 1 || time.Since(heard[0]).Abs() > time.Minute {
		t.Errorf("it was told %v", heard)
	}
}
