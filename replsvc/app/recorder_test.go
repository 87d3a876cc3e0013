package app_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/twinreel/twinreel/replsvc/internal/testdvr"
)

// TestRecorderTakesNothing holds I4 and I5 of transfer: while our own dvrsvc takes nothing, nothing is fetched that could
// not be kept, and nothing is fetched twice.
func TestRecorderTakesNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set     func(*testdvr.DVR, bool)
		fetched int // at most, meanwhile
	}{
		"away":     {(*testdvr.DVR).Away, 0},
		"full":     {func(d *testdvr.DVR, on bool) { d.Refuse("FULL", on) }, 8},
		"stopping": {func(d *testdvr.DVR, on bool) { d.Refuse("NOT_READY", on) }, 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork()
			all := make10("b")
			b := newSite(t, n, "b", config())
			b.dvr.Put(all...)
			a := newSite(t, n, "a", config("b"))
			c.set(a.dvr, true)
			a.dvr.Put(all[0], all[9])
			eventually(t, soon, "the problem is told", func() error {
				if a.status().GetProblem() == "" {
					return errors.New("there is none")
				}
				return nil
			})
			eventually(t, soon, "the plan pauses", func() error { return planned(a, "paused") })
			if got := b.dvr.Reads(); got > c.fetched {
				t.Errorf("%d segments were fetched meanwhile, want %d at most", got, c.fetched)
			}
			c.set(a.dvr, false)
			eventually(t, soon, "a has all", hasAll(a.dvr, all))
			if got := b.dvr.Reads(); got != 8 {
				t.Errorf("8 missing segments were fetched %d times", got)
			}
		})
	}
}

// TestAgreementThatIsNotKnown: what cannot be compared any more is in agreement no more, until it is compared again.
func TestAgreementThatIsNotKnown(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	a, b := newSite(t, n, "a", config("b")), newSite(t, n, "b", config())
	a.dvr.Put(all...)
	b.dvr.Put(all...)
	agreed := func(want bool) func() error {
		return func() error {
			if s := a.status(); s.GetInAgreement() != want || (s.GetProblem() == "") != want {
				return fmt.Errorf("in agreement: %t, compared %v, %s", !want, s.GetCompared().AsTime(), s.GetProblem())
			}
			return nil
		}
	}
	eventually(t, soon, "they agree", agreed(true))
	b.dvr.Unreadable(true)
	b.dvr.Put(testdvr.Make(200, 0, "b")) // they would be compared long after else
	eventually(t, soon, "that is not known any more", agreed(false))
	b.dvr.Unreadable(false)
	eventually(t, soon, "they agree again", agreed(true))
}

// TestBackfillWaitsForLive: while dvrsvc asks the live input for less, backfill brings nothing.
func TestBackfillWaitsForLive(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	a, b := newSite(t, n, "a", config("b")), newSite(t, n, "b", config())
	url := "m4f://b:7000/tv"
	eventually(t, soon, "the relay stands by", func() error { return live(a, "offers") })
	a.dvr.Slow(url)
	b.dvr.Put(all...)
	a.dvr.Put(all[0], all[9])
	eventually(t, soon, "all that is missing waits", func() error {
		a.dvr.Slow(url)
		return planned(a, "paused")
	})
	if got := b.dvr.Reads(); got != 0 {
		t.Errorf("%d segments were fetched meanwhile", got)
	}
	eventually(t, soon, "a has all", hasAll(a.dvr, all))
}

// planned reports whether all that is planned waits for the same reason.
func planned(s *site, whyNot string) error {
	items := s.plan()
	if len(items) == 0 {
		return errors.New("nothing is planned")
	}
	for _, it := range items {
		if it.GetWhyNot() != whyNot {
			return fmt.Errorf("planned %v", it)
		}
	}
	return nil
}
