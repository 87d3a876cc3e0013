package m4fserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/grpcx"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/testkit"
	m4fv1 "github.com/twinreel/twinreel/proto/m4f/v1"
)

// call is a call of a peer.
type call struct{ grpc.ServerStream }

func (call) Context() context.Context { return context.Background() }

func (call) Send(*m4fv1.FetchResponse) error { return nil }

// follower is a call of Subscribe.
type follower struct{ call }

func (follower) Send(*m4fv1.SubscribeResponse) error { return nil }

func (follower) Recv() (*m4fv1.SubscribeRequest, error) {
	return &m4fv1.SubscribeRequest{Stream: "tv"}, nil
}

// Who is none of a stream's readers is told nothing of it, whatever he asks for, and it is not in what he may take.
func TestReaders(t *testing.T) {
	s := New(Config{
		Node: "a", Key: func() auth.Key { return auth.Key{} }, Limit: func() uint64 { return 0 }, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler),
		Terms: func(stream string) (Terms, bool) {
			return Terms{Reads: func(string) bool { return stream != "tv" }}, true
		},
		Streams: func() ([]Offered, bool) { return []Offered{{Name: "radio"}, {Name: "tv"}}, true },
	})
	ctx := t.Context()
	asked := map[string]func() error{
		"fetch":     func() error { return s.Fetch(&m4fv1.FetchRequest{Stream: "tv", Digest: make([]byte, 32)}, call{}) },
		"subscribe": func() error { return s.Subscribe(follower{}) },
		"timelines": func() error { _, err := s.Timelines(ctx, &m4fv1.TimelinesRequest{Stream: "tv"}); return err },
		"digests":   func() error { _, err := s.Digests(ctx, &m4fv1.DigestsRequest{Stream: "tv", ToBlock: 1}); return err },
		"slots":     func() error { _, err := s.Slots(ctx, &m4fv1.SlotsRequest{Stream: "tv", ToBlock: 1}); return err },
	}
	for what, ask := range asked {
		if err := ask(); !errors.Is(rpcerr.FromStatus(err), errs.ErrWithheld) {
			t.Errorf("%s: %v", what, err)
		}
	}
	m, err := s.Streams(ctx, &m4fv1.StreamsRequest{})
	if err != nil || len(m.GetStreams()) != 1 || m.GetStreams()[0].GetName() != "radio" {
		t.Errorf("he may take %v, %v", m.GetStreams(), err)
	}
}

// Media of a stream that is given to nobody is refused to whoever asks for it, whatever he was told before.
func TestWithheldIsRefused(t *testing.T) {
	s := New(Config{
		Node: "a", Key: func() auth.Key { return auth.Key{} }, Limit: func() uint64 { return 0 }, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler),
		Terms: func(string) (Terms, bool) { return Terms{Withheld: true}, true },
	})
	for what, err := range map[string]error{
		"fetch":     s.Fetch(&m4fv1.FetchRequest{Stream: "tv", Digest: make([]byte, 32)}, call{}),
		"subscribe": s.Subscribe(follower{}),
	} {
		if !errors.Is(rpcerr.FromStatus(err), errs.ErrWithheld) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Where callers have certificates, it is these that tell who is a reader: a node that says it is another one is none.
func TestReaderByCertificate(t *testing.T) {
	s := New(Config{
		Node: "a", StoreID: func() string { return "store" }, Key: func() auth.Key { return auth.Key{} }, Limit: func() uint64 { return 0 },
		Clock: clock.System{}, Log: slog.New(slog.DiscardHandler),
		Terms: func(stream string) (Terms, bool) {
			if stream == "radio" {
				return Terms{}, true
			}
			return Terms{Reads: func(node string) bool { return node == "b" }, Retention: time.Hour}, true
		},
		Streams: func() ([]Offered, bool) { return []Offered{{Name: "radio"}, {Name: "tv"}}, true },
	})
	ca := testkit.NewCA(t, "ca")
	srv, err := grpcx.NewServer(grpcx.ServerOptions{TLS: ca.Issue(t, "127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	s.Register(srv)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Server.Serve(lis) //nolint:errcheck // ends with Stop
	t.Cleanup(srv.Stop)
	for _, c := range []struct {
		names  []string
		says   string
		listed int
	}{{[]string{"b"}, "b", 2}, {[]string{"host", "b"}, "b", 2}, {[]string{"c"}, "b", 1}, {[]string{"c"}, "c", 1}, {[]string{"b"}, "c", 1}} {
		cc, err := grpcx.Dial(lis.Addr().String(), grpcx.DialOptions{TLS: ca.Issue(t, c.names...)})
		if err != nil {
			t.Fatal(err)
		}
		defer cc.Close()
		creds := auth.Credentials{From: c.says}
		m, err := m4fv1.NewM4FServiceClient(creds.Conn(cc)).Hello(t.Context(), &m4fv1.HelloRequest{
			Versions: []uint32{version}, Node: c.says, StoreId: []byte(c.says), Streams: []*m4fv1.StreamTerms{{Stream: "tv"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if told, reads := m.GetStreams()[0], c.listed == 2; told.GetWithheld() == reads || (told.GetRetentionNanos() > 0) != reads {
			t.Errorf("who is %v and says he is %s is told %v", c.names, c.says, told)
		}
		creds.Session = m.GetSession()
		if l, err := m4fv1.NewM4FServiceClient(creds.Conn(cc)).Streams(t.Context(), &m4fv1.StreamsRequest{}); err != nil || len(l.GetStreams()) != c.listed {
			t.Errorf("who is %v and says he is %s gets %v, %v", c.names, c.says, l, err)
		}
	}
}
