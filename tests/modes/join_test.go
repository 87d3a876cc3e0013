package modes

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/tsplay"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// loses is a Keep that loses a datagram in each of the seconds of four that are phase, at a random place: a site with another
// phase has lost nothing near it.
func loses(t *testing.T, phase int64) func([]byte) bool {
	rnd := testkit.Rand(t)
	began := time.Now()
	last := int64(-1)
	var lost atomic.Int64
	t.Cleanup(func() { t.Logf("phase %d: %d datagrams lost", phase, lost.Load()) })
	return func([]byte) bool {
		second := int64(time.Since(began) / time.Second)
		if second < 8 || second%4 != phase || second == last || rnd.IntN(12) > 0 {
			return true
		}
		last = second
		lost.Add(1)
		return false
	}
}

// Two sites lose different datagrams of one source, so that hardly a segment of either is whole. Joined, both archives are
// what a site has that lost nothing, to the byte: whether they know each other from the start, or meet when all is recorded.
func TestSitesThatLoseApartAreJoined(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late %t", late), func(t *testing.T) {
			t.Parallel()
			path := testkit.Clip{
				Name: "clip", Seconds: 50, Rate: "25", X264: "open-gop=0:keyint=50:min-keyint=50:scenecut=0",
				Audio: []string{"-c:a:0 aac -ar:a:0 48000 -b:a:0 64k"},
			}.Make(t)
			a, b, clean := newSite(t, "a"), newSite(t, "b"), newSite(t, "c")
			met := func() {
				a.configure(a.udpURL(), b.m4fURL())
				b.configure(b.udpURL(), a.m4fURL())
			}
			for _, s := range []*site{a, b, clean} {
				s.configure(s.udpURL())
			}
			if !late {
				met()
			}
			for _, s := range []*site{a, b, clean} {
				s.start()
				waitForInput(t, s)
			}
			a.source.Keep(loses(t, 1))
			b.source.Keep(loses(t, 3))
			src := testkit.Play(t, path, tsplay.Options{}, a.source, b.source, clean.source)
			src.Wait(t)
			want := waitForEnd(t, clean)
			if late {
				damaged := 0
				for _, s := range waitForEnd(t, a) {
					if !s.GetWhole() {
						damaged++
					}
				}
				if damaged < len(want)/2 {
					t.Fatalf("it tests nothing: a has %d damaged segments of %d", damaged, len(want))
				}
				met()
			}
			testkit.Eventually(t, 60*time.Second, "both archives are what a clean site has", func() error {
				return errors.Join(asClean(t, a, want), asClean(t, b, want))
			})
			if got := a.metric("twinreel_replsvc_joined_segments_total"); got == "0" && b.metric("twinreel_replsvc_joined_segments_total") == "0" {
				t.Error("nothing was joined")
			}
			if got := a.metric("twinreel_replsvc_join_conflicts_total"); got != "0" {
				t.Errorf("%s conflicts", got)
			}
		})
	}
}

// asClean holds what a site presents against the archive of one that lost nothing, but for its ends. Where both have lost
// something within the three seconds before a cut, neither knows that it is right.
func asClean(t *testing.T, s *site, want []*dvrv1.Segment) error {
	segs, err := s.archive().Segments(t.Context())
	if err != nil {
		return err
	}
	if err := testkit.Overlap(segs); err != nil {
		return fmt.Errorf("%s: %w", s.Node, err)
	}
	got := map[string]*dvrv1.Segment{}
	for _, x := range segs {
		got[x.GetDigest()] = x
	}
	for i, w := range want[1 : len(want)-1] {
		if !w.GetWhole() {
			continue
		}
		x := got[w.GetDigest()]
		switch {
		case x == nil:
			return fmt.Errorf("%s lacks segment %d", s.Node, i+1)
		case x.GetDamagedSamples() > 0 || x.GetMissingTicks() > 0:
			return fmt.Errorf("%s has segment %d and knows not that it is intact: %v", s.Node, i+1, x)
		}
	}
	return nil
}
