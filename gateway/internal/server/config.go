// Package server has the gRPC services of the gateway: adapters between the messages and package config.
//
// Invariant I1: the cluster key leaves by Watch alone, and only within this process or to who has proved a certificate.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/twinreel/twinreel/gateway/internal/config"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/streamconfpb"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
)

// Source is the config in force, and who changes it.
type Source interface {
	Current() config.Snapshot
	Apply(config.Edit) (config.Snapshot, streamconf.Stream, error)
	Found(addr string, found []streamconf.Found) (config.Snapshot, error)
	History(limit int) ([]config.Change, error)
}

var _ Source = (*config.File)(nil)

// Config is ConfigService.
type Config struct {
	gatewayv1.UnimplementedConfigServiceServer
	source Source
	log    *slog.Logger
}

var _ gatewayv1.ConfigServiceServer = (*Config)(nil)

// NewConfig serves what source has.
func NewConfig(source Source, log *slog.Logger) *Config { return &Config{source: source, log: log} }

// Get implements ConfigService.
func (s *Config) Get(_ context.Context, r *gatewayv1.GetRequest) (*gatewayv1.GetResponse, error) {
	now := s.source.Current()
	st, ok := now.Config.Stream(r.GetStream())
	if !ok {
		return nil, fmt.Errorf("get stream %q: %w", r.GetStream(), errs.ErrStreamUnknown)
	}
	return &gatewayv1.GetResponse{Stream: streamconfpb.WithholdPassphrases(streamconfpb.StreamToProto(st)), Revision: now.Revision}, nil
}

// List implements ConfigService.
func (s *Config) List(context.Context, *gatewayv1.ListRequest) (*gatewayv1.ListResponse, error) {
	now := s.source.Current()
	m := &gatewayv1.ListResponse{
		Config: streamconfpb.ToProto(now.Config, now.Revision), Problems: problems(now.Problems), Edited: now.Edited,
	}
	for _, st := range m.Config.Streams {
		streamconfpb.WithholdPassphrases(st)
	}
	m.Config.ClusterKey = now.Config.ClusterKey.String() // masked
	return m, nil
}

// Watch implements ConfigService.
func (s *Config) Watch(r *gatewayv1.WatchRequest, stream grpc.ServerStreamingServer[gatewayv1.WatchResponse]) error {
	trusted := mayHaveKey(stream.Context())
	s.log.Info("config watched", "watcher", r.GetWatcher())
	var sent config.Snapshot
	for {
		now := s.source.Current()
		if sent.Config == nil || now.Revision != sent.Revision || !now.Config.Equal(sent.Config) { // a refused text changes the snapshot, and nothing for a watcher
			m := streamconfpb.ToProto(now.Config, now.Revision)
			if !trusted {
				streamconfpb.Withhold(m)
			}
			if err := stream.Send(&gatewayv1.WatchResponse{Config: m}); err != nil {
				return err
			}
			sent = now
		}
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-now.Changed:
		}
	}
}

// Put implements ConfigService.
func (s *Config) Put(_ context.Context, r *gatewayv1.PutRequest) (*gatewayv1.PutResponse, error) {
	if r.GetText() == "" {
		return nil, fmt.Errorf("put stream: the text is missing: %w", errs.ErrConfigInvalid)
	}
	now, st, err := s.source.Apply(config.Edit{
		Text: r.GetText(), Revision: r.GetRevision(), Author: r.GetAuthor(), Comment: r.GetComment(), Check: r.GetCheckOnly(),
	})
	if err != nil {
		return nil, fmt.Errorf("put stream: %w", err)
	}
	return &gatewayv1.PutResponse{Stream: streamconfpb.WithholdPassphrases(streamconfpb.StreamToProto(st)), Revision: now.Revision}, nil
}

// Delete implements ConfigService.
func (s *Config) Delete(_ context.Context, r *gatewayv1.DeleteRequest) (*gatewayv1.DeleteResponse, error) {
	now, _, err := s.source.Apply(config.Edit{
		Stream: r.GetStream(), Revision: r.GetRevision(), Author: r.GetAuthor(), Comment: r.GetComment(),
	})
	if err != nil {
		return nil, err
	}
	return &gatewayv1.DeleteResponse{Revision: now.Revision}, nil
}

// ReportSource implements ConfigService.
func (s *Config) ReportSource(_ context.Context, r *gatewayv1.ReportSourceRequest) (*gatewayv1.ReportSourceResponse, error) {
	var found []streamconf.Found
	for _, f := range r.GetFound() {
		found = append(found, streamconf.Found{Name: f.GetName(), Via: f.GetVia()})
	}
	now, err := s.source.Found(r.GetAddress(), found)
	if err != nil {
		return nil, err
	}
	return &gatewayv1.ReportSourceResponse{Revision: now.Revision}, nil
}

const (
	changesShown = 50
	changesMost  = 1000
	changesBytes = 2 << 20 // of configs: half of what a message may have
)

// ListChanges implements ConfigService.
func (s *Config) ListChanges(_ context.Context, r *gatewayv1.ListChangesRequest) (*gatewayv1.ListChangesResponse, error) {
	limit := min(int(r.GetLimit()), changesMost)
	if limit == 0 {
		limit = changesShown
	}
	cs, err := s.source.History(limit)
	if err != nil {
		return nil, err
	}
	m, size := &gatewayv1.ListChangesResponse{}, 0
	for _, c := range cs {
		if size += len(c.Config); size > changesBytes && len(m.GetChanges()) > 0 {
			break
		}
		m.Changes = append(m.Changes, &gatewayv1.Change{
			Number: c.Number, Time: timestamppb.New(c.Time), Origin: c.Origin, Author: c.Author, Comment: c.Comment, Added: c.Added,
			Changed: c.Changed, Removed: c.Removed, Overruled: c.Overruled, Revision: c.Revision, Config: c.Config,
		})
	}
	return m, nil
}

// Validate implements ConfigService.
func (s *Config) Validate(_ context.Context, r *gatewayv1.ValidateRequest) (*gatewayv1.ValidateResponse, error) {
	conf, err := streamconf.Parse("config", []byte(r.GetText()))
	var found streamconf.Problems
	if errors.As(err, &found) {
		return &gatewayv1.ValidateResponse{Problems: problems(found)}, nil
	}
	return &gatewayv1.ValidateResponse{Canonical: conf.String()}, nil
}

func problems(list streamconf.Problems) []*gatewayv1.Problem {
	var out []*gatewayv1.Problem
	for _, p := range list {
		out = append(out, &gatewayv1.Problem{
			Line: uint32(p.Pos.Line), Column: uint32(p.Pos.Column), //nolint:gosec // a source is at most 8 MB
			Message: p.What + "; " + p.Do,
		})
	}
	return out
}

// mayHaveKey says whether a call comes from this process, or from who has proved a certificate (I1).
func mayHaveKey(ctx context.Context) bool {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return false
	}
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
		return len(info.State.VerifiedChains) > 0
	}
	_, isTCP := p.Addr.(*net.TCPAddr)
	return !isTCP && p.Addr.Network() == "bufconn"
}
