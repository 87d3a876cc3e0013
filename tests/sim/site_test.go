package sim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	dvrapp "github.com/twinreel/twinreel/dvrsvc/app"
	"github.com/twinreel/twinreel/pkg/envconf"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/streamconfpb"
	"github.com/twinreel/twinreel/pkg/vfs"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
	replapp "github.com/twinreel/twinreel/replsvc/app"
)

const (
	stream  = "tv"
	storage = "/storage"
)

func siteName(i int) string { return string(rune('a' + i)) }

// site is dvrsvc, replsvc and a producer, each of which ends and begins by itself.
type site struct {
	c      *cluster
	no     int
	name   string
	conf   *streamconf.Config
	clock  *siteClock
	disk   *disk
	config *vfs.Mem // of replsvc
	log    *siteLog
	keep   time.Duration // its retention
	muted  atomic.Bool   // the source is not received
	rotted bool          // something has rotted on its disk, and may be there still

	off     time.Duration // by how much its clock has stepped for good
	since   time.Time     // when dvrsvc began
	stepped bool          // it has stepped by so much that dvrsvc, started now, would not know where on its timelines the source is

	dvr, repl, ingest *process
	gateway           *process
	conn              *grpc.ClientConn // to dvrsvc, of the operator
	operator          *grpc.ClientConn // to replsvc
	ingestConn        *grpc.ClientConn
	incarnation       uint64
}

// process is one that can be killed.
type process struct {
	cancel context.CancelFunc
	lis    *listener
	srv    *grpcx.Server
	wg     sync.WaitGroup
}

// cut ends what others hear of a process, at once.
func (p *process) cut() {
	if p.lis != nil {
		p.lis.reset()
		p.srv.Stop()
	}
}

func (p *process) end() {
	p.cut()
	p.cancel()
	p.wg.Wait()
}

type siteLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *siteLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (s *site) logger(service string) *slog.Logger {
	return slog.New(slog.NewTextHandler(io.Writer(s.log), &slog.HandlerOptions{Level: slog.LevelInfo})).With("service", service)
}

func (s *site) addr(service string) string {
	if service == "repl" {
		return s.name + ":7000"
	}
	return service + "." + s.name
}

func (s *site) dial(service string, media bool) *grpc.ClientConn {
	cc, err := s.c.net.dial(s.name, s.name, s.addr(service), media)
	if err != nil {
		panic(err)
	}
	return cc
}

// serve begins a process that answers at an address.
func (s *site) serve(service string, media bool, register func(grpc.ServiceRegistrar), run func(context.Context) error) *process {
	srv, err := grpcx.NewServer(grpcx.ServerOptions{Media: media})
	if err != nil {
		panic(err)
	}
	register(srv)
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{cancel: cancel, lis: s.c.net.listen(s.addr(service)), srv: srv}
	p.wg.Go(func() { _ = srv.Server.Serve(p.lis) })
	p.wg.Go(func() {
		if err := run(ctx); err != nil {
			s.c.errorf("%s of %s ended: %v", service, s.name, err)
		}
	})
	return p
}

func (s *site) open() {
	s.gateway = s.serve("gateway", false, func(r grpc.ServiceRegistrar) {
		gatewayv1.RegisterConfigServiceServer(r, gateway{conf: s.conf})
	}, func(ctx context.Context) error { <-ctx.Done(); return nil })
	s.conn, s.operator, s.ingestConn = s.dial("dvr", false), s.dial("repl", false), s.dial("dvr", false)
	s.startDVR()
	s.startRepl()
	s.startIngest()
}

func (s *site) close() {
	for _, p := range []**process{&s.ingest, &s.repl, &s.dvr, &s.gateway} {
		if *p != nil {
			(*p).end()
			*p = nil
		}
	}
	for _, c := range []*grpc.ClientConn{s.conn, s.operator, s.ingestConn} {
		c.Close()
	}
}

