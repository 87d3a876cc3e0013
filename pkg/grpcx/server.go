package grpcx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
)

const (
	// MaxMessage bounds a message: media travels in pieces of at most 1 MiB.
	MaxMessage = 4 << 20
	// window is what may be under way on a stream: a round trip of 60 ms at 1 Gbit/s.
	window = 8 << 20

	pingEvery   = 10 * time.Second // both ends, when nothing else arrives
	pingTimeout = 5 * time.Second
	pingAllowed = 5 * time.Second // below this a client is cut off (I1)

	stopTimeout = 5 * time.Second
)

// ServerOptions is what a server needs. The zero value works.
type ServerOptions struct {
	Logger  *slog.Logger          // nil: none
	Metrics prometheus.Registerer // nil: none
	Media   bool                  // wide windows, for servers that carry media
	TLS     TLS
	Ready   func() error // what the health service follows; nil: whether the server serves
	Unary   []grpc.UnaryServerInterceptor
	Stream  []grpc.StreamServerInterceptor
	Extra   []grpc.ServerOption
}

// Server is a gRPC server with its health service.
type Server struct {
	*grpc.Server
	health   *health.Server
	ready    func() error
	stopping context.Context // ends when the stop begins
	stop     context.CancelFunc
}

// NewServer builds a server.
func NewServer(o ServerOptions) (*Server, error) {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	stopping, stop := context.WithCancel(context.Background())
	logOptions := []logging.Option{logging.WithLogOnEvents(logging.FinishCall), logging.WithLevels(levelOf)}
	unary := []grpc.UnaryServerInterceptor{logging.UnaryServerInterceptor(logger(log), logOptions...)}
	stream := []grpc.StreamServerInterceptor{logging.StreamServerInterceptor(logger(log), logOptions...)}
	var metrics *grpcprom.ServerMetrics
	if o.Metrics != nil {
		metrics = grpcprom.NewServerMetrics(grpcprom.WithServerHandlingTimeHistogram())
		if err := o.Metrics.Register(metrics); err != nil {
			stop()
			return nil, fmt.Errorf("register grpc metrics: %w", err)
		}
		unary = append(unary, metrics.UnaryServerInterceptor())
		stream = append(stream, metrics.StreamServerInterceptor())
	}
	recovered := recovery.WithRecoveryHandlerContext(func(_ context.Context, p any) error {
		log.Error("handler panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		return status.Error(codes.Internal, "the handler panicked")
	})
	// Errors are translated above recovery, so that logs and metrics see the status that the client gets.
	unary = append(unary, unaryServerErrors, recovery.UnaryServerInterceptor(recovered))
	stream = append(stream, streamServerErrors, endStreams(stopping), recovery.StreamServerInterceptor(recovered))
	creds, err := o.TLS.Server()
	if err != nil {
		stop()
		return nil, fmt.Errorf("make TLS: %w", err)
	}
	options := []grpc.ServerOption{
		grpc.Creds(creds),
		grpc.ForceServerCodecV2(codec{}),
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxSendMsgSize(MaxMessage),
		grpc.MaxHeaderListSize(64 << 10),
		grpc.MaxConcurrentStreams(4096),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingEvery, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingAllowed, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(append(unary, o.Unary...)...),
		grpc.ChainStreamInterceptor(append(stream, o.Stream...)...),
	}
	if o.Media {
		options = append(options, grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(2*window),
			grpc.WriteBufferSize(256<<10), grpc.ReadBufferSize(256<<10), experimental.BufferPool(frames))
	}
	s := &Server{Server: grpc.NewServer(append(options, o.Extra...)...), health: health.NewServer(), ready: o.Ready, stopping: stopping, stop: stop}
	if s.ready == nil {
		s.ready = func() error { return nil }
	}
	s.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	healthpb.RegisterHealthServer(s.Server, s.health)
	reflection.Register(s.Server)
	return s, nil
}

// followEvery is how often the health service looks whether it is still true.
const followEvery = 200 * time.Millisecond

// follow keeps the health service true until ctx ends.
func (s *Server) follow(ctx context.Context) {
	t := clock.System{}.NewTicker(followEvery)
	defer t.Stop()
	for {
		st := healthpb.HealthCheckResponse_NOT_SERVING
		if s.ready() == nil {
			st = healthpb.HealthCheckResponse_SERVING
		}
		s.health.SetServingStatus("", st)
		select {
		case <-ctx.Done():
			return
		case <-t.C():
		}
	}
}

// Serve accepts on all listeners until ctx ends or one of them fails; then it stops as [Server.Shutdown] says. The
// health service follows ServerOptions.Ready; calls are taken all the same.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	following, stop := context.WithCancel(ctx)
	var health sync.WaitGroup
	health.Go(func() { s.follow(following) })
	defer health.Wait()
	defer stop()
	failed := make(chan error, len(listeners))
	for _, lis := range listeners {
		go func() {
			if err := s.Server.Serve(lis); err != nil {
				failed <- fmt.Errorf("serve grpc on %s: %w", lis.Addr(), err)
			}
		}()
	}
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	stop()
	health.Wait()
	s.Shutdown()
	return err
}

// Shutdown stops the server in order: not serving, no new calls, the contexts of streaming calls end, and after a few
// seconds whatever still runs is cut. It may be called again.
func (s *Server) Shutdown() {
	s.health.Shutdown()
	s.stop()
	late := time.AfterFunc(stopTimeout, s.Server.Stop)
	defer late.Stop()
	s.Server.GracefulStop()
}

func unaryServerErrors(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	resp, err := next(ctx, req)
	return resp, rpcerr.ToStatus(err)
}

func streamServerErrors(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return rpcerr.ToStatus(next(srv, ss))
}

// endStreams ends the context of streaming calls when the server stops, so that those which follow something for as
// long as their caller lives end by themselves; the caller is told to come back.
func endStreams(stopping context.Context) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		ctx, cancel := context.WithCancel(ss.Context())
		defer cancel()
		defer context.AfterFunc(stopping, cancel)()
		err := next(srv, streamWithContext{ss, ctx})
		if stopping.Err() != nil && errors.Is(err, context.Canceled) {
			return errs.ErrNotReady
		}
		return err
	}
}

type streamWithContext struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // that is what it is for
}

func (s streamWithContext) Context() context.Context { return s.ctx }

func logger(log *slog.Logger) logging.Logger {
	return logging.LoggerFunc(func(ctx context.Context, level logging.Level, msg string, fields ...any) {
		log.Log(ctx, slog.Level(level), msg, fields...)
	})
}

// levelOf keeps the ordinary out of the log: a call that was refused or cut is the caller's to tell.
func levelOf(code codes.Code) logging.Level {
	switch code {
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return logging.LevelError
	case codes.Unauthenticated, codes.PermissionDenied:
		return logging.LevelWarn
	}
	return logging.LevelDebug
}
