package server

import (
	"context"
	"fmt"
	"slices"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/streamconf"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
	"github.com/twinreel/twinreel/replsvc/internal/limit"
	"github.com/twinreel/twinreel/replsvc/internal/peer"
)

// GetLimits implements ReplicationServiceServer.
func (s *Server) GetLimits(context.Context, *replv1.GetLimitsRequest) (*replv1.GetLimitsResponse, error) {
	return &replv1.GetLimitsResponse{Limits: s.limits()}, nil
}

// SetLimits implements ReplicationServiceServer.
func (s *Server) SetLimits(_ context.Context, req *replv1.SetLimitsRequest) (*replv1.SetLimitsResponse, error) {
	speed, err := streamconf.ParseSpeed(req.GetSpeed())
	if err != nil {
		return nil, rpcerr.ToStatus(fmt.Errorf("set a limit: %w: %w", errs.ErrInvalid, err))
	}
	err = s.change(req.GetScope(), speed != "", func(l *limit.Limits, of limit.Scope) error { return l.Set(of, speed) })
	return &replv1.SetLimitsResponse{Limits: s.limits()}, err
}

// Pause implements ReplicationServiceServer.
func (s *Server) Pause(_ context.Context, req *replv1.PauseRequest) (*replv1.PauseResponse, error) {
	err := s.change(req.GetScope(), true, (*limit.Limits).Pause)
	return &replv1.PauseResponse{Limits: s.limits()}, err
}

// Resume implements ReplicationServiceServer.
func (s *Server) Resume(_ context.Context, req *replv1.ResumeRequest) (*replv1.ResumeResponse, error) {
	err := s.change(req.GetScope(), false, (*limit.Limits).Resume)
	return &replv1.ResumeResponse{Limits: s.limits()}, err
}

// change has something changed of a scope. strict: it has to be configured; what was set of a stream that is configured no
// more can still be taken back.
func (s *Server) change(scope *replv1.Scope, strict bool, do func(*limit.Limits, limit.Scope) error) error {
	of := limit.Scope{Stream: scope.GetStream()}
	var err error
	if scope.GetPeer() != "" {
		if of.Peer, err = streamconf.ParsePeer(scope.GetPeer()); err != nil {
			return rpcerr.ToStatus(fmt.Errorf("%w: %w", errs.ErrInvalid, err))
		}
	}
	if strict {
		if err := s.configured(of); err != nil {
			return rpcerr.ToStatus(err)
		}
	}
	if err := do(s.transfer.Limits(), of); err != nil {
		return rpcerr.ToStatus(err)
	}
	s.transfer.Wake()
	return nil
}

func (s *Server) configured(of limit.Scope) error {
	if of.Stream != "" {
		if _, ok := s.set.Stream(of.Stream); !ok {
			return fmt.Errorf("limit of stream %q: %w", of.Stream, errs.ErrStreamUnknown)
		}
	}
	if of.Peer != "" && !slices.ContainsFunc(s.set.Links(), func(l *peer.Link) bool { return l.M4F.Addr() == of.Peer }) {
		return fmt.Errorf("limit of peer %s: no stream has an m4f input of it: %w", of.Peer, errs.ErrInvalid)
	}
	return nil
}

func (s *Server) limits() (out []*replv1.Limit) {
	for _, e := range s.transfer.Limits().List() {
		out = append(out, &replv1.Limit{
			Scope:      &replv1.Scope{Stream: e.Scope.Stream, Peer: e.Scope.Peer},
			Configured: string(e.Configured), Set: string(e.Set), BitsPerSecond: e.Bits, Paused: e.Paused,
		})
	}
	return out
}
