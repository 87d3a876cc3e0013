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

	"github.com/twinreel/twinreel/gateway/internal/config"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/streamconf"
	"github.com/twinreel/twinreel/pkg/testkit"
	gatewayv1 "github.com/twinreel/twinreel/proto/twinreel/gateway/v1"
)

type source struct {
	Source
	mu      sync.Mutex
	now     config.Snapshot
	changed chan struct{}
	history []config.Change
}

func (s *source) History(int) ([]config.Change, error) { return s.history, nil }

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

const (
	key  = "hunter2 hunter2 hunter2"
	conf = "cluster_key \"" + key + "\"; stream s { input udp://:1; dvr d 1h; }"
)

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
			if got.GetRevision() != revision || len(got.GetStreams()) != streams || got.GetClusterKey() != key {
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

// I1: the key goes to nobody who has not proved a certificate, not even on this machine; that there is one is told.
func TestKeyStaysHere(t *testing.T) {
	ca := testkit.NewCA(t, "ours")
	cert := ca.Issue(t, "127.0.0.1")
	for name, c := range map[string]struct {
		server, client grpcx.TLS
		want           string
	}{
		"plaintext":             {grpcx.TLS{}, grpcx.TLS{}, ""},
		"TLS without client's":  {grpcx.TLS{Cert: cert.Cert, Key: cert.Key}, grpcx.TLS{CA: cert.CA}, ""},
		"a client's to no ears": {grpcx.TLS{Cert: cert.Cert, Key: cert.Key}, cert, ""},
		"mTLS":                  {cert, cert, key},
	} {
		t.Run(name, func(t *testing.T) {
			src := &source{}
			src.put(t, "r1", conf)
			srv, err := grpcx.NewServer(grpcx.ServerOptions{TLS: c.server})
			if err != nil {
				t.Fatal(err)
			}
			gatewayv1.RegisterConfigServiceServer(srv, NewConfig(src, slog.New(slog.DiscardHandler)))
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go srv.Serve(t.Context(), lis) //nolint:errcheck // ends with the test
			conn, err := grpcx.Dial(lis.Addr().String(), grpcx.DialOptions{TLS: c.client})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			w, err := gatewayv1.NewConfigServiceClient(conn).Watch(t.Context(), &gatewayv1.WatchRequest{}, grpc.WaitForReady(true))
			if err != nil {
				t.Fatal(err)
			}
			m, err := w.Recv()
			if err != nil || m.GetConfig().GetClusterKey() != c.want || m.GetConfig().GetClusterKeyWithheld() != (c.want == "") {
				t.Errorf("got key %q, withheld %t, %v", m.GetConfig().GetClusterKey(), m.GetConfig().GetClusterKeyWithheld(), err)
			}
		})
	}
	if mayHaveKey(t.Context()) {
		t.Error("a call from nowhere is trusted")
	}
}

// I1: so does a passphrase, which no other call shows either; and a watcher is told where it alone has changed.
func TestPassphraseStaysHere(t *testing.T) {
	const phrased = `stream p { input srt://h:1 passphrase="hunter2 hunter2"; dvr d 1h; }`
	src, c := serve(t)
	src.put(t, "r1", phrased)
	list, err := c.List(t.Context(), &gatewayv1.ListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	get, err := c.Get(t.Context(), &gatewayv1.GetRequest{Stream: "p"})
	if err != nil {
		t.Fatal(err)
	}
	valid, err := c.Validate(t.Context(), &gatewayv1.ValidateRequest{Text: phrased})
	if err != nil {
		t.Fatal(err)
	}
	if s := list.String() + get.String() + valid.String(); strings.Contains(s, "hunter2") || strings.Count(s, "passphrase_withheld:true") != 2 {
		t.Errorf("got %s", s)
	}
	for _, x := range [][2]string{{"within a process", "hunter2 hunter2"}, {"over TCP", ""}} {
		name, want := x[0], x[1]
		if name == "over TCP" {
			srv, err := grpcx.NewServer(grpcx.ServerOptions{})
			if err != nil {
				t.Fatal(err)
			}
			gatewayv1.RegisterConfigServiceServer(srv, NewConfig(src, slog.New(slog.DiscardHandler)))
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go srv.Serve(t.Context(), lis) //nolint:errcheck // ends with the test
			conn, err := grpcx.Dial(lis.Addr().String(), grpcx.DialOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			c = gatewayv1.NewConfigServiceClient(conn)
		}
		w, err := c.Watch(t.Context(), &gatewayv1.WatchRequest{}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		m, err := w.Recv()
		if err != nil {
			t.Fatal(err)
		}
		got := m.GetConfig().GetStreams()[0].GetInputs()[0].GetSrt()
		if got.GetPassphrase() != want || got.GetPassphraseWithheld() != (want == "") {
			t.Errorf("%s: got %v", name, got)
		}
		src.put(t, "r1", strings.Replace(phrased, "hunter2 hunter2", "hunter3 hunter3", 1)) // the revision does not show it
		if _, err = w.Recv(); err != nil {
			t.Error(err)
		}
		src.put(t, "r1", phrased)
	}
}

// A history of large configs is cut to what a message may have.
func TestListChangesFits(t *testing.T) {
	src := &source{}
	src.put(t, "r1", conf)
	for range 5 {
		src.history = append(src.history, config.Change{Config: strings.Repeat("x", 1<<20)})
	}
	s := NewConfig(src, slog.New(slog.DiscardHandler))
	m, err := s.ListChanges(t.Context(), &gatewayv1.ListChangesRequest{})
	if err != nil || len(m.GetChanges()) != 2 {
		t.Errorf("%d changes, %v", len(m.GetChanges()), err)
	}
	src.history[0].Config = strings.Repeat("x", 3<<20)
	if m, err = s.ListChanges(t.Context(), &gatewayv1.ListChangesRequest{}); err != nil || len(m.GetChanges()) != 1 {
		t.Errorf("%d changes, %v", len(m.GetChanges()), err)
	}
}
