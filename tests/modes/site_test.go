package modes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/twinreel/twinreel/deploy/twinreel/onebox"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/envconf"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/testkit"
)

// siteEnv names the variable that makes this binary a site.
const siteEnv = "TWINREEL_TEST_SITE"

func TestMain(m *testing.M) {
	if spec := os.Getenv(siteEnv); spec != "" {
		if err := runSite(spec); err != nil {
			fmt.Fprintln(os.Stderr, "site:", err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	// The cases wait for media most of the time, so they run all at once whatever the number of processors.
	flag.Set("test.parallel", "16") //nolint:errcheck // the flag exists
	os.Exit(m.Run())
}

// siteSpec is what a site is told.
type siteSpec struct {
	Node string
	Dir  string // data, config file and log
	GRPC int
	HTTP int
	// Shift is how wrong its wall clock is.
	Shift time.Duration
}

func (s siteSpec) config() string { return filepath.Join(s.Dir, "stream.conf") }

// site is a process of four services.
type site struct {
	siteSpec
	t      *testing.T
	udp    int // port of its UDP input
	stdin  io.Closer
	cmd    *exec.Cmd
	conn   *grpc.ClientConn
	source *testkit.Output
}

// stream is the name of the stream in all tests.
const stream = "tv"

// newSite prepares a site. Its inputs are written later: they may name another site.
func newSite(t *testing.T, node string) *site {
	t.Helper()
	s := &site{
		siteSpec: siteSpec{Node: node, Dir: t.TempDir(), GRPC: testkit.FreePort(t), HTTP: testkit.FreePort(t)},
		t:        t, udp: testkit.FreePort(t),
	}
	s.source = testkit.NewOutput(t, s.udp)
	conn, err := grpcx.Dial(s.addr(), grpcx.DialOptions{Media: true})
	if err != nil {
		t.Fatal(err)
	}
	s.conn = conn
	t.Cleanup(func() {
		conn.Close()
		if s.cmd != nil {
			s.kill()
		}
		s.checkLog()
	})
	return s
}

func (s *site) addr() string   { return fmt.Sprintf("127.0.0.1:%d", s.GRPC) }
func (s *site) udpURL() string { return fmt.Sprintf("udp://127.0.0.1:%d", s.udp) }
func (s *site) m4fURL() string { return fmt.Sprintf("m4f://%s/%s", s.addr(), stream) }
func (s *site) httpURL(path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d/%s", s.HTTP, strings.TrimPrefix(path, "/"))
}

func (s *site) archive() testkit.Archive {
	return testkit.Archive{Site: s.Node, Stream: stream, Conn: s.conn}
}

// configure writes the config file.
func (s *site) configure(inputs ...string) {
	s.t.Helper()
	text := "stream " + stream + " {\n"
	for _, in := range inputs {
		text += "  input " + in + ";\n"
	}
	text += "  dvr storage 1d replicate;\n}\n"
	if err := os.WriteFile(s.config(), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// start runs the site and waits until it serves.
func (s *site) start() {
	s.t.Helper()
	spec, err := json.Marshal(s.siteSpec)
	if err != nil {
		s.t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(s.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.cmd = exec.Command(os.Args[0])
	s.cmd.Env = append(os.Environ(), siteEnv+"="+string(spec))
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if s.stdin, err = s.cmd.StdinPipe(); err != nil { // at its end the site ends: none outlives the test
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	testkit.Eventually(s.t, 20*time.Second, "site "+s.Node+" serves", func() error {
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
		defer cancel()
		r, err := healthpb.NewHealthClient(s.conn).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
		if err == nil && r.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			err = errors.New(r.GetStatus().String())
		}
		return err
	})
}

// kill ends the site as a power cut would, but for the page cache.
func (s *site) kill() {
	s.cmd.Process.Kill() //nolint:errcheck // it has ended by itself
	s.cmd.Wait()         //nolint:errcheck // it was killed
	s.stdin.Close()
	s.cmd = nil
}

// checkLog fails the test where the site had a race or a panic, and shows what it said last where the test has failed.
func (s *site) checkLog() {
	log, err := os.ReadFile(filepath.Join(s.Dir, "log"))
	if err != nil {
		return // it never ran
	}
	for _, bad := range []string{"DATA RACE", "panic:", "msg=\"panic", "panicked"} {
		if i := bytes.Index(log, []byte(bad)); i >= 0 {
			s.t.Errorf("site %s: %s", s.Node, log[i:min(i+4000, len(log))])
		}
	}
	if s.t.Failed() {
		const most = 12_000
		s.t.Logf("log of site %s:\n%s", s.Node, log[max(0, len(log)-most):])
	}
}

// runSite is the process of a site.
func runSite(text string) error {
	var spec siteSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		io.Copy(io.Discard, os.Stdin) //nolint:errcheck // its end is the news
		stop()
	}()
	box, err := onebox.New(onebox.Config{File: spec.config(), Base: envconf.Base{
		Node: spec.Node, Data: spec.Dir,
		GRPCListen: fmt.Sprintf("127.0.0.1:%d", spec.GRPC), HTTPListen: fmt.Sprintf("127.0.0.1:%d", spec.HTTP),
	}}, clock.Shifted{By: spec.Shift}, log)
	if err != nil {
		return err
	}
	return box.Run(ctx)
}
