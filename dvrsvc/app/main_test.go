package app

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/service"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
)

// freeAddr gives a free address of this machine.
func freeAddr(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().String()
}

// dvrsvc as a process: it follows the config of the gateway, serves, and stops at once although a producer and a
// follower are connected.
func TestProcess(t *testing.T) {
	gw, err := grpcx.NewServer(grpcx.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	gatewayv1.RegisterConfigServiceServer(gw, gateway{text: streamConf})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go gw.Serve(t.Context(), lis)

	grpcAddr, httpAddr := freeAddr(t), freeAddr(t)
	environ := []string{"DVR_DATA=" + t.TempDir(), "DVR_NODE=here", "DVR_GATEWAY_ADDR=" + lis.Addr().String(),
		"DVR_GRPC_LISTEN=" + grpcAddr, "DVR_HTTP_LISTEN=" + httpAddr}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx, Spec(), service.Process{Environ: environ, Stderr: t.Output()}) }()
	conn, err := grpcx.Dial(grpcAddr, grpcx.DialOptions{Media: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := dvrv1.NewIndexServiceClient(conn).ListStreams(ctx, &dvrv1.ListStreamsRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	record(t, conn, udpInput, "here")
	follow(t, conn)
	if _, err := dvrv1.NewIndexServiceClient(conn).WatchStream(ctx, &dvrv1.WatchStreamRequest{Stream: "tv"}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/readyz": "ok", "/metrics": "twinreel_dvrsvc_live_lag_seconds"} {
		var body string
		for range 100 { // the gauge comes with the first tick
			resp, err := http.Get("http://" + httpAddr + path)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if body = string(b); resp.StatusCode == http.StatusOK && strings.Contains(body, want) {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if !strings.Contains(body, want) {
			t.Errorf("%s has no %q", path, want)
		}
	}
	began := time.Now()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

// What cannot start says so, a line for each problem.
func TestRefusesToStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct{ name, want, set string }{
		{"port in use", "listen for grpc: listen tcp " + taken.Addr().String(), "DVR_GRPC_LISTEN=" + taken.Addr().String()},
		{"open to the network", "DVR_HTTP_LISTEN :8082 is open", "DVR_HTTP_LISTEN=:8082"},
		{"set to nothing", "DVR_NODE is set to nothing", "DVR_NODE="},
		{"a rate below zero", "DVR_SCRUB_RATE is negative", "DVR_SCRUB_RATE=-1"},
		{"no address", `DVR_GATEWAY_ADDR "gateway" is not HOST:PORT`, "DVR_GATEWAY_ADDR=gateway"},
	} {
		environ := []string{"DVR_DATA=" + t.TempDir(), "DVR_GRPC_LISTEN=127.0.0.1:0", "DVR_HTTP_LISTEN=127.0.0.1:0", c.set}
		if err := service.Run(t.Context(), Spec(), service.Process{Environ: environ, Stderr: io.Discard}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}
