package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/twinreel/twinreel/pkg/envconf"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/lifecycle"
	"github.com/twinreel/twinreel/pkg/obs"
)

// Serve runs the service as a process of its own until ctx ends.
func Serve(ctx context.Context, cfg Config, log *slog.Logger) error {
	log.Info("config", envconf.Attrs(cfg, EnvPrefix)...)
	registry := obs.NewRegistry()
	a, err := New(cfg, Deps{Logger: log, Registry: registry})
	if err != nil {
		return err
	}
	srv, err := grpcx.NewServer(grpcx.ServerOptions{Logger: log, Metrics: registry})
	if err != nil {
		return err
	}
	a.Register(srv)
	rpc, err := net.Listen("tcp", cfg.GRPCListen)
	if err != nil {
		return fmt.Errorf("serve grpc: %w", err)
	}
	web, err := net.Listen("tcp", cfg.HTTPListen)
	if err != nil {
		rpc.Close()
		return fmt.Errorf("serve http: %w", err)
	}
	srv.Ready(true)
	return lifecycle.Run(ctx, log,
		lifecycle.Actor{Name: "inputs", Run: a.Run},
		lifecycle.Actor{Name: "grpc", Run: func(ctx context.Context) error { return srv.Serve(ctx, rpc) }},
		lifecycle.HTTP("http", web, a.HTTPHandler()),
	)
}
