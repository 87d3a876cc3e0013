package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"github.com/twinreel/twinreel/gateway/internal/config"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/streamconf"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
)

type source struct {
	Source
	mu      sync.Mutex
	now     config.Snapshot
	changed chan struct{}
}

func (s *source) Current() config.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *source) put(t *testing.T, revision, src string) {
	t.Helper()
	c, err := streamconf.Parse("t", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.changed
	s.changed = make(chan struct{})
	s.now = config.Snapshot{Config: c, Revision: revision, Changed: s.changed}
	if old != nil {
		close(old)
	}
}

const conf = "cluster_key hunter2; stream s { input udp://:1; dvr d 1h; }"

func serve(t *testing.T) (*source, gatewayv1.ConfigServiceClient) {
	t.Helper()
	src := &source{}
	src.put(t, "r1", conf)
	srv, err := grpcx.NewServer(grpcx.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	gatewayv1.RegisterConfigServiceServer(srv, NewConfig(src, slog.New(slog.DiscardHandler)))
	pipe := grpcx.NewPipe()
	conn, err := pipe.Dial(grpcx.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- srv.Serve(ctx, pipe.Listener()) }()
	t.Cleanup(func() { conn.Close(); cancel(); <-done })
	return src, gatewayv1.NewConfigServiceClient(conn)
}

func TestGetListValidate(t *testing.T) {
	_, c := serve(t)
	wait := grpc.WaitForReady(true)
	got, err := c.Get(t.Context(), &gatewayv1.GetRequest{Stream: "s"}, wait)
	if err != nil || got.GetRevision() != "r1" || got.GetStream().GetInputs()[0].GetUrl() != "udp://0.0.0.0:1" {
		t.Errorf("get: %v, %v", got, err)
	}
	if _, err := c.Get(t.Context(), &gatewayv1.GetRequest{Stream: "x"}); !errors.Is(err, errs.ErrStreamUnknown) {
		t.Errorf("get of an unknown stream: %v", err)
	}
	list, err := c.List(t.Context(), &gatewayv1.ListRequest{})
	if err != nil || len(list.GetConfig().GetStreams()) != 1 || list.GetConfig().GetClusterKey() != "***" {
		t.Errorf("list: %v, %v", list, err)
	}
	bad, err := c.Validate(t.Context(), &gatewayv1.ValidateRequest{Text: "\n  strem x;\n}"})
	if err != nil || len(bad.GetProblems()) != 2 || bad.GetProblems()[0].GetLine() != 2 || bad.GetProblems()[0].GetColumn() != 3 || bad.GetCanonical() != "" {
		t.Errorf("validate: %v, %v", bad, err)
	}
	good, err := c.Validate(t.Context(), &gatewayv1.ValidateRequest{Text: conf})
	if err != nil || len(good.GetProblems()) != 0 || !strings.HasPrefix(good.GetCanonical(), "cluster_key ***;") {
		t.Errorf("validate: %v, %v", good, err)
	}
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, c := serve(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w, err := c.Watch(ctx, &gatewayv1.WatchRequest{Watcher: "test"}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		expect := func(revision string, streams int) {
			t.Helper()
			m, err := w.Recv()
			if err != nil {
				t.Fatal(err)
			}
			got := m.GetConfig()
			if got.GetRevision() != revision || len(got.GetStreams()) != streams || got.GetClusterKey() != "hunter2" {
				t.Errorf("got %v", got)
			}
			synctest.Wait()
		}
		expect("r1", 1)
		src.put(t, "r1", conf) // a refused text changes the snapshot, and nothing for a watcher
		synctest.Wait()
		src.put(t, "r2", conf+"stream t { input udp://:2; dvr d 1h; }")
		expect("r2", 2)
	})
}

// I1: the key does not go over a network.
func TestKeyStaysHere(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1:5": true, "[::1]:5": true, "10.0.0.7:5": false, "[fe80::1]:5": false} {
		tcp, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := fromHere(peer.NewContext(t.Context(), &peer.Peer{Addr: tcp})); got != want {
			t.Errorf("%s: got %t", addr, got)
		}
	}
	if fromHere(t.Context()) {
		t.Error("a call from nowhere is trusted")
	}
}
