package configclient

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/streamconfpb"
	"github.com/twinreel/twinreel/pkg/vfs"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
)

// gateway sends what the test tells it, and is away while it is told so.
type gateway struct {
	gatewayv1.UnimplementedConfigServiceServer
	away atomic.Bool
	send chan *gatewayv1.Config // nil: end the call
}

func (g *gateway) Watch(_ *gatewayv1.WatchRequest, s grpc.ServerStreamingServer[gatewayv1.WatchResponse]) error {
	for {
		if g.away.Load() {
			return errs.ErrNotReady
		}
		select {
		case <-s.Context().Done():
			return s.Context().Err()
		case c := <-g.send:
			if c == nil {
				continue
			}
			if err := s.Send(&gatewayv1.WatchResponse{Config: c}); err != nil {
				return err
			}
		}
	}
}

func message(t *testing.T, src string) *gatewayv1.Config {
	t.Helper()
	c, err := streamconf.Parse("t", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return streamconfpb.ToProto(c, "r")
}

func stream(name, retention string) string {
	return fmt.Sprintf("stream %s { input udp://:1; dvr d %s; }\n", name, retention)
}

// world is a gateway and one client after the other, in a bubble of fake time.
type world struct {
	t    *testing.T
	gw   *gateway
	conn *grpc.ClientConn
	fs   vfs.FS
	log  bytes.Buffer
	got  []string
	now  State
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, gw: &gateway{send: make(chan *gatewayv1.Config)}, fs: vfs.NewMem()}
	srv, err := grpcx.NewServer(grpcx.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	gatewayv1.RegisterConfigServiceServer(srv, w.gw)
	pipe := grpcx.NewPipe()
	if w.conn, err = pipe.Dial(grpcx.DialOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- srv.Serve(ctx, pipe.Listener()) }()
	t.Cleanup(func() { w.conn.Close(); cancel(); <-done })
	return w
}

// client starts a client and gives what stops it.
func (w *world) client() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Watch(ctx, Options{Conn: w.conn, Watcher: "svc", Dir: "/data/run", FS: w.fs, State: &w.now, Logger: slog.New(slog.NewTextHandler(&w.log, nil))},
			func(c *streamconf.Config, d streamconf.Changes) {
				w.got = append(w.got, fmt.Sprintf("%d: +%d ~%d -%d", len(c.Streams), len(d.Added), len(d.Changed), len(d.Removed)))
			})
	}()
	return func() { cancel(); <-done }
}

func (w *world) expect(want ...string) {
	w.t.Helper()
	synctest.Wait()
	if strings.Join(w.got, "|") != strings.Join(want, "|") {
		w.t.Errorf("got %q, want %q", w.got, want)
	}
	w.got = nil
}

// says checks what the client tells of itself.
func (w *world) says(config *gatewayv1.Config, problem string) {
	w.t.Helper()
	synctest.Wait()
	conf, err := streamconfpb.FromProto(config)
	if err != nil {
		w.t.Fatal(err)
	}
	revision, got := w.now.Config()
	if revision != conf.Revision() || !strings.Contains(got, problem) || problem == "" && got != "" {
		w.t.Errorf("it says that %s is in force and %q, want %s and %q", revision, got, conf.Revision(), problem)
	}
}

// I1, I2, I4: a client through changes, an absence, a restart during it, and the return.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.client()
		w.gw.send <- message(t, stream("a", "1h")+stream("b", "1h"))
		w.expect("2: +2 ~0 -0")
		w.gw.send <- message(t, stream("b", "2h")+stream("c", "1h"))
		w.expect("2: +1 ~1 -1")
		turned := message(t, stream("c", "1h")+stream("b", "2h"))
		w.gw.send <- turned
		w.expect() // the same in another order
		w.says(turned, "")
		bad := message(t, stream("d", "1h"))
		bad.Streams[0].Inputs = nil
		w.gw.send <- bad
		w.expect()
		w.says(turned, "refused")
		w.gw.send <- turned
		w.says(turned, "")

		w.gw.away.Store(true)
		w.gw.send <- nil
		time.Sleep(time.Minute)
		w.expect()
		if n := strings.Count(w.log.String(), "gateway is away"); n != 1 {
			t.Errorf("the absence was told %d times:\n%s", n, w.log.String())
		}
		w.says(turned, "The gateway is away since 2000-01-01T00:0")
		stop()

		w.now = State{}
		stop = w.client() // restarted while the gateway is away
		time.Sleep(time.Second)
		w.expect("2: +2 ~0 -0")
		w.says(turned, "The gateway is away since 2000-01-01T00:01")
		w.gw.away.Store(false)
		time.Sleep(maxWait * 2)
		last := message(t, stream("c", "1h")+stream("b", "3h"))
		w.gw.send <- last
		w.expect("2: +0 ~1 -0")
		w.says(last, "")
		if !strings.Contains(w.log.String(), "starting with the last known one") || !strings.Contains(w.log.String(), "gateway is back") {
			t.Errorf("log:\n%s", w.log.String())
		}
		stop()
	})
}

