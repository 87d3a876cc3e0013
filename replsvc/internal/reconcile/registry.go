package reconcile

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/twinreel/twinreel/pkg/errs"
	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	"github.com/twinreel/twinreel/pkg/timeline"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// DVR is the Registry of our own dvrsvc.
type DVR struct{ rpc dvrv1.RecordingServiceClient }

var _ Registry = (*DVR)(nil)

// NewDVR uses the dvrsvc behind conn.
func NewDVR(conn grpc.ClientConnInterface) *DVR { return &DVR{dvrv1.NewRecordingServiceClient(conn)} }

// Bound implements Registry.
func (d *DVR) Bound(ctx context.Context, stream, store string, peer segment.TimelineID) (Binding, bool, error) {
	return d.call(ctx, &dvrv1.BindTimelineRequest{Stream: stream, PeerStoreId: []byte(store), PeerTimeline: peer[:]})
}

// Bind implements Registry.
func (d *DVR) Bind(ctx context.Context, stream, store string, peer segment.TimelineID, b Binding) error {
	_, _, err := d.call(ctx, &dvrv1.BindTimelineRequest{
		Stream: stream, PeerStoreId: []byte(store), PeerTimeline: peer[:], Timeline: b.Row[:], TurnDifference: b.Turns,
	})
	return err
}

// Make implements Registry.
func (d *DVR) Make(ctx context.Context, stream, store string, peer segment.TimelineID, at timeline.Ticks, utc time.Time) (Binding, error) {
	b, ok, err := d.call(ctx, &dvrv1.BindTimelineRequest{
		Stream: stream, PeerStoreId: []byte(store), PeerTimeline: peer[:], Make: true, AtTicks: int64(at), AtUtcNanos: utc.UnixNano(),
	})
	if err == nil && !ok {
		err = fmt.Errorf("make a timeline for %s: none was made: %w", peer, errs.ErrInvalid)
	}
	return b, err
}

func (d *DVR) call(ctx context.Context, req *dvrv1.BindTimelineRequest) (Binding, bool, error) {
	m, err := d.rpc.BindTimeline(ctx, req)
	if err != nil {
		return Binding{}, false, fmt.Errorf("bind timeline of %s: %w", req.GetStream(), rpcerr.FromStatus(err))
	}
	b := Binding{Turns: m.GetTurnDifference()}
	if len(m.GetTimeline()) != len(b.Row) {
		return Binding{}, false, nil
	}
	copy(b.Row[:], m.GetTimeline())
	return b, true, nil
}
