package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/boxes"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/configclient"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/lifecycle"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/vfs"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
	"github.com/twinreel/twinreel/replsvc/internal/event"
	"github.com/twinreel/twinreel/replsvc/internal/m4fclient"
	"github.com/twinreel/twinreel/replsvc/internal/m4fserver"
	"github.com/twinreel/twinreel/replsvc/internal/peer"
	"github.com/twinreel/twinreel/replsvc/internal/server"
	"github.com/twinreel/twinreel/replsvc/internal/transfer"
)

// Deps is what comes from outside. The zero value works, but for the connections that an address does not give.
type Deps struct {
	Clock   clock.Clock              // nil: that of the machine
	FS      vfs.FS                   // of Config.Data; nil: that of the machine
	Logger  *slog.Logger             // nil: none
	Metrics prometheus.Registerer    // nil: none
	Conns   *grpcx.Conns             // opens what is not given
	Gateway grpc.ClientConnInterface // nil: dialled at Config.GatewayAddr
	DVR     grpc.ClientConnInterface // nil: dialled at Config.DVRAddr
	// DialPeer connects to a peer's HOST:PORT; nil: over TCP.
	DialPeer func(addr string, tls bool) (*grpc.ClientConn, error)
}

// App is replsvc.
type App struct {
	cfg      Config
	deps     Deps
	boxes    *boxes.Router
	set      *peer.Set
	transfer *transfer.Transfer
	m4f      *m4fserver.Server
	repl     *server.Server
	hook     *event.Webhook // nil: none
	inForce  atomic.Pointer[streamconf.Config]
	state    configclient.State
}

// New puts the service together. It does no I/O but to read the cluster key; connections are made when they are used.
func New(cfg Config, deps Deps) (*App, error) {
	a := &App{cfg: cfg, deps: deps}
	if err := a.defaults(); err != nil {
		return nil, err
	}
	key, err := auth.ReadKey(cfg.ClusterKeyFile)
	if err != nil {
		return nil, err
	}
	packaging := segment.Sum(nil) // there is nothing in packaging that can be configured yet
	d := &a.deps
	a.set = peer.NewSet(peer.Config{
		Node: cfg.Node, Packaging: packaging[:], Key: key, KeyWithheld: a.state.KeyWithheld, DVR: d.DVR, Others: a.boxes.Others,
		Dial: func(addr string, tls bool) (m4fclient.Conn, error) { return d.DialPeer(addr, tls) }, Learned: func() { a.transfer.Wake() },
		Report: a.report,
		Rotten: func(stream string) { a.transfer.Doubt(stream) }, Clock: d.Clock, Log: d.Logger,
	})
	a.transfer = transfer.New(a.set, cfg.BackfillLimit, d.Clock, d.Logger)
	a.m4f = m4fserver.New(m4fserver.Config{
		Node: cfg.Node, StoreID: a.set.StoreID, Key: a.set.Key, Limit: a.transfer.Limits().Server, DVR: d.DVR, Clock: d.Clock, Log: d.Logger,
		Terms: func(stream string) (m4fserver.Terms, bool) {
			st, ok := a.set.Stream(stream)
			terms := m4fserver.Terms{Packaging: packaging[:], Retention: st.DVR.Retention, Withheld: st.DVR.Pull}
			if len(st.Readers) > 0 {
				terms.Reads = st.Reads
			}
			return terms, ok
		},
		Streams: a.offered,
	})
	a.repl = server.New(cfg.Node, a.set, a.transfer, d.DVR, d.Clock)
	if cfg.WebhookURL != "" {
		a.hook = event.NewWebhook(a.repl.Hub(), event.Hook{
			URL: cfg.WebhookURL, Kinds: cfg.webhookKinds(), Encode: a.repl.EncodeEvent, Clock: d.Clock, Log: d.Logger,
		})
	}
	if d.Metrics != nil {
		collectors := []prometheus.Collector{server.NewCollector(a.set, a.transfer, a.repl.Watcher(), a.repl.Books)}
		if a.hook != nil {
			collectors = append(collectors, server.NewHookCollector(a.hook))
		}
		for _, c := range collectors {
			if err := d.Metrics.Register(c); err != nil {
				return nil, fmt.Errorf("register metrics of replsvc: %w", err)
			}
		}
	}
	return a, nil
}

