package inventory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/twinreel/twinreel/pkg/rpcerr"
	"github.com/twinreel/twinreel/pkg/segment"
	dvrv1 "github.com/twinreel/twinreel/proto/twinreel/dvr/v1"
)

// blocksPerCall keeps an answer about slots below the message limit in most cases: 1024 slots of six tracks, with much
// damage, have 2 MB.
const blocksPerCall = 2

// ErrTooLarge is that an answer about one block exceeds what a message may carry.
var ErrTooLarge = errors.New("the answer exceeds what a message may carry")

// Local is the archive of our own dvrsvc.
type Local struct{ index dvrv1.IndexServiceClient }

var _ Archive = (*Local)(nil)

// NewLocal reads the archive behind conn.
func NewLocal(conn grpc.ClientConnInterface) *Local {
	return &Local{index: dvrv1.NewIndexServiceClient(conn)}
}

// Rows implements Archive.
func (l *Local) Rows(ctx context.Context, stream string) (Rows, error) {
	return l.rows(ctx, &dvrv1.ListTimelinesRequest{Stream: stream, WithoutSamples: true})
}

// Sampled implements Archive.
func (l *Local) Sampled(ctx context.Context, stream string) (Rows, error) {
	return l.rows(ctx, &dvrv1.ListTimelinesRequest{Stream: stream})
}

func (l *Local) rows(ctx context.Context, of *dvrv1.ListTimelinesRequest) (Rows, error) {
	m, err := l.index.ListTimelines(ctx, of)
	if err != nil {
		return Rows{}, fmt.Errorf("list timelines of %s: %w", of.GetStream(), rpcerr.FromStatus(err))
	}
	rows, err := FromTimelines(m.GetTimelines())
	return Rows{
		StoreID: string(m.GetStoreId()), Rows: rows, LowWater: time.Unix(0, m.GetLowWaterNanos()).UTC(),
		Locked: ToSpans(m.GetLocked()), Deleted: ToSpans(m.GetDeleted()),
		ClockInDoubt: m.GetClockInDoubt(),
	}, err
}

// maxSpans bounds what is taken of what a peer says.
const maxSpans = 100_000

// ToSpans reads ranges.
func ToSpans(in []*dvrv1.Span) (out Spans) {
	for _, s := range in[:min(len(in), maxSpans)] {
		out = append(out, Span{s.GetFrom().AsTime(), s.GetTo().AsTime()})
	}
	return out
}

// Digests implements Archive.
func (l *Local) Digests(ctx context.Context, stream string, row segment.TimelineID, from, to int64) ([]Block, error) {
	m, err := l.index.GetDigests(ctx, &dvrv1.GetDigestsRequest{Stream: stream, Timeline: row[:], FromBlock: from, ToBlock: to})
	if err != nil {
		return nil, fmt.Errorf("get digests of %s: %w", stream, rpcerr.FromStatus(err))
	}
	return FromBlocks(m.GetBlocks(), from, to)
}

// Slots implements Archive.
func (l *Local) Slots(ctx context.Context, stream string, row segment.TimelineID, from, to int64) ([]Slot, error) {
	return InParts(from, to, func(from, to int64) ([]Slot, error) {
		m, err := l.index.ListSlots(ctx, &dvrv1.ListSlotsRequest{Stream: stream, Timeline: row[:], FromBlock: from, ToBlock: to})
		if err != nil {
			return nil, fmt.Errorf("list slots of %s: %w", stream, rpcerr.FromStatus(err))
		}
		return FromSlots(m.GetSlots(), row, from, to)
	})
}

// InParts asks for the slots of many blocks a few at a time, and one at a time where those are too many for a message.
// Errors: ErrTooLarge, or of ask.
func InParts(from, to int64, ask func(from, to int64) ([]Slot, error)) ([]Slot, error) {
	var all []Slot
	for n := int64(blocksPerCall); from < to; {
		slots, err := ask(from, min(from+n, to))
		switch {
		case err == nil:
			all = append(all, slots...)
			from += n
		case !tooLarge(err):
			return nil, err
		case n > 1:
			n = 1
		default:
			return nil, fmt.Errorf("block %d: %w: %w", from, ErrTooLarge, err)
		}
	}
	return all, nil
}

// tooLarge reports whether gRPC refused to carry an answer; a full disk has the same code and a reason.
func tooLarge(err error) bool {
	return status.Code(err) == codes.ResourceExhausted && rpcerr.Reason(err) == ""
}
