package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

// Scope is what a limit or a pause is of: a stream, a peer, or, with neither, all.
type Scope struct{ Stream, Peer string }

func (s Scope) proto() *replv1.Scope { return &replv1.Scope{Stream: s.Stream, Peer: s.Peer} }

// Limits prints how fast backfill may go, and what is paused.
func (s *Site) Limits(ctx context.Context) error {
	return s.limits(ctx, "get limits", func(c replv1.ReplicationServiceClient) (limited, error) {
		return c.GetLimits(ctx, &replv1.GetLimitsRequest{})
	})
}

// SetLimit sets how fast backfill of a scope may go; an empty speed: what the config says holds again.
func (s *Site) SetLimit(ctx context.Context, of Scope, speed string) error {
	return s.limits(ctx, "set the limit", func(c replv1.ReplicationServiceClient) (limited, error) {
		return c.SetLimits(ctx, &replv1.SetLimitsRequest{Scope: of.proto(), Speed: speed})
	})
}

// Pause ends the backfill of a scope until Resume.
func (s *Site) Pause(ctx context.Context, of Scope) error {
	return s.limits(ctx, "pause", func(c replv1.ReplicationServiceClient) (limited, error) {
		return c.Pause(ctx, &replv1.PauseRequest{Scope: of.proto()})
	})
}

// Resume takes a pause back; of all, every pause.
func (s *Site) Resume(ctx context.Context, of Scope) error {
	return s.limits(ctx, "resume", func(c replv1.ReplicationServiceClient) (limited, error) {
		return c.Resume(ctx, &replv1.ResumeRequest{Scope: of.proto()})
	})
}

// limited is an answer that has what holds.
type limited interface{ GetLimits() []*replv1.Limit }

func (s *Site) limits(ctx context.Context, what string, ask func(replv1.ReplicationServiceClient) (limited, error)) error {
	p, err := s.find(ctx, replication)
	if err != nil {
		return err
	}
	m, err := ask(replv1.NewReplicationServiceClient(p.conn))
	if err != nil {
		return p.asked(what, err)
	}
	if s.json {
		return s.printJSON(map[string]any{"limits": raws(m.GetLimits())})
	}
	for _, l := range m.GetLimits() {
		s.printLimit(l)
	}
	return nil
}

func (s *Site) printLimit(l *replv1.Limit) {
	name, none := "all", "no limit"
	switch sc := l.GetScope(); {
	case sc.GetStream() != "":
		name, none = "stream "+sc.GetStream(), "as all"
	case sc.GetPeer() != "":
		name, none = "peer "+sc.GetPeer(), "as all"
	}
	now := none
	if n := l.GetBitsPerSecond(); n > 0 {
		now = speed(n)
	}
	s.printf("%-30s  %s now", name, now)
	if l.GetPaused() {
		s.printf(", paused")
	}
	if l.GetSet() != "" {
		s.printf(", set: %s", l.GetSet())
	}
	if l.GetConfigured() != "" {
		s.printf(", configured: %s", l.GetConfigured())
	}
	s.printf("\n")
}

// speed is bits a second in words.
func speed(bits uint64) string {
	switch {
	case bits >= 1e9:
		return fmt.Sprintf("%g Gbit/s", float64(bits)/1e9)
	case bits >= 1e6:
		return fmt.Sprintf("%g Mbit/s", float64(bits)/1e6)
	}
	return fmt.Sprintf("%g kbit/s", float64(bits)/1e3)
}

// Events prints what becomes of replication until ctx ends; as JSON, one event a line.
func (s *Site) Events(ctx context.Context, stream string, kinds []string, after uint64) error {
	p, err := s.find(ctx, replication)
	if err != nil {
		return err
	}
	rpc, err := replv1.NewReplicationServiceClient(p.conn).WatchEvents(ctx, &replv1.WatchEventsRequest{Stream: stream, Kinds: kinds, After: after})
	if err != nil {
		return p.asked("watch events", err)
	}
	for {
		m, err := rpc.Recv()
		switch {
		case ctx.Err() != nil || errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return p.asked("watch events", err)
		case s.json:
			if err := json.NewEncoder(s.out).Encode(raw(m)); err != nil {
				return fmt.Errorf("print: %w", err)
			}
			continue
		}
		if n := m.GetMissed(); n > 0 {
			s.printf("%d events were dropped\n", n)
		}
		s.printEvent(m.GetEvent())
	}
}

func (s *Site) printEvent(e *replv1.Event) {
	s.printf("%s  %d  %-8s %s", clock(e.GetTime()), e.GetNumber(), e.GetKind(), e.GetStream())
	if e.GetPeer() != "" {
		s.printf(" from %s", e.GetPeer())
	}
	switch e.GetKind() {
	case "started", "progress", "finished":
		s.printf(": %d segments (%s) fetched, %d (%s) to fetch at %s", e.GetFetchedSegments(), size(e.GetFetchedBytes()),
			e.GetBacklogSegments(), size(e.GetBacklogBytes()), speed(8*e.GetBytesPerSecond()))
	case "failed":
		s.printf(": %d times, last: %s", e.GetCount(), plain(e.GetProblem()))
	case "behind":
		s.printf(": for %s, %s", time.Duration(e.GetCount())*time.Second, plain(e.GetProblem())) //nolint:gosec // seconds
	case "conflict":
		s.printf(": %d slots", e.GetCount())
	case "lost":
		s.printf(": %s to %s (%s)", clock(e.GetFrom()), clock(e.GetTo()), e.GetProblem())
	}
	s.printf("\n")
}
