package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/ingestsvc/internal/input"
	"github.com/twinreel/twinreel/ingestsvc/internal/server"
	"github.com/twinreel/twinreel/ingestsvc/internal/udp"
	"github.com/twinreel/twinreel/pkg/boxes"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/configclient"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/streamconf"
	ingestv1 "github.com/twinreel/twinreel/proto/twinreel/ingest/v1"
)

// Deps is what the service is given. The zero value is that of a process of its own.
type Deps struct {
	Clock   clock.Clock                               // nil: that of the machine
	Logger  *slog.Logger                              // nil: none
	Metrics prometheus.Registerer                     // nil: none
	Conns   *grpcx.Conns                              // opens what is not given
	Gateway grpc.ClientConnInterface                  // nil: dialled at Config.GatewayAddr
	DVR     grpc.ClientConnInterface                  // nil: dialled at Config.DVRAddr
	OpenUDP func(udp.Address) (input.Receiver, error) // nil: sockets
}

// App is the service.
type App struct {
	cfg     Config
	deps    Deps
	inputs  *input.Manager
	inForce atomic.Pointer[streamconf.Config]
	state   configclient.State
}

// New builds the service. It does no I/O: connections are made when they are first used.
func New(cfg Config, deps Deps) (*App, error) {
	if deps.Clock == nil {
		deps.Clock = clock.System{}
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	if deps.OpenUDP == nil {
		sockets := udp.NewSockets()
		deps.OpenUDP = func(a udp.Address) (input.Receiver, error) { return sockets.Open(a) }
	}
	a := &App{cfg: cfg, deps: deps}
	var err error
	if a.deps.Gateway, err = deps.Conns.To(cfg.GatewayAddr, deps.Gateway, false); err != nil {
		return nil, fmt.Errorf("reach gateway: %w", err)
	}
	if a.deps.DVR, err = deps.Conns.To(cfg.DVRAddr, deps.DVR, true); err != nil {
		return nil, fmt.Errorf("reach dvrsvc: %w", err)
	}
	a.deps.DVR = boxes.New(boxes.Options{
		Own: a.deps.DVR, Conns: deps.Conns, Config: a.inForce.Load, Clock: deps.Clock, Logger: deps.Logger,
	})
	a.inputs = input.NewManager(input.Deps{
		Clock: deps.Clock, Logger: deps.Logger, Node: cfg.Node, DVR: a.deps.DVR, RingBytes: cfg.RingBytes,
		Open: deps.OpenUDP,
	})
	if deps.Metrics != nil {
		if err := deps.Metrics.Register(input.NewCollector(a.inputs)); err != nil {
			return nil, fmt.Errorf("register metrics of ingestsvc: %w", err)
		}
	}
	return a, nil
}

// Register adds the service's gRPC services to a server.
func (a *App) Register(s grpc.ServiceRegistrar) {
	ingestv1.RegisterIngestServiceServer(s, server.NewIngest(a.inputs, a.deps.Clock))
}

// HTTPHandler has nothing: metrics and health are the process's own.
func (a *App) HTTPHandler() http.Handler { return nil }

// Open has nothing to do: what a service needs of others may come later.
func (a *App) Open(context.Context) error { return nil }

// Ready says why the service is not ready, or nil.
func (a *App) Ready() error {
	if a.inForce.Load() == nil {
		return configclient.ErrNoConfig
	}
	return nil
}

// Config gives the revision of the stream config in force, and what is wrong with following it.
func (a *App) Config() (revision, problem string) { return a.state.Config() }

// Run receives and records what the config says until ctx ends; then it hands over what dvrsvc takes.
func (a *App) Run(ctx context.Context) error {
	err := configclient.Watch(ctx, configclient.Options{
		Conn: a.deps.Gateway, Watcher: "ingestsvc", Dir: filepath.Join(a.cfg.Data, "run"),
		Clock: a.deps.Clock, Logger: a.deps.Logger, State: &a.state,
	}, func(c *streamconf.Config, _ streamconf.Changes) {
		a.inForce.Store(c)
		a.inputs.Apply(c)
	})
	a.inputs.Close()
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return err
}