// A storage alone may be what has changed: how much may be in it, or that a box has some of the archive which records nothing any more.
func TestStorageAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.client()()
		for _, storages := range []string{"", "dvr old { root /x; server h:7002; }\n", "dvr old { root /x; server h:7002; disk_limit 500G; }\n", ""} {
			m := message(t, storages+stream("a", "1h"))
			w.gw.send <- m
			synctest.Wait()
			if n := len(w.got); n != 1 {
				t.Errorf("with %q %d configs are taken", storages, n)
			}
			w.got = nil
			w.says(m, "")
		}
	})
}

// That the config has a key which did not come along is known over a restart without the gateway: without a key all pass.
func TestKeyWithheld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.client()
		m := message(t, stream("a", "1h"))
		m.ClusterKeyWithheld = true
		w.gw.send <- m
		w.expect("1: +1 ~0 -0")
		w.says(m, "CLUSTER_KEY_FILE")
		w.gw.away.Store(true)
		w.gw.send <- nil
		synctest.Wait()
		stop()
		w.now = State{}
		defer w.client()()
		time.Sleep(time.Second)
		w.expect("1: +1 ~0 -0")
		if !w.now.KeyWithheld() {
			t.Error("after a restart it is not known that there is a key")
		}
		w.gw.away.Store(false)
		time.Sleep(maxWait * 2)
		m.ClusterKeyWithheld = false
		w.gw.send <- m
		w.expect()
		if w.now.KeyWithheld() {
			t.Error("the key is gone, and said to be withheld")
		}
	})
}

// I4: a service whose first config is one that it does not understand goes on with its copy.
func TestFirstConfigIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.client()
		w.gw.send <- message(t, stream("a", "1h"))
		w.expect("1: +1 ~0 -0")
		stop()
		synctest.Wait()
		defer w.client()()
		bad := message(t, stream("b", "1h"))
		bad.Streams[0].Inputs = nil
		w.gw.send <- bad
		w.expect("1: +1 ~0 -0")
	})
}

// After an absence the gateway is met again within the longest wait.
func TestReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.gw.away.Store(true)
		defer w.client()()
		time.Sleep(time.Hour)
		w.gw.away.Store(false)
		began := time.Now()
		w.gw.send <- message(t, stream("a", "1h")) // taken when the client is there
		if took := time.Since(began); took > maxWait*3/2 {
			t.Errorf("met again after %s", took)
		}
		w.expect("1: +1 ~0 -0")
	})
}

// I3: at whichever operation the power goes, the old copy or the new one is there.
func TestCopySurvivesPowerCut(t *testing.T) {
	for good := int64(0); ; good++ {
		mem := vfs.NewMem()
		w := &watcher{Options: Options{FS: mem, Dir: "/data/run", Watcher: "svc"}}
		if err := w.store([]byte("old")); err != nil {
			t.Fatal(err)
		}
		w.FS = &vfs.Fault{FS: mem, Fail: func(n int64, _ vfs.Op, _ string) bool { return n > good }}
		err := w.store([]byte("newer"))
		w.FS = mem.Crash(func(string, int) (int, int) { return 0, 0 })
		got, loadErr := w.load()
		if loadErr != nil || string(got) != "old" && string(got) != "newer" || err == nil && string(got) != "newer" {
			t.Fatalf("after %d operations: %q, %v (store: %v)", good, got, loadErr, err)
		}
		if err == nil {
			return
		}
	}
}
