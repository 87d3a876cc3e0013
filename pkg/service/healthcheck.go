package service

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/twinreel/twinreel/pkg/envconf"
	"github.com/twinreel/twinreel/pkg/grpcx"
)

// checkTimeout bounds a health check.
const checkTimeout = 3 * time.Second

// check asks the process that listens where base says whether it is ready.
func check(ctx context.Context, base *envconf.Base) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	addr := reachable(base.GRPCListen)
	creds, err := base.TLS().Self()
	if err != nil {
		return err
	}
	conn, err := grpcx.Dial(addr, grpcx.DialOptions{Extra: []grpc.DialOption{grpc.WithTransportCredentials(creds)}})
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // the answer is there
	m, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		return fmt.Errorf("ask %s: %w", addr, err)
	}
	if m.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("%s is not ready; /readyz on its HTTP port says why", addr)
	}
	return nil
}

// reachable gives the address at which this machine reaches a listener.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
