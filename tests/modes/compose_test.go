package modes

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"google.golang.org/grpc"

	dvrapp "github.com/twinreel/twinreel/dvrsvc/app"
	gatewayapp "github.com/twinreel/twinreel/gateway/app"
	ingestapp "github.com/twinreel/twinreel/ingestsvc/app"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/envconf"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/lifecycle"
	replapp "github.com/twinreel/twinreel/replsvc/app"
)

// serveSite runs the four services in this process until ctx ends, on one gRPC port and one HTTP port.
func serveSite(ctx context.Context, spec siteSpec, log *slog.Logger) error {
	var clk clock.Clock = clock.Shifted{By: spec.Shift}
	base := envconf.Base{Node: spec.Node, Data: spec.Dir}
	of := func(service string) *slog.Logger { return log.With("service", service) }

	srv, err := grpcx.NewServer(grpcx.ServerOptions{Logger: log, Media: true})
	if err != nil {
		return err
	}
	pipe := grpcx.NewPipe()
	conn, err := pipe.Dial(grpcx.DialOptions{Media: true})
	if err != nil {
		return err
	}
	defer conn.Close()

	gateway, err := gatewayapp.New(gatewayapp.Config{Base: base, File: spec.config()},
		gatewayapp.Deps{Clock: clk, Logger: of("gateway"), DVR: conn})
	if err != nil {
		return err
	}
	dvr, err := dvrapp.New(dvrapp.Config{Base: base}, dvrapp.Deps{Clock: clk, Logger: of("dvrsvc"), Gateway: conn})
	if err != nil {
		return err
	}
	ingestCfg := ingestapp.Default()
	ingestCfg.Base = base
	ingest, err := ingestapp.New(ingestCfg, ingestapp.Deps{Clock: clk, Logger: of("ingestsvc"), Gateway: conn, DVR: conn})
	if err != nil {
		return err
	}
	replCfg := replapp.Default()
	replCfg.Base = base
	repl, err := replapp.New(replCfg, replapp.Deps{Clock: clk, Logger: of("replsvc"), Gateway: conn, DVR: conn})
	if err != nil {
		return err
	}
	for _, a := range []interface{ Register(grpc.ServiceRegistrar) }{gateway, dvr, ingest, repl} {
		a.Register(srv)
	}
	if err := gateway.Open(ctx); err != nil {
		return err
	}
	rpc, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", spec.GRPC))
	if err != nil {
		return err
	}
	web, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", spec.HTTP))
	if err != nil {
		return err
	}
	srv.Ready(true)
	return lifecycle.Run(ctx, log,
		lifecycle.Actor{Name: "grpc", Run: func(ctx context.Context) error { return srv.Serve(ctx, rpc, pipe.Listener()) }},
		lifecycle.Actor{Name: "config", Run: gateway.Run},
		lifecycle.Actor{Name: "dvrsvc", Run: dvr.Run},
		lifecycle.Actor{Name: "replsvc", Run: repl.Run},
		lifecycle.Actor{Name: "ingestsvc", Run: ingest.Run},
		lifecycle.HTTP("http", web, gateway.HTTPHandler()),
	)
}
