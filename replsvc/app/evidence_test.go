package app_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/replsvc/internal/testdvr"
)

// worse is a copy with the same bytes and something against it.
func worse(c *testdvr.Copy, e segment.Evidence) *testdvr.Copy {
	out := *c
	out.Info.Evidence = e
	return &out
}

var startUncertain = segment.Evidence{StartUncertain: true}

func whole(s *site, c *testdvr.Copy) error {
	if e := s.dvr.Against(c.Info.Digest); !e.Whole() {
		return fmt.Errorf("at %s cell %d has %+v against it", s.node, c.Slot.Cell, e)
	}
	return has(s.dvr, c)
}

// TestEvidenceTravels: each site learns what the other knows of bytes that both hold, and no byte is fetched for it.
func TestEvidenceTravels(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	a, b := newSite(t, n, "a", config("b")), newSite(t, n, "b", config("a"))
	a.dvr.Put(all...)
	b.dvr.Put(all...)
	torn := worse(all[9], segment.Evidence{EndUncertain: true}) // the newest: nothing comes by itself any more
	a.dvr.Put(worse(all[3], startUncertain), torn)
	b.dvr.Put(worse(all[5], startUncertain))
	told := map[*site][]segment.Digest{a: {all[3].Info.Digest, all[9].Info.Digest}, b: {all[5].Info.Digest}}
	slices.SortFunc(told[a], segment.Digest.Compare)
	for _, s := range []*site{a, b} {
		for _, c := range []*testdvr.Copy{all[3], all[5], all[9]} {
			eventually(t, soon, "it is whole", func() error { return whole(s, c) })
		}
		eventually(t, soon, "the archives agree", func() error {
			if st := s.status(); !st.GetInAgreement() || st.GetFetchedSegments() != 0 {
				return fmt.Errorf("status %v", st)
			}
			return nil
		})
		got := s.dvr.Told()
		slices.SortFunc(got, segment.Digest.Compare)
		if want := told[s]; !slices.Equal(got, want) {
			t.Errorf("%s was told of %v, want %v", s.node, got, want)
		}
		if got := s.dvr.Reads(); got != 0 {
			t.Errorf("%d segments of %s were fetched", got, s.node)
		}
	}
}

// TestArchivesThatJudgeApartDoNotAgree: without replicate nobody is told, and the comparison does not pass it over.
func TestArchivesThatJudgeApartDoNotAgree(t *testing.T) {
	t.Parallel()
	liveOnly := func(peer string) string {
		return "stream tv {\n  input m4f://" + peer + ":7000/tv;\n  dvr storage 1d;\n}\n"
	}
	n := newNetwork()
	all := make10("b")
	a, b := newSite(t, n, "a", liveOnly("b")), newSite(t, n, "b", liveOnly("a"))
	a.dvr.Put(all...)
	b.dvr.Put(all...)
	a.dvr.Put(worse(all[3], startUncertain))
	for _, s := range []*site{a, b} {
		eventually(t, soon, "they were compared", func() error {
			if st := s.status(); st.GetCompared() == nil || st.GetInAgreement() || st.GetBacklogSlots() != 0 {
				return fmt.Errorf("status %v", st)
			}
			return nil
		})
	}
	if got := a.dvr.Told(); len(got) != 0 {
		t.Errorf("told of %v", got)
	}
}

// TestEvidenceOfWhatIsGone: what was here when the archives were compared and is no more, or is rotten, is fetched.
func TestEvidenceOfWhatIsGone(t *testing.T) {
	t.Parallel()
	for _, reason := range []string{"UNKNOWN", "CORRUPT"} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			n := newNetwork()
			all := make10("b")
			a, b := newSite(t, n, "a", config("b")), newSite(t, n, "b", config())
			b.dvr.Put(all...)
			a.dvr.Put(all...)
			a.dvr.Lose(all[3].Info.Digest, reason)
			a.dvr.Put(worse(all[3], startUncertain))
			eventually(t, soon, "it is fetched", func() error {
				if got := b.dvr.Reads(); got != 1 {
					return fmt.Errorf("%d segments were fetched", got)
				}
				return whole(a, all[3])
			})
			if got := a.dvr.Told(); len(got) == 0 {
				t.Error("it was not told of first")
			}
		})
	}
}
