package app_test

import "testing"

// What rots here is fetched again at once, also what came from the peer a moment ago.
func TestRottenIsFetchedAgain(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	a, b := newSite(t, n, "a", config("b")), newSite(t, n, "b", config("a"))
	b.dvr.Put(all...)
	a.dvr.Put(all[0], all[8], all[9])
	eventually(t, soon, "a has all", hasAll(a.dvr, all))
	for _, k := range []int{4, 8, 4} {
		a.dvr.Rot(all[k].Info.Digest)
		eventually(t, soon, "a has it again", func() error { return has(a.dvr, all[k]) })
	}
	if _, puts := a.dvr.Has(all[4].Info.Digest); puts != 3 {
		t.Errorf("what rotted twice was recorded %d times, want 3", puts)
	}
	if _, puts := a.dvr.Has(all[3].Info.Digest); puts != 1 {
		t.Errorf("what did not was recorded %d times", puts)
	}
}
