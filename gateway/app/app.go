// Package app wires the gateway: the config file it follows, ConfigService, the JSON API and the playback.
//
// New constructs and does no I/O, Open reads the config, Run follows it. [App.Register] and [App.HTTPHandler] put the
// gateway on servers that the caller owns: those of its own process ([Main]), or the ones that all four services share
// in one box.
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

	"github.com/twinreel/twinreel/gateway/internal/config"
	"github.com/twinreel/twinreel/gateway/internal/httpapi"
	"github.com/twinreel/twinreel/gateway/internal/playback"
	"github.com/twinreel/twinreel/gateway/internal/server"
	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/boxes"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/vfs"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
)

// Deps is what the gateway is given. The zero value is that of a process of its own.
type Deps struct {
	Clock   clock.Clock              // nil: that of the machine
	Logger  *slog.Logger             // nil: none
	Metrics prometheus.Registerer    // nil: none
	Conns   *grpcx.Conns             // opens what is not given
	DVR     grpc.ClientConnInterface // nil: dialled at Config.DVRAddr
	Repl    grpc.ClientConnInterface // nil: dialled at Config.ReplAddr
}

// App is the gateway.
type App struct {
	cfg  Config
	log  *slog.Logger
	file *config.File
	api  http.Handler
	open atomic.Bool
}

// New puts the gateway together.
func New(cfg Config, deps Deps) (*App, error) {
	if deps.Clock == nil {
		deps.Clock = clock.System{}
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	a := &App{cfg: cfg, log: deps.Logger, file: config.New(cfg.File, filepath.Join(cfg.Data, "config"), vfs.OS{}, deps.Clock, deps.Logger)}
	if deps.Metrics != nil {
		if err := a.metrics(deps.Metrics); err != nil {
			return nil, err
		}
	}
	var err error
	if deps.DVR, err = deps.Conns.To(cfg.DVRAddr, deps.DVR, true); err != nil {
		return nil, fmt.Errorf("reach dvrsvc: %w", err)
	}
	deps.DVR = boxes.New(boxes.Options{
		Own: deps.DVR, Conns: deps.Conns, Config: func() *streamconf.Config { return a.file.Current().Config },
		Clock: deps.Clock, Logger: deps.Logger,
	})
	if cfg.ReplAddr != NoRepl || deps.Repl != nil {
		if deps.Repl, err = deps.Conns.To(cfg.ReplAddr, deps.Repl, false); err != nil {
			return nil, fmt.Errorf("reach replsvc: %w", err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/api/v1/", httpapi.New(deps.DVR))
	mux.Handle("/", playback.New(deps.DVR, deps.Repl, deps.Clock, deps.Logger))
	a.api = mux
	return a, nil
}

func (a *App) metrics(r prometheus.Registerer) error {
	streams := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "twinreel_gateway_config_streams", Help: "Streams in the config in force.",
	}, func() float64 {
		if c := a.file.Current().Config; c != nil {
			return float64(len(c.Streams))
		}
		return 0
	})
	problems := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "twinreel_gateway_config_problems", Help: "What is wrong with the config file; 0 when it is in force.",
	}, func() float64 { return float64(len(a.file.Current().Problems)) })
	if err := errors.Join(r.Register(streams), r.Register(problems)); err != nil {
		return fmt.Errorf("register metrics of the gateway: %w", err)
	}
	return nil
}

// Register puts the gateway's gRPC services on s.
func (a *App) Register(s grpc.ServiceRegistrar) {
	gatewayv1.RegisterConfigServiceServer(s, server.NewConfig(a.file, a.log))
}

// HTTPHandler is the JSON API and the playback; metrics and health are the process's own.
func (a *App) HTTPHandler() http.Handler { return a.api }

// ClusterKey is that of the config in force, if it has one.
func (a *App) ClusterKey() auth.Key {
	if c := a.file.Current().Config; c != nil {
		return auth.NewKey(string(c.ClusterKey))
	}
	return auth.Key{}
}

// Open reads the config file for the first time. Its error has a line for each problem. Nothing may be served before.
func (a *App) Open(context.Context) error {
	if err := a.file.Load(); err != nil {
		return err
	}
	a.open.Store(true)
	return nil
}

// Ready says why the gateway is not, or nil.
func (a *App) Ready() error {
	if !a.open.Load() {
		return fmt.Errorf("gateway: %w", errs.ErrNotReady)
	}
	return nil
}

// Config gives the revision of the stream config in force, and that a newer text of it was refused.
func (a *App) Config() (revision, problem string) {
	now := a.file.Current()
	if n := len(now.Problems); n > 0 {
		problem = fmt.Sprintf("The config file is refused with %d problems, the config in force stays.", n)
	}
	return now.Revision, problem
}

// Run follows the config file until ctx ends.
func (a *App) Run(ctx context.Context) error {
	err := a.file.Run(ctx)
	a.open.Store(false)
	return err
}
