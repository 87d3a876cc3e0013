package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/twinreel/twinreel/pkg/envconf"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/lifecycle"
	"github.com/twinreel/twinreel/pkg/obs"
)

// Main runs dvrsvc as a process of its own, until ctx ends or a part of it fails.
func Main(ctx context.Context, environ []string, stderr io.Writer) error {
	cfg := Default()
	if err := envconf.Parse(&cfg, "DVR_", environ); err != nil {
		return err
	}
	log, err := obs.NewLogger(stderr, cfg.LogFormat, cfg.LogLevel)
	if err != nil {
		return err
	}
	log = log.With("service", "dvrsvc", "node", cfg.Node)
	log.Info("starting", append(envconf.Attrs(&cfg, "DVR_"), "version", obs.Version())...)

	registry := obs.NewRegistry()
	a, err := New(cfg, Deps{Logger: log, Metrics: registry})
	if err != nil {
		return err
	}
	srv, err := grpcx.NewServer(grpcx.ServerOptions{Logger: log, Metrics: registry, Media: true})
	if err != nil {
		return err
	}
	a.Register(srv)
	mux := obs.NewMux(registry, a.Ready)
	mux.Handle("/", a.HTTPHandler())

	grpcListener, err := net.Listen("tcp", cfg.GRPCListen)
	if err != nil {
		return fmt.Errorf("listen for grpc: %w", err)
	}
	httpListener, err := net.Listen("tcp", cfg.HTTPListen)
	if err != nil {
		return errors.Join(fmt.Errorf("listen for http: %w", err), grpcListener.Close())
	}
	srv.Ready(true)
	log.Info("serving", "grpc", grpcListener.Addr().String(), "http", httpListener.Addr().String())
	return lifecycle.Run(ctx, log,
		lifecycle.Actor{Name: "recorder", Run: a.Run},
		lifecycle.Actor{Name: "grpc", Run: func(ctx context.Context) error { return srv.Serve(ctx, grpcListener) }},
		lifecycle.HTTP("http", httpListener, mux),
	)
}
