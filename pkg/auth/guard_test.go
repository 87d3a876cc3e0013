package auth_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/grpcx"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// dvr takes whatever it is told.
type dvr struct {
	dvrv1.UnimplementedRecordingServiceServer
	dvrv1.UnimplementedIndexServiceServer
}

func (dvr) Record(rpc grpc.BidiStreamingServer[dvrv1.RecordRequest, dvrv1.RecordResponse]) error {
	if _, err := rpc.Recv(); err != nil {
		return err
	}
	return rpc.Send(&dvrv1.RecordResponse{})
}

func (dvr) BindTimeline(context.Context, *dvrv1.BindTimelineRequest) (*dvrv1.BindTimelineResponse, error) {
	return &dvrv1.BindTimelineResponse{}, nil
}

func (dvr) ListStreams(context.Context, *dvrv1.ListStreamsRequest) (*dvrv1.ListStreamsResponse, error) {
	return &dvrv1.ListStreamsResponse{}, nil
}

// guarded serves over TCP and, as in one box, over a pipe.
func guarded(t *testing.T, key auth.Key) (tcp, pipe grpc.ClientConnInterface) {
	t.Helper()
	guard := auth.NewGuard(func() auth.Key { return key }, clock.System{})
	srv, err := grpcx.NewServer(grpcx.ServerOptions{
		Unary: []grpc.UnaryServerInterceptor{guard.Unary()}, Stream: []grpc.StreamServerInterceptor{guard.Stream()},
	})
	if err != nil {
		t.Fatal(err)
	}
	dvrv1.RegisterRecordingServiceServer(srv, dvr{})
	dvrv1.RegisterIndexServiceServer(srv, dvr{})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := grpcx.NewPipe()
	go srv.Serve(t.Context(), lis, p.Listener()) //nolint:errcheck // ends with the test
	over, err := p.Dial(grpcx.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cc, err := grpcx.Dial(lis.Addr().String(), grpcx.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { over.Close(); cc.Close() })
	return cc, over
}

func record(ctx context.Context, cc grpc.ClientConnInterface, hello *dvrv1.RecordRequest) error {
	rpc, err := dvrv1.NewRecordingServiceClient(cc).Record(ctx)
	if err != nil {
		return err
	}
	if err := rpc.Send(hello); err != nil {
		return err
	}
	_, err = rpc.Recv()
	return err
}

func bind(ctx context.Context, cc grpc.ClientConnInterface) error {
	_, err := dvrv1.NewRecordingServiceClient(cc).BindTimeline(ctx, &dvrv1.BindTimelineRequest{Stream: "tv"})
	return err
}

// What changes something needs the key, as a stream and as a unary call; what reads does not.
func TestGuard(t *testing.T) {
	good, other := auth.NewKey("0123456789abcdef"), auth.NewKey("fedcba9876543210")
	for _, c := range []struct {
		name           string
		server, client auth.Key
		want           error
	}{
		{"no key on either side", auth.Key{}, auth.Key{}, nil},
		{"the same key", good, good, nil},
		{"another key", good, other, errs.ErrBadKey},
		{"none with the caller", good, auth.Key{}, errs.ErrBadKey},
		{"none with the server", auth.Key{}, good, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			tcp, pipe := guarded(t, c.server)
			cc := auth.Proving(tcp, "client", c.client)
			for range 2 { // each call proves anew
				if err := record(t.Context(), cc, &dvrv1.RecordRequest{}); !errors.Is(err, c.want) {
					t.Errorf("record: got %v, want %v", err, c.want)
				}
				if err := bind(t.Context(), cc); !errors.Is(err, c.want) {
					t.Errorf("bind: got %v, want %v", err, c.want)
				}
			}
			if _, err := dvrv1.NewIndexServiceClient(tcp).ListStreams(t.Context(), &dvrv1.ListStreamsRequest{}); err != nil {
				t.Errorf("read: %v", err)
			}
			if err := bind(t.Context(), pipe); err != nil {
				t.Errorf("within the process: %v", err)
			}
		})
	}
}

// A proof that was seen on the wire serves nobody: not again, not for another message, not for another method.
func TestGuardRefusesWhatWasSeen(t *testing.T) {
	key := auth.NewKey("0123456789abcdef")
	tcp, _ := guarded(t, key)
	nonce := func() []byte {
		var header metadata.MD
		if _, err := healthpb.NewHealthClient(tcp).Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.Header(&header)); err != nil {
			t.Fatal(err)
		}
		for name, v := range header {
			if len(v[0]) > 40 && name != "content-type" {
				return []byte(v[0])
			}
		}
		t.Fatalf("no nonce in %v", header)
		return nil
	}
	creds := auth.Credentials{Key: key, From: "client", Nonce: nonce()}
	if err := bind(t.Context(), creds.Conn(tcp)); err != nil {
		t.Fatal(err)
	}
	if err := bind(t.Context(), creds.Conn(tcp)); !errors.Is(err, errs.ErrBadKey) {
		t.Errorf("the nonce again: %v", err)
	}
	// Listen to what a call sends, and send it with something else.
	creds.Nonce = nonce()
	seen := &listener{ClientConnInterface: tcp}
	bind(t.Context(), creds.Conn(seen)) //nolint:errcheck // it is not sent
	ctx := metadata.NewOutgoingContext(t.Context(), seen.md)
	_, err := dvrv1.NewRecordingServiceClient(tcp).BindTimeline(ctx, &dvrv1.BindTimelineRequest{Stream: "other"})
	if !errors.Is(err, errs.ErrBadKey) {
		t.Errorf("another message: %v", err)
	}
	if err := record(ctx, tcp, &dvrv1.RecordRequest{}); !errors.Is(err, errs.ErrBadKey) {
		t.Errorf("another method: %v", err)
	}
}

// listener keeps the metadata of a call that it does not pass on.
type listener struct {
	grpc.ClientConnInterface
	md metadata.MD
}

func (l *listener) Invoke(ctx context.Context, _ string, _, _ any, _ ...grpc.CallOption) error {
	l.md, _ = metadata.FromOutgoingContext(ctx)
	return errs.ErrNotReady
}
