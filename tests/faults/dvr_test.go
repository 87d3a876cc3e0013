package faults

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/streamconfpb"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
)

// rounds is how often a fault is made.
func rounds(t testing.TB, few int) int {
	v := os.Getenv("TWINREEL_FAULTS")
	if v == "" {
		return few
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		t.Fatalf("TWINREEL_FAULTS is no count: %q", v)
	}
	return n
}

// binary gives the dvrsvc that make built, or builds it.
func binary(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("TWINREEL_BIN"); dir != "" {
		return filepath.Join(dir, "dvrsvc")
	}
	path := filepath.Join(t.TempDir(), "dvrsvc")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/twinreel/twinreel/dvrsvc").CombinedOutput(); err != nil {
		t.Fatalf("build dvrsvc: %v\n%s", err, out)
	}
	return path
}

// gateway serves one config for ever.
type gateway struct {
	gatewayv1.UnimplementedConfigServiceServer
	text string
}

func (g gateway) Watch(_ *gatewayv1.WatchRequest, rpc grpc.ServerStreamingServer[gatewayv1.WatchResponse]) error {
	c, err := streamconf.Parse("faults", []byte(g.text))
	if err != nil {
		return err
	}
	if err := rpc.Send(&gatewayv1.WatchResponse{Config: streamconfpb.ToProto(c, "1")}); err != nil {
		return err
	}
	<-rpc.Context().Done()
	return nil
}

// dvr is a dvrsvc in a process of its own, that dies and comes back.
type dvr struct {
	t    *testing.T
	bin  string
	env  []string
	conn *grpc.ClientConn

	mu    sync.Mutex // protects the fields below
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has
	log   *os.File
}

const liveInput = "udp://239.0.0.1:1234"

// newDVR prepares a dvrsvc that records streams into dir.
func newDVR(t *testing.T, dir string, streams ...string) *dvr {
	t.Helper()
	var text strings.Builder
	for _, s := range streams {
		fmt.Fprintf(&text, "stream %s {\n input %s;\n dvr %s 7d;\n}\n", s, liveInput, filepath.Join(dir, "archive"))
	}
	srv, err := grpcx.NewServer(grpcx.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	gatewayv1.RegisterConfigServiceServer(srv, gateway{text: text.String()})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, lis) }()
	t.Cleanup(func() { cancel(); <-served })
	addr := freeAddr(t)
	d := &dvr{t: t, bin: binary(t), env: append(os.Environ(),
		"DVR_DATA="+dir, "DVR_NODE=here", "DVR_GATEWAY_ADDR="+lis.Addr().String(), "DVR_GRPC_LISTEN="+addr,
		"DVR_HTTP_LISTEN="+freeAddr(t), "DVR_SCRUB_RATE=100000000")}
	if d.conn, err = grpcx.Dial(addr, grpcx.DialOptions{Media: true}); err != nil {
		t.Fatal(err)
	}
	if d.log, err = os.Create(filepath.Join(t.TempDir(), "dvrsvc.log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.kill()
		d.conn.Close()
		d.log.Close()
		if t.Failed() {
			b, _ := os.ReadFile(d.log.Name())
			t.Logf("the end of the log of dvrsvc:\n%s", b[max(0, len(b)-8000):])
		}
	})
	return d
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

func (d *dvr) start() {
	d.t.Helper()
	cmd := exec.Command(d.bin)
	cmd.Env, cmd.Stdout, cmd.Stderr = d.env, d.log, d.log
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cmd, d.ended = cmd, make(chan struct{})
	go func(ended chan struct{}) {
		_ = cmd.Wait()
		close(ended)
	}(d.ended)
}

// kill ends it as kill -9 does.
func (d *dvr) kill() {
	d.mu.Lock()
	cmd, ended := d.cmd, d.ended
	d.cmd = nil
	d.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill()
		<-ended
	}
}

// alive reports whether the process that was started runs.
func (d *dvr) alive() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.ended:
		return false
	default:
		return d.cmd != nil
	}
}

// ready waits until it answers for a stream.
func (d *dvr) ready(ctx context.Context, stream string) error {
	var err error
	for range 3000 {
		one, cancel := context.WithTimeout(ctx, time.Second)
		_, err = dvrv1.NewIndexServiceClient(d.conn).GetRanges(one, &dvrv1.GetRangesRequest{Stream: stream})
		cancel()
		if err == nil || ctx.Err() != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}