func (s *site) startDVR() {
	if s.dvr != nil {
		return
	}
	cfg := dvrapp.Default()
	cfg.Base = envconf.Base{Node: s.name, Data: "/data"}
	gw := s.dial("gateway", false)
	a, err := dvrapp.New(cfg, dvrapp.Deps{
		Clock: s.clock, Logger: s.logger("dvrsvc"), Gateway: gw, Disk: s.disk.app(), ClockAgrees: func() bool { return s.keep < retention },
	})
	if err != nil {
		panic(err)
	}
	s.since = time.Now()
	s.dvr = s.serve("dvr", true, a.Register, func(ctx context.Context) error { defer gw.Close(); return a.Run(ctx) })
}

// killDVR ends dvrsvc without a word: by then is what the disk holds for the next one.
func (s *site) killDVR(by func(*disk) *disk) {
	if s.dvr == nil {
		s.disk = by(s.disk)
		return
	}
	s.dvr.cut() // what is released from here on is not heard
	synctest.Wait()
	after := by(s.disk)
	s.dvr.end()
	s.dvr, s.disk = nil, after
}

func (s *site) startRepl() {
	if s.repl != nil {
		return
	}
	cfg := replapp.Default()
	cfg.Base = envconf.Base{Node: s.name, Data: "/data"}
	gw, dvr, conns := s.dial("gateway", false), s.dial("dvr", true), &grpcx.Conns{}
	a, err := replapp.New(cfg, replapp.Deps{
		Clock: s.clock, Logger: s.logger("replsvc"), Gateway: gw, DVR: dvr, Conns: conns, FS: s.config,
		DialPeer: func(addr string, _ bool) (*grpc.ClientConn, error) { return s.c.net.dial(s.name, addr[:1], addr, true) },
	})
	if err != nil {
		panic(err)
	}
	s.repl = s.serve("repl", true, a.Register, func(ctx context.Context) error {
		defer gw.Close()
		defer dvr.Close()
		defer conns.Close() //nolint:errcheck // nothing is under way any more
		return a.Run(ctx)
	})
}

func (s *site) killRepl() {
	if s.repl != nil {
		s.repl.end()
		s.repl = nil
	}
}

func (s *site) startIngest() {
	if s.ingest != nil {
		return
	}
	s.incarnation++
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{cancel: cancel}
	x := &producer{site: s.no, cast: s.c.cast, conn: s.ingestConn, incarnation: s.incarnation, muted: s.muted.Load, released: func(m *made) { s.c.released(s, m) }}
	p.wg.Go(func() { x.run(ctx) })
	s.ingest = p
}

func (s *site) killIngest() {
	if s.ingest != nil {
		s.ingest.end()
		s.ingest = nil
	}
}

// status is what replsvc says of its peers.
func (s *site) status() []*replv1.PeerStatus {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	m, err := replv1.NewReplicationServiceClient(s.operator).GetStatus(ctx, &replv1.GetStatusRequest{})
	if err != nil {
		return nil
	}
	return m.GetPeers()
}

// inFlight is how many segments are being fetched.
func (s *site) inFlight() (n int) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	m, err := replv1.NewReplicationServiceClient(s.operator).Plan(ctx, &replv1.PlanRequest{})
	if err != nil {
		return 0
	}
	for _, i := range m.GetItems() {
		if i.GetWhyNot() == "in_flight" {
			n++
		}
	}
	return n
}

// gateway hands out one config.
type gateway struct {
	gatewayv1.UnimplementedConfigServiceServer
	conf *streamconf.Config
}

// Watch implements ConfigServiceServer.
func (g gateway) Watch(_ *gatewayv1.WatchRequest, rpc grpc.ServerStreamingServer[gatewayv1.WatchResponse]) error {
	if err := rpc.Send(&gatewayv1.WatchResponse{Config: streamconfpb.ToProto(g.conf, "1")}); err != nil {
		return err
	}
	<-rpc.Context().Done()
	return nil
}

// configOf is the config of a site with these peers.
func configOf(retention time.Duration, peers []string) *streamconf.Config {
	text := "stream " + stream + " {\n  input " + input + ";\n"
	for _, p := range peers {
		text += "  input m4f://" + p + ":7000/" + stream + ";\n"
	}
	text += fmt.Sprintf("  dvr %s %ds replicate;\n}\n", storage, int(retention.Seconds()))
	conf, err := streamconf.Parse("sim", []byte(text))
	if err != nil {
		panic(err)
	}
	return conf
}