// defaults fills in what Deps leaves open.
func (a *App) defaults() error {
	d := &a.deps
	if d.Clock == nil {
		d.Clock = clock.System{}
	}
	if d.FS == nil {
		d.FS = vfs.OS{}
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.DialPeer == nil {
		d.DialPeer = func(addr string, tls bool) (*grpc.ClientConn, error) {
			o := grpcx.DialOptions{Media: true, Secure: tls}
			if tls {
				o.TLS = a.cfg.TLS()
			}
			return grpcx.Dial(addr, o)
		}
	}
	var err error
	if d.Gateway, err = d.Conns.To(a.cfg.GatewayAddr, d.Gateway, false); err != nil {
		return fmt.Errorf("reach gateway: %w", err)
	}
	if d.DVR, err = d.Conns.To(a.cfg.DVRAddr, d.DVR, true); err != nil {
		return fmt.Errorf("reach dvrsvc: %w", err)
	}
	a.boxes = boxes.New(boxes.Options{Own: d.DVR, Conns: d.Conns, Config: a.inForce.Load, Clock: d.Clock, Logger: d.Logger})
	d.DVR = a.boxes
	return nil
}

// report tells the gateway which streams a source has.
func (a *App) report(ctx context.Context, source string, found []streamconf.Found) error {
	m := &gatewayv1.ReportSourceRequest{Address: source}
	for _, f := range found {
		m.Found = append(m.Found, &gatewayv1.FoundStream{Name: f.Name, Via: f.Via})
	}
	if _, err := gatewayv1.NewConfigServiceClient(a.deps.Gateway).ReportSource(ctx, m); err != nil {
		return fmt.Errorf("tell the gateway what %s has: %w", source, rpcerr.FromStatus(err))
	}
	return nil
}

// offered are the streams for peers that take all of them.
func (a *App) offered() (out []m4fserver.Offered, ok bool) {
	all, ok := a.set.Offered()
	for _, f := range all {
		out = append(out, m4fserver.Offered(f))
	}
	return out, ok
}

// Register adds the services to a gRPC server. M4F brings its own guard.
func (a *App) Register(r grpc.ServiceRegistrar) {
	a.m4f.Register(r)
	replv1.RegisterReplicationServiceServer(r, a.repl)
}

// HTTPHandler has nothing: metrics and health are the process's own.
func (a *App) HTTPHandler() http.Handler { return nil }

// Open reads what operators have set. What a service needs of others may come later.
func (a *App) Open(context.Context) error {
	a.transfer.Limits().Open(a.deps.FS, filepath.Join(a.cfg.Data, "run", "replication.json"))
	return nil
}

// Ready says why the service is not ready, or nil. A peer that is away does not count.
func (a *App) Ready() error {
	if a.inForce.Load() == nil {
		return configclient.ErrNoConfig
	}
	return nil
}

// Config gives the revision of the stream config in force, and what is wrong with following it.
func (a *App) Config() (revision, problem string) { return a.state.Config() }

// Run replicates until ctx ends.
func (a *App) Run(ctx context.Context) error {
	actors := []lifecycle.Actor{{Name: "events", Run: func(ctx context.Context) error { a.repl.Watcher().Run(ctx); return nil }}}
	if a.hook != nil {
		actors = append(actors, lifecycle.Actor{Name: "webhook", Run: func(ctx context.Context) error { a.hook.Run(ctx); return nil }})
	}
	return lifecycle.Run(ctx, a.deps.Logger, append(actors,
		lifecycle.Actor{Name: "ledger", Run: func(ctx context.Context) error { a.repl.RunLedger(ctx); return nil }},
		lifecycle.Actor{Name: "peers", Run: func(ctx context.Context) error { a.set.Run(ctx); return nil }},
		lifecycle.Actor{Name: "transfer", Run: func(ctx context.Context) error { a.transfer.Run(ctx); return nil }},
		lifecycle.Actor{Name: "config", Run: func(ctx context.Context) error {
			return configclient.Watch(ctx, configclient.Options{
				Conn: a.deps.Gateway, Watcher: "replsvc", Dir: filepath.Join(a.cfg.Data, "run"), FS: a.deps.FS, Clock: a.deps.Clock, Logger: a.deps.Logger, State: &a.state,
			}, func(conf *streamconf.Config, _ streamconf.Changes) {
				a.inForce.Store(conf)
				a.transfer.Limits().Apply(conf)
				a.set.Apply(ctx, conf)
			})
		}},
	)...)
}
