package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/envconf"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/lifecycle"
	"github.com/twinreel/twinreel/pkg/obs"
)

// App is a service as its process needs it.
type App interface {
	// Register puts its gRPC services on a server.
	Register(grpc.ServiceRegistrar)
	// Open does what has to succeed before anything is served.
	Open(context.Context) error
	// Run works until ctx ends.
	Run(context.Context) error
	// Ready says why the service cannot do its work, or nil.
	Ready() error
	// Config gives the revision of the stream config that it works with, empty before the first, and what is wrong with
	// following it.
	Config() (revision, problem string)
	// HTTPHandler is what it serves beside metrics and health; nil: nothing.
	HTTPHandler() http.Handler
}

// Config is what the environment says: a pointer to a struct that embeds [envconf.Base].
type Config[C any] interface {
	*C
	Problems() []string
	Common() *envconf.Base
}

// Spec is what is particular about a service.
type Spec[C any] struct {
	Name    string // of the binary
	Does    string // in a line, for --help
	Prefix  string // of its variables
	Default C      // of an empty environment
	Media   bool   // its server carries media
	New     func(C, Env) (App, error)
}

// Env is what a process gives its service.
type Env struct {
	Logger  *slog.Logger
	Metrics prometheus.Registerer
	Conns   *grpcx.Conns // to other services of the site
}

// Process is what a binary is started with.
type Process struct {
	Args           []string // without the program's name
	Environ        []string
	Stdout, Stderr io.Writer
}

// Main is the main function of a service's binary: it does what the command line says and returns the exit code.
func Main[C any, P Config[C]](s Spec[C]) int {
	ctx, stop := lifecycle.Signals(context.Background())
	defer stop()
	p := Process{Args: os.Args[1:], Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr}
	if err := Run[C, P](ctx, s, p); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", s.Name, err)
		return 1
	}
	return 0
}

// Run does what the command line says: without arguments it serves until ctx ends or a part of the service fails.
func Run[C any, P Config[C]](ctx context.Context, s Spec[C], p Process) error {
	word := ""
	if len(p.Args) > 0 {
		word = p.Args[0]
	}
	switch {
	case len(p.Args) > 1 || !slices.Contains([]string{"", "healthcheck", "--help", "-h", "--version"}, word):
		return fmt.Errorf("%q is not understood: everything is set by variables; see %s --help", p.Args, s.Name)
	case word == "--version":
		_, err := fmt.Fprintln(p.Stdout, obs.Version())
		return err
	case word == "--help", word == "-h":
		return help[C, P](p.Stdout, s)
	}
	cfg := s.Default
	if err := envconf.Parse(P(&cfg), s.Prefix, p.Environ); err != nil {
		return err
	}
	if word == "healthcheck" {
		return check(ctx, P(&cfg).Common())
	}
	return serve[C, P](ctx, s, cfg, p)
}

func help[C any, P Config[C]](w io.Writer, s Spec[C]) error {
	cfg := s.Default
	_, err := fmt.Fprintf(w, "%s %s\n\n    %s                run it\n    %s healthcheck    ask a running one whether it is ready\n    %s --version      say what it is\n\n%s",
		s.Name, s.Does, s.Name, s.Name, s.Name, envconf.Help(P(&cfg), s.Prefix))
	return err
}

func serve[C any, P Config[C]](ctx context.Context, s Spec[C], cfg C, p Process) error {
	base := P(&cfg).Common()
	log, err := obs.NewLogger(p.Stderr, base.LogFormat, base.LogLevel)
	if err != nil {
		return err
	}
	log = log.With("service", s.Name, "node", base.Node)
	log.Info("starting", append(envconf.Attrs(&cfg, s.Prefix), "version", obs.Version())...)
	key, err := auth.ReadKey(base.ClusterKeyFile)
	if err != nil {
		return err
	}
	conns := &grpcx.Conns{Options: grpcx.DialOptions{TLS: base.TLS()}, Wrap: func(cc grpc.ClientConnInterface) grpc.ClientConnInterface {
		return auth.Proving(cc, base.Node, key)
	}}
	defer conns.Close() //nolint:errcheck // the process ends
	registry := obs.NewRegistry()
	a, err := s.New(cfg, Env{Logger: log, Metrics: registry, Conns: conns})
	if err != nil {
		return err
	}
	guard := auth.NewGuard(func() auth.Key { return key }, clock.System{})
	srv, err := grpcx.NewServer(grpcx.ServerOptions{
		Logger: log, Metrics: registry, Media: s.Media, TLS: base.TLS(), Ready: a.Ready,
		Unary: []grpc.UnaryServerInterceptor{guard.Unary()}, Stream: []grpc.StreamServerInterceptor{guard.Stream()},
	})
	if err != nil {
		return err
	}
	a.Register(srv)
	RegisterNode(srv, base.Node, map[string]App{s.Name: a}, clock.System{})
	if err := a.Open(ctx); err != nil {
		return err
	}
	rpc, err := net.Listen("tcp", base.GRPCListen)
	if err != nil {
		return fmt.Errorf("listen for grpc: %w", err)
	}
	web, err := ListenHTTP(base.HTTPListen, base.TLS())
	if err != nil {
		return errors.Join(fmt.Errorf("listen for http: %w", err), rpc.Close())
	}
	log.Info("serving", "grpc", rpc.Addr().String(), "http", web.Addr().String())
	return lifecycle.Run(ctx, log,
		lifecycle.Actor{Name: s.Name, Run: a.Run},
		lifecycle.Actor{Name: "grpc", Run: func(ctx context.Context) error { return srv.Serve(ctx, rpc) }},
		lifecycle.HTTP("http", web, Handler(registry, a.Ready, a.HTTPHandler())),
	)
}

// ListenHTTP listens for HTTP, or for HTTPS where there is a certificate.
func ListenHTTP(addr string, t grpcx.TLS) (net.Listener, error) {
	lis, err := net.Listen("tcp", addr)
	if err != nil || t.Cert == "" {
		return lis, err
	}
	c, err := t.ServerConfig()
	if err != nil {
		return nil, errors.Join(err, lis.Close())
	}
	c.NextProtos = []string{"h2", "http/1.1"}
	return tls.NewListener(lis, c), nil
}

// Handler has metrics and health, and below them what a service serves by HTTP.
func Handler(metrics prometheus.Gatherer, ready func() error, own http.Handler) http.Handler {
	mux := obs.NewMux(metrics, ready)
	if own != nil {
		mux.Handle("/", own)
	}
	return mux
}
