package auth_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	m4fv1 "github.com/twinreel/twinreel/proto/m4f/v1"
)

const opener = m4fv1.M4FService_Hello_FullMethodName

// service is a guarded one: Hello opens a session, Timelines and Fetch answer who is calling.
type service struct {
	m4fv1.UnimplementedM4FServiceServer
	gate *auth.Gate
	key  auth.Key
}

func (s *service) Hello(ctx context.Context, req *m4fv1.HelloRequest) (*m4fv1.HelloResponse, error) {
	c := auth.FromContext(ctx)
	if !c.Proved {
		return &m4fv1.HelloResponse{Node: "server", Nonce: s.gate.Nonce()}, nil
	}
	session := s.gate.Open(c.Node, "store")
	proof := s.key.Welcome("server", c.Node, c.Challenge, session)
	if err := grpc.SetHeader(ctx, metadata.Pairs(auth.MDWelcome, string(proof))); err != nil {
		return nil, err
	}
	return &m4fv1.HelloResponse{Node: "server", Session: session}, nil
}

func (s *service) Timelines(ctx context.Context, req *m4fv1.TimelinesRequest) (*m4fv1.TimelinesResponse, error) {
	return &m4fv1.TimelinesResponse{StoreId: []byte(auth.FromContext(ctx).Node)}, nil
}

func (s *service) Fetch(req *m4fv1.FetchRequest, rpc grpc.ServerStreamingServer[m4fv1.FetchResponse]) error {
	return rpc.Send(&m4fv1.FetchResponse{NotHeld: auth.FromContext(rpc.Context()).Node})
}

// serve gives a connection to a guarded server and what it refused.
func serve(t *testing.T, key auth.Key) (*grpc.ClientConn, *[]string) {
	t.Helper()
	var refused []string
	gate := auth.NewGate("server", opener, func() auth.Key { return key }, clock.System{}, func(node string, err error) {
		refused = append(refused, fmt.Sprintf("%s: %v", node, err))
	})
	lis := bufconn.Listen(1 << 16)
	srv := grpc.NewServer()
	m4fv1.RegisterM4FServiceServer(gate.Protect(srv), &service{gate: gate, key: key})
	go srv.Serve(lis) //nolint:errcheck // ends with Stop
	t.Cleanup(srv.Stop)
	cc, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc, &refused
}

// open says Hello in one round or two, and gives the credentials of the session.
func open(t *testing.T, cc *grpc.ClientConn, key auth.Key) (auth.Credentials, error) {
	t.Helper()
	creds := auth.Credentials{Key: key, From: "client", Challenge: []byte("0123456789abcdef")}
	for range 2 {
		var header metadata.MD
		m, err := m4fv1.NewM4FServiceClient(creds.Conn(cc)).Hello(t.Context(), &m4fv1.HelloRequest{Node: "client"}, grpc.Header(&header))
		if err != nil {
			return creds, err
		}
		if len(m.GetNonce()) > 0 {
			creds.To, creds.Nonce = m.GetNode(), m.GetNonce()
			continue
		}
		var proof []byte
		if v := header.Get(auth.MDWelcome); len(v) > 0 {
			proof = []byte(v[0])
		}
		if !key.IsZero() {
			if err := key.CheckWelcome("server", "client", creds.Challenge, m.GetSession(), proof); err != nil {
				return creds, err
			}
		}
		return auth.Credentials{Key: key, From: "client", To: "server", Session: m.GetSession()}, nil
	}
	return creds, errs.ErrBadKey
}

func TestHandshake(t *testing.T) {
	for _, c := range []struct {
		name           string
		server, client auth.Key
		want           error
	}{
		{"no key on either side", auth.Key{}, auth.Key{}, nil},
		{"the same key", auth.NewKey("k"), auth.NewKey(" k\n"), nil},
		{"another key", auth.NewKey("k"), auth.NewKey("q"), errs.ErrBadKey},
		{"none with the caller", auth.NewKey("k"), auth.Key{}, errs.ErrBadKey},
		{"none with the server", auth.Key{}, auth.NewKey("k"), errs.ErrBadKey},
	} {
		t.Run(c.name, func(t *testing.T) {
			cc, _ := serve(t, c.server)
			creds, err := open(t, cc, c.client)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err != nil {
				return
			}
			client := m4fv1.NewM4FServiceClient(creds.Conn(cc))
			m, err := client.Timelines(t.Context(), &m4fv1.TimelinesRequest{Stream: "tv"})
			if err != nil || string(m.GetStoreId()) != "client" {
				t.Errorf("unary: got %q, %v", m.GetStoreId(), err)
			}
			rpc, err := client.Fetch(t.Context(), &m4fv1.FetchRequest{Stream: "tv"})
			if err != nil {
				t.Fatal(err)
			}
			if f, err := rpc.Recv(); err != nil || f.GetNotHeld() != "client" {
				t.Errorf("stream: got %q, %v", f.GetNotHeld(), err)
			}
		})
	}
}

