package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/configclient"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/lifecycle"
	"github.com/twinreel/twinreel/pkg/obs"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/streamconf"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
	"github.com/twinreel/twinreel/replsvc/internal/m4fserver"
	"github.com/twinreel/twinreel/replsvc/internal/peer"
	"github.com/twinreel/twinreel/replsvc/internal/server"
	"github.com/twinreel/twinreel/replsvc/internal/transfer"
)

// Deps is what comes from outside. The zero value works, but for the connections that an address does not give.
type Deps struct {
	Clock   clock.Clock              // nil: that of the machine
	Logger  *slog.Logger             // nil: none
	Metrics *prometheus.Registry     // nil: one of its own
	Gateway grpc.ClientConnInterface // nil: dialled at Config.GatewayAddr
	DVR     grpc.ClientConnInterface // nil: dialled at Config.DVRAddr
	// DialPeer connects to a peer's HOST:PORT; nil: over TCP.
	DialPeer func(addr string) (m4fclient.Conn, error)
}

// App is replsvc.
type App struct {
	cfg      Config
	deps     Deps
	closers  []func() error
	set      *peer.Set
	transfer *transfer.Transfer
	m4f      *m4fserver.Server
	repl     *server.Server
	ready    atomic.Bool
}

// New puts the service together. It does no I/O but to read the cluster key; connections are made when they are used.
func New(cfg Config, deps Deps) (*App, error) {
	a := &App{cfg: cfg, deps: deps}
	if err := a.defaults(); err != nil {
		return nil, errors.Join(err, a.close())
	}
	key := auth.Key{}
	if cfg.ClusterKeyFile != "" {
		b, err := os.ReadFile(cfg.ClusterKeyFile)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read cluster key: %w", err), a.close())
		}
		key = auth.NewKey(string(b))
	}
	packaging := segment.Sum(nil) // there is nothing in packaging that can be configured yet
	d := &a.deps
	a.set = peer.NewSet(peer.Config{
		Node: cfg.Node, Incarnation: uint64(d.Clock.Now().UnixNano()), Packaging: packaging[:], Key: key, DVR: d.DVR,
		Dial: d.DialPeer, Learned: func() { a.transfer.Wake() }, Clock: d.Clock, Log: d.Logger,
	})
	a.transfer = transfer.New(a.set, cfg.BackfillLimit, d.Clock, d.Logger)
	a.m4f = m4fserver.New(m4fserver.Config{
		Node: cfg.Node, StoreID: a.set.StoreID, Key: a.set.Key, Limit: cfg.BackfillLimit, DVR: d.DVR, Clock: d.Clock, Log: d.Logger,
		Terms: func(stream string) (m4fserver.Terms, bool) {
			st, ok := a.set.Stream(stream)
			return m4fserver.Terms{Packaging: packaging[:], Retention: st.DVR.Retention}, ok
		},
	})
	a.repl = server.New(cfg.Node, a.set, a.transfer)
	d.Metrics.MustRegister(server.NewCollector(a.set, a.transfer))
	return a, nil
}

// defaults fills in what Deps leaves open.
func (a *App) defaults() error {
	d := &a.deps
	if d.Clock == nil {
		d.Clock = clock.System{}
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.Metrics == nil {
		d.Metrics = obs.NewRegistry()
	}
	if d.DialPeer == nil {
		d.DialPeer = func(addr string) (m4fclient.Conn, error) { return grpcx.Dial(addr, grpcx.DialOptions{Media: true}) }
	}
	for _, c := range []struct {
		conn  *grpc.ClientConnInterface
		addr  string
		media bool
	}{{&d.Gateway, a.cfg.GatewayAddr, false}, {&d.DVR, a.cfg.DVRAddr, true}} {
		if *c.conn != nil {
			continue
		}
		conn, err := grpcx.Dial(c.addr, grpcx.DialOptions{Media: c.media})
		if err != nil {
			return err
		}
		*c.conn = conn
		a.closers = append(a.closers, conn.Close)
	}
	return nil
}

func (a *App) close() error {
	var all []error
	for _, c := range a.closers {
		all = append(all, c())
	}
	a.closers = nil
	return errors.Join(all...)
}

// Register adds the services to a gRPC server. M4F brings its own guard.
func (a *App) Register(r grpc.ServiceRegistrar) {
	a.m4f.Register(r)
	replv1.RegisterReplicationServiceServer(r, a.repl)
}

// HTTPHandler serves metrics and health.
func (a *App) HTTPHandler() http.Handler {
	return obs.NewMux(a.deps.Metrics, func() error {
		if !a.ready.Load() {
			return errors.New("the stream config is not known yet")
		}
		return nil
	})
}

// Run replicates until ctx ends.
func (a *App) Run(ctx context.Context) error {
	defer a.close() //nolint:errcheck // the process ends
	dir := ""
	if a.cfg.Data != "" {
		dir = filepath.Join(a.cfg.Data, "run")
	}
	return lifecycle.Run(ctx, a.deps.Logger,
		lifecycle.Actor{Name: "peers", Run: func(ctx context.Context) error { a.set.Run(ctx); return nil }},
		lifecycle.Actor{Name: "transfer", Run: func(ctx context.Context) error { a.transfer.Run(ctx); return nil }},
		lifecycle.Actor{Name: "config", Run: func(ctx context.Context) error {
			return configclient.Watch(ctx, configclient.Options{
				Conn: a.deps.Gateway, Watcher: "replsvc", Dir: dir, Clock: a.deps.Clock, Logger: a.deps.Logger,
			}, func(conf *streamconf.Config, _ streamconf.Changes) {
				a.set.Apply(ctx, conf)
				a.ready.Store(true)
			})
		}},
	)
}

// Serve listens where the config says and runs until ctx ends.
func (a *App) Serve(ctx context.Context) error {
	srv, err := grpcx.NewServer(grpcx.ServerOptions{Logger: a.deps.Logger, Metrics: a.deps.Metrics, Media: true})
	if err != nil {
		return err
	}
	a.Register(srv)
	grpcLis, err := net.Listen("tcp", a.cfg.GRPCListen)
	if err != nil {
		return fmt.Errorf("listen for grpc: %w", err)
	}
	httpLis, err := net.Listen("tcp", a.cfg.HTTPListen)
	if err != nil {
		return errors.Join(fmt.Errorf("listen for http: %w", err), grpcLis.Close())
	}
	a.deps.Logger.Info("listening", "grpc", grpcLis.Addr().String(), "http", httpLis.Addr().String())
	srv.Ready(true)
	return lifecycle.Run(ctx, a.deps.Logger,
		lifecycle.Actor{Name: "replication", Run: a.Run},
		lifecycle.HTTP("http", httpLis, a.HTTPHandler()),
		lifecycle.Actor{Name: "grpc", Run: func(ctx context.Context) error { return srv.Serve(ctx, grpcLis) }},
	)
}
