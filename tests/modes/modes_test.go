package modes

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/tsplay"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// Normal, emergency, recovery: with clocks and PTS as awkward as they come, the archives end identical, with nothing
// lost and nothing doubled.
func TestThreeModes(t *testing.T) {
	t.Parallel()
	testkit.RequireFFmpeg(t)
	clip := filepath.Join(t.TempDir(), "clip.ts")
	if err := tsplay.MakeClip(t.Context(), clip, tsplay.ClipOptions{Width: 160, Height: 90, VideoKbit: 200}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		shift   time.Duration // of b's clock
		phase   int64         // of PTS
		timeout time.Duration
		away    time.Duration // how long a is dead
	}{
		{name: "clocks alike", timeout: 3 * time.Second, away: 15 * time.Second},
		{name: "b is 6 s ahead", shift: 6 * time.Second, timeout: 3 * time.Second, away: 15 * time.Second},
		{name: "b is 3 h ahead", shift: 3 * time.Hour, timeout: 3 * time.Second, away: 15 * time.Second},
		{name: "half a turn", phase: 1<<32 - 20*90000, timeout: 3 * time.Second, away: 15 * time.Second},
		{name: "source_timeout 60 s", timeout: time.Minute, away: 70 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, b := newSite(t, "a"), newSite(t, "b")
			b.Shift = c.shift
			option := fmt.Sprintf(" source_timeout=%ds", int(c.timeout.Seconds()))
			a.configure(a.udpURL()+option, b.m4fURL()+option)
			b.configure(a.m4fURL()+option, b.udpURL()+option)
			a.start()
			b.start()
			waitForInput(t, a)
			waitForInput(t, b)
			testkit.Play(t, clip, tsplay.Options{Loop: true, PTSOffset: c.phase}, a.source, b.source)

			waitActive(t, a, a.udpURL(), 20*time.Second)
			waitActive(t, b, a.m4fURL(), 30*time.Second)
			time.Sleep(12 * time.Second)

			a.kill()
			died := time.Now()
			waitActive(t, b, b.udpURL(), c.timeout+10*time.Second)
			t.Logf("b records by itself %.1f s after the kill", time.Since(died).Seconds())
			time.Sleep(time.Until(died.Add(c.away)))

			a.start()
			back := time.Now()
			waitActive(t, a, a.udpURL(), 20*time.Second)
			waitActive(t, b, a.m4fURL(), 40*time.Second)
			time.Sleep(8 * time.Second)
			testkit.Eventually(t, 60*time.Second, "archives are identical", func() error { return identical(t, a, b, back) })
			t.Logf("archives identical %.1f s after the return", time.Since(back).Seconds())
		})
	}
}

// waitActive waits until a site records from an input.
func waitActive(t *testing.T, s *site, url string, within time.Duration) {
	t.Helper()
	testkit.Eventually(t, within, s.Node+" records from "+url, func() error {
		got, err := s.archive().Active(t.Context())
		if err == nil && got != url {
			err = fmt.Errorf("it records from %q", got)
		}
		return err
	})
}

// identical checks that the archives are the same up to the newest segment that both have, which must end after since,
// and that nothing in them is missing, damaged or doubled. Only the first segment, which began before the source was
// known, may have an uncertain start. A site that was restarted just before a cut cannot know that its first segment is
// whole; the other one does, and tells it.
func identical(t *testing.T, a, b *site, since time.Time) error {
	var lists [2][]*dvrv1.Segment
	for i, s := range []*site{a, b} {
		segs, err := s.archive().Segments(t.Context())
		if err != nil {
			return err
		}
		if err := testkit.Overlap(segs); err != nil {
			return fmt.Errorf("%s: %w", s.Node, err)
		}
		if gaps := s.archive().Gaps(t); len(gaps) > 0 {
			return fmt.Errorf("%s has gaps: %v", s.Node, gaps)
		}
		lists[i] = segs
	}
	segsA, segsB := upToCommon(lists[0], lists[1])
	if len(segsA) == 0 {
		return errors.New("nothing in common")
	}
	if end := segsA[len(segsA)-1].GetEnd().AsTime(); end.Before(since) {
		return fmt.Errorf("the newest common segment ended before the recovery, at %v", end)
	}
	for i := range max(len(segsA), len(segsB)) {
		switch {
		case i >= len(segsA) || i >= len(segsB) || segsA[i].GetDigest() != segsB[i].GetDigest():
			return fmt.Errorf("of %d and %d segments the %dth differs", len(segsA), len(segsB), i)
		case i > 0 && (!segsA[i].GetWhole() || !segsB[i].GetWhole()):
			return fmt.Errorf("segment %d is not whole at both sites: %v and %v", i, segsA[i], segsB[i])
		}
	}
	if rows := timelines(segsA) + timelines(segsB); rows != 2 {
		return fmt.Errorf("%d timelines, want one at each site", rows)
	}
	return nil
}

// upToCommon cuts both lists after the newest segment that is in both: what follows is still on its way.
func upToCommon(a, b []*dvrv1.Segment) (x, y []*dvrv1.Segment) {
	at := make(map[string]int)
	for i, s := range b {
		at[s.GetDigest()] = i
	}
	for i := len(a) - 1; i >= 0; i-- {
		if j, ok := at[a[i].GetDigest()]; ok {
			return a[:i+1], b[:j+1]
		}
	}
	return nil, nil
}

func timelines(segs []*dvrv1.Segment) int {
	rows := make(map[string]bool)
	for _, s := range segs {
		rows[s.GetTimeline()] = true
	}
	return len(rows)
}
