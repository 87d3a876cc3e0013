package onebox_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/deploy/twinreel/onebox"
	"github.com/twinreel/twinreel/pkg/envconf"
	"github.com/twinreel/twinreel/pkg/grpcx"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	ingestv1 "github.com/twinreel/twinreel/proto/twinreel/ingest/v1"
	replv1 "github.com/twinreel/twinreel/proto/twinreel/repl/v1"
)

const conf = "stream example_stream {\n  input udp://239.0.0.1:%d/127.0.0.1;\n  dvr storage 3d;\n}\n"

func config(t *testing.T, text string) onebox.Config {
	t.Helper()
	var ports [3]int
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "stream.conf")
	if strings.Contains(text, "%d") {
		text = fmt.Sprintf(text, ports[2])
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return onebox.Config{File: file, Base: envconf.Base{
		GRPCListen: fmt.Sprintf("127.0.0.1:%d", ports[0]), HTTPListen: fmt.Sprintf("127.0.0.1:%d", ports[1]),
		Node: "main", Data: filepath.Join(dir, "data"),
	}}
}

func run(ctx context.Context, t *testing.T, cfg onebox.Config) error {
	t.Helper()
	box, err := onebox.New(cfg, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return box.Run(ctx)
}

func TestEverythingIsOnOnePort(t *testing.T) {
	cfg := config(t, conf)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, t, cfg) }()

	conn, err := grpcx.Dial(cfg.GRPCListen, grpcx.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ready := func() error {
		resp, err := http.Get("http://" + cfg.HTTPListen + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 {
			return fmt.Errorf("readyz: %s", b)
		}
		if _, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil {
			return err
		}
		streams, err := dvrv1.NewIndexServiceClient(conn).ListStreams(ctx, &dvrv1.ListStreamsRequest{})
		if err != nil {
			return err
		}
		inputs, err := ingestv1.NewIngestServiceClient(conn).ListInputs(ctx, &ingestv1.ListInputsRequest{})
		if err != nil {
			return err
		}
		repl, err := replv1.NewReplicationServiceClient(conn).GetStatus(ctx, &replv1.GetStatusRequest{})
		if err != nil {
			return err
		}
		if len(streams.GetStreams()) != 1 || len(inputs.GetInputs()) != 1 || repl.GetNode() != "main" {
			return fmt.Errorf("%d streams, %d inputs, node %q", len(streams.GetStreams()), len(inputs.GetInputs()), repl.GetNode())
		}
		return nil
	}
	err = ready()
	for deadline := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(deadline); err = ready() {
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		t.Errorf("not ready: %v", err)
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Run after a stop: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it does not stop")
	}
	// The lock of the storage is gone with it.
	ctx, stop = context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	if err := run(ctx, t, cfg); err != nil {
		t.Errorf("Run again: %v", err)
	}
}

func TestSaysInOneLineWhyNot(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for _, tc := range []struct {
		name  string
		conf  string
		spoil func(*onebox.Config)
		want  string
	}{
		{"unknown directive", "stream s {\n  inputs udp://:1;\n}\n", func(*onebox.Config) {}, "stream.conf:2:3"},
		{"no config", conf, func(c *onebox.Config) { c.File += "x" }, "no such file"},
		{"port in use", conf, func(c *onebox.Config) { c.GRPCListen = busy.Addr().String() }, "address already in use"},
		{"data is a file", conf, func(c *onebox.Config) { c.Data = c.File }, "not a directory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config(t, tc.conf)
			tc.spoil(&cfg)
			ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
			defer stop()
			if err := run(ctx, t, cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Run: %v, want %q in it", err, tc.want)
			}
		})
	}
}

// What operators set of replication holds over a restart of the box.
func TestLimitsOutliveARestart(t *testing.T) {
	cfg := config(t, conf)
	for _, ask := range []func(context.Context, replv1.ReplicationServiceClient) ([]*replv1.Limit, error){
		func(ctx context.Context, c replv1.ReplicationServiceClient) ([]*replv1.Limit, error) {
			m, err := c.SetLimits(ctx, &replv1.SetLimitsRequest{Speed: "7M"}, grpc.WaitForReady(true))
			return m.GetLimits(), err
		},
		func(ctx context.Context, c replv1.ReplicationServiceClient) ([]*replv1.Limit, error) {
			m, err := c.GetLimits(ctx, &replv1.GetLimitsRequest{}, grpc.WaitForReady(true))
			return m.GetLimits(), err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		ended := make(chan error, 1)
		go func() { ended <- run(ctx, t, cfg) }()
		conn, err := grpcx.Dial(cfg.GRPCListen, grpcx.DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		limits, err := ask(ctx, replv1.NewReplicationServiceClient(conn))
		if err != nil || len(limits) != 1 || limits[0].GetBitsPerSecond() != 7_000_000 {
			t.Errorf("%v, %v", limits, err)
		}
		conn.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
