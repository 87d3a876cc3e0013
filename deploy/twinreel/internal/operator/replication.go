package operator

import (
	"context"
	"fmt"

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
