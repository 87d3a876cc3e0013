package modes

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/tsplay"
	ingestv1 "github.com/twinreel/twinreel/proto/twinreel/ingest/v1"
)

// A cold standby joins its source only when it is needed. What is lost meanwhile is one gap, and both archives own up to
// it and are otherwise the same.
func TestColdStandbyLosesWhatItTakesToJoinAndSaysSo(t *testing.T) {
	t.Parallel()
	testkit.RequireFFmpeg(t)
	clip := filepath.Join(t.TempDir(), "clip.ts")
	if err := tsplay.MakeClip(t.Context(), clip, tsplay.ClipOptions{Width: 160, Height: 90, VideoKbit: 200}); err != nil {
		t.Fatal(err)
	}
	for name, late := range map[string]time.Duration{
		"joined once":  0,
		"joined twice": 4 * time.Second, // at the start nobody has media, so the cold input is asked as well
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			coldStandby(t, clip, late)
		})
	}
}

// coldStandby has a source come so late after both sites.
func coldStandby(t *testing.T, clip string, late time.Duration) {
	a, b := newSite(t, "a"), newSite(t, "b")
	a.configure(a.udpURL(), b.m4fURL())
	b.configure(a.m4fURL(), b.udpURL()+" standby=cold")
	a.start()
	b.start()
	waitForInput(t, a)
	waitForInput(t, b)
	time.Sleep(late)
	testkit.Play(t, clip, tsplay.Options{Loop: true}, a.source, b.source)
	waitActive(t, a, a.udpURL(), 20*time.Second)
	waitActive(t, b, a.m4fURL(), 40*time.Second)
	left := func() error {
		if in := udpInput(t, b); in.GetState() != "cold" {
			return fmt.Errorf("it is %s", in.GetState())
		}
		return nil
	}
	testkit.Eventually(t, 20*time.Second, "the input is not needed", left)
	before := udpInput(t, b).GetDatagrams()
	if joined := before > 0; late > 0 && !joined {
		t.Error("nobody had media, and the input was not asked")
	}
	time.Sleep(14 * time.Second)
	if in := udpInput(t, b); in.GetState() != "cold" || in.GetDatagrams() > before {
		t.Errorf("while it is not needed the input is %s and got %d datagrams", in.GetState(), in.GetDatagrams()-before)
	}

	a.kill()
	waitActive(t, b, b.udpURL(), 10*time.Second)
	time.Sleep(15 * time.Second)
	a.start()
	waitActive(t, a, a.udpURL(), 20*time.Second)
	waitActive(t, b, a.m4fURL(), 40*time.Second)
	testkit.Eventually(t, 60*time.Second, "archives are identical but for one gap", func() error { return oneGap(t, a, b) })
	testkit.Eventually(t, 20*time.Second, "the input leaves its source", left)
}

// udpInput is the site's UDP input as its ingestsvc shows it.
func udpInput(t *testing.T, s *site) *ingestv1.Input {
	t.Helper()
	resp, err := ingestv1.NewIngestServiceClient(s.conn).ListInputs(t.Context(), &ingestv1.ListInputsRequest{Stream: stream})
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.GetInputs()) != 1 {
		t.Fatalf("%s has %d inputs, want 1", s.Node, len(resp.GetInputs()))
	}
	return resp.GetInputs()[0]
}

// oneGap checks that both sites hold the same segments and own up to one hole of less than 15 s: a gap between segments, or
// within one where what was recorded before and behind it lies in one cell.
func oneGap(t *testing.T, a, b *site) error {
	ofA, err := a.archive().Segments(t.Context())
	if err != nil {
		return err
	}
	ofB, err := b.archive().Segments(t.Context())
	if err != nil {
		return err
	}
	ofA, ofB = upToCommon(ofA, ofB)
	if len(ofA) == 0 || len(ofA) != len(ofB) {
		return fmt.Errorf("%d and %d segments", len(ofA), len(ofB))
	}
	for i := range ofA {
		if ofA[i].GetDigest() != ofB[i].GetDigest() {
			return fmt.Errorf("of %d segments the %dth differs", len(ofA), i)
		}
	}
	if err := errors.Join(testkit.Overlap(ofA), testkit.Overlap(ofB)); err != nil {
		return err
	}
	var within []int64
	for _, s := range ofA {
		if m := s.GetMissingTicks(); m > 0 {
			within = append(within, m)
		}
	}
	for _, s := range []*site{a, b} {
		holes := slices.Clone(within)
		for _, g := range s.archive().Gaps(t) {
			holes = append(holes, g.GetTicks())
		}
		if len(holes) != 1 || holes[0] <= 0 || holes[0] > 15*90000 {
			return fmt.Errorf("%s shows holes of %d ticks, want one of less than 15 s", s.Node, holes)
		}
	}
	return nil
}
