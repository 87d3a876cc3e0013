package onebox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	dvr "github.com/twinreel/twinreel/dvrsvc/app"
	gateway "github.com/twinreel/twinreel/gateway/app"
	ingest "github.com/twinreel/twinreel/ingestsvc/app"
	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/envconf"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/lifecycle"
	"github.com/twinreel/twinreel/pkg/obs"
	"github.com/twinreel/twinreel/pkg/service"
	"github.com/twinreel/twinreel/pkg/streamconf"
	repl "github.com/twinreel/twinreel/replsvc/app"
)

// Config is what the four share. GRPCListen and HTTPListen are the two ports of the box.
type Config struct {
	envconf.Base
	File string // the stream config
	// Webhook and WebhookEvents are those of replsvc.
	Webhook       streamconf.Secret `env:"WEBHOOK_URL"`
	WebhookEvents string            `env:"WEBHOOK_EVENTS"`
}

// Problems says what is wrong with it.
func (c *Config) Problems() []string {
	r := c.replication()
	p := r.Problems()
	if c.File == "" {
		p = append(p, "CONFIG is missing; give the file of the stream config")
	}
	return p
}

// replication is the config of replsvc.
func (c *Config) replication() repl.Config {
	r := repl.Default()
	r.Base, r.WebhookURL, r.WebhookEvents = c.Base, c.Webhook, cmp.Or(c.WebhookEvents, r.WebhookEvents)
	return r
}

// Box is the four services.
type Box struct {
	cfg      Config
	log      *slog.Logger
	clock    clock.Clock
	registry *prometheus.Registry
	pipe     *grpcx.Pipe
	conn     *grpc.ClientConn // to ourselves
	conns    *grpcx.Conns     // to others
	server   *grpcx.Server
	gateway  *gateway.App
	dvr      *dvr.App
	ingest   *ingest.App
	repl     *repl.App
}

// New puts the box together. clk nil is the machine's clock.
func New(cfg Config, clk clock.Clock, log *slog.Logger) (*Box, error) {
	data, err := filepath.Abs(cfg.Data)
	if err != nil {
		return nil, fmt.Errorf("find data directory: %w", err)
	}
	cfg.Data = data
	if clk == nil {
		clk = clock.System{}
	}
	b := &Box{cfg: cfg, log: log, clock: clk, registry: obs.NewRegistry(), pipe: grpcx.NewPipe()}
	if b.conn, err = b.pipe.Dial(grpcx.DialOptions{Media: true}); err != nil {
		return nil, err
	}
	file, err := auth.ReadKey(cfg.ClusterKeyFile)
	if err != nil {
		return nil, errors.Join(err, b.conn.Close())
	}
	// To further dvrsvc on hosts of their own, which read the key from a file.
	b.conns = &grpcx.Conns{Options: grpcx.DialOptions{TLS: cfg.TLS()}, Wrap: func(cc grpc.ClientConnInterface) grpc.ClientConnInterface {
		return auth.Proving(cc, cfg.Node, file)
	}}
	if err := b.services(); err != nil {
		return nil, errors.Join(err, b.conn.Close())
	}
	guard := auth.NewGuard(func() auth.Key { // as for M4F, the stream config overrules the file
		if k := b.gateway.ClusterKey(); !k.IsZero() {
			return k
		}
		return file
	}, b.clock)
	b.server, err = grpcx.NewServer(grpcx.ServerOptions{
		Logger: log, Metrics: b.registry, Media: true, TLS: cfg.TLS(), Ready: b.Ready,
		Unary: []grpc.UnaryServerInterceptor{guard.Unary()}, Stream: []grpc.StreamServerInterceptor{guard.Stream()},
	})
	if err != nil {
		return nil, errors.Join(err, b.conn.Close())
	}
	apps := map[string]service.App{"gateway": b.gateway, "dvrsvc": b.dvr, "ingestsvc": b.ingest, "replsvc": b.repl}
	for _, s := range apps {
		s.Register(b.server)
	}
	service.RegisterNode(b.server, cfg.Node, apps, b.clock)
	return b, nil
}

func (b *Box) services() (err error) {
	named := func(service string) *slog.Logger { return b.log.With("service", service) }
	g := gateway.Default()
	g.Base, g.File = b.cfg.Base, b.cfg.File
	b.gateway, err = gateway.New(g, gateway.Deps{Clock: b.clock, Logger: named("gateway"), Metrics: b.registry, Conns: b.conns, DVR: b.conn, Repl: b.conn})
	if err != nil {
		return fmt.Errorf("build gateway: %w", err)
	}
	d := dvr.Default()
	d.Base = b.cfg.Base
	b.dvr, err = dvr.New(d, dvr.Deps{Clock: b.clock, Logger: named("dvrsvc"), Metrics: b.registry, Gateway: b.conn})
	if err != nil {
		return fmt.Errorf("build dvrsvc: %w", err)
	}
	i := ingest.Default()
	i.Base = b.cfg.Base
	b.ingest, err = ingest.New(i, ingest.Deps{Clock: b.clock, Logger: named("ingestsvc"), Metrics: b.registry, Conns: b.conns, Gateway: b.conn, DVR: b.conn})
	if err != nil {
		return fmt.Errorf("build ingestsvc: %w", err)
	}
	b.repl, err = repl.New(b.cfg.replication(), repl.Deps{Clock: b.clock, Logger: named("replsvc"), Metrics: b.registry, Conns: b.conns, Gateway: b.conn, DVR: b.conn})
	if err != nil {
		return fmt.Errorf("build replsvc: %w", err)
	}
	return nil
}

// Run opens the ports and serves until ctx ends or a part fails.
func (b *Box) Run(ctx context.Context) error {
	defer b.conn.Close()  //nolint:errcheck // nothing is under way any more
	defer b.conns.Close() //nolint:errcheck // as above
	if err := os.MkdirAll(b.cfg.Data, 0o755); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if err := errors.Join(b.gateway.Open(ctx), b.repl.Open(ctx)); err != nil {
		return err
	}
	rpc, err := net.Listen("tcp", b.cfg.GRPCListen)
	if err != nil {
		return fmt.Errorf("listen for grpc: %w", err)
	}
	web, err := service.ListenHTTP(b.cfg.HTTPListen, b.cfg.TLS())
	if err != nil {
		return errors.Join(fmt.Errorf("listen for http: %w", err), rpc.Close())
	}
	b.log.Info("serving", "grpc", rpc.Addr().String(), "http", web.Addr().String(), "node", b.cfg.Node, "version", obs.Version())
	// Stopped from the last to the first: ingest hands over what it has while the recorder still takes it.
	return lifecycle.Run(ctx, b.log,
		lifecycle.Actor{Name: "gateway", Run: b.gateway.Run},
		lifecycle.Actor{Name: "dvrsvc", Run: b.dvr.Run},
		lifecycle.Actor{Name: "grpc", Run: func(ctx context.Context) error { return b.server.Serve(ctx, rpc, b.pipe.Listener()) }},
		lifecycle.Actor{Name: "replsvc", Run: b.repl.Run},
		lifecycle.Actor{Name: "ingestsvc", Run: b.ingest.Run},
		lifecycle.HTTP("http", web, service.Handler(b.registry, b.Ready, b.gateway.HTTPHandler())),
	)
}

// Ready says what in the box cannot do its work, or nil.
func (b *Box) Ready() error {
	return errors.Join(b.gateway.Ready(), b.dvr.Ready(), b.ingest.Ready(), b.repl.Ready())
}
