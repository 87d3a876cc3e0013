package app_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/envconf"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/streamconfpb"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
	"github.com/twinreel/twinreel/replsvc/app"
	"github.com/twinreel/twinreel/replsvc/internal/testdvr"
)

var epoch = time.Now().Add(-time.Hour)

// network joins sites in one process by name.
type network struct {
	mu    sync.Mutex
	pipes map[string]*grpcx.Pipe
}

func (n *network) dial(addr string, _ bool) (*grpc.ClientConn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.pipes[addr]
	if p == nil {
		return nil, fmt.Errorf("nobody listens at %s", addr)
	}
	return p.Dial(grpcx.DialOptions{Media: true})
}

// site is a replsvc with a dvrsvc and a gateway that are doubles.
type site struct {
	t    *testing.T
	net  *network
	addr string
	node string
	conf string
	// environ changes what the environment says; nil: nothing.
	environ func(*app.Config)
	clock   clock.Clock // nil: that of the machine
	gate    *gateway
	dvr     *testdvr.DVR
	log     *lockedBuffer
	repl    replv1.ReplicationServiceClient
	stop    func()
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// gateway hands out a config that the test changes.
type gateway struct {
	gatewayv1.UnimplementedConfigServiceServer

	mu      sync.Mutex // protects the fields below
	configs []*streamconf.Config
	found   map[string][]streamconf.Found // as ReportSource said
	reports int
	changed chan struct{} // closed when there is another
}

// ReportSource puts what a source has into force.
func (g *gateway) ReportSource(_ context.Context, r *gatewayv1.ReportSourceRequest) (*gatewayv1.ReportSourceResponse, error) {
	var found []streamconf.Found
	for _, f := range r.GetFound() {
		found = append(found, streamconf.Found{Name: f.GetName(), Via: f.GetVia()})
	}
	g.mu.Lock()
	g.found[r.GetAddress()] = found
	g.reports++
	now := g.configs[len(g.configs)-1]
	g.mu.Unlock()
	g.put(now)
	return &gatewayv1.ReportSourceResponse{}, nil
}

func (g *gateway) put(conf *streamconf.Config) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.configs = append(g.configs, conf.WithFound(g.found))
	close(g.changed)
	g.changed = make(chan struct{})
}

// Watch sends every config, in order.
func (g *gateway) Watch(_ *gatewayv1.WatchRequest, rpc grpc.ServerStreamingServer[gatewayv1.WatchResponse]) error {
	for n := 0; ; {
		g.mu.Lock()
		configs, changed := g.configs, g.changed
		g.mu.Unlock()
		for ; n < len(configs); n++ {
			if err := rpc.Send(&gatewayv1.WatchResponse{Config: streamconfpb.ToProto(configs[n], fmt.Sprint(n))}); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-rpc.Context().Done():
			return nil
		}
	}
}

// newSite starts a site that listens at its node name.
func newSite(t *testing.T, n *network, node, conf string) *site {
	t.Helper()
	return newSiteWith(t, n, node, conf, func(*app.Config) {})
}

// newSiteHolding is newSite with an archive: no peer has seen it without.
func newSiteHolding(t *testing.T, n *network, node, conf string, held ...*testdvr.Copy) *site {
	t.Helper()
	s := &site{t: t, net: n, addr: node + ":7000", node: node, conf: conf, dvr: testdvr.New(node, epoch), log: &lockedBuffer{}}
	s.dvr.Put(held...)
	return s.run()
}

// newSiteWith is newSite with something else in the environment.
func newSiteWith(t *testing.T, n *network, node, conf string, environ func(*app.Config)) *site {
	t.Helper()
	s := &site{t: t, net: n, addr: node + ":7000", node: node, conf: conf, environ: environ, dvr: testdvr.New(node, epoch), log: &lockedBuffer{}}
	return s.run()
}

// run starts the site, and stops it at the end of the test.
func (s *site) run() *site {
	s.t.Helper()
	s.start()
	s.t.Cleanup(func() {
		s.stop()
		if s.t.Failed() {
			s.t.Logf("log of %s:\n%s", s.node, s.log)
		}
	})
	return s
}

