package boxes

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc"

	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// tardy is a box whose first message comes just as it is given up.
type tardy struct{ grpc.ClientConnInterface }

type tardyStream struct {
	grpc.ClientStream
	ctx context.Context
}

func (tardy) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	return tardyStream{ctx: ctx}, nil
}

func (s tardyStream) SendMsg(any) error { return nil }
func (s tardyStream) CloseSend() error  { return nil }
func (s tardyStream) RecvMsg(any) error { <-s.ctx.Done(); return nil }

// A first message that comes as its box is given up is no answer: what follows of it does not come.
func TestMessageAtTheLimit(t *testing.T) {
	g := &gathered{list: []Box{{Name: "a", Conn: tardy{}, away: true}}}
	rpc, err := dvrv1.NewSegmentServiceClient(g).ReadSegment(t.Context(), &dvrv1.ReadSegmentRequest{Stream: "tv"})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := rpc.Recv(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}
