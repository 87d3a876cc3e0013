package app

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/configclient"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/service"
	"github.com/twinreel/twinreel/pkg/streamconf"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
)

const conf = "stream s { input udp://:1; dvr d 1h; }\n"

// buffer is a log that is read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) { b.mu.Lock(); defer b.mu.Unlock(); return b.b.Write(p) }
func (b *buffer) String() string              { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

func freeAddr(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().String()
}

// The gateway as a process: it serves, a watcher follows an edit of the file, and it stops in order.
func TestProcess(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "stream.conf")
	write(t, file, conf)
	grpcAddr, httpAddr := freeAddr(t), freeAddr(t)
	environ := []string{"GATEWAY_CONFIG=" + file, "GATEWAY_DATA=" + dir, "GATEWAY_NODE=a",
		"GATEWAY_GRPC_LISTEN=" + grpcAddr, "GATEWAY_HTTP_LISTEN=" + httpAddr, "GATEWAY_REPL_ADDR=none"}
	ctx, cancel := context.WithCancel(t.Context())
	var log buffer
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx, Spec(), service.Process{Environ: environ, Stderr: &log}) }()

	conn, err := grpcx.Dial(grpcAddr, grpcx.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := gatewayv1.NewConfigServiceClient(conn).Get(ctx, &gatewayv1.GetRequest{Stream: "s"}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/readyz": "ok", "/metrics": "twinreel_gateway_config_streams 1"} {
		resp, err := http.Get("http://" + httpAddr + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || !strings.Contains(string(body), want) {
			t.Errorf("%s: %d without %q", path, resp.StatusCode, want)
		}
	}

	seen := make(chan int, 8)
	watched := make(chan error, 1)
	go func() {
		watched <- configclient.Watch(ctx, configclient.Options{Conn: conn, Watcher: "test"},
			func(c *streamconf.Config, _ streamconf.Changes) { seen <- len(c.Streams) })
	}()
	if n := <-seen; n != 1 {
		t.Errorf("%d streams at first", n)
	}
	write(t, file, conf+"stream t { input udp://:2; dvr d 1h; }\n")
	edited := time.Now()
	if n := <-seen; n != 2 {
		t.Errorf("%d streams after the edit", n)
	}
	if took := time.Since(edited); took > 2*time.Second {
		t.Errorf("the edit took %s to arrive", took)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("%v, log:\n%s", err, log.String())
	}
	<-watched
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What cannot start says so, a line for each problem.
func TestRefusesToStart(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.conf")
	write(t, bad, "strem s;\nstream t { input rtp://x; dvr d 1h; }\n")
	good := filepath.Join(dir, "good.conf")
	write(t, good, conf)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		name, want string
		environ    []string
	}{
		{"bad config", bad + `:1:1: unknown directive "strem"`, []string{"GATEWAY_CONFIG=" + bad}},
		{"no config", "read config: open " + dir + "/none", []string{"GATEWAY_CONFIG=" + dir + "/none"}},
		{"port in use", "listen for grpc: listen tcp " + taken.Addr().String(), []string{"GATEWAY_CONFIG=" + good, "GATEWAY_GRPC_LISTEN=" + taken.Addr().String()}},
		{"open to the network", "GATEWAY_HTTP_LISTEN :8080 is open", []string{"GATEWAY_CONFIG=" + good, "GATEWAY_HTTP_LISTEN=:8080"}},
		{"set to nothing", "GATEWAY_NODE is set to nothing", []string{"GATEWAY_NODE="}},
		{"log level", `log level "loud"`, []string{"GATEWAY_LOG_LEVEL=loud"}},
	} {
		environ := append([]string{"GATEWAY_DATA=" + dir, "GATEWAY_GRPC_LISTEN=127.0.0.1:0", "GATEWAY_HTTP_LISTEN=127.0.0.1:0"}, c.environ...)
		if err := service.Run(t.Context(), Spec(), service.Process{Environ: environ, Stderr: io.Discard}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}
