package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/testkit"
)

const stream = "example_stream"

// clusterKey is the key of all services of both sites.
const clusterKey = "eight processes know it"

// binary returns the path of a program that make built.
func binary(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("TWINREEL_BIN")
	if dir == "" {
		t.Skip("TWINREEL_BIN does not name the directory of the binaries: run make e2e")
	}
	return filepath.Join(dir, name)
}

// service is one process of a site.
type service struct {
	name string
	bin  string
	env  []string
	grpc string
	http string

	mu   sync.Mutex // protects the fields below
	cmd  *exec.Cmd
	done chan struct{}
	out  bytes.Buffer
}

// site is the four services of one node.
type site struct {
	t    *testing.T
	node string
	conf string // stream.conf
	key  string // file of the cluster key
	svc  map[string]*service
	conn *grpc.ClientConn // dvrsvc
}

// order in which a site is started and stopped; none of it matters, so it is not the order of the flow.
var order = []string{"dvrsvc", "ingestsvc", "replsvc", "gateway"}

// newSite prepares a site. m4f is the TCP address of its replsvc.
func newSite(t *testing.T, node, m4f, config string) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t: t, node: node, conf: filepath.Join(dir, "stream.conf"), svc: map[string]*service{}}
	s.configure(config)
	tcp := func() string { return fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t)) }
	addr := map[string]string{"dvrsvc": tcp(), "ingestsvc": tcp(), "replsvc": m4f, "gateway": tcp()}
	s.key = filepath.Join(dir, "cluster.key")
	if err := os.WriteFile(s.key, []byte(clusterKey), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, prefix := range map[string]string{
		"dvrsvc": "DVR_", "ingestsvc": "INGEST_", "replsvc": "REPL_", "gateway": "GATEWAY_",
	} {
		v := &service{name: node + "." + name, bin: binary(t, name), grpc: addr[name], http: tcp()}
		v.env = []string{
			prefix + "NODE=" + node, prefix + "DATA=" + filepath.Join(dir, name),
			prefix + "GRPC_LISTEN=" + v.grpc, prefix + "HTTP_LISTEN=" + v.http, prefix + "CLUSTER_KEY_FILE=" + s.key,
		}
		if name != "gateway" {
			v.env = append(v.env, prefix+"GATEWAY_ADDR="+addr["gateway"])
		} else {
			v.env = append(v.env, "GATEWAY_CONFIG="+s.conf, "GATEWAY_REPL_ADDR="+addr["replsvc"])
		}
		if name != "dvrsvc" {
			v.env = append(v.env, prefix+"DVR_ADDR="+addr["dvrsvc"])
		}
		s.svc[name] = v
	}
	conn, err := grpcx.Dial(addr["dvrsvc"], grpcx.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.conn = conn
	t.Cleanup(func() {
		conn.Close()
		for _, name := range order {
			s.svc[name].stop()
		}
		if t.Failed() {
			for _, name := range order {
				s.svc[name].show(t)
			}
		}
	})
	return s
}

func (s *site) configure(config string) {
	s.t.Helper()
	if err := os.WriteFile(s.conf, []byte(config), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) start() *site {
	for _, name := range order {
		s.svc[name].start(s.t)
	}
	return s
}

func (s *site) kill(names ...string) {
	for _, name := range names {
		s.svc[name].kill()
	}
}

func (s *site) restart(names ...string) {
	for _, name := range names {
		s.svc[name].start(s.t)
	}
}

func (s *site) archive() testkit.Archive {
	return testkit.Archive{Site: s.node, Stream: stream, Conn: s.conn}
}

func (v *service) start(t *testing.T) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cmd = filtered(t, filepath.Base(v.bin), v.bin)
	v.cmd.Env = append(v.cmd.Env, v.env...)
	v.cmd.Stdout, v.cmd.Stderr = &lockedWriter{v}, &lockedWriter{v}
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := v.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", v.name, err)
	}
	v.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		defer close(done)
		_ = cmd.Wait()
	}(v.cmd, v.done)
}

// kill is kill -9.
func (v *service) kill() { v.end(syscall.SIGKILL) }

func (v *service) stop() { v.end(syscall.SIGTERM) }

func (v *service) end(sig syscall.Signal) {
	if v.cmd == nil {
		return
	}
	_ = v.cmd.Process.Signal(sig) // it may have ended
	select {
	case <-v.done:
	case <-time.After(20 * time.Second):
		_ = v.cmd.Process.Kill()
		<-v.done
	}
}

func (v *service) log() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.out.String()
}

// shown is how many lines of a service's log a failed test prints: with eight services the failure itself must stay in
// sight. The whole log lies in the test's artifacts (go test -artifacts).
const shown = 12

func (v *service) show(t *testing.T) {
	t.Helper()
	whole := v.log()
	path := filepath.Join(t.ArtifactDir(), v.name+".log")
	if err := os.WriteFile(path, []byte(whole), 0o600); err != nil {
		t.Error(err)
	}
	lines := strings.SplitAfter(whole, "\n")
	t.Logf("end of the log of %s, %d lines in all:\n%s", v.name, len(lines), strings.Join(lines[max(0, len(lines)-shown):], ""))
}

// waitLog has something happen and waits for a line that the log gets from then on and that contains all of texts.
func (v *service) waitLog(t *testing.T, within time.Duration, happen func(), texts ...string) string {
	t.Helper()
	from := len(v.log())
	happen()
	var found string
	testkit.Eventually(t, within, fmt.Sprintf("%s logs %q", v.name, texts), func() error {
		since := v.log()[from:]
		for line := range strings.Lines(since) {
			if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
				found = strings.TrimSpace(line)
				return nil
			}
		}
		return fmt.Errorf("its log went on with:\n%s", since)
	})
	return found
}

// lockedWriter collects the output of a service, start after start.
type lockedWriter struct{ v *service }

func (w *lockedWriter) Write(b []byte) (int, error) {
	w.v.mu.Lock()
	defer w.v.mu.Unlock()
	return w.v.out.Write(b)
}

// pair is two cross-replicating sites and their source.
type pair struct {
	main, replica *site
	source        *testkit.Source
}

func newPair(t *testing.T) *pair {
	t.Helper()
	portA, portB := testkit.FreePort(t), testkit.FreePort(t)
	m4fA, m4fB := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
	conf := func(first, second string) string {
		return fmt.Sprintf("stream %s {\n  input %s;\n  input %s;\n  dvr media 1d replicate;\n}\n", stream, first, second)
	}
	p := &pair{
		main: newSite(t, "main", m4fA, conf(
			fmt.Sprintf("udp://127.0.0.1:%d", portA), fmt.Sprintf("m4f://%s/%s", m4fB, stream))),
		replica: newSite(t, "replica", m4fB, conf(
			fmt.Sprintf("m4f://%s/%s", m4fA, stream), fmt.Sprintf("udp://127.0.0.1:%d", portB))),
	}
	p.source = testkit.Play(t, clip(t), loop, testkit.NewOutput(t, portA), testkit.NewOutput(t, portB))
	p.main.start()
	p.replica.start()
	return p
}

// waitSegments waits until a site has n more sealed segments than now.
func waitSegments(t *testing.T, s *site, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	before, _ := s.archive().Segments(ctx) // not there yet: none
	cancel()
	testkit.Eventually(t, 60*time.Second, fmt.Sprintf("%s records %d more segments", s.node, n), func() error {
		segs, err := s.archive().Segments(t.Context())
		if err == nil && len(segs) < len(before)+n {
			err = fmt.Errorf("it has %d, had %d", len(segs), len(before))
		}
		return err
	})
}
