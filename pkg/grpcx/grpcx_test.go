package grpcx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/twinreel/twinreel/pkg/errs"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
)

// service fails in every way that a handler can.
type service struct {
	gatewayv1.UnimplementedConfigServiceServer
}

func (service) Get(_ context.Context, r *gatewayv1.GetRequest) (*gatewayv1.GetResponse, error) {
	switch r.GetStream() {
	case "panic":
		panic("boom")
	case "unknown":
		return nil, fmt.Errorf("get stream %q: %w", r.GetStream(), errs.ErrStreamUnknown)
	case "large":
		return &gatewayv1.GetResponse{Revision: strings.Repeat("x", MaxMessage)}, nil
	}
	return &gatewayv1.GetResponse{Revision: r.GetStream()}, nil
}

func (service) Watch(r *gatewayv1.WatchRequest, ss grpc.ServerStreamingServer[gatewayv1.WatchResponse]) error {
	switch r.GetWatcher() {
	case "panic":
		panic("boom")
	case "full":
		return fmt.Errorf("watch: %w", errs.ErrFull)
	}
	if err := ss.SendHeader(nil); err != nil {
		return err
	}
	<-ss.Context().Done()
	return ss.Context().Err()
}

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return lis
}

// start serves over a pipe and over TCP, and gives a connection of each kind.
func start(t *testing.T, ready ...func() error) (srv *Server, conns map[string]*grpc.ClientConn, addr string, stop func() error) {
	t.Helper()
	o := ServerOptions{Metrics: prometheus.NewRegistry(), Media: true}
	if len(ready) > 0 {
		o.Ready = ready[0]
	}
	srv, err := NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	gatewayv1.RegisterConfigServiceServer(srv, service{})
	lis := listen(t)
	pipe := NewPipe()
	overPipe, err := pipe.Dial(DialOptions{Media: true})
	if err != nil {
		t.Fatal(err)
	}
	overTCP, err := Dial(lis.Addr().String(), DialOptions{Media: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, lis, pipe.Listener()) }()
	stop = func() error { cancel(); return <-done }
	t.Cleanup(func() { cancel(); overPipe.Close(); overTCP.Close() })
	return srv, map[string]*grpc.ClientConn{"pipe": overPipe, "tcp": overTCP}, lis.Addr().String(), stop
}

// I2, I3, and errors.Is, over both transports.
func TestCalls(t *testing.T) {
	_, conns, _, stop := start(t)
	for name, conn := range conns {
		c := gatewayv1.NewConfigServiceClient(conn)
		get := func(stream string) error {
			_, err := c.Get(t.Context(), &gatewayv1.GetRequest{Stream: stream}, grpc.WaitForReady(true))
			return err
		}
		if err := get("fine"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := get("unknown"); !errors.Is(err, errs.ErrStreamUnknown) || status.Code(err) != codes.NotFound {
			t.Errorf("%s: got %v", name, err)
		}
		if err := get("panic"); status.Code(err) != codes.Internal {
			t.Errorf("%s: got %v", name, err)
		}
		if err := get("large"); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("%s: got %v", name, err)
		}
		for watcher, check := range map[string]func(error) bool{
			"panic": func(err error) bool { return status.Code(err) == codes.Internal },
			"full":  func(err error) bool { return errors.Is(err, errs.ErrFull) },
		} {
			w, err := c.Watch(t.Context(), &gatewayv1.WatchRequest{Watcher: watcher})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Recv(); !check(err) {
				t.Errorf("%s: watch %s: %v", name, watcher, err)
			}
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestHealthAndReflection(t *testing.T) {
	var ready atomic.Bool
	_, conns, _, _ := start(t, func() error {
		if !ready.Load() {
			return errs.ErrNotReady
		}
		return nil
	})
	h := healthpb.NewHealthClient(conns["pipe"])
	check := func(want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		r, err := h.Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
		if err != nil || r.GetStatus() != want {
			t.Errorf("got %v, %v; want %v", r.GetStatus(), err, want)
		}
	}
	check(healthpb.HealthCheckResponse_NOT_SERVING)
	ready.Store(true)
	for range 100 { // it looks again soon
		if r, err := h.Check(t.Context(), &healthpb.HealthCheckRequest{}); err == nil && r.GetStatus() == healthpb.HealthCheckResponse_SERVING {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	check(healthpb.HealthCheckResponse_SERVING)
	r, err := reflectionpb.NewServerReflectionClient(conns["tcp"]).ServerReflectionInfo(t.Context(), grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	m, err := r.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(m.String(), "twinreel.gateway.v1.ConfigService") {
		t.Errorf("services: %v", m)
	}
}

// A call that follows something is told to come back, and does not hold the stop.
func TestShutdownEndsFollowers(t *testing.T) {
	_, conns, _, stop := start(t)
	w, err := gatewayv1.NewConfigServiceClient(conns["tcp"]).Watch(t.Context(), &gatewayv1.WatchRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Header(); err != nil { // the handler runs
		t.Fatal(err)
	}
	began := time.Now()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took >= stopTimeout {
		t.Errorf("the stop took %s", took)
	}
	if _, err := w.Recv(); !errors.Is(err, errs.ErrNotReady) {
		t.Errorf("the follower was told %v", err)
	}
}

// I1: by the numbers, as 30 s of pings are too long for a test.
func TestKeepaliveIsAllowed(t *testing.T) {
	if pingEvery < pingAllowed || pingAllowed <= 0 {
		t.Errorf("a client pings every %s, a server allows %s", pingEvery, pingAllowed)
	}
	_ = keepalive.ClientParameters{Time: pingEvery} // grpc raises anything below 10 s to 10 s
	if pingEvery < 10*time.Second {
		t.Errorf("pings every %s are below the floor of grpc", pingEvery)
	}
}
