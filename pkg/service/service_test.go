package service_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/envconf"
	"github.com/twinreel/twinreel/pkg/service"
	"github.com/twinreel/twinreel/pkg/testkit"
	nodev1 "github.com/twinreel/twinreel/proto/twinreel/node/v1"
)

type config struct {
	envconf.Base
	Speed int `env:"SPEED" help:"how fast it goes"`
}

// app is a service that is ready when it is told so.
type app struct {
	ready  atomic.Bool
	opened atomic.Bool
}

func (a *app) Register(grpc.ServiceRegistrar) {}
func (a *app) Open(context.Context) error     { a.opened.Store(true); return nil }
func (a *app) Run(ctx context.Context) error  { <-ctx.Done(); return nil }
func (a *app) Config() (revision, problem string) {
	return "r7", "The gateway is away."
}
func (a *app) HTTPHandler() http.Handler { return nil }
func (a *app) Ready() error {
	if !a.ready.Load() {
		return errors.New("it has yet to warm up")
	}
	return nil
}

func spec(a *app) service.Spec[config] {
	return service.Spec[config]{
		Name: "testsvc", Does: "tests", Prefix: "TEST_", Default: config{Base: envconf.Default("127.0.0.1:1", "127.0.0.1:2"), Speed: 7},
		New: func(config, service.Env) (service.App, error) { return a, nil },
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().String()
}

// The health check says what /readyz says, and fails where nobody listens.
func TestHealthcheckFollowsReady(t *testing.T) {
	a := &app{}
	environ := []string{"TEST_GRPC_LISTEN=" + freeAddr(t), "TEST_HTTP_LISTEN=" + freeAddr(t)}
	check := func() error {
		return service.Run(t.Context(), spec(a), service.Process{Args: []string{"healthcheck"}, Environ: environ})
	}
	if err := check(); err == nil {
		t.Error("healthy before it was started")
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx, spec(a), service.Process{Environ: environ, Stderr: t.Output()}) }()
	eventually(t, "not ready", func() bool {
		err := check()
		return err != nil && strings.Contains(err.Error(), "not ready")
	})
	a.ready.Store(true)
	eventually(t, "ready", func() bool { return check() == nil })
	stop()
	if err := <-done; err != nil || !a.opened.Load() {
		t.Errorf("ended with %v, opened %t", err, a.opened.Load())
	}
}

// The health check of an image, which has no authorities of its machine, works with every kind of TLS.
func TestHealthcheckWithTLS(t *testing.T) {
	ca := testkit.NewCA(t, "ours")
	cert := ca.Issue(t, "elsewhere")
	for name, tls := range map[string][]string{
		"a certificate of an authority that is not told": {"TEST_TLS_CERT=" + cert.Cert, "TEST_TLS_KEY=" + cert.Key},
		"mTLS":                            {"TEST_TLS_CERT=" + cert.Cert, "TEST_TLS_KEY=" + cert.Key, "TEST_TLS_CA=" + ca.File},
		"an authority and no certificate": {"TEST_TLS_CA=" + ca.File},
	} {
		t.Run(name, func(t *testing.T) {
			a := &app{}
			a.ready.Store(true)
			environ := append(tls, "TEST_GRPC_LISTEN="+freeAddr(t), "TEST_HTTP_LISTEN="+freeAddr(t))
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- service.Run(ctx, spec(a), service.Process{Environ: environ, Stderr: t.Output()}) }()
			eventually(t, "healthy", func() bool {
				return service.Run(t.Context(), spec(a), service.Process{Args: []string{"healthcheck"}, Environ: environ}) == nil
			})
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// What a process says of itself: whether it is ready, what config it works with, and what is wrong with that.
func TestListServices(t *testing.T) {
	a := &app{}
	lis := bufconn.Listen(1 << 16)
	srv := grpc.NewServer()
	service.RegisterNode(srv, "main", map[string]service.App{"testsvc": a, "another": a}, clock.System{})
	go srv.Serve(lis) //nolint:errcheck // ends with Stop
	defer srv.Stop()
	conn, err := grpc.NewClient("passthrough:pipe", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, want := range []string{"it has yet to warm up", ""} {
		m, err := nodev1.NewNodeServiceClient(conn).ListServices(t.Context(), &nodev1.ListServicesRequest{})
		if err != nil || len(m.GetServices()) != 2 {
			t.Fatalf("ListServices: %v, %v", m, err)
		}
		s := m.GetServices()[1]
		if s.GetName() != "testsvc" || s.GetNode() != "main" || s.GetVersion() == "" || !s.GetStarted().IsValid() ||
			s.GetNotReady() != want || s.GetConfigRevision() != "r7" || s.GetProblem() != "The gateway is away." {
			t.Errorf("it says %v", s)
		}
		a.ready.Store(true)
	}
}

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for range 250 {
		if check() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("never %s", what)
}

func TestWords(t *testing.T) {
	for _, c := range []struct {
		args []string
		out  string // contained in what is printed
		err  string
	}{
		{[]string{"--help"}, "TEST_SPEED             how fast it goes (default 7)", ""},
		{[]string{"--version"}, "unknown", ""},
		{[]string{"--config=x"}, "", "see testsvc --help"},
		{[]string{"healthcheck", "now"}, "", "see testsvc --help"},
	} {
		var out bytes.Buffer
		err := service.Run(t.Context(), spec(&app{}), service.Process{Args: c.args, Stdout: &out})
		if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v: got %v", c.args, err)
		}
		if !strings.Contains(out.String(), c.out) {
			t.Errorf("%v: printed %q", c.args, out.String())
		}
	}
}
