// Package app wires dvrsvc: the recorder with a store for each path of the config, and the services that it answers.
//
// New constructs and does no I/O, Run records. [App.Register] and [App.HTTPHandler] put dvrsvc on servers that the
// caller owns: those of its own process ([Main]), or the ones that all four services share in one box.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/dvrsvc/internal/recorder"
	"github.com/twinreel/twinreel/dvrsvc/internal/server"
	"github.com/twinreel/twinreel/dvrsvc/internal/stats"
	"github.com/twinreel/twinreel/dvrsvc/internal/store"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/configclient"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/vfs"
)

// Deps is what the service is given. The zero value is that of a process of its own.
type Deps struct {
	Clock       clock.Clock              // nil: that of the machine
	Logger      *slog.Logger             // nil: none
	Metrics     prometheus.Registerer    // nil: none
	Conns       *grpcx.Conns             // opens what is not given
	Gateway     grpc.ClientConnInterface // nil: dialled at Config.GatewayAddr
	ClockAgrees func() bool              // whether the wall clock may be believed after a leap; nil: what the kernel says
	Disk        Disk                     // what storages and the copy of the config lie on; zero: that of the machine
}

// Disk is a file system with an index, which has one of its own. The zero value is that of the machine.
type Disk struct {
	FS    vfs.FS
	Index pebblevfs.FS
	Exit  func(code int) // ends the process when the index cannot go on
}

// App is the service.
type App struct {
	cfg    Config
	deps   Deps
	rec    *recorder.Recorder
	stats  stats.Set
	server *server.Server
	mounts mounts
	box    atomic.Pointer[box] // of the config in force; nil: none yet
	state  configclient.State
}

// New builds the service. It does no I/O.
func New(cfg Config, deps Deps) (*App, error) {
	if deps.Clock == nil {
		deps.Clock = clock.System{}
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	a := &App{cfg: cfg, deps: deps}
	a.mounts.path = filepath.Join(cfg.Data, "run", "storages")
	if a.mounts.fs = deps.Disk.FS; a.mounts.fs == nil {
		a.mounts.fs = vfs.OS{}
	}
	var err error
	if a.deps.Gateway, err = deps.Conns.To(cfg.GatewayAddr, deps.Gateway, false); err != nil {
		return nil, fmt.Errorf("reach gateway: %w", err)
	}
	a.rec = recorder.New(recorder.Options{
		Node: cfg.Node, Clock: deps.Clock, Logger: deps.Logger, Metrics: recorder.NewMetrics(deps.Metrics), Open: a.open,
		Stats: &a.stats,
	})
	if deps.Metrics != nil {
		if err := deps.Metrics.Register(recorder.NewCollector(a.rec)); err != nil {
			return nil, fmt.Errorf("register metrics of dvrsvc: %w", err)
		}
	}
	a.server = server.New(a.rec, cfg.Node, deps.Clock)
	return a, nil
}

func (a *App) open(ctx context.Context, path string) (*store.Store, error) {
	if err := a.mounts.check(path); err != nil {
		return nil, err
	}
	st, err := store.Open(ctx, store.Options{
		Path: path, Node: a.cfg.Node, Clock: a.deps.Clock, Logger: a.deps.Logger.With("path", path), ClockAgrees: a.deps.ClockAgrees,
		ScrubRate: a.cfg.ScrubRate, ReclaimRate: a.cfg.ReclaimRate, Stats: a.stats.Storage(path),
		FS: a.deps.Disk.FS, IndexFS: a.deps.Disk.Index, Exit: a.deps.Disk.Exit,
	})
	if err != nil {
		return nil, err
	}
	if err := a.mounts.note(path); err != nil {
		a.deps.Logger.Warn("a mount that is missing will not be noticed", "error", err)
	}
	return st, nil
}

// Register adds the service's gRPC services to a server.
func (a *App) Register(s grpc.ServiceRegistrar) { a.server.Register(s) }

// HTTPHandler gives raw segments and init segments; metrics and health are the process's own.
func (a *App) HTTPHandler() http.Handler { return a.server.HTTP() }

// Open has nothing to do: storages are opened as the config names them.
func (a *App) Open(context.Context) error { return nil }

// Ready says why the service is not ready, or nil: it has no config, none of its names is in it, or no storage of it can
// be used. A storage that cannot be opened does not count while there is another: other streams go on.
func (a *App) Ready() error {
	b := a.box.Load()
	switch {
	case b == nil:
		return configclient.ErrNoConfig
	case b.empty:
		return errors.New(b.problem())
	}
	return a.rec.Ready()
}

// Config gives the revision of the stream config in force, and what is wrong with following it.
func (a *App) Config() (revision, problem string) {
	revision, problem = a.state.Config()
	if b := a.box.Load(); b != nil && problem == "" {
		problem = b.problem()
	}
	return revision, problem
}

// Run records what the config says until ctx ends; then it seals what is open and closes the storages.
func (a *App) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watch sync.WaitGroup
	watch.Go(func() {
		configclient.Watch(ctx, configclient.Options{ //nolint:errcheck // it ends with ctx, and with nothing else
			Conn: a.deps.Gateway, Watcher: "dvrsvc", Dir: filepath.Join(a.cfg.Data, "run"),
			FS: a.deps.Disk.FS, Clock: a.deps.Clock, Logger: a.deps.Logger, State: &a.state,
		}, func(c *streamconf.Config, _ streamconf.Changes) {
			b := a.boxIn(c)
			if p := b.problem(); p != "" {
				a.deps.Logger.Error("the name of this dvrsvc is wrong", "problem", p)
			}
			a.rec.Apply(b.streams, b.kept)
			a.box.Store(b)
		})
	})
	err := a.rec.Run(ctx)
	cancel()
	watch.Wait()
	return err
}
