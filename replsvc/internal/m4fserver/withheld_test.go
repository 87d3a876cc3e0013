package m4fserver

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/auth"
	"github.com/twinreel/twinreel/pkg/clock"
	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
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
