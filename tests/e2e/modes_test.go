package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/testkit"
	"github.com/twinreel/twinreel/pkg/tsplay"
)

var loop = tsplay.Options{Loop: true}

// clip is a short one that can be looped: 19.2 s are whole frames on every track.
func clip(t *testing.T) string {
	t.Helper()
	testkit.RequireFFmpeg(t)
	path := t.TempDir() + "/clip.ts"
	if err := tsplay.MakeClip(t.Context(), path, tsplay.ClipOptions{}); err != nil {
		t.Fatal(err)
	}
	return path
}

// converge waits until both archives hold the same, without gaps, and everything but the ends whole. It compares up to
// the older of the two newest segments, so that it can be called while the source plays.
func (p *pair) converge(t *testing.T, within time.Duration) {
	t.Helper()
	testkit.Eventually(t, within, "both archives are identical", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		a, err := p.main.archive().Segments(ctx)
		if err != nil {
			return err
		}
		b, err := p.replica.archive().Segments(ctx)
		if err != nil {
			return err
		}
		return testkit.SameArchive(a, b)
	})
	for _, s := range []*site{p.main, p.replica} {
		for _, g := range s.archive().Gaps(t) {
			t.Errorf("%s has a gap from %s to %s: %s", s.node, g.GetFrom().AsTime(), g.GetTo().AsTime(), g.GetReason())
		}
		if err := testkit.Overlap(s.archive().MustSegments(t)); err != nil {
			t.Errorf("%s: %v", s.node, err)
		}
	}
}

// TestThreeModes: normal, the whole main site killed, emergency, the site back, recovery.
func TestThreeModes(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	waitSegments(t, p.main, 2)
	waitActive(t, p.replica, "m4f://")

	p.main.kill(order...)
	waitActive(t, p.replica, "udp://")
	waitSegments(t, p.replica, 2)

	p.main.restart(order...)
	waitSegments(t, p.main, 2)
	waitActive(t, p.replica, "m4f://")
	waitSegments(t, p.main, 1)
	p.converge(t, 60*time.Second)
}

// TestKillEachService: none of the services may take anything with it, nor ingestsvc and dvrsvc of a site together.
func TestKillEachService(t *testing.T) {
	for _, victim := range [][]string{{"ingestsvc"}, {"dvrsvc"}, {"replsvc"}, {"gateway"}, {"ingestsvc", "dvrsvc"}} {
		for _, which := range []string{"main", "replica"} {
			t.Run(which+"."+strings.Join(victim, "+"), func(t *testing.T) {
				t.Parallel()
				p := newPair(t)
				s := p.main
				if which == "replica" {
					s = p.replica
				}
				waitSegments(t, p.main, 2)
				waitSegments(t, p.replica, 1)
				s.kill(victim...)
				time.Sleep(2 * time.Second) // the outage itself
				s.restart(victim...)
				waitSegments(t, p.main, 2)
				waitSegments(t, p.replica, 2)
				p.converge(t, 60*time.Second)
			})
		}
	}
}

func waitActive(t *testing.T, s *site, scheme string) {
	t.Helper()
	testkit.Eventually(t, 60*time.Second, fmt.Sprintf("%s records from %s", s.node, scheme), func() error {
		url, err := s.archive().Active(t.Context())
		if err == nil && !strings.HasPrefix(url, scheme) {
			err = fmt.Errorf("its active input is %q", url)
		}
		return err
	})
}

// TestGrpcurl: an operator looks into the index with grpcurl, as the README says.
func TestGrpcurl(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("grpcurl")
	if err != nil {
		t.Skip("grpcurl is not installed: run make e2e")
	}
	p := newPair(t)
	waitSegments(t, p.main, 2)
	addr := p.main.svc["dvrsvc"].grpc
	out, err := exec.CommandContext(t.Context(), tool, "-plaintext", addr, "list").CombinedOutput()
	if err != nil {
		t.Fatalf("list: %v\n%s", err, out)
	}
	for _, want := range []string{"IndexService", "SegmentService", "RecordingService", "MaintenanceService"} {
		if !strings.Contains(string(out), "twinreel.dvr.v1."+want) {
			t.Errorf("list does not show %s:\n%s", want, out)
		}
	}
	out, err = exec.CommandContext(t.Context(), tool, "-plaintext", "-d", `{"stream":"`+stream+`"}`, addr,
		"twinreel.dvr.v1.IndexService/GetRanges").CombinedOutput()
	if err != nil {
		t.Fatalf("GetRanges: %v\n%s", err, out)
	}
	year := fmt.Sprintf(`"from": "%d-`, time.Now().UTC().Year())
	for _, want := range []string{year, `"state": "INTACT"`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("GetRanges does not answer %s:\n%s", want, out)
		}
	}
}
