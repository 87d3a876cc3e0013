package modes

import (
	"errors"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/tsplay"
)

// A site that joins before a cut records bytes that are the other's to the last one, and cannot know it: it saw no picture
// before them. Once the sites know each other, both know.
func TestEvidenceTravels(t *testing.T) {
	t.Parallel()
	// Six seconds: each RAP lies in a later cell than the one before, so that a first segment is never a part of one.
	path := testkit.Clip{
		Name: "clip", Seconds: 90, Rate: "25", Size: "160x90", X264: "open-gop=0:keyint=150:min-keyint=150:scenecut=0",
		Audio: []string{"-c:a:0 aac -ar:a:0 48000 -b:a:0 64k"},
	}.Make(t)
	a, b := newSite(t, "a"), newSite(t, "b")
	for _, s := range []*site{a, b} {
		s.configure(s.udpURL())
		s.start()
		waitForInput(t, s)
	}
	b.source.Keep(testkit.Nothing)
	testkit.Play(t, path, tsplay.Options{}, a.source, b.source)
	time.Sleep(9 * time.Second)
	b.source.Keep(nil)
	testkit.Eventually(t, 30*time.Second, "b has recorded by itself", func() error {
		segs, err := b.archive().Segments(t.Context())
		if err == nil && (len(segs) < 2 || !segs[1].GetWhole()) {
			err = errors.New("less than two segments")
		}
		return err
	})
	joined := b.archive().MustSegments(t)[0]
	known := false
	for _, s := range a.archive().MustSegments(t) {
		known = known || s.GetDigest() == joined.GetDigest() && s.GetWhole()
	}
	if !joined.GetStartUncertain() || !known {
		t.Fatalf("it tests nothing: b joined with %v, whole at a: %t", joined, known)
	}

	b.configure(b.udpURL(), a.m4fURL())
	met := time.Now()
	testkit.Eventually(t, 40*time.Second, "archives are identical", func() error { return identical(t, a, b, met) })
}