// TestProofBinds holds that a proof serves for one request only.
func TestProofBinds(t *testing.T) {
	key := auth.NewKey("k")
	good := auth.Claim{Method: "/m", From: "a", To: "b", Nonce: []byte("n"), Body: [32]byte{1}}
	proof := key.Prove(good)
	if err := key.Check(good, proof); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*auth.Claim){
		"method":       func(c *auth.Claim) { c.Method = "/n" },
		"caller":       func(c *auth.Claim) { c.From = "c" },
		"server":       func(c *auth.Claim) { c.To = "c" },
		"nonce":        func(c *auth.Claim) { c.Nonce = []byte("m") },
		"body":         func(c *auth.Claim) { c.Body[31] = 1 },
		"moved border": func(c *auth.Claim) { c.From, c.To = "ab", "" },
	} {
		c := good
		change(&c)
		if err := key.Check(c, proof); !errors.Is(err, errs.ErrBadKey) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := key.Check(good, proof[:31]); !errors.Is(err, errs.ErrBadKey) {
		t.Errorf("short proof: got %v", err)
	}
}

// replaying sends a request with the metadata that was made for another one.
type replaying struct {
	grpc.ClientConnInterface
	md metadata.MD
}

func (r *replaying) Invoke(ctx context.Context, method string, req, reply any, opts ...grpc.CallOption) error {
	if r.md == nil {
		r.md, _ = metadata.FromOutgoingContext(ctx)
	}
	return r.ClientConnInterface.Invoke(metadata.NewOutgoingContext(ctx, r.md), method, req, reply, opts...)
}

func TestStolenProofServesForThatRequestOnly(t *testing.T) {
	key := auth.NewKey("k")
	cc, refused := serve(t, key)
	creds, err := open(t, cc, key)
	if err != nil {
		t.Fatal(err)
	}
	client := m4fv1.NewM4FServiceClient(creds.Conn(&replaying{ClientConnInterface: cc}))
	if _, err := client.Timelines(t.Context(), &m4fv1.TimelinesRequest{Stream: "tv"}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Timelines(t.Context(), &m4fv1.TimelinesRequest{Stream: "other"}); !errors.Is(err, errs.ErrBadKey) {
		t.Errorf("got %v, want %v", err, errs.ErrBadKey)
	}
	if len(*refused) != 1 || !strings.Contains((*refused)[0], "client") {
		t.Errorf("the server tells %q", *refused)
	}
}

func TestNoSession(t *testing.T) {
	cc, _ := serve(t, auth.Key{})
	client := m4fv1.NewM4FServiceClient(auth.Credentials{From: "client", Session: []byte("made up")}.Conn(cc))
	if _, err := client.Timelines(t.Context(), &m4fv1.TimelinesRequest{}); !errors.Is(err, errs.ErrNoSession) {
		t.Errorf("unary: got %v", err)
	}
	rpc, err := client.Fetch(t.Context(), &m4fv1.FetchRequest{})
	if err == nil {
		_, err = rpc.Recv()
	}
	if !errors.Is(err, errs.ErrNoSession) {
		t.Errorf("stream: got %v", err)
	}
}

func TestKeyShowsItselfToNobody(t *testing.T) {
	key := auth.NewKey("hunter2")
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", key)
	err := key.Check(auth.Claim{From: "a"}, []byte("no"))
	for _, s := range []string{fmt.Sprint(key), fmt.Sprintf("%v %+v %#v", key, key, key), log.String(), err.Error()} {
		if strings.Contains(s, "hunter2") {
			t.Errorf("the key shows in %q", s)
		}
	}
}
