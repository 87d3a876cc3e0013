package m4fserver

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/grpcx"
	m4fv1 "github.com/twinreel/twinreel/proto/m4f/v1"
)

// TestNoSessionWithoutAStore: who was told no store would not see that the next one is another.
func TestNoSessionWithoutAStore(t *testing.T) {
	store, pipe := "", grpcx.NewPipe()
	s := New(Config{
		Node: "b", StoreID: func() string { return store }, Key: func() auth.Key { return auth.Key{} }, Limit: func() uint64 { return 0 },
		Clock: clock.System{}, Log: slog.New(slog.DiscardHandler),
	})
	srv, err := grpcx.NewServer(grpcx.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Register(srv)
	go srv.Server.Serve(pipe.Listener()) //nolint:errcheck // ends with Stop
	t.Cleanup(srv.Stop)
	cc, err := pipe.Dial(grpcx.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	creds := auth.Credentials{From: "a"}
	hello := func() (*m4fv1.HelloResponse, error) {
		return m4fv1.NewM4FServiceClient(creds.Conn(cc)).Hello(t.Context(), &m4fv1.HelloRequest{Versions: []uint32{version}, Node: "a", StoreId: []byte("store of a")})
	}
	if m, err := hello(); !errors.Is(err, errs.ErrNotReady) {
		t.Errorf("got %v, %v; want %v", m, err, errs.ErrNotReady)
	}
	store = "store of b"
	if m, err := hello(); err != nil || string(m.GetStoreId()) != store {
		t.Errorf("got %v, %v", m, err)
	}
}