// start starts replsvc; its dvrsvc and gateway start with it.
func (s *site) start() {
	s.t.Helper()
	s.gate = &gateway{changed: make(chan struct{}), found: map[string][]streamconf.Found{}}
	s.configure(s.conf)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	serve := func(register func(grpc.ServiceRegistrar)) (*grpcx.Pipe, *grpc.ClientConn) {
		srv, err := grpcx.NewServer(grpcx.ServerOptions{})
		if err != nil {
			s.t.Fatal(err)
		}
		register(srv)
		pipe := grpcx.NewPipe()
		wg.Go(func() {
			<-ctx.Done()
			srv.Server.Stop() // as a process that ends
		})
		go srv.Server.Serve(pipe.Listener()) //nolint:errcheck // ends with Stop
		cc, err := pipe.Dial(grpcx.DialOptions{Media: true})
		if err != nil {
			s.t.Fatal(err)
		}
		return pipe, cc
	}
	_, inner := serve(func(r grpc.ServiceRegistrar) {
		s.dvr.Register(r)
		gatewayv1.RegisterConfigServiceServer(r, s.gate)
	})
	conns := &grpcx.Conns{}
	cfg := app.Default()
	cfg.Base = envconf.Base{Node: s.node, Data: s.t.TempDir()}
	if s.environ != nil {
		s.environ(&cfg)
	}
	a, err := app.New(cfg, app.Deps{
		Logger: slog.New(slog.NewTextHandler(io.MultiWriter(s.log), &slog.HandlerOptions{Level: slog.LevelDebug})),
		DVR:    inner, Gateway: inner, DialPeer: s.net.dial, Conns: conns, Clock: s.clock,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	pipe, outer := serve(a.Register)
	s.net.mu.Lock()
	s.net.pipes[s.addr] = pipe
	s.net.mu.Unlock()
	s.repl = replv1.NewReplicationServiceClient(outer)
	wg.Go(func() {
		if err := a.Run(ctx); err != nil {
			s.t.Errorf("%s did not stop well: %v", s.node, err)
		}
	})
	s.stop = func() {
		s.net.mu.Lock()
		delete(s.net.pipes, s.addr)
		s.net.mu.Unlock()
		cancel()
		wg.Wait()
		inner.Close()
		conns.Close() //nolint:errcheck // nothing is under way any more
		outer.Close()
	}
}

// configure puts another config in force, and the site has it when it starts again.
func (s *site) configure(text string) {
	s.t.Helper()
	conf, err := streamconf.Parse("test", []byte(text))
	if err != nil {
		s.t.Fatal(err)
	}
	s.conf = text
	s.gate.put(conf)
}

// status is that of the site's only peer.
func (s *site) status() *replv1.PeerStatus {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	m, err := s.repl.GetStatus(ctx, &replv1.GetStatusRequest{})
	if err != nil || len(m.GetPeers()) == 0 {
		return &replv1.PeerStatus{Problem: fmt.Sprint(err)}
	}
	return m.GetPeers()[0]
}

// plan is what would be fetched now.
func (s *site) plan() []*replv1.PlanItem {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	m, err := s.repl.Plan(ctx, &replv1.PlanRequest{})
	if err != nil {
		s.t.Error(err)
	}
	return m.GetItems()
}

// compare compares with the site's peers now.
func (s *site) compare() (*replv1.Comparison, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	m, err := s.repl.Compare(ctx, &replv1.CompareRequest{Stream: "tv"})
	if err != nil {
		return nil, rpcerr.FromStatus(err)
	}
	return m.GetComparisons()[0], nil
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t *testing.T, within time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, within, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func newNetwork() *network { return &network{pipes: map[string]*grpcx.Pipe{}} }

// config is a stream whose archive is kept, with one udp input and m4f inputs.
func config(peers ...string) string {
	text := "stream tv {\n  input udp://127.0.0.1:1234;\n"
	for _, p := range peers {
		text += "  input m4f://" + p + ":7000/tv;\n"
	}
	return text + "  dvr storage 1d replicate;\n}\n"
}
