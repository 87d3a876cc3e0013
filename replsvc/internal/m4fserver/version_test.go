package m4fserver

import (
	"errors"
	"log/slog"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/grpcx"
	m4fv1 "github.com/twinreel/twinreel/proto/m4f/v1"
)

// TestVersions: fault 53. A program that speaks a later version too, and says things that this one does not know, is understood; one that
// speaks only others is told so, and has no session.
func TestVersions(t *testing.T) {
	pipe := grpcx.NewPipe()
	s := New(Config{
		Node: "b", StoreID: func() string { return "store of b" }, Key: func() auth.Key { return auth.Key{} }, Limit: func() uint64 { return 0 },
		Clock: clock.System{}, Log: slog.New(slog.DiscardHandler),
		Terms: func(string) (Terms, bool) { return Terms{}, false },
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
	for _, c := range []struct {
		speaks []uint32
		want   error
	}{
		{[]uint32{version}, nil},
		{[]uint32{version + 1, version}, nil},
		{[]uint32{version + 1}, errs.ErrNoCommonVersion},
		{nil, errs.ErrNoCommonVersion},
	} {
		m := &m4fv1.HelloRequest{Versions: c.speaks, Node: "a", StoreId: []byte("store of a"), Streams: []*m4fv1.StreamTerms{{Stream: "tv", Format: 99}}}
		m.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 1000, protowire.BytesType), "of a later version"))
		got, err := m4fv1.NewM4FServiceClient(creds.Conn(cc)).Hello(t.Context(), m)
		if !errors.Is(err, c.want) || err == nil && (got.GetVersion() != version || len(got.GetSession()) == 0) {
			t.Errorf("one that speaks %v: got %v, %v; want %v", c.speaks, got, err, c.want)
		}
	}
}
