package app_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// TestPauseAndLimit: what is paused is not fetched and stays in the backlog; it comes when it is resumed; limits are seen, and
// what names nothing is refused.
func TestPauseAndLimit(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	a, b := newSite(t, n, "a", "replication_speed 40M 00:00-24:00:2G;\n"+config("b")), newSite(t, n, "b", config())
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	eventually(t, soon, "the config is in force", func() error {
		if bits := a.status().GetLimitBitsPerSecond(); bits != 2_000_000_000 {
			return fmt.Errorf("the limit is %d", bits)
		}
		return nil
	})
	for _, of := range []*replv1.Scope{{Stream: "tv"}, {Peer: "b"}, nil} {
		if _, err := a.repl.Pause(ctx, &replv1.PauseRequest{Scope: of}); err != nil {
			t.Fatal(err)
		}
	}
	b.dvr.Put(all...)
	a.dvr.Put(all[0], all[9])
	waits := func() error {
		s := a.status()
		if !s.GetPaused() || s.GetBacklogSlots() != 8 {
			return fmt.Errorf("status %v", s)
		}
		return nil
	}
	eventually(t, soon, "the backlog is seen", waits)
	if _, err := a.repl.Resume(ctx, &replv1.ResumeRequest{Scope: &replv1.Scope{Stream: "tv"}}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // a plan or two
	if err := waits(); err != nil {
		t.Errorf("paused by its peer and with all: %v", err)
	}
	for _, it := range a.plan() {
		if it.GetWhyNot() != "paused" {
			t.Errorf("planned: %v", it)
		}
	}
	m, err := a.repl.Resume(ctx, &replv1.ResumeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range m.GetLimits() {
		if l.GetPaused() {
			t.Errorf("still paused: %v", l)
		}
	}
	eventually(t, soon, "a has all", hasAll(a.dvr, all))

	if _, err := a.repl.SetLimits(ctx, &replv1.SetLimitsRequest{Scope: &replv1.Scope{Peer: "m4f://b:7000/tv"}, Speed: "5M"}); err != nil {
		t.Fatal(err)
	}
	if bits := a.status().GetLimitBitsPerSecond(); bits != 5_000_000 {
		t.Errorf("the limit is %d, want that of the peer", bits)
	}
	for what, c := range map[string]struct {
		req  *replv1.SetLimitsRequest
		want error
	}{
		"an unknown stream":  {&replv1.SetLimitsRequest{Scope: &replv1.Scope{Stream: "x"}, Speed: "5M"}, errs.ErrStreamUnknown},
		"an unknown peer":    {&replv1.SetLimitsRequest{Scope: &replv1.Scope{Peer: "c"}, Speed: "5M"}, errs.ErrInvalid},
		"no peer":            {&replv1.SetLimitsRequest{Scope: &replv1.Scope{Peer: "/"}, Speed: "5M"}, errs.ErrInvalid},
		"both":               {&replv1.SetLimitsRequest{Scope: &replv1.Scope{Peer: "b", Stream: "tv"}, Speed: "5M"}, errs.ErrInvalid},
		"no speed":           {&replv1.SetLimitsRequest{Speed: "fast"}, errs.ErrInvalid},
		"one that was there": {&replv1.SetLimitsRequest{Scope: &replv1.Scope{Stream: "x"}}, nil},
	} {
		if _, err := a.repl.SetLimits(ctx, c.req); !errors.Is(rpcerr.FromStatus(err), c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
}

// TestSlowLimit: a limit that is raised is felt in the middle of a segment.
func TestSlowLimit(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	a, b := newSite(t, n, "a", "replication_speed 64K;\n"+config("b")), newSite(t, n, "b", config())
	b.dvr.Put(all...)
	a.dvr.Put(all[0], all[9])
	ctx, cancel := context.WithTimeout(context.Background(), 3*soon)
	defer cancel()
	eventually(t, soon, "something is being fetched", func() error {
		for _, it := range a.plan() {
			if it.GetWhyNot() == "in_flight" {
				return nil
			}
		}
		return errors.New("nothing is in flight")
	})
	time.Sleep(time.Second)
	if s := a.status(); s.GetFetchedSegments() > 0 || s.GetBytesPerSecond() > 2<<20 {
		t.Errorf("status %v", s)
	}
	if _, err := a.repl.SetLimits(ctx, &replv1.SetLimitsRequest{Speed: "0"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, soon, "a has all", hasAll(a.dvr, all))
}

// TestReplicationPort: the archive is fetched from the port that the config says, and from there alone.
func TestReplicationPort(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	all := make10("b")
	b := newSite(t, n, "b", config())
	b.dvr.Put(all...)
	a := newSite(t, n, "a", "stream tv { input m4f://b; dvr storage 1d replicate replication_port=8002; }")
	a.dvr.Put(all[0], all[9])
	eventually(t, soon, "the port is called", func() error {
		if p := a.status().GetProblem(); !strings.Contains(p, "nobody listens at b:8002") {
			return fmt.Errorf("the problem is %q", p)
		}
		return nil
	})
	n.mu.Lock()
	n.pipes["b:8002"] = n.pipes["b:7000"]
	n.mu.Unlock()
	eventually(t, soon, "a has all", hasAll(a.dvr, all))
}
